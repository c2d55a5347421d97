//! The grammar of a whole answer.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::lark::{escaped, quoted};
use super::{Plan, Response, ToolSchema, calls};
use crate::chat::output::{Call, FORMATS, Format, Opening};
use crate::chat::tools::ToolChoice;

/// Any text, and white space.
const COMMON: &str = "prose: /(?s:.+)/\nblank: /[ \\t\\r\\n]{1,16}/\n";

/// The tags of a thinking block.
pub(super) fn think(format: Option<&'static Format>) -> (&'static str, &'static str) {
    format.unwrap_or(&FORMATS[0]).think
}

impl Plan {
    fn token(&self, tag: &str) -> Option<u32> {
        self.tokens.iter().find(|(t, _)| *t == tag).map(|(_, id)| *id)
    }

    /// A tag as a value in a rule: its text, or its control token.
    fn tag(&self, tag: &str) -> String {
        match self.token(tag) {
            Some(id) => format!("({} | <[{id}]>)", quoted(tag)),
            None => quoted(tag),
        }
    }

    /// Text up to a tag, and through the tag and `behind`, which is an expression.
    fn text_to(&self, g: &mut String, rule: &str, tag: &str, behind: &str) {
        let _ = writeln!(g, "{rule}[lazy]: /(?s:.*){}{behind}/", escaped(tag));
    }
}

/// The grammar of one call, from behind its mark.
pub(super) fn one_call(plan: &Plan, i: usize, tool: &ToolSchema) -> String {
    let mut g = format!("%llguidance {{}}\nstart: call_{i}\n{COMMON}");
    calls::rules(&mut g, i, tool, false, plan.format, &|tag| plan.tag(tag));
    if let Some(format) = plan.format {
        calls::shared_rules(&mut g, format);
    }
    g
}

pub(super) fn response_alone(response: &Response) -> Option<String> {
    match response {
        Response::Any => None,
        Response::Json(schema) => {
            Some(format!("%llguidance {{}}\nstart: {}\n", calls::json_value(schema)))
        }
        Response::Lark(lark) => Some(format!("%llguidance {{}}\n{lark}")),
    }
}

pub(super) fn whole(plan: &Plan, loosened: &BTreeSet<usize>) -> String {
    let mut g = format!("%llguidance {{}}\n{COMMON}");
    let (think_open, think_close) = think(plan.format);
    // The thought may come from the model or be begun by the template.
    let _ = match plan.opening {
        Opening::Thinking => writeln!(g, "start: thought answer"),
        Opening::Text => writeln!(g, "start: (think thought)? answer"),
    };
    plan.text_to(&mut g, "thought_text", think_close, "");
    match plan.token(think_close) {
        Some(id) => g.push_str(&format!("thought: thought_text | prose? <[{id}]>\n")),
        None => g.push_str("thought: thought_text\n"),
    }
    if plan.opening == Opening::Text {
        let _ = writeln!(g, "think_text[lazy]: /[ \\t\\r\\n]{{0,16}}{}/", escaped(think_open));
        match plan.token(think_open) {
            Some(id) => g.push_str(&format!("think: think_text | blank? <[{id}]>\n")),
            None => g.push_str("think: think_text\n"),
        }
    }
    let calls = (!plan.tools.is_empty()).then(|| call_rules(plan, loosened, &mut g));
    let text = match &plan.response {
        Response::Any => None,
        Response::Json(schema) => {
            let _ = writeln!(g, "response: {}", calls::json_value(schema));
            Some("blank? response blank?")
        }
        Response::Lark(lark) => {
            let _ = writeln!(g, "response: %lark {{\n{lark}}}");
            Some("response")
        }
    };
    let _ = match (calls, text) {
        (Some(calls), None) if plan.choice == ToolChoice::Auto => {
            write!(g, "answer: {}\n{}", calls.in_text, calls.leads)
        }
        (Some(calls), None) => writeln!(g, "answer: {}", calls.alone),
        (Some(calls), Some(_)) if plan.choice == ToolChoice::Required => {
            writeln!(g, "answer: {}", calls.alone)
        }
        (Some(calls), Some(text)) => writeln!(g, "answer: {} | {text}", calls.alone),
        (None, Some(text)) => writeln!(g, "answer: {text}"),
        (None, None) => writeln!(g, "answer: prose?"),
    };
    g
}

