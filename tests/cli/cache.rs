use std::fs;
use std::path::Path;

use crate::binary::{refused, run};

/// Writes a file as the store begins its own, and gives its bytes.
fn save(directory: &Path, key: &str, hash: char, tokens: u32) -> usize {
    let name = format!("{key}-{}.prompt", hash.to_string().repeat(32));
    let mut bytes = b"sxprompt".to_vec();
    bytes.extend([1, 0, 0, 0]);
    bytes.extend([7; 32]);
    bytes.extend(tokens.to_le_bytes());
    bytes.resize(2_500_000, 0);
    fs::write(directory.join(name), &bytes).unwrap();
    bytes.len()
}

#[test]
fn saved_prompts_are_listed_and_removed_and_nothing_else_is() {
    let root = tempfile::tempdir().unwrap();
    let prompts = root.path().join("prompts");
    let dir = prompts.to_str().unwrap();
    assert!(refused(66, &["cache", "list", "--dir", dir], &[]).contains(dir));
    fs::create_dir(&prompts).unwrap();
    let list = || run(&["cache", "list", "--dir", dir], &[]);
    assert_eq!(list().stdout, format!("0 saved prompts, 0.0 MB in {dir}\n"));
    save(&prompts, "0123456789abcdef", 'a', 4096);
    save(&prompts, "fedcba9876543210", 'b', 123);
    fs::write(prompts.join("notes.txt"), "somebody's").unwrap();
    let listed = list();
    assert_eq!((listed.code, listed.stderr.as_str()), (0, ""));
    let lines: Vec<&str> = listed.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[0].starts_with("MODEL ") && lines[0].ends_with("LAST USED"));
    let row = |key: &str| {
        let line = lines.iter().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().skip(1).take(3).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("0123456789abcdef"), "4096 2.5 MB");
    assert_eq!(row("fedcba9876543210"), "123 2.5 MB");
    assert_eq!(lines[3], format!("2 saved prompts, 5.0 MB in {dir}"));

    let cleared = run(&["cache", "clear", "--dir", dir], &[]);
    assert_eq!(cleared.code, 0, "{cleared:?}");
    assert_eq!(cleared.stdout, format!("removed 2 saved prompts, 5.0 MB from {dir}\n"));
    assert_eq!(fs::read_dir(&prompts).unwrap().count(), 1);
}

#[test]
fn the_directory_is_the_one_that_the_server_takes() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().to_str().unwrap();
    let prompts = root.path().join("prompts");
    fs::create_dir(&prompts).unwrap();
    save(&prompts, "0123456789abcdef", 'a', 1);
    let listed = |arguments: &[&str], variables: &[(&str, &str)]| {
        let run = run(&[&["cache", "list"], arguments].concat(), variables);
        assert_eq!(run.code, 0, "{run:?}");
        run.stdout.contains("1 saved prompt, ")
    };
    assert!(listed(&[], &[("CACHE_DIRECTORY", path)]));
    let set = prompts.to_str().unwrap();
    assert!(listed(
        &[],
        &[("STRIXHALO_CACHE__DISK_DIR", set), ("CACHE_DIRECTORY", "/nonexistent")]
    ));
    let file = root.path().join("s.toml");
    fs::write(&file, format!("[cache]\ndisk_dir = '{set}'\n")).unwrap();
    assert!(listed(&["--config", file.to_str().unwrap()], &[]));
    assert!(refused(64, &["cache", "list"], &[]).contains("name it with --dir"));
    let line = refused(78, &["cache", "clear"], &[("STRIXHALO_CACHE__DISK_MIB", "much")]);
    assert!(line.contains("cache.disk_mib"), "{line}");
    assert_eq!(run(&["cache"], &[]).code, 64);
}
