//! The rooms of `src/` and which of them may import which, read from the `use` lines: a room imports
//! only from floors below its own, and no files import each other in a circle. Needs no engine.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The rooms from the top floor to the bottom.
const FLOORS: [&str; 12] = [
    "cli", "server", "api", "registry", "http", "protocol", "chat", "engine", "model", "host",
    "service", "config",
];

/// Rooms that know no engine, though it may stand below them.
const WITHOUT_ENGINE: [&str; 7] =
    ["http", "chat", "protocol", "model", "config", "host", "service"];

/// A file of `src/` that is not test code.
struct Source {
    /// Its module, such as `["api", "routes"]`.
    module: Vec<String>,
    /// Its text without comments and tests.
    code: String,
}

impl Source {
    fn room(&self) -> Option<&str> {
        self.module.first().map(String::as_str)
    }

    fn name(&self) -> String {
        self.module.join("::")
    }

    /// The paths of its `use` lines, with nothing in braces, and whether they are re-exports.
    fn uses(&self) -> Vec<(Vec<String>, bool)> {
        let mut all = Vec::new();
        let mut rest = self.code.as_str();
        while let Some(at) = rest.find("use ") {
            let before = rest[..at].rsplit('\n').next().unwrap().trim();
            rest = &rest[at + 4..];
            if before.is_empty() || before.starts_with("pub") {
                let tree = rest.split(';').next().unwrap();
                expand(tree, &[], &mut |path| all.push((path, before.starts_with("pub"))));
            }
        }
        all
    }

    fn defines(&self, name: &str) -> bool {
        ["struct", "enum", "fn", "trait", "type", "const", "static", "macro_rules!"].iter().any(
            |kind| {
                self.code.match_indices(&format!("{kind} {name}")).any(|(at, found)| {
                    let end = self.code[at + found.len()..].chars().next();
                    end.is_none_or(|c| !c.is_alphanumeric() && c != '_')
                })
            },
        )
    }
}

/// Calls `each` with every path of a tree such as `a::{b, c::{self, d as e}}`.
fn expand(tree: &str, before: &[String], each: &mut impl FnMut(Vec<String>)) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path =
            tree.split(" as ").next().unwrap().split("::").map(|name| name.trim().to_owned());
        let path = before.iter().cloned().chain(path.filter(|name| !name.is_empty()));
        return each(path.collect());
    };
    let names = tree[..open].split("::").map(|name| name.trim().to_owned());
    let before: Vec<String> =
        before.iter().cloned().chain(names.filter(|name| !name.is_empty())).collect();
    let inner = tree[open + 1..].rsplit_once('}').map_or("", |(inner, _)| inner);
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[start..at].trim().is_empty() {
                    expand(&inner[start..at], &before, each);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

fn files(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&root, &mut paths);
    paths.sort();
    let is_test = |module: &[String]| {
        module
            .iter()
            .any(|name| name == "tests" || name.ends_with("_tests") || name == "properties")
    };
    paths
        .into_iter()
        .map(|path| {
            let module = path.strip_prefix(&root).unwrap().with_extension("");
            let module = module.iter().map(|name| name.to_str().unwrap().to_owned());
            let module: Vec<String> =
                module.filter(|name| !["mod", "lib", "main"].contains(&name.as_str())).collect();
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let text = text.split("#[cfg(test)]\n#[allow").next().unwrap();
            let code: Vec<&str> =
                text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            Source { module, code: code.join("\n") }
        })
        .filter(|source| !is_test(&source.module))
        .collect()
}

/// The file that a path leads to, through re-exports.
fn target<'a>(sources: &'a [Source], path: &[String], hops: u32) -> Option<&'a Source> {
    // The crate's root has declarations alone.
    let depth = (1..=path.len())
        .rev()
        .find(|&n| sources.iter().any(|source| source.module[..] == path[..n]))?;
    let source = sources.iter().find(|source| source.module[..] == path[..depth])?;
    let Some(name) = path.get(depth).filter(|_| hops > 0) else { return Some(source) };
    if source.defines(name) {
        return Some(source);
    }
    let reexports = source.uses().into_iter().filter(|(_, is_public)| *is_public);
    let mut found = reexports.filter_map(|(export, _)| {
        let export = absolute(&export, source, sources)?;
        match export.last()?.as_str() {
            "*" => target(sources, &export[..export.len() - 1], hops - 1)
                .filter(|file| file.defines(name)),
            last if last == name => target(sources, &export, hops - 1),
            _ => None,
        }
    });
    found.next().or(Some(source))
}

/// The path from the crate's root, if it does not lead out of the crate.
fn absolute(path: &[String], from: &Source, sources: &[Source]) -> Option<Vec<String>> {
    let mut here = from.module.clone();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => {
            here.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|name| name == "super") {
                here.pop();
                rest = &rest[1..];
            }
        }
        child => {
            let mut module = here.clone();
            module.push(child.to_owned());
            sources.iter().find(|source| source.module == module)?;
        }
    }
    here.extend(rest.iter().filter(|name| *name != "self").cloned());
    Some(here)
}

#[test]
fn a_room_imports_only_from_floors_below_its_own() {
    let floor = |room: &str| FLOORS.iter().position(|name| *name == room);
    let mut broken = BTreeSet::new();
    for source in sources() {
        let Some(room) = source.room().map(str::to_owned) else { continue };
        let own = floor(&room).unwrap_or_else(|| panic!("src/{room} is on no floor"));
        // Paths in the code count as `use` lines do.
        let paths = source.code.match_indices("crate::").map(|(at, _)| {
            let rest = &source.code[at + "crate::".len()..];
            rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned()
        });
        for other in paths.filter(|other| *other != room) {
            let Some(below) = floor(&other) else { continue };
            let forbidden = other == "engine" && WITHOUT_ENGINE.contains(&room.as_str());
            if below < own || forbidden {
                broken.insert(format!("{} imports crate::{other}", source.name()));
            }
        }
    }
    assert!(broken.is_empty(), "forbidden edges:\n{broken:#?}");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = sources();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in &sources {
        let imports = source.uses().into_iter().filter(|(_, is_public)| !is_public);
        let targets = imports.filter_map(|(path, _)| {
            target(&sources, &absolute(&path, source, &sources)?, 5).map(Source::name)
        });
        edges.insert(source.name(), targets.filter(|name| *name != source.name()).collect());
    }
    let reach = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&str> = vec![from];
        while let Some(file) = next.pop() {
            for to in &edges[file] {
                if seen.insert(to.as_str()) {
                    next.push(to);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        edges.keys().map(|file| (file.as_str(), reach(file))).collect();
    let mut circles = BTreeSet::new();
    for (file, to) in &reached {
        if to.contains(file) {
            let circle: Vec<&str> = reached
                .keys()
                .copied()
                .filter(|o| to.contains(o) && reached[o].contains(file))
                .collect();
            circles.insert(circle);
        }
    }
    assert!(circles.is_empty(), "circles of files:\n{circles:#?}");
}

#[test]
fn a_tree_of_imports_is_read_as_its_paths() {
    let mut paths = Vec::new();
    expand("crate::a::{self, b::{C, D as E},\n    f::*}", &[], &mut |path| {
        paths.push(path.join("::"));
    });
    assert_eq!(paths, ["crate::a::self", "crate::a::b::C", "crate::a::b::D", "crate::a::f::*"]);
}
