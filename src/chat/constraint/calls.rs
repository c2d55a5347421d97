//! The grammar of one tool's call in each form, from behind the mark that opens it.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::ToolSchema;
use super::lark::{escaped, quoted, slashed};
use super::typing::{self, Text};
use crate::chat::output::{Call, Format, Tagged};

/// Parameters whose presence is counted: a bit each.
const MAX_COUNTED: usize = 60;
/// White space that the engine may put between the tokens of JSON; not without end.
const JSON_BLANKS: &str = "[ \\n]{1,40}";

/// JSON of a schema, as a value in a rule.
pub(super) fn json_value(schema: &Value) -> String {
    let mut schema = match schema {
        Value::Bool(false) | Value::Object(_) => schema.clone(),
        _ => json!({}),
    };
    match &mut schema {
        Value::Object(map) => {
            map.insert("x-guidance".into(), json!({"whitespace_pattern": JSON_BLANKS}));
        }
        // No object can carry the options; nothing is allowed anyway.
        other => {
            *other = json!({"allOf": [false], "x-guidance": {"whitespace_pattern": JSON_BLANKS}})
        }
    }
    format!("%json {schema}")
}

/// Any JSON object.
pub(super) fn any_object() -> Value {
    json!({"type": "object"})
}

/// What opens a call for certain, behind the opening tag: the beginning of an object, or the tag of a name.
pub(super) fn mark(format: Option<&Format>) -> &'static str {
    match format.map(|f| &f.call) {
        None | Some(Call::Object { .. } | Call::None) => "{",
        Some(Call::Tagged(tagged)) => tagged.head,
        Some(Call::Json { .. }) => "",
    }
}

/// Rules `call_{i}` and what it needs: the call from behind its mark to ahead of its closing tag, or through
/// it where nothing else ends the call. `tag` spells a tag as a value in a rule.
pub(super) fn rules(
    g: &mut String,
    i: usize,
    tool: &ToolSchema,
    loosened: bool,
    format: Option<&Format>,
    tag: &dyn Fn(&str) -> String,
) {
    let any = any_object();
    let schema = if loosened { &any } else { &tool.schema };
    let name = &tool.name;
    match format.map(|f| (&f.call, f)) {
        None | Some((Call::None, _)) => object(g, i, name, schema, "name", &["arguments"]),
        Some((Call::Object { name: key, arguments }, _)) => {
            object(g, i, name, schema, key, arguments)
        }
        Some((Call::Json { prefix, until, index }, _)) => {
            let number = if *index { " /:[0-9]{1,3}/" } else { "" };
            let name = quoted(&format!("{prefix}{name}"));
            let _ = writeln!(
                g,
                "call_{i}: blank? {name}{number} {} blank? {}",
                tag(until),
                json_value(schema)
            );
        }
        Some((Call::Tagged(tagged), format)) => tags(g, i, tool, loosened, tagged, format),
    }
}

/// `"name": "...", "arguments": {...}}`
fn object(g: &mut String, i: usize, name: &str, schema: &Value, key: &str, arguments: &[&str]) {
    let name = escaped(&json_string(name));
    let blank = "[ \\t\\r\\n]{0,16}";
    let keys: Vec<String> = arguments.iter().map(|key| escaped(key)).collect();
    let optional = if schema.get("required").is_none() { "?" } else { "" };
    let _ = writeln!(
        g,
        "call_{i}: /{blank}\"{}\"{blank}:{blank}{name}/ (/{blank},{blank}\"({})\"{blank}:{blank}/ {}){optional} \
         blank? \"}}\"",
        escaped(key),
        keys.join("|"),
        json_value(schema)
    );
}

/// JSON text of a string.
fn json_string(text: &str) -> String {
    Value::from(text).to_string()
}

/// One parameter of a call in tags.
struct Parameter<'a> {
    name: &'a str,
    text: Text,
    required: bool,
}

