//! Which web pages may call the server: CORS (`server.cors_origins`), and on a server without a key
//! that only this machine reaches also the `Host` and `Origin` of what browsers on it send.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, Method, Uri, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::access_log::Client;
use super::context::Context;
use super::error::Error;
use super::request_id::X_REQUEST_ID;

/// How long a browser may keep the answer to a preflight.
const MAX_AGE: Duration = Duration::from_secs(3600);
/// Longest part of a refused name that an error repeats.
const MAX_SHOWN_CHARS: usize = 100;

/// `None` where no origin is allowed. Entries are origins such as `https://chat.example`;
/// `*` is any, `localhost` is this machine under any scheme and port.
pub(crate) fn layer(origins: &[String]) -> Option<CorsLayer> {
    let origins = normalized(origins);
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

fn normalized(entries: &[String]) -> Vec<String> {
    let entries = entries.iter().map(|e| e.trim().trim_end_matches('/').to_ascii_lowercase());
    entries.filter(|entry| !entry.is_empty()).collect()
}

fn is_local(origin: &str) -> bool {
    origin.parse::<Uri>().ok().is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"))
    })
}

/// On a server that has no key and that only this machine reaches, refuses requests that a web page
/// may have caused without its user's knowledge: those under a name that is not this machine's
/// (DNS rebinding), and those of an origin that is not allowed, which CORS would let through and only
/// hide the answer from.
pub(crate) async fn refuse_foreign_pages(
    State(context): State<Context>,
    request: Request,
    next: Next,
) -> Response {
    let is_unix = matches!(request.extensions().get(), Some(Client::Unix));
    if context.trusts_this_machine() && !is_unix {
        let server = &context.settings().server;
        if let Err(error) = check(&request, &server.allowed_hosts, &server.cors_origins) {
            return error.into_response();
        }
    }
    next.run(request).await
}

fn check(request: &Request, hosts: &[String], origins: &[String]) -> Result<(), Error> {
    let hosts = normalized(hosts);
    // Programs that send neither are no browsers.
    let named = request.headers().get(header::HOST).map(|host| host.as_bytes());
    let named = request.uri().authority().map(|a| a.as_str().as_bytes()).or(named);
    if let Some(host) = named
        && !is_own_name(host, &hosts)
    {
        return Err(Error::Forbidden {
            message: format!(
                "this server is not known as `{}`: add the name to `server.allowed_hosts`, or set an API key",
                shown(host)
            ),
            code: "host_not_allowed",
        });
    }
    if let Some(origin) = request.headers().get(header::ORIGIN) {
        let origins = normalized(origins);
        let own = |uri: Uri| uri.authority().is_some_and(|a| names(&hosts, a.as_str()));
        let is_allowed = origins.iter().any(|allowed| allowed == "*")
            || allows(&origins, origin)
            || origin.to_str().ok().and_then(|o| o.parse().ok()).is_some_and(own);
        if !is_allowed {
            return Err(Error::Forbidden {
                message: format!(
                    "pages of `{}` may not use this server: add the origin to `server.cors_origins`",
                    shown(origin.as_bytes())
                ),
                code: "origin_not_allowed",
            });
        }
    }
    Ok(())
}

/// Whether a `Host` is a loopback name or address, or one of `hosts`.
fn is_own_name(host: &[u8], hosts: &[String]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let name = without_port(host).to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let address = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    name == "localhost"
        || name.ends_with(".localhost")
        || address.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
        || names(hosts, host)
}

/// Whether one of `hosts`, which may have a port, has the name of `host`.
fn names(hosts: &[String], host: &str) -> bool {
    let name = without_port(host);
    hosts.iter().any(|h| h == "*" || without_port(h).eq_ignore_ascii_case(name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => {
            // `::1` is an address without a port.
            if name.contains(':') && !name.ends_with(']') { host } else { name }
        }
        _ => host,
    }
}

/// The beginning of what a client sent, for an error.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(MAX_SHOWN_CHARS).collect()
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
    fn a_server_of_this_machine_answers_to_loopback_names_and_those_it_is_given() {
        let hosts = ["chat.example".to_owned(), "box.example:8443".to_owned()];
        for ok in [
            "localhost",
            "LOCALHOST:8091",
            "localhost.",
            "a.localhost:1",
            "127.0.0.1:8091",
            "127.1.2.3",
            "[::1]:8091",
            "::1",
            "[::ffff:127.0.0.1]:80",
            "Chat.Example",
            "chat.example:8443",
            "box.example",
        ] {
            assert!(is_own_name(ok.as_bytes(), &hosts), "{ok}");
        }
        for bad in [
            "",
            "evil.example",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "192.168.1.5:8091",
            "0.0.0.0",
            "sub.chat.example",
            "[::1",
        ] {
            assert!(!is_own_name(bad.as_bytes(), &hosts), "{bad}");
        }
        assert!(is_own_name(b"evil.example", &["*".to_owned()]));
    }

    #[test]
    fn no_origin_means_no_cors() {
        assert!(layer(&[]).is_none());
        assert!(layer(&[" ".to_owned()]).is_none());
    }
}
