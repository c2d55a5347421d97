//! How values are written in variables and flags.

use serde_json::{Value, json};

use super::catalogue::{Key, Kind};
use super::settings::SamplerKind;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// As the key's kind says: lists comma-separated or as a JSON array, tables as JSON.
    Plain,
    /// A number, `auto` or `all`; the words and negative numbers mean all.
    GpuLayers,
    /// A number; a negative one means our default.
    DefaultIfNegative,
    /// A number; a negative one means 0, that is: off or automatic.
    ZeroIfNegative,
    /// `on`, `off`, `auto`, or a boolean.
    FlashAttn,
    /// llama-server's load mode, of which this is the mmap part.
    LoadModeMmap,
    /// llama-server's load mode, of which this is the mlock part.
    LoadModeMlock,
    /// One string with escapes; `none` is the empty list.
    Breaker,
    /// One letter per sampler.
    SamplerLetters,
    /// llama-server's verbosity, 0 to 5.
    Verbosity,
    /// A boolean: JSON lines or automatic.
    JsonLines,
    /// llama-server's kinds of speculation, comma-separated; `none` is off.
    SpeculationTypes,
}

/// llama-server's kinds of speculation that draft from the text itself.
const NGRAM_TYPES: [&str; 5] =
    ["ngram-simple", "ngram-map-k", "ngram-map-k4v", "ngram-mod", "ngram-cache"];

/// Its kinds that draft with a model.
const MODEL_TYPES: [&str; 5] =
    ["draft-simple", "draft-eagle3", "draft-mtp", "draft-dflash", "draft-dspark"];

/// Why a value is not followed to the letter, if it is not; it stands behind the value's name.
pub(crate) fn remark(syntax: Syntax, text: &str) -> Option<&'static str> {
    let by_model = |kind: &str| MODEL_TYPES.contains(&kind.trim());
    (syntax == Syntax::SpeculationTypes && text.split(',').any(by_model)).then_some(
        "names a way to draft that is not supported: drafts come from the text itself, without a \
         second model; the answers are the same",
    )
}

/// Reads `text` as a value of `key`; none when it has nothing to say about the key.
pub(crate) fn parse(syntax: Syntax, key: &Key, text: &str) -> Result<Option<Value>, String> {
    let trimmed = text.trim();
    let number = || trimmed.parse::<i64>().ok();
    let value = match syntax {
        Syntax::Plain => plain(key, text)?,
        Syntax::GpuLayers => match (number(), trimmed) {
            (Some(n), _) if n >= 0 => json!(n),
            (Some(_), _) | (None, "auto" | "all") => json!(999),
            _ => return Err(format!("expected a number, auto or all, found {trimmed:?}")),
        },
        Syntax::DefaultIfNegative => match number() {
            Some(n) if n < 0 => key.default.clone(),
            _ => plain(key, text)?,
        },
        Syntax::ZeroIfNegative => match number() {
            Some(n) if n < 0 => json!(0),
            _ => plain(key, text)?,
        },
        Syntax::FlashAttn => match boolean(trimmed) {
            Some(on) => json!(if on { "on" } else { "off" }),
            None if trimmed == "-1" => json!("auto"),
            None => plain(key, text)?,
        },
        Syntax::LoadModeMmap => match trimmed {
            "mmap" | "mlock" => json!(true),
            "auto" | "none" | "dio" => json!(false),
            _ => return Err(load_mode_expected(trimmed)),
        },
        Syntax::LoadModeMlock => match trimmed {
            "mlock" => json!(true),
            "auto" | "none" | "dio" | "mmap" => return Ok(None),
            _ => return Err(load_mode_expected(trimmed)),
        },
        Syntax::Breaker if trimmed == "none" => json!([]),
        Syntax::Breaker => json!([unescape(text)]),
        Syntax::SamplerLetters => letters(trimmed)?,
        Syntax::Verbosity => match number() {
            Some(i64::MIN..=1) => json!("error"),
            Some(2) => json!("warn"),
            Some(3) => json!("info"),
            Some(4) => json!("debug"),
            Some(5..) => json!("trace"),
            None => return Err(format!("expected a number from 0 to 5, found {trimmed:?}")),
        },
        Syntax::JsonLines => match boolean(trimmed) {
            Some(on) => json!(if on { "json" } else { "auto" }),
            None => return Err(boolean_expected(trimmed)),
        },
        Syntax::SpeculationTypes => {
            let types = || trimmed.split(',').map(str::trim);
            let known = |kind| NGRAM_TYPES.contains(&kind) || MODEL_TYPES.contains(&kind);
            match types().find(|&kind| kind != "none" && !known(kind)) {
                Some(other) => {
                    let all = [NGRAM_TYPES, MODEL_TYPES].concat().join(", ");
                    return Err(format!("expected none or some of {all}, found {other:?}"));
                }
                None => json!(if types().any(known) { "auto" } else { "off" }),
            }
        }
    };
    key.check(value).map(Some)
}