fn tags(
    g: &mut String,
    i: usize,
    tool: &ToolSchema,
    loosened: bool,
    tagged: &Tagged,
    format: &Format,
) {
    let none = Map::new();
    let properties = tool.schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let required = |name: &str| {
        tool.schema["required"].as_array().is_some_and(|names| names.iter().any(|n| n == name))
    };
    let writable = |name: &&String| {
        !name.is_empty() && !name.contains(tagged.key.1) && name.trim() == name.as_str()
    };
    let parameters: Vec<Parameter> = properties
        .iter()
        .filter(|(name, schema)| writable(name) && **schema != Value::Bool(false))
        .map(|(name, schema)| {
            let text = typing::text(&tool.original, name, schema, &tool.schema, loosened);
            Parameter { name, text, required: !loosened && required(name) }
        })
        .collect();
    let others = match tool.schema.get("additionalProperties") {
        None => tool.schema.get("properties").is_none(),
        Some(rest) => *rest == Value::Bool(true),
    };
    // With too many to count, those that must be there are; names that come twice are the parser's to drop.
    let counted: Vec<usize> = if parameters.len() <= MAX_COUNTED {
        (0..parameters.len()).collect()
    } else {
        (0..parameters.len()).filter(|&p| parameters[p].required).take(MAX_COUNTED).collect()
    };
    let bit = |p: usize| counted.iter().position(|&c| c == p);
    let needed: Vec<usize> =
        (0..parameters.len()).filter(|&p| parameters[p].required).filter_map(bit).collect();
    let complete =
        needed.iter().map(|b| format!("bit_set({b})")).reduce(|a, b| format!("and({a}, {b})"));
    let complete = complete.unwrap_or_else(|| "true".into());
    let tail = Tail {
        i,
        tagged,
        format,
        complete,
        counted: counted.len(),
        all_counted: counted.len() == parameters.len() && !others,
    };

    let head = format!("blank? {} {}", quoted(&tool.name), quoted(tagged.head_end));
    if parameters.is_empty() && !others {
        let _ = writeln!(g, "call_{i}: {head} arguments_{i}\narguments_{i}: blank? {}", tail.end());
        return;
    }
    let _ = writeln!(g, "call_{i}: {head} arguments_{i}\narguments_{i}: blank? seq_{i}::0x0");
    let _ = write!(g, "seq_{i}::_ : {} {}", tail.end(), tail.if_complete());
    {
        let _ = write!(g, " | {} key_{i}::_ {}", quoted(tagged.key.0), tail.if_more());
        let _ = write!(g, "\nkey_{i}::_ : ");
        let mut first = true;
        for (p, parameter) in parameters.iter().enumerate() {
            let (set, clear) = match bit(p) {
                Some(b) => (format!("set_bit({b})"), format!(" %if bit_clear({b})")),
                None => ("_".to_owned(), String::new()),
            };
            let open = quoted(&format!("{}{}", parameter.name, tagged.key.1));
            let bar = if std::mem::take(&mut first) { "" } else { " | " };
            let _ = write!(g, "{bar}{open} {}val_{i}_{p}::{set}{clear}", value_open(tagged));
        }
        if others {
            let bar = if first { "" } else { " | " };
            let names: Vec<String> = parameters.iter().map(|p| escaped(p.name)).collect();
            let taken = if names.is_empty() {
                String::new()
            } else {
                format!(" & ~/({})/", names.join("|"))
            };
            let _ = writeln!(
                g,
                "{bar}other_{i} {} {}text_{i}::_",
                quoted(tagged.key.1),
                value_open(tagged)
            );
            let _ = writeln!(
                g,
                "other_{i}: OTHER_{i}\nOTHER_{i}: /[A-Za-z_][A-Za-z0-9_.\\-]{{0,63}}/{taken}"
            );
            let _ = write!(g, "text_{i}::_ : {}", tail.free());
        }
    }
    g.push('\n');
    for (p, parameter) in parameters.iter().enumerate() {
        value(g, &format!("val_{i}_{p}"), &format!("{i}_{p}"), &parameter.text, &tail);
    }
}

