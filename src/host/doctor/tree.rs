//! Reads below a root directory, bounded: a report must not depend on how large a file is.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Most bytes that are read of one file. A package database is a few megabytes.
const MAX_BYTES: u64 = 16 << 20;

/// A directory that stands for `/`: paths are given without the leading slash.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    root: PathBuf,
}

/// Who may open a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    /// Permission bits.
    pub(super) mode: u32,
    /// Owner.
    pub(super) uid: u32,
    /// Group.
    pub(super) gid: u32,
}

impl Tree {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether this is the machine itself, and no recording of one.
    pub(super) fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where `path` lies; a leading slash is dropped.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// A file's text without white space around it. `None`: it is not there or may not be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let file = File::open(self.path(path)).ok()?;
        if file.metadata().ok()?.is_dir() {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// A file with one number.
    pub(super) fn number(&self, path: &str) -> Option<i64> {
        self.text(path)?.parse().ok()
    }

    /// The names in a directory, sorted; none if it cannot be read.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(path)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// Where a symbolic link leads.
    pub(super) fn link(&self, path: &str) -> Option<String> {
        Some(fs::read_link(self.path(path)).ok()?.to_string_lossy().into_owned())
    }

    /// Where a path leads in the end; of a link out of a recorded tree what it says.
    pub(super) fn target(&self, path: &str) -> Option<String> {
        let to = fs::canonicalize(self.path(path))
            .ok()
            .or_else(|| fs::read_link(self.path(path)).ok())?;
        Some(to.to_string_lossy().into_owned())
    }

    /// A device node. A recorded tree has in its place a text with what `stat -c '%a %u %g'`
    /// prints.
    pub(super) fn node(&self, path: &str) -> Option<Node> {
        let metadata = fs::metadata(self.path(path)).ok()?;
        if metadata.file_type().is_char_device() {
            let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
            return Some(Node { mode, uid, gid });
        }
        let text = self.text(path)?;
        let mut fields = text.split_whitespace();
        Some(Node {
            mode: u32::from_str_radix(fields.next()?, 8).ok()?,
            uid: fields.next()?.parse().ok()?,
            gid: fields.next()?.parse().ok()?,
        })
    }
}