/// Calls, and where they stand.
struct Calls {
    /// One or more and no text.
    alone: String,
    /// Text and calls.
    in_text: String,
    /// Rules that only `in_text` needs.
    leads: String,
}

fn call_rules(plan: &Plan, loosened: &BTreeSet<usize>, g: &mut String) -> Calls {
    for (i, tool) in &plan.tools {
        calls::rules(g, *i, tool, loosened.contains(i), plan.format, &|tag| plan.tag(tag));
    }
    let names: Vec<String> = plan.tools.iter().map(|(i, _)| format!("call_{i}")).collect();
    let _ = writeln!(g, "call: {}", names.join(" | "));
    let mark = calls::mark(plan.format);
    let Some(format) = plan.format else {
        // Of no known form: one object with the name and the arguments.
        return Calls {
            alone: format!("blank? {} call blank?", quoted(mark)),
            in_text: String::new(),
            leads: String::new(),
        };
    };
    calls::shared_rules(g, format);
    let marked = if mark.is_empty() { String::new() } else { format!("blank? {} ", quoted(mark)) };
    // Some calls end with their closing tag.
    let closes = !matches!(&format.call, Call::Tagged(tagged) if tagged.end.is_empty());
    let close = if closes { format!(" blank? {}", plan.tag(format.close)) } else { String::new() };
    let open = plan.tag(format.open);
    let mut leads = String::new();
    let one;
    let rest;
    match format.section {
        Some((begin, end)) => {
            let more = if plan.single {
                String::new()
            } else {
                format!(" (blank? {open} {marked}call{close})*")
            };
            let _ = writeln!(
                g,
                "section: blank? {open} {marked}call{close}{more} blank? {}",
                plan.tag(end)
            );
            one = format!("{} section", plan.tag(begin));
            rest = "lead section".to_owned();
            plan.text_to(&mut leads, "lead_text", begin, "");
            leads.push_str(&match plan.token(begin) {
                Some(id) => format!("lead: lead_text | prose? <[{id}]>\n"),
                None => "lead: lead_text\n".to_owned(),
            });
        }
        None => {
            one = format!("{open} {marked}call{close}");
            let behind =
                if mark.is_empty() { String::new() } else { format!("\\s*{}", escaped(mark)) };
            plan.text_to(&mut leads, "lead_text", format.open, &behind);
            leads.push_str(&match plan.token(format.open) {
                Some(id) => format!("lead: lead_text | prose? <[{id}]> {marked}\n"),
                None => "lead: lead_text\n".to_owned(),
            });
            let mut called = format!("lead call{close}");
            if let (Some(short), Call::Tagged(_)) = (format.open_short, &format.call) {
                // Only an offered name makes it one.
                let bare = plan.tools.iter().map(|(i, tool)| {
                    let _ = writeln!(
                        leads,
                        "bare_{i}[lazy]: /(?s:.*){}\\s*{}\\s*>/",
                        escaped(short),
                        escaped(&tool.name)
                    );
                    format!("bare_{i} arguments_{i}")
                });
                let bare: Vec<String> = bare.collect();
                let _ = writeln!(leads, "bare: {}", bare.join(" | "));
                let _ = write!(called, " | bare (blank? {})?", plan.tag(format.close));
            }
            rest = called;
        }
    }
    let (alone, in_text) = if plan.single {
        (format!("blank? {one} blank?"), format!("prose? | ({rest}) blank?"))
    } else {
        (format!("blank? {one} (blank? {one})* blank?"), format!("({rest})* prose?"))
    };
    Calls { alone, in_text, leads }
}
