//! The grammar of one tool's call in each form, from behind the mark that opens it.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::ToolSchema;
use super::lark::{escaped, quoted, slashed};
use super::typing::Text;
use crate::chat::output::{Call, Format, Tagged};

/// Parameters whose presence is counted: a bit each.
const MAX_COUNTED: usize = 60;
/// White space that the engine may put between the tokens of JSON; not without end.
const JSON_BLANKS: &str = "[ \\n]{1,40}";

/// How JSON may be written: with bounded white space, and with escapes of any character.
fn json_options() -> Value {
    json!({"whitespace_pattern": JSON_BLANKS, "json_allow_general_unicode_escapes": true})
}

/// JSON of a schema, as a value in a rule.
pub(super) fn json_value(schema: &Value) -> String {
    let mut schema = match schema {
        Value::Bool(false) | Value::Object(_) => schema.clone(),
        _ => json!({}),
    };
    match &mut schema {
        Value::Object(map) => {
            map.insert("x-guidance".into(), json_options());
        }
        // No object can carry the options; nothing is allowed anyway.
        other => *other = json!({"allOf": [false], "x-guidance": json_options()}),
    }
    format!("%json {schema}")
}

/// Any JSON object.
pub(super) fn any_object() -> Value {
    json!({"type": "object"})
}

/// Whether there is a grammar for the format's calls.
pub(super) fn is_known(format: &Format) -> bool {
    match format.call {
        Call::Harmony => true,
        Call::Object { .. } | Call::Json { .. } | Call::Tagged(_) => !format.list,
        Call::Literal(_) | Call::None => false,
    }
}

/// What opens a call for certain, behind the opening tag: the beginning of an object, or the tag of
/// a name.
pub(super) fn mark(format: &Format) -> &'static str {
    match &format.call {
        Call::Object { .. } => "{",
        Call::Tagged(tagged) => tagged.head,
        Call::Json { .. } | Call::Literal(_) | Call::Harmony | Call::None => "",
    }
}

/// Whether the parser reads the name as one.
pub(super) fn can_call(format: &Format, name: &str) -> bool {
    match &format.call {
        Call::Object { .. } => !name.is_empty(),
        _ => {
            (1..=256).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:/".contains(&b))
        }
    }
}

/// Paths below a tool's (rewritten) schema of what cannot be enforced in this form.
pub(super) fn lost(format: &Format, tool: &ToolSchema) -> Vec<String> {
    if !matches!(format.call, Call::Tagged(_)) {
        return Vec::new();
    }
    let mut paths = Vec::new();
    // Between tags each parameter stands for itself: which go together is not enforced.
    if tool.schema.get("anyOf").is_some() {
        paths.push("anyOf".to_owned());
    }
    for (name, schema) in tool.schema["properties"].as_object().into_iter().flatten() {
        if Text::of(&tool.original, name, schema, &tool.schema, false).lost {
            let keyword = if schema.get("pattern").is_some() { "pattern" } else { "enum" };
            paths.push(format!("properties.{name}.{keyword}"));
        }
    }
    paths
}

/// Rules `call_{i}` and what it needs: the call from behind its mark to ahead of its closing tag,
/// or through it where nothing else ends the call. `tag` spells a tag as a value in a rule.
pub(super) fn rules(
    g: &mut String,
    i: usize,
    tool: &ToolSchema,
    loosened: bool,
    format: &Format,
    tag: &dyn Fn(&str) -> String,
) {
    let any = any_object();
    let schema = if loosened { &any } else { &tool.schema };
    let name = &tool.name;
    match &format.call {
        Call::Object { name: key, arguments } => object(g, i, name, schema, key, arguments),
        Call::Json { prefix, until, index } => {
            let number = if *index { " /:[0-9]{1,3}/" } else { "" };
            let name = quoted(&format!("{prefix}{name}"));
            let _ = writeln!(
                g,
                "call_{i}: blank? {name}{number} {} blank? {}",
                tag(until),
                json_value(schema)
            );
        }
        Call::Tagged(tagged) => tags(g, i, tool, loosened, tagged, format),
        Call::Harmony => {
            let _ = writeln!(g, "call_{i}: blank? {}", json_value(schema));
        }
        Call::Literal(_) | Call::None => {}
    }
}

/// The rule `other`: what may follow a mark that then is none of a call, as it names no offered
/// tool.
pub(super) fn other_rule<'a>(
    g: &mut String,
    names: impl Iterator<Item = &'a str>,
    format: &Format,
) {
    let blank = "[ \\t\\r\\n]{0,16}";
    let _ = match &format.call {
        Call::Object { name: key, .. } => {
            let names: Vec<String> = names.map(|name| escaped(&json_string(name))).collect();
            let member = format!("{blank}\"{}\"{blank}:{blank}", escaped(key));
            writeln!(
                g,
                "other: OTHER\nOTHER: /{blank}[^\" \\t\\r\\n<]/ | /{member}\"[^\"\\\\\\n<]*\"/ & ~/{member}({})/",
                names.join("|")
            )
        }
        _ => {
            let names: Vec<String> = names.map(escaped).collect();
            let of_name = "A-Za-z0-9_.:\\/\\-";
            writeln!(
                g,
                "other: OTHER\nOTHER: /{blank}[^{of_name} \\t\\r\\n<]/ | /{blank}[{of_name}]{{1,64}}/ & ~/{blank}({})/",
                names.join("|")
            )
        }
    };
}

