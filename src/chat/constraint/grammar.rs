//! The grammar of a whole answer.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::lark::{escaped, json_value, quoted};
use super::{Plan, Response, ToolSchema, calls, harmony, tagged};
use crate::chat::json_text::json_string;
use crate::chat::output::{Call, FORMATS, Format, Opening};
use crate::chat::tools::ToolChoice;

/// Any text, white space, and the line breaks behind a thought, which the parser takes for framing.
const COMMON: &str = "prose: /(?s:.+)/\nblank: /[ \\t\\r\\n]{1,16}/\nbreaks: /\\n{1,2}/\n";

/// The tags of a thinking block.
pub(super) fn think(format: Option<&'static Format>) -> (&'static str, &'static str) {
    format.unwrap_or(&FORMATS[0]).think
}

impl Plan {
    fn token(&self, tag: &str) -> Option<u32> {
        self.tokens.iter().find(|(t, _)| *t == tag).map(|(_, id)| *id)
    }

    /// A tag as a value in a rule: its text, or its control token.
    pub(super) fn tag(&self, tag: &str) -> String {
        match self.token(tag) {
            Some(id) => format!("({} | <[{id}]>)", quoted(tag)),
            None => quoted(tag),
        }
    }

    /// A further alternative: the tag as its control token, behind `before`.
    pub(super) fn or_token(&self, before: &str, tag: &str) -> String {
        self.token(tag).map_or(String::new(), |id| format!(" | {before} <[{id}]>"))
    }
}

/// The grammar of one call, from behind its mark.
pub(super) fn one_call(plan: &Plan, i: usize, tool: &ToolSchema) -> String {
    let mut g = format!("%llguidance {{}}\nstart: call_{i}\n{COMMON}");
    let format = plan.format.unwrap_or(&FORMATS[0]);
    calls::rules(&mut g, i, tool, false, format, &|tag| plan.tag(tag));
    tagged::shared_rules(&mut g, format);
    g
}

/// `thinks`: the model may open a block of thoughts ahead of the answer.
pub(super) fn whole(plan: &Plan, thinks: bool, loosened: &BTreeSet<usize>) -> String {
    let mut g = format!("%llguidance {{}}\n{COMMON}");
    // Only a plan with a format has tools.
    let format = plan.format.unwrap_or(&FORMATS[0]);
    for (i, tool) in &plan.tools {
        calls::rules(&mut g, *i, tool, loosened.contains(i), format, &|tag| plan.tag(tag));
    }
    let text = match &plan.response {
        Response::Any => None,
        Response::Json(schema) => {
            let _ = writeln!(g, "response: {}", json_value(schema));
            Some("response")
        }
        Response::Lark(lark) => {
            let _ = writeln!(g, "response: %lark {{\n{lark}}}");
            Some("response")
        }
    };
    if plan.format.is_some_and(|format| matches!(format.call, Call::Harmony)) {
        harmony::rules(&mut g, plan, text);
        return g;
    }
    let calls = (!plan.tools.is_empty()).then(|| call_rules(plan, &mut g));
    let (answer, after) = match (&calls, text) {
        (Some(calls), None) if plan.choice == ToolChoice::Auto => {
            (calls.in_text.clone(), calls.in_text_after.clone())
        }
        (Some(calls), Some(text)) if plan.choice == ToolChoice::Auto => {
            (format!("{} | {text}", calls.alone), calls.alone_after.clone())
        }
        (Some(calls), _) => (calls.alone.clone(), calls.alone_after.clone()),
        (None, text) => (text.unwrap_or("prose?").to_owned(), String::new()),
    };
    let _ = writeln!(g, "answer: {answer}");
    // The thought may come from the model or be begun by the template.
    let (think_open, think_close) = think(plan.format);
    let _ = match plan.opening {
        Opening::Thinking => {
            writeln!(g, "start: {}", if calls.is_some() { "opened" } else { "thought" })
        }
        Opening::Text if !thinks => writeln!(g, "start: answer"),
        Opening::Text => writeln!(
            g,
            "start: think thought | answer\nthink: think_text{}\nthink_text[lazy]: /{}{}/",
            plan.or_token(if plan.lazy { "blank?" } else { "" }, think_open),
            if plan.lazy { BLANKS } else { "" },
            escaped(think_open)
        ),
    };
    let _ = writeln!(
        g,
        "thought_end: thought_text{}\nthought_text[lazy]: /(?s:.*){}/",
        plan.or_token("prose?", think_close),
        escaped(think_close)
    );
    let Some(calls) = calls else {
        g.push_str("thought: thought_end breaks? answer\n");
        return g;
    };
    let others = if calls.other { "(thought_lead other)* " } else { "" };
    let after = if after.is_empty() { after } else { format!(" {after}") };
    let _ = writeln!(
        g,
        "thought: {others}thought_end breaks? answer | {others}thought_call{after}\nlines: /(?s:.*)\\n/\n{}",
        calls.thought
    );
    if plan.opening == Opening::Thinking {
        // Where the output begins a line begins too.
        let other = if calls.other { " | first other thought" } else { "" };
        let _ = writeln!(g, "opened: thought | first_call{after}{other}");
    }
    g
}

