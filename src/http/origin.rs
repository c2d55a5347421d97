//! Which web pages may call the server (`server.cors_origins`).

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Uri};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::request_id::X_REQUEST_ID;

/// How long a browser may keep the answer to a preflight.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// `None` where no origin is allowed. Entries are origins such as `https://chat.example`;
/// `*` is any, `localhost` is this machine under any scheme and port.
pub(crate) fn layer(origins: &[String]) -> Option<CorsLayer> {
    let origins: Vec<String> = origins
        .iter()
        .map(|o| o.trim().trim_end_matches('/').to_ascii_lowercase())
        .filter(|o| !o.is_empty())
        .collect();
    let allow = if origins.is_empty() {
        return None;
    } else if origins.iter().any(|o| o == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::predicate(move |origin, _| allows(&origins, origin))
    };
    let layer = CorsLayer::new()
        .allow_origin(allow)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE, Method::OPTIONS])
        // SDKs send a dozen headers of their own (`x-stainless-*`) and add to them with each
        // version; `*` would leave out `authorization`.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([X_REQUEST_ID, HeaderName::from_static("retry-after")])
        .max_age(MAX_AGE);
    Some(layer)
}

fn allows(origins: &[String], origin: &HeaderValue) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let origin = origin.to_ascii_lowercase();
    origins.iter().any(|allowed| match allowed.as_str() {
        "localhost" => is_local(&origin),
        allowed => allowed == origin,
    })
}

fn is_local(origin: &str) -> bool {
    origin.parse::<Uri>().ok().is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_means_this_machine_and_no_name_that_looks_like_it() {
        let origins = ["localhost".to_owned(), "https://chat.example".to_owned()];
        for ok in [
            "http://localhost",
            "http://LOCALHOST:3000",
            "https://127.0.0.1:8443",
            "http://[::1]:3000",
            "https://chat.example",
        ] {
            assert!(allows(&origins, &HeaderValue::from_static(ok)), "{ok}");
        }
        for bad in [
            "http://localhost.evil.example",
            "http://evil.example",
            "https://chat.example:444",
            "http://chat.example",
            "null",
            "localhost",
        ] {
            assert!(!allows(&origins, &HeaderValue::from_static(bad)), "{bad}");
        }
    }

    #[test]
    fn no_origin_means_no_cors() {
        assert!(layer(&[]).is_none());
        assert!(layer(&[" ".to_owned()]).is_none());
    }
}
