//! What a parser holds: text that is not decided yet, and the events of what is.

use std::sync::Arc;

use super::Event;
use crate::chat::Tool;

/// Text up to `mark` is accounted for: it became a part of an event, or is framing. Text up to
/// `at` was looked at, and what it is shows later. Every byte is accounted for exactly once.
#[derive(Debug)]
pub(super) struct Buffer {
    held: String,
    mark: usize,
    at: usize,
    /// Whether the byte before `held` ends a line, as the beginning of an output does.
    line_start: bool,
    events: Vec<Event>,
    fence: Fence,
    /// Calls that were begun.
    calls: usize,
    /// Thoughts and their tags are text of the answer.
    pub(super) thoughts_in_text: bool,
    pub(super) tools: Arc<[Tool]>,
    #[cfg(test)]
    pub(super) trace: super::trace::Trace,
}

/// Fenced blocks of Markdown in the text.
#[derive(Debug)]
struct Fence {
    is_open: bool,
    /// Backticks at the beginning of the line, as long as there is nothing else.
    ticks: Option<u8>,
}

/// White space between tags.
pub(super) const BLANKS: [char; 4] = [' ', '\n', '\r', '\t'];

/// Whether a text begins with a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    Yes,
    No,
    /// The text ends inside the tag.
    Maybe,
}

/// Where the first tag is in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    Found {
        at: usize,
        which: usize,
    },
    /// None is there; the last `keep` bytes may begin one.
    None {
        keep: usize,
    },
}

pub(super) fn starts_with(text: &str, tag: &str) -> Match {
    if text.starts_with(tag) {
        Match::Yes
    } else if tag.starts_with(text) {
        Match::Maybe
    } else {
        Match::No
    }
}

impl Buffer {
    pub(super) fn new(tools: Arc<[Tool]>) -> Self {
        Self {
            held: String::new(),
            mark: 0,
            at: 0,
            line_start: true,
            events: Vec::new(),
            fence: Fence { is_open: false, ticks: Some(0) },
            calls: 0,
            thoughts_in_text: false,
            tools,
            #[cfg(test)]
            trace: super::trace::Trace::default(),
        }
    }

    pub(super) fn push(&mut self, text: &str) {
        self.held.push_str(text);
    }

    /// The events since the last call, neighbors joined. Drops text that is accounted for.
    pub(super) fn take(&mut self) -> Vec<Event> {
        // Moving what is left is paid for by what goes.
        if self.mark > self.held.len() / 2 {
            self.line_start = self.is_line_start(self.mark);
            self.held.drain(..self.mark);
            self.at -= self.mark;
            self.mark = 0;
        }
        std::mem::take(&mut self.events)
    }

    /// Text that was not looked at.
    pub(super) fn rest(&self) -> &str {
        &self.held[self.at..]
    }

    /// Text that was looked at and is not accounted for.
    pub(super) fn pending(&self) -> &str {
        &self.held[self.mark..self.at]
    }

    /// Text that is not accounted for, looked at or not.
    pub(super) fn unsettled(&self) -> &str {
        &self.held[self.mark..]
    }

    /// The first of `tags` in the text that was not looked at. Looks at each byte once, however
    /// often some of the tags occur.
    pub(super) fn search(&mut self, tags: &[&str]) -> Search {
        let found = search(self.rest(), tags);
        #[cfg(test)]
        {
            self.trace.steps += match found {
                Search::Found { at, .. } => at,
                Search::None { .. } => self.rest().len(),
            };
        }
        found
    }

