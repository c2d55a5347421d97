//! Reports of recorded trees, and what must hold of all checks.
//!
//! tests/doctor/trees/NAME.tree is a tree in one file: `path: value` writes a file (`\n`, `\t` and `\0`
//! in the value are those bytes), `path -> target` makes a link, `- path` removes what an included
//! tree had, and `include NAME` begins with another tree.

mod mask;
mod reports;
mod rows;
mod texts;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::{Examination, Report, Status, examine};

const TREES: [&str; 13] = [
    "good",
    "compat",
    "uma-96",
    "evo-x2",
    "untuned",
    "no-gpu",
    "kernel-6.18.9",
    "no-cwsr",
    "amdttm",
    "two-gpus",
    "container",
    "vulkan",
    "other-machine",
];
/// Those whose report is kept as JSON as well.
const WITH_JSON: [&str; 3] = ["good", "uma-96", "container"];
const REFRESH: &str = "STRIXHALO_REFRESH";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doctor")
}

/// Unpacks a tree below `root`.
fn unpack(name: &str, root: &Path) {
    let text = fs::read_to_string(folder().join(format!("trees/{name}.tree"))).unwrap();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(other) = line.strip_prefix("include ") {
            unpack(other, root);
        } else if let Some(path) = line.strip_prefix("- ") {
            let path = root.join(path);
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        } else if let Some((path, to)) = line.split_once(" -> ") {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(to, path).unwrap();
        } else {
            let empty = || Some((line.strip_suffix(':')?, ""));
            let (path, value) = line.split_once(": ").or_else(empty).expect(line);
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let value = value.replace("\\n", "\n").replace("\\t", "\t").replace("\\0", "\0");
            fs::write(path, value).unwrap();
        }
    }
}

/// A tree of one's own.
fn unpacked(name: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    unpack(name, root.path());
    root
}

/// A tree that was looked at, and where it lay.
struct Recorded {
    examined: Examination,
    root: PathBuf,
}

/// Looks at each tree once; files are slow to write.
fn recorded(name: &str) -> &'static Recorded {
    static ALL: LazyLock<BTreeMap<&str, Recorded>> = LazyLock::new(|| {
        let look = |name| {
            let root = unpacked(name);
            let examined = examine(root.path(), None);
            (name, Recorded { examined, root: root.path().to_owned() })
        };
        TREES.into_iter().map(look).collect()
    });
    &ALL[name]
}

fn report(name: &str) -> &'static Report {
    &recorded(name).examined.report
}

/// Looks at the tree in `root` with these files, and leaves it as it was.
fn examined_with(root: &Path, files: &[(&str, &str)]) -> Report {
    let files = files.iter().map(|(path, text)| (root.join(path), *text));
    let before: Vec<(PathBuf, Option<Vec<u8>>)> = files
        .map(|(path, text)| {
            let old = fs::read(&path).ok();
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            (path, old)
        })
        .collect();
    let report = examine(root, None).report;
    for (path, old) in before {
        match old {
            Some(old) => fs::write(path, old).unwrap(),
            None => {
                fs::remove_file(&path).unwrap();
                // With the directories that were made for it.
                let mut above = path.parent();
                while above.is_some_and(|folder| fs::remove_dir(folder).is_ok()) {
                    above = above.and_then(Path::parent);
                }
            }
        }
    }
    report
}

fn status(report: &Report, id: &str) -> Status {
    report.checks.iter().find(|check| check.id == id).unwrap_or_else(|| panic!("{id}")).status
}

/// Compares with a file of the repository, or writes it where that is asked for.
fn is_current(file: &Path, text: &str) -> bool {
    if std::env::var_os(REFRESH).is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    fs::read_to_string(file).is_ok_and(|there| there == text)
}