/// `"name": "...", "arguments": {...}}`
fn object(g: &mut String, i: usize, name: &str, schema: &Value, key: &str, arguments: &[&str]) {
    let name = escaped(&json_string(name));
    let blank = "[ \\t\\r\\n]{0,16}";
    let keys: Vec<String> = arguments.iter().map(|key| escaped(key)).collect();
    // A call without arguments is one with none.
    let demands = ["required", "minProperties", "anyOf", "allOf", "enum", "$ref"];
    let is_optional = demands.iter().all(|key| schema.get(*key).is_none());
    let optional = if is_optional { "?" } else { "" };
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
}

/// Ways of what must be there that are told apart.
const MAX_CHOICES: usize = 16;

/// The parameters of a schema that is put together of several.
#[derive(Default)]
struct Shape {
    properties: Map<String, Value>,
    /// Sets of names, one of which must be there.
    choices: Vec<BTreeSet<String>>,
    /// Parameters without a schema are allowed.
    others: bool,
}

impl Shape {
    /// What the schema demands as well.
    fn add(&mut self, schema: &Value, root: &Value, depth: usize) {
        if depth > 8 {
            return;
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            match self.properties.get_mut(name) {
                None => {
                    self.properties.insert(name.clone(), property.clone());
                }
                Some(before) if before == property => {}
                Some(before) => *before = json!({"anyOf": [before.take(), property]}),
            }
        }
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for choice in &mut self.choices {
            choice.extend(required.iter().map(|name| (*name).to_owned()));
        }
        self.others |= match schema.get("additionalProperties") {
            None => {
                depth == 0
                    && ["properties", "$ref", "anyOf", "allOf"]
                        .iter()
                        .all(|key| schema.get(*key).is_none())
            }
            Some(rest) => *rest == Value::Bool(true),
        };
        let target = schema["$ref"].as_str().and_then(|r| root.pointer(r.strip_prefix('#')?));
        for part in schema["allOf"].as_array().into_iter().flatten().chain(target) {
            self.add(part, root, depth + 1);
        }
        if let Some(branches) = schema["anyOf"].as_array() {
            let mut choices = Vec::new();
            let before = self.choices.clone();
            for branch in branches {
                self.choices.clone_from(&before);
                self.add(branch, root, depth + 1);
                choices.append(&mut self.choices);
            }
            choices.truncate(MAX_CHOICES);
            self.choices = choices;
        }
    }
}

fn tags(
    g: &mut String,
    i: usize,
    tool: &ToolSchema,
    loosened: bool,
    tagged: &Tagged,
    format: &Format,
) {
    let mut shape = Shape { choices: vec![BTreeSet::new()], ..Shape::default() };
    shape.add(&tool.schema, &tool.schema, 0);
    let properties = &shape.properties;
    let writable = |name: &&String| {
        !name.is_empty() && !name.contains(tagged.key.1) && name.trim() == name.as_str()
    };
    let parameters: Vec<Parameter> = properties
        .iter()
        .filter(|(name, schema)| writable(name) && **schema != Value::Bool(false))
        .map(|(name, schema)| {
            let text = Text::of(&tool.original, name, schema, &tool.schema, loosened);
            Parameter { name, text }
        })
        .collect();
    let others = shape.others;
    // Each a set of parameters that must be there; one set will do.
    let choices: Vec<Vec<usize>> = shape
        .choices
        .iter()
        .map(|names| {
            (0..parameters.len())
                .filter(|&p| !loosened && names.contains(parameters[p].name))
                .collect()
        })
        .collect();
    let is_required = |p: &usize| choices.iter().any(|choice| choice.contains(p));
    // With too many to count, those that must be there are; names that come twice are the parser's
    // to drop.
    let counted: Vec<usize> = if parameters.len() <= MAX_COUNTED {
        (0..parameters.len()).collect()
    } else {
        (0..parameters.len()).filter(is_required).take(MAX_COUNTED).collect()
    };
    let bit = |p: usize| counted.iter().position(|&c| c == p);
    let all = |choice: &Vec<usize>| {
        let bits = choice.iter().filter_map(|&p| bit(p)).map(|b| format!("bit_set({b})"));
        bits.reduce(|a, b| format!("and({a}, {b})"))
    };
    let complete: Option<Vec<String>> = choices.iter().map(all).collect();
    let complete = complete.and_then(|all| all.into_iter().reduce(|a, b| format!("or({a}, {b})")));
    let complete = complete.unwrap_or_else(|| "true".into());
    let tail = Tail {
        i,
        tagged,
        format,
        complete,
        counted: counted.len(),
        all_counted: counted.len() == parameters.len() && !others,
    };

    // White space at the end of a name need not be what is usual.
    let head_end = if tagged.head_end.trim().is_empty() {
        "blank?".to_owned()
    } else {
        format!("blank? {}", quoted(tagged.head_end))
    };
    // A name stands right behind its tag.
    let before = if tagged.head.is_empty() { "blank? " } else { "" };
    let head = format!("{before}{} {head_end}", quoted(&tool.name));
    if parameters.is_empty() && !others {
        let _ = writeln!(g, "call_{i}: {head} arguments_{i}\narguments_{i}: blank? {}", tail.end());
        return;
    }
    let _ = writeln!(g, "call_{i}: {head} arguments_{i}\narguments_{i}: blank? seq_{i}::0x0");
    let _ = write!(g, "seq_{i}::_ : {} {}", tail.end(), tail.if_complete());
    let _ = write!(g, " | {} key_{i}::_ {}", quoted(tagged.key.0), tail.if_more());
    let _ = write!(g, "\nkey_{i}::_ : ");
    let mut first = true;
    {
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
                "{bar}name_{i} {} {}text_{i}::_",
                quoted(tagged.key.1),
                value_open(tagged)
            );
            let _ = writeln!(
                g,
                "name_{i}: NAME_{i}\nNAME_{i}: /[A-Za-z_][A-Za-z0-9_.\\-]{{0,63}}/{taken}"
            );
            value(g, &format!("text_{i}"), &format!("{i}_other"), &Text::anything(), &tail);
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
    /// `kind` is of the shared rules.
    fn free(&self, kind: &str) -> String {
        let i = self.i;
        format!("next_{kind} key_{i}::_ {} | last_{kind} {}", self.if_more(), self.if_complete())
    }
}

