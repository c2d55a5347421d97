//! Takes out of a text what tells who and where somebody is: names of hosts and users, addresses,
//! keys. What only looks like one of these is masked as well.

use std::net::{Ipv4Addr, Ipv6Addr};

const HOST: &str = "<host>";
const USER: &str = "<user>";
const ADDRESS: &str = "<address>";
const KEY: &str = "<key>";
const ID: &str = "<id>";

/// Names that everybody's machine has.
const PUBLIC_NAMES: [&str; 5] = ["root", "strixhalo", "localhost", "nixos", "nobody"];
/// How keys of known services begin.
const KEY_PREFIXES: [&str; 8] = ["sk-", "hf_", "ghp_", "gho_", "github_pat_", "xox", "AKIA", "eyJ"];
/// How a name ends whose value is nobody's business.
const SECRET_NAMES: [&str; 8] =
    ["key", "keys", "token", "secret", "password", "passwd", "passphrase", "credential"];
/// Letters and digits in a row from which on they are taken for a key or an id.
const LONG: usize = 24;

/// What is to be masked besides what is recognized by its form.
#[derive(Debug, Default)]
pub(super) struct Mask {
    /// Lower case, with what stands in their place; the longest first.
    names: Vec<(String, &'static str)>,
    keys: Vec<String>,
}

impl Mask {
    pub(super) fn add_host(&mut self, name: &str) {
        self.add(name, HOST);
        // `box.lan` is also called `box`.
        if let Some((label, _)) = name.split_once('.') {
            self.add(label, HOST);
        }
    }

    pub(super) fn add_user(&mut self, name: &str) {
        self.add(name, USER);
    }

    pub(super) fn add_key(&mut self, key: &str) {
        let key = key.trim();
        if !key.is_empty() {
            self.keys.push(key.to_owned());
            self.keys.sort_by_key(|key| std::cmp::Reverse(key.len()));
        }
    }

    fn add(&mut self, name: &str, with: &'static str) {
        let name = name.trim().to_lowercase();
        let is_known = self.names.iter().any(|(known, _)| *known == name);
        if !name.is_empty() && !is_known && !PUBLIC_NAMES.contains(&&*name) {
            self.names.push((name, with));
            self.names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        }
    }

    /// The text without them.
    pub(super) fn apply(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            self.line(line, &mut out);
        }
        out
    }

    fn line(&self, line: &str, out: &mut String) {
        let mut at = 0;
        while let Some(c) = line[at..].chars().next() {
            match self.find(line, at) {
                Some((length, with)) => {
                    out.push_str(with);
                    at += length;
                }
                None => {
                    out.push(c);
                    at += c.len_utf8();
                }
            }
        }
    }

    /// What begins at this place of the line: its length, and what stands for it.
    fn find(&self, line: &str, at: usize) -> Option<(usize, &'static str)> {
        let (before, rest) = line.split_at(at);
        let key = self.keys.iter().find(|key| rest.starts_with(*key)).map(|key| (key.len(), KEY));
        key.or_else(|| secret(before, rest).map(|n| (n, KEY)))
            .or_else(|| hardware_address(before, rest).map(|n| (n, ADDRESS)))
            .or_else(|| uuid(before, rest).map(|n| (n, ID)))
            .or_else(|| ipv4(before, rest).map(|n| (n, ADDRESS)))
            .or_else(|| ipv6(before, rest).map(|n| (n, ADDRESS)))
            .or_else(|| self.name(before, rest))
            .or_else(|| account(before, rest))
            .or_else(|| long(before, rest).map(|n| (n, KEY)))
    }

    /// A known name as a word of its own, in any case.
    fn name(&self, before: &str, rest: &str) -> Option<(usize, &'static str)> {
        if before.ends_with(char::is_alphanumeric) {
            return None;
        }
        self.names.iter().find_map(|(name, with)| {
            let mut end = 0;
            let mut own = rest.chars();
            for wanted in name.chars() {
                let c = own.next()?;
                if !c.to_lowercase().eq([wanted]) {
                    return None;
                }
                end += c.len_utf8();
            }
            let is_word = !rest[end..].starts_with(char::is_alphanumeric);
            is_word.then_some((end, *with))
        })
    }
}

/// The length of what `rest` begins with and `is` holds for.
fn run(rest: &str, is: impl Fn(char) -> bool) -> usize {
    rest.find(|c| !is(c)).unwrap_or(rest.len())
}

fn ends_a_value(c: char) -> bool {
    c.is_whitespace() || "\"',;)]}&".contains(c)
}

/// A value whose name says that it is secret, a bearer's token, or a key by its prefix.
fn secret(before: &str, rest: &str) -> Option<usize> {
    let length = run(rest, |c| !ends_a_value(c));
    if length == 0 {
        return None;
    }
    let named = before.trim_end_matches([' ', '"', '\'', '[']);
    if before.len() == named.len() && !before.ends_with(['=', ':']) {
        let is_prefixed = KEY_PREFIXES.iter().any(|prefix| rest.starts_with(prefix))
            && run(rest, |c| c.is_ascii_alphanumeric() || "-_.".contains(c)) >= 12
            && !before.ends_with(char::is_alphanumeric);
        return is_prefixed.then_some(length);
    }
    let is_prefixed = KEY_PREFIXES.iter().any(|prefix| rest.starts_with(prefix));
    if is_prefixed && length >= 12 {
        return Some(length);
    }
    if ["bearer", "basic"].iter().any(|scheme| named.to_lowercase().ends_with(scheme)) {
        return Some(length);
    }
    let last = named.rsplit(' ').next().unwrap_or_default();
    let name = match named.strip_suffix(['=', ':']) {
        Some(name) => name.trim_end_matches([' ', '"', '\'']),
        // `--api-key VALUE`
        None if last.starts_with("--") => last,
        None => return None,
    };
    let name = name.to_lowercase();
    // A scheme is followed by the secret itself.
    let is_scheme = ["bearer", "basic"].contains(&&*rest[..length].to_lowercase());
    let is_secret = SECRET_NAMES.iter().any(|end| name.ends_with(end));
    let is_value = !["true", "false", "null", "none"].contains(&&rest[..length]);
    (is_secret && is_value && !is_scheme).then_some(length)
}

