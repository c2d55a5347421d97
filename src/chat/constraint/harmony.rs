//! The grammar of gpt-oss's outputs, which are rows of messages. Calls are messages too, so no tag
//! opens one: what a header says is what is constrained.
//!
//! Of the tags that end a message only `<|end|>` is here as a token: the others end the output.

use std::fmt::Write;

use super::Plan;
use super::lark::quoted;
use crate::chat::output::Opening;
use crate::chat::tools::ToolChoice;

/// The tags as values in rules.
struct Tags {
    start: String,
    channel: String,
    message: String,
    constrain: String,
}

/// The rule `start` and those that it needs besides `call_{i}`. `text`: the form of the answer's
/// text as a value in a rule, if it has one.
pub(super) fn rules(g: &mut String, plan: &Plan, text: Option<&str>) {
    let tags = Tags {
        start: plan.tag("<|start|>"),
        channel: plan.tag("<|channel|>"),
        message: plan.tag("<|message|>"),
        constrain: plan.tag("<|constrain|>"),
    };
    let Tags { channel, message, constrain, .. } = &tags;
    // Text up to the tag that ends it: the first one does, whichever it is. The parser knows tags
    // that end an output too, where a vocabulary has them as ordinary text.
    for (rule, tag, words) in [
        ("to_end", "<|end|>", "<\\|(end|return|call)\\|>"),
        ("to_start", "<|start|>", "<\\|start\\|>"),
        ("to_channel", "<|channel|>", "<\\|channel\\|>"),
    ] {
        let token = plan.or_token("prose?", tag);
        let _ = writeln!(g, "{rule}: {rule}_text{token}\n{rule}_text[lazy]: /(?s:.*){words}/");
    }
    // How a header ends: what the message's content is.
    let _ = writeln!(g, "content: (/ (json|code)?/)? ({constrain} /(json|code) ?/)? {message}");
    let has_calls = !plan.tools.is_empty();
    if has_calls {
        let named = |content: &str| {
            let calls = plan
                .tools
                .iter()
                .map(|(i, tool)| format!("{} {content} call_{i}", quoted(&tool.name)));
            calls.collect::<Vec<_>>().join(" | ")
        };
        // The function stands before the channel or behind it.
        let _ = writeln!(
            g,
            "channel_call: /(commentary|analysis) ?to=functions\\./ ({})\n\
             role_call: /assistant ?to=functions\\./ named\n\
             named: {}\n\
             role_content: ({channel} /commentary|analysis/)? content",
            named("content"),
            named("role_content"),
        );
    }
    if has_calls && text.is_none() && plan.choice == ToolChoice::Auto {
        any_messages(g, plan, &tags);
    } else {
        thoughts_first(g, plan, text, &tags);
    }
}

/// Messages of all kinds, among them calls.
fn any_messages(g: &mut String, plan: &Plan, tags: &Tags) {
    let Tags { channel, message, constrain, .. } = tags;
    // Headers that name no function.
    let _ = writeln!(
        g,
        "header: HEADER\n\
         HEADER: /[^<]+/ & ~/[^<]*to=functions\\.(?s:.*)/\n\
         header_end: ({constrain} header?)? {message}\n\
         channel_end: header? header_end\n\
         role_end: {channel} channel_end | header_end\n\
         other: to_channel channel_end | to_start header? role_end\n\
         called: to_channel channel_call | to_start (role_call | header? {channel} channel_call)"
    );
    let _ = if plan.single {
        writeln!(g, "messages: (to_end | other)* (prose? | called blank?)\nbehind_call: blank?")
    } else {
        writeln!(g, "messages: (to_end | other | called)* prose?\nbehind_call: messages")
    };
    let _ = match plan.opening {
        Opening::Thinking => writeln!(g, "start: messages"),
        // The role ends the prompt, unless an answer is continued.
        Opening::Text => writeln!(
            g,
            "first_role[lazy]: /assistant/\n\
             first_to[lazy]: / to=/\n\
             other_name: OTHER_NAME\n\
             OTHER_NAME: /[^<]+/ & ~/(functions\\.|[^<]*to=functions\\.)(?s:.*)/\n\
             first_header: first_role header? | first_to other_name?\n\
             first_call: (first_role / ?to=functions\\./ | first_to \"functions.\") named \
             | first_header {channel} channel_call\n\
             start: messages | first_header (role_end messages)? | first_call behind_call"
        ),
    };
}

/// Thoughts, and then calls or an answer of a form.
fn thoughts_first(g: &mut String, plan: &Plan, text: Option<&str>, tags: &Tags) {
    let Tags { start, channel, message, .. } = tags;
    let _ = writeln!(
        g,
        "at_channel: ({start} \"assistant\")? {channel}\n\
         thinking: \"analysis\" {message}\n\
         next_channel: to_end blank? at_channel | to_start \"assistant\" {channel} | to_channel\n\
         next_role: to_end blank? {start} | to_start"
    );
    let (first, mut ways) = match plan.opening {
        Opening::Thinking => ("next_channel", vec!["next_role role_call"]),
        Opening::Text => ("at_channel", vec!["\" to=functions.\" named"]),
    };
    let _ = writeln!(g, "first: {first} (thinking next_channel)*");
    ways.extend(["first channel_call", "first thinking next_role role_call"]);
    let mut answers = Vec::new();
    if !plan.tools.is_empty() {
        let _ = writeln!(
            g,
            "calls: ({}){} blank?",
            ways.join(" | "),
            if plan.single { "" } else { " (blank? further)*" }
        );
        if !plan.single {
            let _ = writeln!(
                g,
                "later: at_channel (thinking next_channel)*\n\
                 further: later channel_call | later thinking next_role role_call | {start} role_call"
            );
        }
        answers.push("calls".to_owned());
    }
    if let Some(text) = text.filter(|_| plan.choice != ToolChoice::Required) {
        answers.push(format!("first \"final\" content {text}"));
        // An answer that is continued has its header in the prompt.
        answers.extend((plan.opening == Opening::Text).then(|| text.to_owned()));
    }
    let _ = writeln!(g, "start: {}", answers.join(" | "));
}
