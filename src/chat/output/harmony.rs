//! gpt-oss's format: an output is a row of messages, each with a header that names its channel and
//! whom it is for, and a call is a message to a function.

use super::Opening;
use super::buffer::{Buffer, Match, Search, starts_with};
use super::call::Passing;
use super::json::{Json, Step};

const START: &str = "<|start|>";
const CHANNEL: &str = "<|channel|>";
const MESSAGE: &str = "<|message|>";
const FUNCTIONS: &str = "functions.";
/// End a message. The last two end an output too, and are seldom spelled out.
const ENDS: [&str; 3] = ["<|end|>", "<|return|>", "<|call|>"];
/// Longer headers are none.
const MAX_HEADER: usize = 1024;

/// The reader of such an output.
#[derive(Debug)]
pub(super) enum Harmony {
    /// Behind `<|start|>assistant`, which ends the prompt.
    Begin,
    /// Between messages.
    Between,
    /// In a header, which is pending.
    Header {
        has_channel: bool,
    },
    /// In a message for a function, before its arguments.
    CallBegin {
        name: String,
        in_thought: bool,
    },
    Call(Passing),
    Text,
    Reasoning,
}

impl Harmony {
    pub(super) fn new(opening: Opening) -> Self {
        match opening {
            Opening::Text => Self::Begin,
            Opening::Thinking => Self::Reasoning,
        }
    }

    pub(super) fn in_reasoning(&self) -> bool {
        matches!(self, Self::Reasoning)
    }

    pub(super) fn in_text(&self) -> bool {
        matches!(self, Self::Text)
    }

    /// Decides something about the text; false: more of it is needed.
    pub(super) fn step(&mut self, buffer: &mut Buffer) -> bool {
        match self {
            Self::Begin => {
                // A continued answer goes on with text.
                let found = first(buffer.rest(), &[START, CHANNEL, " to=", "assistant"]);
                *self = match found {
                    Match::Maybe => return false,
                    Match::Yes => Self::Header { has_channel: false },
                    Match::No => Self::Text,
                };
                true
            }
            Self::Between => {
                buffer.skip_blanks();
                *self = match first(buffer.rest(), &[START, CHANNEL]) {
                    Match::Maybe => return false,
                    Match::Yes => {
                        buffer.framing();
                        Self::Header { has_channel: false }
                    }
                    Match::No => Self::Text,
                };
                true
            }
            Self::Header { has_channel } => {
                let has_channel = *has_channel;
                self.header(buffer, has_channel)
            }
            Self::CallBegin { name, in_thought } => {
                buffer.skip_blanks();
                let Some(first) = buffer.rest().bytes().next() else { return false };
                *self = if first == b'{' {
                    buffer.framing();
                    buffer.call(name);
                    Self::Call(Passing::new(Json::new()))
                } else if *in_thought {
                    Self::Reasoning
                } else {
                    Self::Text
                };
                true
            }
            Self::Call(passing) => {
                match passing.read(buffer, 0) {
                    Step::Going => return false,
                    Step::Done => {
                        buffer.end();
                        *self = Self::Between;
                    }
                    Step::Wrong | Step::Before => {
                        buffer.cut();
                        *self = Self::Text;
                    }
                }
                true
            }
            Self::Text | Self::Reasoning => self.body(buffer),
        }
    }

    /// A header up to its end, or text if it has none.
    fn header(&mut self, buffer: &mut Buffer, mut has_channel: bool) -> bool {
        if buffer.pending().is_empty() {
            let tag = [START, CHANNEL].into_iter().find(|tag| buffer.rest().starts_with(tag));
            has_channel = tag == Some(CHANNEL);
            buffer.skip(tag.map_or(0, str::len));
        }
        let tags = [MESSAGE, CHANNEL, START, ENDS[0], ENDS[1], ENDS[2]];
        let (end, found) = match buffer.search(&tags) {
            Search::Found { at, which } => (at, Some(tags[which])),
            Search::None { keep } => (buffer.rest().len() - keep, None),
        };
        buffer.skip(end);
        let is_long = buffer.pending().len() > MAX_HEADER;
        match found {
            None if !is_long => {
                *self = Self::Header { has_channel };
                return false;
            }
            Some(CHANNEL) if !has_channel && !is_long => {
                buffer.skip(CHANNEL.len());
                *self = Self::Header { has_channel: true };
                return true;
            }
            Some(MESSAGE) if !is_long => {}
            _ => {
                buffer.text();
                *self = Self::Text;
                return true;
            }
        }
        let header = buffer.pending().to_owned();
        buffer.skip(MESSAGE.len());
        buffer.framing();
        let in_thought = word_behind(&header, CHANNEL) == "analysis";
        let name = word_behind(&header, "to=").strip_prefix(FUNCTIONS).unwrap_or_default();
        *self = if !name.is_empty() && !buffer.tools.is_empty() {
            Self::CallBegin { name: name.to_owned(), in_thought }
        } else if in_thought {
            Self::Reasoning
        } else {
            Self::Text
        };
        true
    }

    /// Text or thoughts up to the message's end.
    fn body(&mut self, buffer: &mut Buffer) -> bool {
        let tags = [ENDS[0], ENDS[1], ENDS[2], START, CHANNEL];
        let (end, found) = match buffer.search(&tags) {
            Search::Found { at, which } => (at, Some(tags[which])),
            Search::None { keep } => (buffer.rest().len() - keep, None),
        };
        buffer.skip(end);
        if self.in_reasoning() {
            buffer.reasoning();
        } else {
            buffer.text();
        }
        let Some(tag) = found else { return false };
        *self = Self::Header { has_channel: false };
        if ENDS.contains(&tag) {
            buffer.skip(tag.len());
            buffer.framing();
            *self = Self::Between;
        }
        true
    }

    /// The output ended. `is_head`: what is pending behind the thoughts is the head of a call.
    pub(super) fn finish(&mut self, buffer: &mut Buffer, is_head: bool) {
        match self {
            Self::Call(_) => {
                buffer.framing();
                buffer.cut();
            }
            Self::CallBegin { name, .. } => {
                buffer.skip_all();
                buffer.framing();
                buffer.call(name);
                buffer.cut();
            }
            _ => {}
        }
        buffer.skip_all();
        match self {
            // Marks without a message.
            Self::Header { .. } | Self::Between => buffer.framing(),
            Self::Begin if is_head => buffer.framing(),
            Self::Reasoning => buffer.reasoning(),
            _ => {
                buffer.text();
            }
        }
    }
}

/// Whether `text` begins with one of `tags`.
fn first(text: &str, tags: &[&str]) -> Match {
    let found = |wanted: Match| tags.iter().any(|tag| starts_with(text, tag) == wanted);
    match (found(Match::Yes), found(Match::Maybe)) {
        (true, _) => Match::Yes,
        (false, true) => Match::Maybe,
        _ => Match::No,
    }
}

/// The word behind a mark in a header.
fn word_behind<'a>(header: &'a str, mark: &str) -> &'a str {
    let behind = header.rsplit_once(mark).map_or("", |(_, behind)| behind);
    behind.split([' ', '<', '\n']).next().unwrap_or_default()
}