fn value(g: &mut String, rule: &str, id: &str, text: &Text, tail: &Tail) {
    let tagged = tail.tagged;
    let i = tail.i;
    let stop = escaped(tagged.value.1);
    let one_break = if tagged.broken { "\"\\n\"? " } else { "" };
    let mut choices: Vec<String> = Vec::new();
    if let Some(schema) = &text.json {
        let words: String =
            text.json_words.iter().map(|word| format!(" | {}", quoted(word))).collect();
        choices.push(format!(
            "blank? ({}{words}) /{BLANKS}{stop}/ blank? seq_{i}::_",
            json_value(schema)
        ));
    }
    if text.free {
        choices.push(tail.free(if text.json_first { "plain" } else { "any" }));
    }
    // Without `<` in it the first closing tag ends it, and no state is spent on tags. A line break
    // at its end would be the tag's.
    let (edge, line_break, begin) =
        if tagged.broken { ("/([^<]*[^<\\n])?/", "\\n?", "\"\\n\" ") } else { ("/[^<]*/", "", "") };
    let first = if text.json_first { " & ~/\\s*[{\\[\"](?s:.*)/" } else { "" };
    if text.bodies.is_empty() && !text.words.is_empty() {
        let words: Vec<String> = text.words.iter().map(|word| quoted(word)).collect();
        choices.push(format!(
            "{one_break}({}) {one_break}{} blank? seq_{i}::_",
            words.join(" | "),
            quoted(tagged.value.1)
        ));
    }
    if !text.bodies.is_empty() {
        let words = text.words.iter().map(|word| format!("/{}/", escaped(word)));
        let bodies = text.bodies.iter().map(|all| {
            let all: Vec<String> =
                all.iter().map(|regex| format!("/{}/", slashed(regex))).collect();
            format!("({} & {edge}{first})", all.join(" & "))
        });
        let bodies: Vec<String> = words.chain(bodies).collect();
        choices.push(format!("{begin}BODY_{id} blank? seq_{i}::_"));
        let _ = writeln!(g, "BODY_{id}: ({}) /{line_break}{stop}/", bodies.join(" | "));
    }
    let _ = writeln!(g, "{rule}::_ : {}", choices.join(" | "));
}

/// White space that the parser skips, in an expression.
const BLANKS: &str = "[ \\t\\r\\n]*";

/// Rules that all calls in tags share.
pub(super) fn shared_rules(g: &mut String, format: &Format) {
    let Call::Tagged(tagged) = &format.call else { return };
    let end = if tagged.end.is_empty() { format.close } else { tagged.end };
    let (close, next, stop) = (escaped(tagged.value.1), escaped(tagged.key.0), escaped(end));
    let other =
        if tagged.end.is_empty() { String::new() } else { format!("|{}", escaped(format.close)) };
    let any = "(?s:.*)";
    // What the parser tries as JSON first must not begin like it.
    for (kind, begin) in [("any", any.to_owned()), ("plain", format!("\\s*([^\\s{{\\[\"]{any})?"))]
    {
        let upper = kind.to_uppercase();
        let _ = writeln!(
            g,
            "next_{kind}[lazy]: NEXT_{upper}\nlast_{kind}[lazy]: LAST_{upper}\n\
             NEXT_{upper}: /{begin}{close}{BLANKS}{next}/ & ~/{any}{close}{BLANKS}({stop}{other}){any}/\n\
             LAST_{upper}: /{begin}{close}{BLANKS}{stop}/ & ~/{any}{close}{BLANKS}({next}{other}){any}/"
        );
    }
}