/// Calls, and where they stand.
struct Calls {
    /// One or more and no text, and what may follow a first one.
    alone: String,
    alone_after: String,
    /// Text and calls, and what may follow a first one.
    in_text: String,
    in_text_after: String,
    /// Rules of calls that end a thought.
    thought: String,
    /// What begins like a call may turn out to be none.
    other: bool,
}

/// White space that the parser skips, in an expression.
const BLANKS: &str = "[ \\t\\r\\n]*";

/// The rules of all calls. The parser reads these as calls, of which those of tools that are not
/// offered must not be said: what has its opening tag at the beginning of a line of text, or in a
/// form with sections. What has it within a line, or in a thought at the beginning of a line, is a
/// call if it names an offered tool.
fn call_rules(plan: &Plan, g: &mut String) -> Calls {
    let format = plan.format.unwrap_or(&FORMATS[0]);
    tagged::shared_rules(g, format);
    let names: Vec<String> = plan.tools.iter().map(|(i, _)| format!("call_{i}")).collect();
    let mark = calls::mark(format);
    let marked = if mark.is_empty() { String::new() } else { format!("blank? {} ", quoted(mark)) };
    // Some calls end with their closing tag.
    let closes = !matches!(&format.call, Call::Tagged(tagged) if tagged.end.is_empty());
    let close = if closes { format!(" blank? {}", plan.tag(format.close)) } else { String::new() };
    let open = plan.tag(format.open);
    if format.list {
        let next = format.open.trim_start_matches('[');
        let brace = if next.is_empty() { String::new() } else { format!("{} ", quoted(next)) };
        let more = format!("(blank? \",\" blank? {brace}item)* ");
        let more = if plan.single { "" } else { more.as_str() };
        let _ = writeln!(
            g,
            "item: {}\nlist_end: {more}blank? \"]\"\ncall: item list_end",
            names.join(" | ")
        );
    } else {
        let _ = writeln!(g, "call: ({}){close}", names.join(" | "));
    }
    let opened = match format.section {
        // A bracket alone opens no list.
        Some((begin, _)) if format.list => {
            format!("{}{BLANKS}{}", escaped(begin), escaped(format.open))
        }
        _ => format!("{}{BLANKS}{}", escaped(format.open), escaped(mark)),
    };
    let section = format.section.and_then(|(begin, _)| plan.token(begin));
    let tokens = |begin: &str| match (plan.token(format.open), section) {
        (None, Some(section)) if format.list => {
            format!(" | {begin} <[{section}]> blank? {open} ")
        }
        (Some(open), Some(section)) => {
            format!(" | {begin} (<[{section}]> blank?)? <[{open}]> {marked}")
        }
        (Some(open), None) => format!(" | {begin} <[{open}]> {marked}"),
        (None, _) => String::new(),
    };
    // Any text up to a call: `begin` is an expression.
    let lead = |rule: &str, begin: &str, before: &str| {
        format!("{rule}: {rule}_text{}\n{rule}_text[lazy]: /{begin}{opened}/\n", tokens(before))
    };
    let mut thought = String::new();
    let mut pieces;
    let other;
    match format.section {
        Some((begin, end)) => {
            other = false;
            let more = if plan.single || format.list {
                String::new()
            } else {
                format!(" (blank? {open} {marked}call)*")
            };
            let _ = writeln!(
                g,
                "one: {} blank? {open} {marked}call{more} blank? {}",
                plan.tag(begin),
                plan.tag(end)
            );
            g.push_str(&lead("lead", "(?s:.*)", "prose?"));
            let ended = match plan.token(end) {
                Some(id) => format!(" (blank? <[{id}]>)?"),
                None => String::new(),
            };
            pieces = vec![format!("lead call{ended}")];
            let section = match format.list {
                true => String::new(),
                false => format!("({}{BLANKS})?", escaped(begin)),
            };
            thought.push_str(&lead("thought_lead", &format!("(?s:.*)\\n{section}"), "lines"));
            thought.push_str(&lead("first", &section, ""));
            let _ = writeln!(thought, "first_call: first call{ended}");
            let _ = writeln!(thought, "thought_call: thought_lead call{ended}");
        }
        // A bracket at the beginning of a line opens a list with a call of an offered tool in it.
        None if format.list => {
            other = false;
            let _ = writeln!(g, "one: {open} call");
            let bare = |g: &mut String, rule: &str, begin: &str| {
                let head = format!("{begin}{}{BLANKS}", escaped(format.open));
                let calls = bare_calls(g, plan, rule, &head, "\\(");
                format!("({calls}) list_end")
            };
            pieces = vec![bare(g, "bare", &format!("({BLANKS}|(?s:.*)\\n)"))];
            let behind = bare(g, "thought_bare", "(?s:.*)\\n");
            let first = bare(g, "first_bare", "");
            let _ = writeln!(thought, "thought_call: {behind}\nfirst_call: {first}");
        }
        None => {
            other = true;
            let _ = writeln!(g, "one: {open} {marked}call");
            g.push_str(&lead("lead", &format!("({BLANKS}|(?s:.*)\\n)"), "prose?"));
            let _ = writeln!(g, "inline[lazy]: /(?s:.*)[^ \\t\\r\\n]((?s:.*)[^\\n])?{opened}/");
            calls::other_rule(g, plan.tools.iter().map(|(_, tool)| tool.name.as_str()), format);
            pieces = vec!["(lead | inline) call".to_owned()];
            thought.push_str(&lead("thought_lead", "(?s:.*)\\n", "lines"));
            thought.push_str(&lead("first", "", ""));
            let (mut behind, mut first) = (String::new(), String::new());
            if let Some(short) = format.open_short {
                let closed = format!("(blank? {})?", plan.tag(format.close));
                let (start, members, end) = calls::around_bare_name(format);
                let mut bare = |rule: &str, begin: &str| {
                    let head = format!("{begin}{}{members}", escaped(short));
                    format!("({}) {closed}", bare_calls(g, plan, rule, &head, &end))
                };
                pieces.push(bare("bare", start));
                behind = format!(" | {}", bare("thought_bare", "(?s:.*)\\n"));
                first = format!(" | {}", bare("first_bare", ""));
            }
            let _ = writeln!(
                thought,
                "thought_call: thought_lead call{behind}\nfirst_call: first call{first}"
            );
        }
    }
    let called = pieces.join(" | ");
    if plan.single {
        let others = if other { "(inline other)* " } else { "" };
        Calls {
            alone: "blank? one blank?".to_owned(),
            alone_after: "blank?".to_owned(),
            in_text: format!("{others}prose? | {others}({called}) blank?"),
            in_text_after: "blank?".to_owned(),
            thought,
            other,
        }
    } else {
        if other {
            pieces.push("inline other".to_owned());
        }
        let _ = writeln!(g, "in_text: ({})* prose?", pieces.join(" | "));
        Calls {
            alone: "blank? one (blank? one)* blank?".to_owned(),
            alone_after: "(blank? one)* blank?".to_owned(),
            in_text: "in_text".to_owned(),
            in_text_after: "in_text".to_owned(),
            thought,
            other,
        }
    }
}

/// Calls that the tool's name opens, behind any text that `head` allows and ahead of `end`, both
/// expressions.
fn bare_calls(g: &mut String, plan: &Plan, rule: &str, head: &str, end: &str) -> String {
    let is_object = plan.format.is_some_and(|format| matches!(format.call, Call::Object { .. }));
    let each = plan.tools.iter().map(|(i, tool)| {
        let name = if is_object { json_string(&tool.name) } else { tool.name.clone() };
        let _ = writeln!(g, "{rule}_{i}[lazy]: /{head}{}{end}/", escaped(&name));
        format!("{rule}_{i} arguments_{i}")
    });
    each.collect::<Vec<_>>().join(" | ")
}
