//! Settings: any file, environment file and environment is settings or a refusal.
//!
//! The first byte chooses the layer.

#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use strixhalo::config::{ConfigError, Loaded, Sources, check_text, load};
use strixhalo::server::Exit;

fuzz_target!(|data: &[u8]| {
    let Some((&layer, rest)) = data.split_first() else { return };
    let loaded = match layer % 3 {
        0 => match std::str::from_utf8(rest) {
            Ok(text) => check_text(Path::new("settings.toml"), text),
            Err(_) => return,
        },
        1 => from_env_file(rest),
        _ => load(Sources { environment: variables(rest), ..Sources::default() }),
    };
    match loaded {
        Ok(loaded) => {
            // What `config show` prints.
            let _ = (loaded.entries(), loaded.changed());
        }
        Err(error) => {
            assert!([64, 66, 77, 78].contains(&(Exit::from(&error) as u8)));
            assert!(!error.to_string().is_empty());
        }
    }
});

fn from_env_file(text: &[u8]) -> Result<Loaded, ConfigError> {
    if contains_config(text) {
        return Ok(Loaded::default());
    }
    let path = std::env::temp_dir().join(format!("strixhalo-fuzz-{}.env", std::process::id()));
    std::fs::write(&path, text).expect("the temporary directory can be written");
    let loaded = load(Sources { env_file: Some(path.clone()), ..Sources::default() });
    let _ = std::fs::remove_file(path);
    loaded
}

/// Lines `NAME=value`.
fn variables(text: &[u8]) -> Vec<(OsString, OsString)> {
    text.split(|&byte| byte == b'\n')
        .filter(|line| !contains_config(line))
        .filter_map(|line| {
            let at = line.iter().position(|&byte| byte == b'=')?;
            let (name, value) = (line[..at].to_vec(), line[at + 1..].to_vec());
            Some((OsString::from_vec(name), OsString::from_vec(value)))
        })
        .collect()
}

/// The variable that names a file: this must open none.
fn contains_config(text: &[u8]) -> bool {
    text.windows(16).any(|part| part == b"STRIXHALO_CONFIG")
}
