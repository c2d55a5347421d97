//! Recorded trees of /proc and /sys for tests.

#![allow(clippy::unwrap_used)]

use std::fs;

/// A folder with these files: path and text.
pub(super) fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}