    /// Looks `bytes` further.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.at += bytes;
        #[cfg(test)]
        {
            self.trace.steps += bytes;
        }
    }

    /// Looks at everything.
    pub(super) fn skip_all(&mut self) {
        self.skip(self.rest().len());
    }

    /// Goes back to `bytes` behind the mark.
    pub(super) fn back_to(&mut self, bytes: usize) {
        self.at = self.mark + bytes;
    }

    /// Looks over white space. It is taken at once: looked at again with every piece, it would
    /// cost the square of its length.
    pub(super) fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.skip(rest.len() - rest.trim_start_matches(BLANKS).len());
    }

    pub(super) fn skip_line_breaks(&mut self) {
        let rest = self.rest();
        self.skip(rest.len() - rest.trim_start_matches(['\n', '\r']).len());
    }

    /// Whether `rest` begins a line.
    pub(super) fn rest_is_line_start(&self) -> bool {
        self.is_line_start(self.at)
    }

    fn is_line_start(&self, at: usize) -> bool {
        match at.checked_sub(1) {
            Some(before) => self.held.as_bytes()[before] == b'\n',
            None => self.line_start,
        }
    }

    /// Whether the text so far ends inside a fenced block of Markdown.
    pub(super) fn is_quoted(&self) -> bool {
        self.fence.is_open
    }

    pub(super) fn calls(&self) -> usize {
        self.calls
    }

    pub(super) fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// The pending text is text of the answer. Gives whether there was any but white space.
    pub(super) fn text(&mut self) -> bool {
        let text = self.pending();
        let spoke = !text.trim_start_matches(BLANKS).is_empty();
        if !text.is_empty() {
            let text = text.to_owned();
            self.fence.add(&text);
            self.add_text(text);
        }
        self.mark = self.at;
        spoke
    }

    fn add_text(&mut self, text: String) {
        #[cfg(test)]
        self.trace.text(&text);
        match self.events.last_mut() {
            Some(Event::Text(last)) => last.push_str(&text),
            _ => self.events.push(Event::Text(text)),
        }
    }

    /// The pending text is thought.
    pub(super) fn reasoning(&mut self) {
        self.reasoning_to(self.at - self.mark);
    }

    /// The first `bytes` of the pending text are thought.
    pub(super) fn reasoning_to(&mut self, bytes: usize) {
        let text = &self.held[self.mark..self.mark + bytes];
        if bytes > 0 && self.thoughts_in_text {
            self.add_text(text.to_owned());
        } else if bytes > 0 {
            let text = text.to_owned();
            #[cfg(test)]
            self.trace.reasoning(&text);
            match self.events.last_mut() {
                Some(Event::Reasoning(last)) => last.push_str(&text),
                _ => self.events.push(Event::Reasoning(text)),
            }
        }
        self.mark += bytes;
    }

    /// The pending text is framing of a thinking block.
    pub(super) fn thought_framing(&mut self) {
        if self.thoughts_in_text { self.reasoning() } else { self.framing() }
    }

    /// The pending text is framing: no part of what the model says.
    pub(super) fn framing(&mut self) {
        self.framing_to(self.at - self.mark);
    }

    /// The first `bytes` of the pending text are framing.
    pub(super) fn framing_to(&mut self, bytes: usize) {
        #[cfg(test)]
        self.trace.framing(&self.held[self.mark..self.mark + bytes]);
        self.mark += bytes;
    }

    /// Begins a call.
    pub(super) fn call(&mut self, name: &str) {
        self.calls += 1;
        self.events.push(Event::Call { index: self.calls - 1, name: name.to_owned() });
    }

    /// Arguments of the call that was begun, without accounting for any text.
    pub(super) fn arguments(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let index = self.calls.saturating_sub(1);
        match self.events.last_mut() {
            Some(Event::Arguments { fragment, .. }) => fragment.push_str(text),
            _ => self.events.push(Event::Arguments { index, fragment: text.to_owned() }),
        }
    }

    /// The first `bytes` of the pending text are arguments as they stand.
    pub(super) fn arguments_to(&mut self, bytes: usize) {
        let text = self.held[self.mark..self.mark + bytes].to_owned();
        self.arguments(&text);
        #[cfg(test)]
        self.trace.arguments(&text);
        self.mark += bytes;
    }

    /// The first `bytes` of the pending text are a part of a JSON string in the arguments.
    pub(super) fn string_to(&mut self, bytes: usize) {
        let text = self.held[self.mark..self.mark + bytes].to_owned();
        self.arguments(&super::json::escaped(&text));
        #[cfg(test)]
        self.trace.value(&text);
        self.mark += bytes;
    }

    /// The first `bytes` of the pending text became a value in the arguments.
    pub(super) fn value_to(&mut self, bytes: usize) {
        #[cfg(test)]
        self.trace.value(&self.held[self.mark..self.mark + bytes]);
        self.mark += bytes;
    }

    /// Ends the call that was begun.
    pub(super) fn end(&mut self) {
        self.events.push(Event::CallEnd { index: self.calls.saturating_sub(1) });
    }

    /// The call that was begun stays a beginning.
    pub(super) fn cut(&mut self) {
        self.events.push(Event::CallCut { index: self.calls.saturating_sub(1) });
    }
}

fn search(text: &str, tags: &[&str]) -> Search {
    let bytes = text.as_bytes();
    for (at, &byte) in bytes.iter().enumerate() {
        for (which, tag) in tags.iter().enumerate() {
            let tag = tag.as_bytes();
            if tag.first() != Some(&byte) {
                continue;
            }
            let rest = &bytes[at..];
            if rest.starts_with(tag) {
                return Search::Found { at, which };
            }
            if tag.starts_with(rest) {
                return Search::None { keep: rest.len() };
            }
        }
    }
    Search::None { keep: 0 }
}

impl Fence {
    fn add(&mut self, text: &str) {
        for byte in text.bytes() {
            self.ticks = match (byte, self.ticks) {
                (b'\n', _) => Some(0),
                (b' ', Some(0)) => Some(0),
                (b'`', Some(2)) => {
                    self.is_open = !self.is_open;
                    None
                }
                (b'`', Some(ticks)) => Some(ticks + 1),
                _ => None,
            };
        }
    }
}
