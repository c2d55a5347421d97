//! The grammar of one tool's call between tags.

use std::fmt::Write;

use serde_json::Value;

use super::ToolSchema;
use super::lark::{escaped, json_value, quoted, slashed};
use super::shape::Shape;
use super::typing::Text;
use crate::chat::output::{Call, Format, Tagged};

/// Parameters whose presence is counted: a bit each.
const MAX_COUNTED: usize = 60;

/// One parameter of a call in tags.
struct Parameter<'a> {
    name: &'a str,
    text: Text,
}

/// Rules `call_{i}` and `arguments_{i}`, and what they need.
pub(super) fn rules(
    g: &mut String,
    i: usize,
    tool: &ToolSchema,
    loosened: bool,
    tagged: &Tagged,
    format: &Format,
) {
    let shape = Shape::of(&tool.schema);
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
            "blank? ({}{words}) /{FEW_BLANKS}{stop}/ blank? seq_{i}::_",
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
/// The same where nothing but white space may come: not without end.
const FEW_BLANKS: &str = "[ \\t\\r\\n]{0,16}";

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
