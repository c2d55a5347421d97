//! API keys: where they come from, and whether a request carries one of them.

use std::fmt;
use std::io;
use std::path::PathBuf;

use http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::config::Settings;

/// The keys that open the server; none means that no key is asked for.
///
/// Only their hashes are kept: hashes have one length, so a comparison tells nothing of a key's
/// length, and there is nothing to leak into a log.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Keys {
    hashes: Vec<[u8; 32]>,
}

/// The keys cannot be used. No message contains a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the API key file {}: {source}; fix `server.api_key_file` or its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file has no key in it.
    #[error("the API key file {} holds no key: put one on each line, or unset `server.api_key_file`", path.display())]
    NoKeyInFile {
        /// The file.
        path: PathBuf,
    },
    /// A key is an empty string.
    #[error("`server.api_keys` holds an empty key: remove it, or put a key in its place")]
    EmptyKey,
}

/// Reads the keys of `server.api_keys` and of `server.api_key_file`: one key per line; blank
/// lines and lines that start with `#` do not count.
pub fn load_keys(settings: &Settings) -> Result<Keys, KeyError> {
    let mut keys = Keys::default();
    for key in &settings.server.api_keys {
        match key.trim() {
            "" => return Err(KeyError::EmptyKey),
            key => keys.add(key.as_bytes()),
        }
    }
    if let Some(path) = &settings.server.api_key_file {
        let content = std::fs::read(path)
            .map_err(|source| KeyError::Unreadable { path: path.clone(), source })?;
        // Editors on Windows put a byte order mark first; it is no part of the first key.
        let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&content);
        let before = keys.hashes.len();
        content
            .split(|&b| b == b'\n')
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
            .for_each(|key| keys.add(key));
        if keys.hashes.len() == before {
            return Err(KeyError::NoKeyInFile { path: path.clone() });
        }
    }
    Ok(keys)
}

impl Keys {
    fn add(&mut self, key: &[u8]) {
        self.hashes.push(Sha256::digest(key).into());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether no key is asked for.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether a request with these headers may pass: no key is asked for, or it carries one as
    /// `Authorization: Bearer KEY` or `x-api-key: KEY`.
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        self.is_empty() || presented(headers).any(|key| self.contains(key))
    }

    /// The SHA-256 of the key with which a request with these headers passes.
    pub fn admitted(&self, headers: &HeaderMap) -> Option<[u8; 32]> {
        presented(headers).find(|key| self.contains(key)).map(|key| Sha256::digest(key).into())
    }

    /// Takes the same time for every key, right or wrong.
    fn contains(&self, key: &[u8]) -> bool {
        let hash: [u8; 32] = Sha256::digest(key).into();
        let found = self.hashes.iter().fold(Choice::from(0), |found, h| found | h.ct_eq(&hash));
        found.into()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("count", &self.hashes.len()).finish()
    }
}

/// The keys that a request presents.
fn presented(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let bearer = headers
        .get_all(header::AUTHORIZATION)
        .into_iter()
        .filter_map(|value| bearer_token(value.as_bytes()));
    let x_api_key =
        headers.get_all("x-api-key").into_iter().map(|value| value.as_bytes().trim_ascii());
    bearer.chain(x_api_key)
}

/// The token of `Bearer TOKEN`; the scheme's case does not matter (RFC 9110, 11.1).
fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer".len())?;
    let spaced = token.first().is_some_and(|b| b.is_ascii_whitespace());
    (scheme.eq_ignore_ascii_case(b"Bearer") && spaced).then(|| token.trim_ascii())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use http::HeaderValue;

    use super::*;

    fn settings(keys: &[&str], file: Option<&str>) -> (Settings, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.server.api_keys = keys.iter().map(|&k| k.to_owned()).collect();
        if let Some(content) = file {
            let path = dir.path().join("keys");
            std::fs::write(&path, content).unwrap();
            settings.server.api_key_file = Some(path);
        }
        (settings, dir)
    }

    fn with(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(
            http::HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )])
    }

    #[test]
    fn keys_of_file_and_settings_count_and_comments_blanks_and_line_ends_do_not() {
        let (settings, _dir) =
            settings(&["direct"], Some("\u{feff}first\r\n\r\n# no key\n  spaced  \nlast"));
        let keys = load_keys(&settings).unwrap();
        for key in ["direct", "first", "spaced", "last"] {
            assert!(keys.contains(key.as_bytes()), "{key}");
        }
        for key in ["", "# no key", "first\r", "fir", "\u{feff}first"] {
            assert!(!keys.contains(key.as_bytes()), "{key}");
        }
    }

    #[test]
    fn both_headers_open_and_the_scheme_may_have_any_case() {
        let (settings, _dir) = settings(&["k1"], None);
        let keys = load_keys(&settings).unwrap();
        for value in ["Bearer k1", "bearer k1", "BEARER   k1 "] {
            assert!(keys.admit(&with("authorization", value)), "{value}");
        }
        assert!(keys.admit(&with("x-api-key", "k1")));
        for value in ["k1", "Bearerk1", "Bearer", "Bearer ", "Basic k1", "Bearer k2", "Bearer k1k1"]
        {
            assert!(!keys.admit(&with("authorization", value)), "{value}");
        }
        assert!(!keys.admit(&HeaderMap::new()));
    }

    #[test]
    fn a_request_passes_with_the_first_right_key() {
        let (settings, _dir) = settings(&["k1", "k2"], None);
        let keys = load_keys(&settings).unwrap();
        let mut headers = with("authorization", "Bearer k3");
        headers.insert("x-api-key", HeaderValue::from_static("k2"));
        assert_eq!(keys.admitted(&headers), Some(Sha256::digest("k2").into()));
        assert_eq!(keys.admitted(&with("x-api-key", "k3")), None);
    }

    #[test]
    fn without_keys_everything_is_admitted() {
        assert!(load_keys(&Settings::default()).unwrap().admit(&HeaderMap::new()));
    }

    #[test]
    fn a_missing_an_empty_and_a_commented_file_are_errors() {
        let (mut missing, dir) = settings(&[], None);
        missing.server.api_key_file = Some(dir.path().join("nowhere"));
        let error = load_keys(&missing).unwrap_err();
        let is_missing = |source: &io::Error| source.kind() == io::ErrorKind::NotFound;
        assert!(matches!(&error, KeyError::Unreadable { source, .. } if is_missing(source)));
        for content in ["", "\n\r\n", "# only a comment\n"] {
            let (settings, _dir) = settings(&["another"], Some(content));
            let error = load_keys(&settings).unwrap_err();
            assert!(matches!(error, KeyError::NoKeyInFile { .. }), "{error}");
        }
        let (settings, _dir) = settings(&["  "], None);
        assert!(matches!(load_keys(&settings), Err(KeyError::EmptyKey)));
    }

    #[test]
    fn a_file_without_read_permission_is_told_apart() {
        let (settings, dir) = settings(&[], Some("secret"));
        let path = dir.path().join("keys");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
        match load_keys(&settings) {
            Err(KeyError::Unreadable { source, .. }) => {
                assert_eq!(source.kind(), io::ErrorKind::PermissionDenied);
            }
            Err(error) => panic!("{error}"),
            // root reads everything
            Ok(keys) => assert!(keys.contains(b"secret")),
        }
    }

    #[test]
    fn keys_do_not_show_in_debug_output() {
        let (settings, _dir) = settings(&["secret"], None);
        assert_eq!(format!("{:?}", load_keys(&settings).unwrap()), "Keys { count: 1 }");
    }
}