/// Six or more pairs of hex digits with `:` or `-` between them, or the twelve digits in the name
/// of a network interface.
fn hardware_address(before: &str, rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let is_hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    if ["enx", "wlx", "wwx"].iter().any(|prefix| before.ends_with(prefix)) {
        let length = run(rest, |c| c.is_ascii_hexdigit());
        return (length >= 12).then_some(length);
    }
    if before.ends_with(|c: char| c.is_ascii_hexdigit()) || !(is_hex(0) && is_hex(1)) {
        return None;
    }
    let separator = *bytes.get(2).filter(|b| b":-".contains(b))?;
    let mut end = 2;
    while bytes.get(end) == Some(&separator) && is_hex(end + 1) && is_hex(end + 2) {
        end += 3;
    }
    (end >= 17 && !is_hex(end)).then_some(end)
}

fn uuid(before: &str, rest: &str) -> Option<usize> {
    if before.ends_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let text = rest.get(..36)?;
    let is_uuid = text.char_indices().all(|(at, c)| match at {
        8 | 13 | 18 | 23 => c == '-',
        _ => c.is_ascii_hexdigit(),
    });
    is_uuid.then_some(36)
}

/// Four numbers, with a port after another dot as tcpdump writes it.
fn ipv4(before: &str, rest: &str) -> Option<usize> {
    let is_inside = before.trim_end_matches('.').ends_with(|c: char| c.is_ascii_digit());
    if before.ends_with(|c: char| c.is_ascii_digit()) || before.ends_with('.') && is_inside {
        return None;
    }
    let text = rest[..run(rest, |c| c.is_ascii_digit() || c == '.')].trim_end_matches('.');
    let mut octets = [0; 4];
    let mut numbers = text.split('.');
    for octet in &mut octets {
        *octet = numbers.next()?.parse().ok()?;
    }
    let address = Ipv4Addr::from(octets);
    (!address.is_loopback() && !address.is_unspecified()).then_some(text.len())
}

/// By its form, not by whether it parses: a port or another word may stick to it.
fn ipv6(before: &str, rest: &str) -> Option<usize> {
    let is_part = |c: char| c.is_ascii_hexdigit() || c == ':' || c == '.';
    if before.ends_with(is_part) {
        return None;
    }
    let text = rest[..run(rest, is_part)].trim_end_matches('.');
    let text = if text.ends_with("::") { text } else { text.trim_end_matches(':') };
    let colons = text.matches(':').count();
    let is_long = text.contains("::") || colons >= 4;
    let is_public = ["::1", "::"].contains(&text.trim_start_matches("0:"));
    if is_public || !is_long {
        return None;
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let parses = text.parse::<Ipv6Addr>().is_ok()
        && !before.ends_with(is_word)
        && !rest[text.len()..].starts_with(is_word);
    let has_digit = text.bytes().any(|b| b.is_ascii_digit());
    (has_digit || parses || colons >= 4).then_some(text.len())
}

/// The owner of a home directory, and both sides of `user@host`.
fn account(before: &str, rest: &str) -> Option<(usize, &'static str)> {
    let is_part = |c: char| c.is_alphanumeric() || "._-+".contains(c);
    let length = run(rest, is_part);
    if length == 0 {
        return None;
    }
    if before.ends_with("/home/") || before.ends_with("/Users/") {
        return Some((length, USER));
    }
    if before.strip_suffix('@').is_some_and(|user| user.ends_with(is_part)) {
        return Some((length, HOST));
    }
    // `scheme://user:password@host`
    let login = run(rest, |c| !c.is_whitespace() && !"/@".contains(c));
    if before.ends_with("://") && rest[login..].starts_with('@') {
        return Some((login, USER));
    }
    let is_start = !before.ends_with(is_part);
    (is_start && rest[length..].starts_with('@') && rest[length + 1..].starts_with(is_part))
        .then_some((length, USER))
}

/// Letters and digits in a row, longer than words are; with what base64 has besides. The hashes of
/// the Nix store are everybody's.
fn long(before: &str, rest: &str) -> Option<usize> {
    if before.ends_with(|c: char| c.is_ascii_alphanumeric()) || before.ends_with("/nix/store/") {
        return None;
    }
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=_-".contains(c);
    let letters = run(rest, |c| c.is_ascii_alphanumeric());
    let has = |text: &str, is: fn(&char) -> bool| text.chars().any(|c| is(&c));
    let word = &rest[..letters];
    if letters >= LONG && has(word, char::is_ascii_digit) && has(word, char::is_ascii_alphabetic) {
        return Some(run(rest, is_base64));
    }
    let text = &rest[..run(rest, is_base64)];
    let is_key = text.len() >= 16
        && (text.contains('+') || text.ends_with('='))
        && has(text, char::is_ascii_digit)
        && has(text, char::is_ascii_uppercase)
        && has(text, char::is_ascii_lowercase);
    is_key.then_some(text.len())
}
