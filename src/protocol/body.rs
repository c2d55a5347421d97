//! A request body's way from bytes to a typed value, with errors that name the field at fault.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    DeserializeOwned, Deserializer, Error, IgnoredAny, MapAccess, Unexpected, Visitor,
};
use serde_json::{Map, Value};

/// Why a body was refused. Always a 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BodyError {
    /// What is wrong, and what would be right.
    pub message: String,
    /// Path of the field at fault, such as `messages[0].role`.
    pub param: Option<String>,
    /// A stable word for programs: `invalid_json`, `invalid_type`, `missing_field`,
    /// `invalid_value` or `unsupported_value`.
    pub code: &'static str,
}

impl BodyError {
    /// The field has the right type and a value that cannot be.
    pub fn value(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(param, message, "invalid_value")
    }

    /// The field has the wrong type.
    pub fn wrong_type(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(param, message, "invalid_type")
    }

    /// The field must be there.
    pub fn missing(param: impl Into<String>) -> Self {
        let param = param.into();
        Self::new(param.clone(), format!("`{param}` is required"), "missing_field")
    }

    /// The value is right by the API, but this server cannot do what it asks.
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(param, message, "unsupported_value")
    }

    /// The same error, of a field in the object `parent`.
    #[must_use]
    pub fn inside(mut self, parent: &str) -> Self {
        self.param = Some(match self.param {
            Some(param) => format!("{parent}.{param}"),
            None => parent.to_owned(),
        });
        self
    }

    fn new(param: impl Into<String>, message: impl Into<String>, code: &'static str) -> Self {
        Self { message: message.into(), param: Some(param.into()), code }
    }

    fn json(message: impl fmt::Display) -> Self {
        Self {
            message: format!("the body is not valid JSON: {message}"),
            param: None,
            code: "invalid_json",
        }
    }
}

/// A value that is read from a request body.
pub trait FromJson: Sized + Send + 'static {
    /// Reads `body`, which need not be UTF-8.
    fn from_json(body: &[u8]) -> Result<Self, BodyError>;
}

/// The fields of a body that types read, each as a JSON value. Of a key that comes twice the last
/// value counts, as in every JSON library of clients.
#[derive(Debug)]
pub struct Object(Value);

impl From<Map<String, Value>> for Object {
    fn from(fields: Map<String, Value>) -> Self {
        Self(Value::Object(fields))
    }
}

impl Object {
    /// Reads the fields `known`, which come in groups; others are skipped, whatever they hold.
    pub fn read(body: &[u8], known: &[&'static [&'static str]]) -> Result<Self, BodyError> {
        let text = object_text(body)?;
        let mut at = String::new();
        let mut json = serde_json::Deserializer::from_str(&text);
        let read = json.deserialize_map(Known { known, at: &mut at });
        match read.and_then(|fields| json.end().map(|()| fields)) {
            Ok(fields) => Ok(Self(Value::Object(fields))),
            // Numbers and nesting beyond what a value holds are no fault of the syntax.
            Err(error) => Err(match serde_json::from_str::<IgnoredAny>(&text) {
                Ok(_) => BodyError::value(&*at, format!("`{at}`: {}", without_place(&error))),
                Err(syntax) => BodyError::json(syntax),
            }),
        }
    }

    /// Reads a type from its fields.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, BodyError> {
        serde_path_to_error::deserialize(&self.0).map_err(describe)
    }
}

/// Reads a type from a body.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    Object::read(body, &[fields::<T>()])?.parse()
}

/// The names of a struct's fields.
pub(super) fn fields<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Names<'a>(&'a mut &'static [&'static str]);
    impl<'de> Deserializer<'de> for Names<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(Self::Error::custom("not a struct"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
            option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
            ignored_any
        }
    }
    let mut names: &[&str] = &[];
    // It reads no value, so it always ends with an error.
    let _ = T::deserialize(Names(&mut names));
    names
}

/// Reads an object's known fields.
struct Known<'a> {
    known: &'a [&'static [&'static str]],
    /// The field that is being read.
    at: &'a mut String,
}

impl<'de> Visitor<'de> for Known<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if self.known.iter().any(|names| names.contains(&key.as_str())) {
                self.at.clone_from(&key);
                fields.insert(key, map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(fields)
    }
}

/// The body as UTF-8, once it looks like a JSON object.
fn object_text(body: &[u8]) -> Result<Cow<'_, str>, BodyError> {
    let text = std::str::from_utf8(body).map_err(|e| {
        BodyError::json(format_args!("byte {} is not valid UTF-8", e.valid_up_to() + 1))
    })?;
    // Some editors and Windows clients put a byte order mark first.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // serde reads an array as a struct's fields in order; no client means that.
    match text.trim_ascii_start().bytes().next() {
        Some(b'{') => Ok(whole_characters(text)),
        None => Err(BodyError::json("it is empty")),
        Some(_) => match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Err(BodyError {
                message: "the body must be a JSON object".to_owned(),
                param: None,
                code: "invalid_type",
            }),
            Err(e) => Err(BodyError::json(e)),
        },
    }
}