/// Between a parameter's name and its value.
fn value_open(tagged: &Tagged) -> String {
    if tagged.value.0.is_empty() {
        String::new()
    } else {
        format!("blank? {} ", quoted(tagged.value.0))
    }
}

/// What can follow a value of a call in tags.
struct Tail<'a> {
    i: usize,
    tagged: &'a Tagged,
    format: &'a Format,
    complete: String,
    counted: usize,
    all_counted: bool,
}

impl Tail<'_> {
    fn end(&self) -> String {
        quoted(if self.tagged.end.is_empty() { self.format.close } else { self.tagged.end })
    }

    fn if_complete(&self) -> String {
        if self.complete == "true" { String::new() } else { format!("%if {}", self.complete) }
    }

    fn if_more(&self) -> String {
        match self.counted {
            n if self.all_counted && n > 0 => format!("%if ne([0:{n}], {})", (1u64 << n) - 1),
            _ => String::new(),
        }
    }

    /// Text that goes on as the parser has it: a closing tag ends it only with another tag behind.
    fn free(&self) -> String {
        let i = self.i;
        format!("next key_{i}::_ {} | last {}", self.if_more(), self.if_complete())
    }
}

fn value(g: &mut String, rule: &str, id: &str, text: &Text, tail: &Tail) {
    let tagged = tail.tagged;
    let i = tail.i;
    let stop = escaped(tagged.value.1);
    let close = format!("/[ \\t\\r\\n]{{0,16}}{stop}/ blank? seq_{i}::_");
    let one_break = if tagged.broken { "\"\\n\"? " } else { "" };
    let _ = match text {
        Text::Free => writeln!(g, "{rule}::_ : {}", tail.free()),
        Text::Words(words) => {
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            writeln!(
                g,
                "{rule}::_ : {one_break}({}) {one_break}{} blank? seq_{i}::_",
                words.join(" | "),
                quoted(tagged.value.1)
            )
        }
        Text::Body(bodies) => {
            // Without `<` in it the first closing tag ends it, and no state is spent on tags. A line break at its
            // end would be the tag's.
            let (edge, line_break, begin) = if tagged.broken {
                ("/([^<]*[^<\\n])?/", "\\n?", "\"\\n\" ")
            } else {
                ("/[^<]*/", "", "")
            };
            let bodies: Vec<String> = bodies
                .iter()
                .map(|conjuncts| {
                    let all: Vec<String> =
                        conjuncts.iter().map(|regex| format!("/{}/", slashed(regex))).collect();
                    format!("({} & {edge})", all.join(" & "))
                })
                .collect();
            writeln!(g, "{rule}::_ : {begin}BODY_{id} blank? seq_{i}::_").and_then(|()| {
                writeln!(g, "BODY_{id}: ({}) /{line_break}{stop}/", bodies.join(" | "))
            })
        }
        Text::Json { schema, words } => {
            let words: String = words.iter().map(|word| format!(" | {}", quoted(word))).collect();
            writeln!(g, "{rule}::_ : blank? ({}{words}) {close}", json_value(schema))
        }
    };
}

/// Rules that all calls in tags share.
pub(super) fn shared_rules(g: &mut String, format: &Format) {
    let Call::Tagged(tagged) = &format.call else { return };
    let end = if tagged.end.is_empty() { format.close } else { tagged.end };
    let (close, next, stop) = (escaped(tagged.value.1), escaped(tagged.key.0), escaped(end));
    let other =
        if tagged.end.is_empty() { String::new() } else { format!("|{}", escaped(format.close)) };
    let any = "(?s:.*)";
    let _ = writeln!(
        g,
        "next[lazy]: NEXT\nlast[lazy]: LAST\n\
         NEXT: /{any}{close}\\s*{next}/ & ~/{any}{close}\\s*({stop}{other}){any}/\n\
         LAST: /{any}{close}\\s*{stop}/ & ~/{any}{close}\\s*({next}{other}){any}/"
    );
}