fn plain(key: &Key, text: &str) -> Result<Value, String> {
    let trimmed = text.trim();
    Ok(match &key.kind {
        Kind::Bool => match boolean(trimmed) {
            Some(value) => json!(value),
            None => return Err(boolean_expected(trimmed)),
        },
        Kind::Integer { .. } => match trimmed.parse::<i64>() {
            Ok(value) => json!(value),
            Err(_) => return Err(format!("expected {}, found {trimmed:?}", key.kind)),
        },
        Kind::Number { .. } => match trimmed.parse::<f64>() {
            Ok(value) if value.is_finite() => json!(value),
            _ => return Err(format!("expected {}, found {trimmed:?}", key.kind)),
        },
        Kind::Text => json!(text),
        Kind::Choice(_) => json!(trimmed.to_lowercase()),
        Kind::TextList => list(trimmed, &[',']),
        Kind::ChoiceList(_) => match list(trimmed, &[';', ',']) {
            Value::Array(names) => names.iter().map(sampler).collect(),
            other => other,
        },
        Kind::Object => match serde_json::from_str::<Value>(trimmed) {
            Ok(value) => value,
            Err(error) => return Err(format!("expected a JSON object: {error}")),
        },
    })
}

/// llama-server's booleans.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_lowercase().as_str() {
        "true" | "1" | "on" | "enabled" => Some(true),
        "false" | "0" | "off" | "disabled" => Some(false),
        _ => None,
    }
}

fn boolean_expected(found: &str) -> String {
    format!("expected true or false (also 1, on, enabled, 0, off, disabled), found {found:?}")
}

fn load_mode_expected(found: &str) -> String {
    format!("expected auto, none, mmap, mlock or dio, found {found:?}")
}

/// A JSON array, or words between separators. An address such as `[::1]` is no JSON.
fn list(text: &str, separators: &[char]) -> Value {
    if text.starts_with('[')
        && let Ok(array) = serde_json::from_str::<Value>(text)
        && array.is_array()
    {
        return array;
    }
    text.split(separators).map(str::trim).filter(|word| !word.is_empty()).map(Value::from).collect()
}

/// Our name of a sampler; a name that is none stays, and is refused as a choice.
fn sampler(name: &Value) -> Value {
    name.as_str().and_then(SamplerKind::from_name).map_or_else(|| name.clone(), |kind| json!(kind))
}

fn letters(text: &str) -> Result<Value, String> {
    text.chars()
        .map(|letter| match SamplerKind::from_letter(letter) {
            Some(kind) => Ok(json!(kind)),
            None => Err(format!(
                "{letter:?} stands for no sampler that strixhalo has; use letters of edskypmxt"
            )),
        })
        .collect()
}

/// Reads `\n`, `\t`, `\r`, `\"`, `\'` and `\\`; other backslashes stay.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some(quoted @ ('"' | '\'' | '\\')) => out.push(quoted),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::key;
    use super::*;

    fn read(syntax: Syntax, path: &str, text: &str) -> Result<Option<Value>, String> {
        parse(syntax, key(path).unwrap(), text)
    }

    #[test]
    fn llama_servers_value_forms_are_understood() {
        let cases = [
            (Syntax::GpuLayers, "model.n_gpu_layers", "all", json!(999)),
            (Syntax::GpuLayers, "model.n_gpu_layers", "auto", json!(999)),
            (Syntax::GpuLayers, "model.n_gpu_layers", "-1", json!(999)),
            (Syntax::GpuLayers, "model.n_gpu_layers", "12", json!(12)),
            (Syntax::DefaultIfNegative, "context.parallel", "-1", json!(2)),
            (Syntax::ZeroIfNegative, "limits.sse_ping_interval", "-1", json!(0)),
            (Syntax::FlashAttn, "context.flash_attn", "enabled", json!("on")),
            (Syntax::FlashAttn, "context.flash_attn", "0", json!("off")),
            (Syntax::FlashAttn, "context.flash_attn", "auto", json!("auto")),
            (Syntax::Plain, "model.mmap", "disabled", json!(false)),
            (Syntax::Plain, "server.host", "0.0.0.0, [::1]", json!(["0.0.0.0", "[::1]"])),
            (Syntax::Plain, "server.host", "[::1]", json!(["[::1]"])),
            (Syntax::Plain, "server.host", r#"["a","b"]"#, json!(["a", "b"])),
            (Syntax::Plain, "sampling.samplers", "temp;top-k", json!(["temperature", "top_k"])),
            (Syntax::SamplerLetters, "sampling.samplers", "kt", json!(["top_k", "temperature"])),
            (Syntax::Breaker, "sampling.dry_sequence_breakers", r"\n", json!(["\n"])),
            (Syntax::Breaker, "sampling.dry_sequence_breakers", "none", json!([])),
            (Syntax::Verbosity, "log.level", "4", json!("debug")),
            (Syntax::JsonLines, "log.format", "on", json!("json")),
            (Syntax::SpeculationTypes, "context.speculation", "none", json!("off")),
            (Syntax::SpeculationTypes, "context.speculation", "ngram-mod,none", json!("auto")),
            (Syntax::SpeculationTypes, "context.speculation", "draft-mtp", json!("auto")),
            (Syntax::Plain, "context.cache_type_k", "Q8_0", json!("q8_0")),
        ];
        for (syntax, path, text, expected) in cases {
            assert_eq!(read(syntax, path, text), Ok(Some(expected)), "{path} = {text}");
        }
    }

    #[test]
    fn wrong_values_are_refused() {
        for (path, text) in [
            ("model.mmap", "maybe"),
            ("sampling.temperature", "nan"),
            ("sampling.temperature", "1e9"),
            ("context.ctx_size", "4k"),
            ("sampling.samplers", "top_k;best"),
            ("model.chat_template_kwargs", "[1]"),
            ("model.chat_template_kwargs", "{"),
        ] {
            assert!(read(Syntax::Plain, path, text).is_err(), "{path} = {text}");
        }
        let types = |text| read(Syntax::SpeculationTypes, "context.speculation", text);
        assert!(types("ngram").is_err() && types("").is_err());
    }
}