/// JSON whose escapes name halves of characters (`\ud83d` without `\ude00`) with U+FFFD in their
/// place. JavaScript cuts strings between the halves and writes them so; refusing them would end a
/// conversation that once had such a text.
fn whole_characters(json: &str) -> Cow<'_, str> {
    let escape = |at: usize| -> Option<u16> {
        let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
        let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
    };
    let mut mended = String::new();
    let (mut kept, mut at) = (0, 0);
    while let Some(next) = json.as_bytes()[at..].iter().position(|&b| b == b'\\') {
        at += next;
        match (escape(at), escape(at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 12,
            (Some(0xd800..=0xdfff), _) => {
                mended.push_str(&json[kept..at]);
                mended.push_str("\\ufffd");
                at += 6;
                kept = at;
            }
            // With what it escapes, which may be a backslash.
            _ => at = (at + 2).min(json.len()),
        }
    }
    if kept == 0 {
        return Cow::Borrowed(json);
    }
    mended.push_str(&json[kept..]);
    Cow::Owned(mended)
}

/// The error without its place, which is that in a field and not in the body.
fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.split(" at line ").next().unwrap_or_default().to_owned()
}

fn describe(error: serde_path_to_error::Error<serde_json::Error>) -> BodyError {
    let path = error.path().to_string();
    let mut message = error.into_inner().to_string();
    let field = (path != ".").then_some(path);
    if let Some(name) = message.strip_prefix("missing field `").and_then(|m| m.strip_suffix('`')) {
        return BodyError::missing(match field {
            Some(parent) => format!("{parent}.{name}"),
            None => name.to_owned(),
        });
    }
    let bad_value = ["unknown variant", "invalid value", "invalid length"];
    let code = if bad_value.iter().any(|p| message.starts_with(p)) {
        "invalid_value"
    } else {
        "invalid_type"
    };
    if message.contains("untagged enum Content") {
        message = "expected a string or an array of typed parts".to_owned();
    }
    for (rust, json) in [
        ("expected f64", "expected a number"),
        ("expected i32", "expected an integer"),
        ("expected a sequence", "expected an array"),
        ("expected a map", "expected an object"),
    ] {
        if let Some(wrong) = message.strip_suffix(rust) {
            message = format!("{wrong}{json}");
        }
    }
    if let Some((wrong, _)) = message.rsplit_once("expected struct ") {
        message = format!("{wrong}expected an object");
    }
    let message = shorten(&message);
    BodyError {
        message: match &field {
            Some(field) => format!("`{field}`: {message}"),
            None => message,
        },
        param: field,
        code,
    }
}

/// serde repeats the offending value, which may be megabytes.
fn shorten(message: &str) -> String {
    const MAX_CHARS: usize = 300;
    match message.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}...", &message[..end]),
        None => message.to_owned(),
    }
}

/// An integer of any size, also when written as `3.0`. Values beyond 128 bits saturate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Integer(pub i128);

