//! The id that a request has in the log, in `/slots` and in its answer.

use http::{HeaderMap, HeaderName};

/// The header that carries a request's id, in both directions.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The same under the name that Anthropic's SDKs look for in answers.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const MAX_ID_BYTES: usize = 128;

/// Identifies a request in logs and in `/slots`: the client's `X-Request-Id` if it is harmless,
/// else 32 random hexadecimal digits. A request extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let harmless = |id: &&str| {
            (1..=MAX_ID_BYTES).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&b))
        };
        match headers.get(X_REQUEST_ID).and_then(|v| v.to_str().ok()).filter(harmless) {
            Some(id) => Self(id.to_owned()),
            None => Self(format!("{:032x}", fastrand::u128(..))),
        }
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn id(value: &[u8]) -> RequestId {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(X_REQUEST_ID, value);
        }
        RequestId::of(&headers)
    }

    #[test]
    fn a_clients_id_is_kept_if_it_is_harmless_and_replaced_otherwise() {
        assert_eq!(id(b"req-1_a.b:c").as_str(), "req-1_a.b:c");
        for bad in [&b""[..], b"a b", b"\xff\xfe", b"\x1b[31m", &[b'a'; 129]] {
            let id = id(bad);
            assert_eq!(id.as_str().len(), 32, "{id:?}");
            assert!(id.as_str().bytes().all(|b| b.is_ascii_hexdigit()));
        }
    }
}
