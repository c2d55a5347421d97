//! Which web pages may call the server: CORS (`server.cors_origins`), and on a server without a key
//! that only this machine reaches also the `Host` and `Origin` of what browsers on it send.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Method, Uri, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::access_log::Client;
use super::context::Context;
use super::error::Error;
use super::listen;
use super::request_id::{REQUEST_ID, X_REQUEST_ID};

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
        .expose_headers([X_REQUEST_ID, REQUEST_ID, HeaderName::from_static("retry-after")])
        .max_age(MAX_AGE);
    Some(layer)
}

fn allows(origins: &[String], origin: &HeaderValue) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let origin = origin.to_ascii_lowercase();
    origins.iter().any(|allowed| match allowed.as_str() {
        "localhost" => authority(&origin).is_some_and(|a| is_loopback(&host_name(a.as_str()))),
        allowed => allowed == origin,
    })
}

fn normalized(entries: &[String]) -> Vec<String> {
    let entries = entries.iter().map(|e| e.trim().trim_end_matches('/').to_ascii_lowercase());
    entries.filter(|entry| !entry.is_empty()).collect()
}

/// Host and port of a web page's origin; `None` for others, such as `null` or that of a file.
fn authority(origin: &str) -> Option<Authority> {
    let uri: Uri = origin.parse().ok()?;
    matches!(uri.scheme_str(), Some("http" | "https")).then(|| uri.into_parts().authority)?
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
        let settings = context.settings();
        let server = &settings.server;
        // A name that is listened on is the server's own.
        let hosts = server.allowed_hosts.iter().map(String::as_str);
        let names = OwnNames::new(hosts.chain(listen::names(&server.host)));
        if let Err(error) = check(&request, &names, &server.cors_origins) {
            return error.into_response();
        }
    }
    next.run(request).await
}

fn check(request: &Request, names: &OwnNames, origins: &[String]) -> Result<(), Error> {
    let headers = request.headers();
    // Programs that send neither are no browsers.
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes).filter(|h| !h.is_empty());
    let host = request.uri().authority().map(|a| a.as_str().as_bytes()).or(host);
    if let Some(host) = host
        && !names.contain(host)
    {
        return Err(Error::Forbidden {
            message: format!(
                "this server is not known as `{}`: add the name to `server.allowed_hosts`, or set an API key",
                shown(host)
            ),
            code: "host_not_allowed",
        });
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origins = normalized(origins);
        let is_allowed = origins.iter().any(|allowed| allowed == "*")
            || allows(&origins, origin)
            || names.is_own_page(origin, host);
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

/// The names of the server beside those of loopback.
struct OwnNames {
    names: Vec<String>,
    /// `*`: it may be asked under any.
    any: bool,
}

impl OwnNames {
    /// Entries are names or addresses, as people write them: also with a scheme, port or path.
    fn new<'a>(entries: impl Iterator<Item = &'a str>) -> Self {
        let mut own = Self { names: Vec::new(), any: false };
        for entry in entries.map(str::trim) {
            let host = entry.split_once("://").map_or(entry, |(_, host)| host);
            match host_name(host.split('/').next().unwrap_or(host)).as_str() {
                "" => {}
                "*" => own.any = true,
                name => own.names.push(name.to_owned()),
            }
        }
        own
    }

    /// Whether the server may be asked under this `Host`.
    fn contain(&self, host: &[u8]) -> bool {
        let Ok(host) = std::str::from_utf8(host) else { return false };
        let name = host_name(host);
        self.any || is_loopback(&name) || self.names.contains(&name)
    }

    /// Whether a page of `origin` comes from where the server is, which is asked as `host` now. `*`
    /// names no page: any could be meant.
    fn is_own_page(&self, origin: &HeaderValue, host: Option<&[u8]>) -> bool {
        origin.to_str().ok().and_then(authority).is_some_and(|page| {
            host.is_some_and(|host| page.as_str().as_bytes().eq_ignore_ascii_case(host))
                || self.names.contains(&host_name(page.as_str()))
        })
    }
}

fn is_loopback(name: &str) -> bool {
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The name in `name:port` or `[address]:port`, in the one form in which names are compared.
fn host_name(host: &str) -> String {
    let name = without_port(host).to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let address = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    match address.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().to_string(),
        Err(_) => name.to_owned(),
    }
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
            "http://ui.localhost:3000",
            "https://127.0.0.2",
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
            "file://",
            "file://localhost",
            "http://localhost@evil.example",
            "localhost",
        ] {
            assert!(!allows(&origins, &HeaderValue::from_static(bad)), "{bad}");
        }
    }

    #[test]
    fn a_server_of_this_machine_answers_to_loopback_names_and_those_it_is_given() {
        let names = OwnNames::new(
            [
                "chat.example",
                "box.example:8443",
                "dotted.example.",
                "https://proxy.example/llm/",
                "fd00::1",
                "[fd00::2]:8091",
                " ",
            ]
            .into_iter(),
        );
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
            "chat.example.:8443",
            "box.example",
            "dotted.example",
            "proxy.example",
            "[fd00::1]:8091",
            "[FD00:0::2]",
        ] {
            assert!(names.contain(ok.as_bytes()), "{ok}");
        }
        for bad in [
            "",
            "evil.example",
            "localhost.evil.example",
            "evillocalhost",
            "localhost@evil.example",
            "127.0.0.1.evil.example",
            "192.168.1.5:8091",
            "0.0.0.0",
            "sub.chat.example",
            "[::1",
            "[fd00::3]",
        ] {
            assert!(!names.contain(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn any_name_may_be_asked_but_a_page_is_the_servers_own_only_under_the_name_that_is_asked() {
        let any = OwnNames::new(["*", "chat.example"].into_iter());
        assert!(any.contain(b"evil.example"));
        let is_own = |origin: &'static str, host: &str| {
            any.is_own_page(&HeaderValue::from_static(origin), Some(host.as_bytes()))
        };
        assert!(is_own("https://Box.example:8443", "box.example:8443"));
        assert!(is_own("https://chat.example", "localhost:8091"));
        for origin in ["null", "file://", "https://evil.example", "ftp://chat.example"] {
            assert!(!is_own(origin, "localhost:8091"), "{origin}");
        }
        assert!(!is_own("app://box.example", "box.example"));
    }

    #[test]
    fn no_origin_means_no_cors() {
        assert!(layer(&[]).is_none());
        assert!(layer(&[" ".to_owned()]).is_none());
    }
}