impl<'de> serde::Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Integer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer")
            }

            fn visit_i64<E: Error>(self, v: i64) -> Result<Integer, E> {
                Ok(Integer(v.into()))
            }

            fn visit_u64<E: Error>(self, v: u64) -> Result<Integer, E> {
                Ok(Integer(v.into()))
            }

            fn visit_f64<E: Error>(self, v: f64) -> Result<Integer, E> {
                whole(v).ok_or_else(|| E::invalid_type(Unexpected::Float(v), &self))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// `v` as an integer, if it is one.
fn whole(v: f64) -> Option<Integer> {
    #[allow(clippy::cast_possible_truncation)] // saturates
    (v.fract() == 0.0).then_some(Integer(v as i128))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Sample {
        name: String,
        count: Option<Integer>,
        inner: Option<Vec<Inner>>,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Inner {
        flag: bool,
    }

    fn read(body: &[u8]) -> Result<Sample, BodyError> {
        parse(body)
    }

    fn refusal(body: &str) -> (Option<String>, &'static str) {
        let error = read(body.as_bytes()).unwrap_err();
        (error.param, error.code)
    }

    #[test]
    fn errors_name_the_path_of_the_field_at_fault() {
        let at = |p: &str| Some(p.to_owned());
        assert_eq!(refusal(r#"{"name": 5}"#), (at("name"), "invalid_type"));
        assert_eq!(refusal(r#"{}"#), (at("name"), "missing_field"));
        assert_eq!(
            refusal(r#"{"name":"a","inner":[{"flag":true},{}]}"#),
            (at("inner[1].flag"), "missing_field")
        );
        assert_eq!(
            refusal(r#"{"name":"a","inner":[{"flag":1}]}"#),
            (at("inner[0].flag"), "invalid_type")
        );
        assert_eq!(refusal(r#"{"name":"a","count":1.5}"#), (at("count"), "invalid_type"));
    }

    #[test]
    fn errors_speak_of_json_and_not_of_rust() {
        let message = |body: &str| read(body.as_bytes()).unwrap_err().message;
        assert_eq!(
            message(r#"{"name":"a","inner":5}"#),
            "`inner`: invalid type: integer `5`, expected an array"
        );
        assert_eq!(
            message(r#"{"name":"a","inner":["x"]}"#),
            "`inner[0]`: invalid type: string \"x\", expected an object"
        );
    }

    #[test]
    fn halves_of_characters_are_replaced_and_all_else_stays() {
        let name = |json: &str| read(format!("{{\"name\":\"{json}\"}}").as_bytes()).unwrap().name;
        for (json, text) in [
            (r"\ud83d\ude00", "😀"),
            (r"a\ud83d", "a\u{fffd}"),
            (r"\ude00b", "\u{fffd}b"),
            (r"\uD83D\ud83d\uDE00", "\u{fffd}😀"),
            (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
            (r"\\ud83d", r"\ud83d"),
            (r"\\\ud83d\n", "\\\u{fffd}\n"),
            (r"\ud83d\u0041é", "\u{fffd}Aé"),
            (r"é\ud83dé", "é\u{fffd}é"),
        ] {
            assert_eq!(name(json), text, "{json}");
        }
        assert!(matches!(whole_characters(r#"{"a":"\u00e9\\"}"#), Cow::Borrowed(_)));
        for wrong in
            [r#"{"name":"\ud8"#, r#"{"name":"\"#, r#"{"name":"\ud83g"}"#, r#"{"name":"\é"}"#]
        {
            assert_eq!(read(wrong.as_bytes()).unwrap_err().code, "invalid_json", "{wrong}");
        }
    }

    #[test]
    fn of_a_key_that_comes_twice_the_last_value_counts() {
        let body = br#"{"name":"a","inner":[{"flag":false,"flag":true}],"count":"x","name":"b","count":2}"#;
        let sample = read(body).unwrap();
        assert_eq!((sample.name.as_str(), sample.count), ("b", Some(Integer(2))));
        assert_eq!(sample.inner, Some(vec![Inner { flag: true }]));
    }

    #[test]
    fn what_no_type_reads_may_hold_anything_and_what_one_reads_may_not() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for odd in [deep.as_str(), "1e999", &"9".repeat(1000)] {
            assert!(read(format!(r#"{{"name":"a","x":{odd}}}"#).as_bytes()).is_ok());
            let error = read(format!(r#"{{"name":"a","count":{odd}}}"#).as_bytes()).unwrap_err();
            assert_eq!((error.param.as_deref(), error.code), (Some("count"), "invalid_value"));
            assert!(!error.message.contains(" line "), "{error}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_body() {
        assert_eq!(object_text("\u{feff}{}".as_bytes()).unwrap(), "{}");
    }

    #[test]
    fn syntax_errors_say_line_and_column() {
        let error = read(b"{\n \"name\": }").unwrap_err();
        assert_eq!(error.code, "invalid_json");
        assert!(error.message.contains("line 2 column 10"), "{error}");
        for body in
            [&b""[..], b"{", b"\xff{}", b"{\"name\":\"\xc3\"}", b"{\"name\":\"a\"} x", b"nope"]
        {
            assert_eq!(read(body).unwrap_err().code, "invalid_json", "{body:?}");
        }
        assert_eq!(read(b"[\"a\"]").unwrap_err().code, "invalid_type");
        let deep = format!("{{\"name\":{}", "[".repeat(100_000));
        assert!(read(deep.as_bytes()).is_err());
    }

    #[test]
    fn a_long_wrong_value_is_not_repeated_whole() {
        let body = format!(r#"{{"name":"a","count":"{}"}}"#, "x".repeat(10_000));
        assert!(read(body.as_bytes()).unwrap_err().message.len() < 400);
    }

    #[test]
    fn whole_floats_and_huge_numbers_are_integers() {
        let count = |json: &str| {
            read(format!(r#"{{"name":"a","count":{json}}}"#).as_bytes()).unwrap().count.unwrap().0
        };
        assert_eq!(count("3.0"), 3);
        assert_eq!(count("-1"), -1);
        assert_eq!(count("18446744073709551615"), i128::from(u64::MAX));
        assert_eq!(count("1e20"), 100_000_000_000_000_000_000);
    }
}
