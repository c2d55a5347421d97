//! Marks in the texts of messages, which show where in the prompt those begin.

use serde_json::Value;

use super::conversation::edge_text;
use super::specials::{self, BREAK};
use super::{RenderError, Rendered};

/// Stands where a user message's text begins.
const START: char = '\u{f0b5f}';
/// Stands where the text of another message begins.
const BORDER: char = '\u{f0b60}';
/// What is taken out of a prompt again.
const MARKS: [char; 3] = [START, BORDER, BREAK];

/// Whether a text has characters that could be taken for marks.
pub(super) fn are_in(text: &str) -> bool {
    MARKS.iter().any(|mark| text.contains(*mark))
}

/// The messages with marks at the starts of their texts, behind leading space, which templates
/// strip: of all messages, then of the users' alone. Templates look more often into the others.
pub(super) fn marked(messages: &[Value]) -> impl Iterator<Item = Vec<Value>> {
    [true, false].into_iter().filter_map(|others| {
        let mut marked = messages.to_vec();
        let (mut users, mut rest) = (false, false);
        for message in &mut marked {
            match message["role"] == "user" {
                true => users |= insert(message, START),
                false => rest |= others && insert(message, BORDER),
            }
        }
        // With messages of users alone the first try is the second.
        (if others { rest } else { users }).then_some(marked)
    })
}

/// Puts a mark into a message, if it has a text.
fn insert(message: &mut Value, mark: char) -> bool {
    let is_user = message["role"] == "user";
    let is_assistant = message["role"] == "assistant";
    let Some(text) = edge_text(message, true) else { return false };
    // An assistant's thoughts may stand in its text; templates cut them off.
    let own = if is_assistant { specials::own_tags(text) } else { Vec::new() };
    let begin = match own.as_slice() {
        [] => 0,
        [_, close] => close.end,
        _ => return false,
    };
    let at = text.len() - text[begin..].trim_start().len();
    // Templates ask whether an assistant or a tool said anything.
    if at == text.len() && !is_user {
        return false;
    }
    text.insert(at, mark);
    true
}

/// Renders once more with marks. Where those change anything but themselves, nothing is known
/// about the starts.
pub(super) fn found(
    prompt: String,
    messages: &[Value],
    mut run: impl FnMut(&[Value]) -> Result<String, RenderError>,
) -> Rendered {
    if !are_in(&prompt) {
        for messages in marked(messages) {
            let rendered = taken_out(&run(&messages).unwrap_or_default());
            if rendered.prompt == prompt {
                return rendered;
            }
        }
    }
    Rendered { prompt, ..Rendered::default() }
}

/// A prompt without marks, and where they were.
pub(super) fn taken_out(marked: &str) -> Rendered {
    let mut rendered =
        Rendered { prompt: String::with_capacity(marked.len()), ..Rendered::default() };
    // Searching for one character thrice is faster than for three at once.
    let indices = |mark: char| marked.match_indices(mark).map(move |(at, _)| (at, mark));
    let mut marks: Vec<(usize, char)> = MARKS.into_iter().flat_map(indices).collect();
    marks.sort_unstable();
    let mut begin = 0;
    for (at, mark) in marks {
        rendered.prompt.push_str(&marked[begin..at]);
        begin = at + mark.len_utf8();
        let offset = rendered.prompt.len();
        match mark {
            BREAK => rendered.breaks.push(offset),
            _ => rendered.borders.push(offset),
        }
        if mark == START {
            rendered.message_starts.push(offset);
        }
    }
    rendered.prompt.push_str(&marked[begin..]);
    rendered
}
