//! The catalog, and what other texts say of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{REFRESH, is_current};
use crate::host::doctor::{checks, explain, ids, reference};

#[test]
fn ids_are_unique_kebab_case_and_explained() {
    let all: Vec<&str> = ids().collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    for id in all {
        assert!(id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
        let text = explain(id).unwrap();
        for part in ["cost: ", "fix", "source: "] {
            assert!(text.contains(part), "{text}");
        }
    }
    assert_eq!(explain("no-such-check"), None);
}

#[test]
fn the_documentation_has_every_check() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/doctor.md");
    let text = fs::read_to_string(&file).unwrap();
    let (before, _) = text.split_once("<!-- checks -->").expect("the mark");
    let current = format!("{before}<!-- checks -->\n{}", reference());
    assert!(
        is_current(&file, &current),
        "docs/doctor.md is stale; refresh it with\n  \
         {REFRESH}=1 cargo test --release --lib host::doctor"
    );
}

#[test]
fn checks_that_texts_name_exist() {
    let known: BTreeSet<&str> = ids().collect();
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let (_, section) = readme.split_once("## Troubleshooting").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let cells: Vec<&str> =
        rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next()).collect();
    let named: Vec<&str> =
        cells.iter().flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 10, "{named:?}");
    for id in named {
        assert!(known.contains(id), "README names the check {id}");
    }
    // In the catalog checks name each other.
    for (_, entry) in checks::entries() {
        for text in [entry.nixos, entry.other, entry.cost] {
            let Some((_, after)) = text.split_once("check") else { continue };
            for id in after.split('`').skip(1).step_by(2).filter(|word| !word.contains(' ')) {
                assert!(known.contains(id), "{} names the check {id}", entry.id);
            }
        }
    }
}

#[test]
fn options_that_fixes_name_are_options_of_the_modules() {
    let options = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/options.md");
    let options = fs::read_to_string(options).unwrap().replace('\\', "");
    for (_, entry) in checks::entries() {
        for begin in ["hardware.strixhalo.", "services.strixhalo."] {
            for (at, _) in entry.nixos.match_indices(begin) {
                let rest = &entry.nixos[at..];
                let end = rest.find(|c: char| !c.is_alphanumeric() && !"._".contains(c));
                let option = rest[..end.unwrap_or(rest.len())].trim_end_matches('.');
                // One variable of a set of them.
                let option = option.split(".environment.").next().unwrap();
                let is_known = options.contains(option)
                    || option.ends_with("rocm")
                        && options.contains("hardware.strixhalo.rocm.environment");
                assert!(is_known, "{}: {option}", entry.id);
            }
        }
    }
}
