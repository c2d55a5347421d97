//! The parser of outputs: text in, events out.

use std::sync::Arc;

use super::buffer::{Buffer, Match, Search, starts_with};
use super::call::{CallReader, Names, Progress, skip_tag};
use super::format::{Call, Format};
use super::harmony::Harmony;
use super::literal::Literal;
use super::named::{Form, Named};
use super::object::{Keys, Object};
use super::tagged::Tagged;
use super::{End, Event, Opening};
use crate::chat::Tool;

/// Reads one output. What it finds depends on the text alone, not on the pieces in which it comes,
/// and takes time in proportion to its length. Every byte becomes a part of one event, except for
/// framing: tags, the line breaks at the tags of a thinking block, and white space before a call
/// where no text precedes it. What only looks like a call is text.
///
/// - A thinking block counts only where no text precedes it, and its first closing tag ends it. A
///   call ends it too if its opening tag begins a line and it names a tool that is offered.
/// - Without tools nothing is a call.
/// - A call of a tool that is not offered is one if its opening tag begins a line of text. That is
///   what clients expect, who answer it with an error that the model understands; within a line or
///   a fenced block it is a quotation.
#[derive(Debug)]
pub struct Parser {
    format: &'static Format,
    /// The tags that open a call: of a section, of a call, of a call without its tag.
    openings: Vec<&'static str>,
    buffer: Buffer,
    state: State,
    /// There was text of the answer.
    spoke: bool,
    /// After text there are no calls.
    text_or_calls: bool,
    /// Behind the thoughts there is nothing but calls.
    only_calls: bool,
}

#[derive(Debug)]
enum State {
    /// In thoughts. Pending are line breaks, which belong to the closing tag if it follows.
    /// `is_fresh`: right behind the opening tag, whose line breaks follow.
    Reasoning { is_fresh: bool },
    /// Right behind the closing tag of a thinking block.
    AfterThought,
    /// In text. `is_fresh`: none was there since the beginning, a thought or a call, and pending is
    /// white space.
    Text { is_fresh: bool },
    /// In what may be a call.
    Call { reader: Box<dyn CallReader>, origin: Origin },
    /// Behind a section's opening tag.
    Section { origin: Origin },
    /// Behind a call whose closing tag is missing so far.
    Close,
    /// Behind a call's closing tag.
    AfterCall,
    /// Behind the comma between two calls of a list.
    NextItem { origin: Origin },
    /// Behind the calls of a section.
    SectionEnd,
    /// In a format of messages.
    Harmony(Harmony),
}

/// Where text goes that turns out to be no call.
#[derive(Debug, Clone, Copy)]
struct Origin {
    in_thought: bool,
    /// The end of the opening tag behind the mark: up to there it is decided.
    tag_end: usize,
    /// The tag begins a line.
    line_start: bool,
}

impl Parser {
    /// Tools that are not offered to the model must not be in `tools`.
    pub fn new(format: &'static Format, tools: Arc<[Tool]>, opening: Opening) -> Self {
        let state = match opening {
            _ if matches!(format.call, Call::Harmony) => State::Harmony(Harmony::new(opening)),
            Opening::Thinking => State::Reasoning { is_fresh: true },
            Opening::Text => State::Text { is_fresh: true },
        };
        let mut openings = Vec::new();
        if !tools.is_empty() && !matches!(format.call, Call::None | Call::Harmony) {
            openings.extend(format.section.map(|(open, _)| open));
            // Some models forget the section's tag.
            openings.extend(Some(format.open).filter(|_| !format.list));
            openings.extend(format.open_short);
        }
        Self {
            format,
            openings,
            buffer: Buffer::new(tools),
            state,
            spoke: false,
            text_or_calls: false,
            only_calls: false,
        }
    }

    /// A grammar lets the model say nothing but calls behind its thoughts (`tool_choice`
    /// `required`): the head of one that is cut is no text. Before any text.
    pub fn with_only_calls(mut self) -> Self {
        self.only_calls = true;
        self
    }

    /// The answer is text or calls, not both (`response_format`): JSON may quote a call. Before any
    /// text.
    pub fn with_text_or_calls(mut self) -> Self {
        self.text_or_calls = true;
        self
    }

    /// Thoughts are text, and so are their tags (`reasoning_format` `none`). Before any text.
    pub fn with_thoughts_in_text(mut self) -> Self {
        // gpt-oss's thoughts are messages of their own, without tags to show.
        self.buffer.thoughts_in_text = !matches!(self.state, State::Harmony(_));
        self
    }

    /// More of the output. The events are those that are certain now.
    pub fn push(&mut self, text: &str) -> Vec<Event> {
        self.buffer.push(text);
        while self.step() {}
        self.buffer.take()
    }

    /// The output ended. What was held back comes out.
    pub fn finish(&mut self, end: End) -> Vec<Event> {
        let is_head = self.is_head(end);
        if let State::Harmony(harmony) = &mut self.state {
            harmony.finish(&mut self.buffer, is_head);
            return self.buffer.take();
        }
        // What is no call after all may hold one.
        while let State::Call { reader, origin } = &mut self.state {
            let origin = *origin;
            match reader.finish(&mut self.buffer, end) {
                Progress::NoCall | Progress::More if is_head && !origin.in_thought => {
                    self.state = State::Text { is_fresh: true };
                    break;
                }
                Progress::NoCall | Progress::More => {
                    self.no_call(origin);
                    while self.step() {}
                }
                Progress::Broken => self.state = State::Text { is_fresh: false },
                Progress::Ended { .. } => self.state = State::Close,
            }
        }
        let format = self.format;
        let rest = self.buffer.rest();
        let is_framing = match self.state {
            State::Close => rest.is_empty() || format.close.starts_with(rest),
            State::AfterCall => rest.is_empty(),
            State::SectionEnd => {
                rest.is_empty() || format.section.is_some_and(|(_, close)| close.starts_with(rest))
            }
            State::Text { is_fresh } => is_fresh && rest.is_empty() && self.buffer.calls() > 0,
            _ => false,
        };
        let is_framing = is_framing || is_head;
        self.buffer.skip_all();
        match self.state {
            State::Reasoning { .. }
            | State::Section { origin: Origin { in_thought: true, .. } } => {
                self.buffer.reasoning();
            }
            _ if is_framing => self.buffer.framing(),
            _ => self.text(),
        }
        self.buffer.take()
    }

    /// Whether the output is in a thinking block as far as it has come.
    pub fn in_reasoning(&self) -> bool {
        match &self.state {
            State::Reasoning { .. } => true,
            State::Harmony(harmony) => harmony.in_reasoning(),
            State::Call { origin, .. } | State::Section { origin } => origin.in_thought,
            _ => false,
        }
    }

    #[cfg(test)]
    pub(super) fn trace(&self) -> &super::trace::Trace {
        &self.buffer.trace
    }

    /// Whether what is pending at this end, behind the thoughts, is the head of a call.
    fn is_head(&self, end: End) -> bool {
        self.only_calls && end == End::Cut
    }

    fn text(&mut self) {
        self.spoke |= self.buffer.text();
    }

    /// Decides something about the text; false: more of it is needed.
    fn step(&mut self) -> bool {
        match &mut self.state {
            State::Reasoning { is_fresh: true } => self.thought_begin(),
            State::Reasoning { is_fresh: false } => self.reasoning(),
            State::AfterThought => {
                self.buffer.skip_line_breaks();
                self.buffer.thought_framing();
                if self.buffer.rest().is_empty() {
                    return false;
                }
                self.state = State::Text { is_fresh: true };
                true
            }
            State::Text { is_fresh } => {
                let is_fresh = *is_fresh;
                self.say(is_fresh)
            }
            State::Section { origin } => {
                let origin = *origin;
                match skip_tag(&mut self.buffer, self.format.open) {
                    Match::Maybe => false,
                    Match::Yes => {
                        self.open(origin, false);
                        true
                    }
                    Match::No => self.no_call(origin),
                }
            }
            State::Call { reader, origin } => {
                let origin = *origin;
                match reader.read(&mut self.buffer) {
                    Progress::More => return false,
                    Progress::NoCall => return self.no_call(origin),
                    Progress::Ended { closed: false } => self.state = State::Close,
                    Progress::Ended { closed: true } => self.state = State::AfterCall,
                    Progress::Broken => self.state = State::Text { is_fresh: false },
                }
                true
            }
            State::Close if self.format.close.is_empty() => {
                self.state = State::AfterCall;
                true
            }
            State::Close => {
                match skip_tag(&mut self.buffer, self.format.close) {
                    Match::Maybe => return false,
                    Match::Yes => {
                        self.buffer.framing();
                        self.state = State::AfterCall;
                    }
                    Match::No => self.state = State::Text { is_fresh: true },
                }
                true
            }
            State::AfterCall => self.after_call(),
            State::NextItem { origin } => {
                let origin = *origin;
                let brace = self.format.open.trim_start_matches('[');
                match skip_tag(&mut self.buffer, brace) {
                    Match::Maybe => return false,
                    Match::Yes => self.open(origin, false),
                    Match::No => return self.no_call(origin),
                }
                true
            }
            State::SectionEnd => self.section_end(),
            State::Harmony(harmony) if self.text_or_calls && harmony.in_text() => {
                self.buffer.skip_all();
                self.text();
                false
            }
            State::Harmony(harmony) => harmony.step(&mut self.buffer),
        }
    }

    /// The line breaks behind an opening tag are the tag's, and so is the tag once more, which some
    /// models write though the prompt ends with it.
    fn thought_begin(&mut self) -> bool {
        self.buffer.skip_line_breaks();
        self.buffer.thought_framing();
        match starts_with(self.buffer.rest(), self.format.think.0) {
            Match::Maybe => return false,
            Match::Yes => {
                self.buffer.skip(self.format.think.0.len());
                self.buffer.thought_framing();
            }
            Match::No => self.state = State::Reasoning { is_fresh: false },
        }
        true
    }

    /// Where `think` or a tag that opens a call is in the text, or the first byte that may begin
    /// one.
    fn find_tag(&mut self, think: &'static str) -> (usize, Option<&'static str>) {
        let tags: Vec<&str> = [think].into_iter().chain(self.openings.iter().copied()).collect();
        match self.buffer.search(&tags) {
            Search::Found { at, which: 0 } => (at, Some(think)),
            Search::Found { at, which } => (at, Some(self.openings[which - 1])),
            Search::None { keep } => (self.buffer.rest().len() - keep, None),
        }
    }

    fn reasoning(&mut self) -> bool {
        let (end, found) = self.find_tag(self.format.think.1);
        self.buffer.skip(end);
        // Line breaks wait for a closing tag.
        let pending = self.buffer.pending();
        let breaks = pending.trim_end_matches(['\n', '\r']).len();
        self.buffer.reasoning_to(breaks);
        let Some(tag) = found else { return false };
        if tag == self.format.think.1 {
            self.buffer.skip(tag.len());
            self.buffer.thought_framing();
            self.state = State::AfterThought;
            return true;
        }
        let line_start = self.buffer.rest_is_line_start();
        self.buffer.reasoning();
        self.buffer.skip(tag.len());
        if line_start {
            self.opened(tag, true, true);
        } else {
            self.buffer.reasoning();
        }
        true
    }

    /// Text up to a tag that opens a thought or a call.
    fn say(&mut self, is_fresh: bool) -> bool {
        if is_fresh {
            self.buffer.skip_blanks();
        }
        let (end, found) = self.find_tag(if self.spoke { "" } else { self.format.think.0 });
        if end > 0 || !is_fresh {
            self.buffer.skip(end);
            self.text();
            self.state = State::Text { is_fresh: false };
            if self.text_or_calls && self.spoke && !self.openings.is_empty() {
                self.openings.clear();
                return true;
            }
        }
        let Some(tag) = found else { return false };
        if tag == self.format.think.0 {
            // Text came before it after all.
            if self.spoke {
                return true;
            }
            self.buffer.skip(tag.len());
            self.buffer.thought_framing();
            self.state = State::Reasoning { is_fresh: true };
            return true;
        }
        let line_start = is_fresh && end == 0 || self.buffer.rest_is_line_start();
        self.buffer.skip(tag.len());
        // A bracket alone says too little inside a line.
        if matches!(tag, "{" | "[") && !line_start {
            self.text();
            return true;
        }
        self.opened(tag, false, line_start);
        true
    }

    /// Behind `tag`, which opens a section or a call.
    fn opened(&mut self, tag: &'static str, in_thought: bool, line_start: bool) {
        let format = self.format;
        let origin = Origin { in_thought, tag_end: self.buffer.pending().len(), line_start };
        if format.section.is_some_and(|(open, _)| open == tag) {
            self.state = State::Section { origin };
        } else {
            self.open(origin, format.open_short == Some(tag));
        }
    }

    /// Behind the tag that opens a call.
    fn open(&mut self, origin: Origin, is_short: bool) {
        let format = self.format;
        // Nobody quotes the two tags of a section right behind each other.
        let is_certain = origin.line_start || format.section.is_some();
        let is_said = !origin.in_thought && !self.buffer.is_quoted();
        let names = match is_certain && is_said && !is_short {
            true => Names::Any,
            false => Names::Offered,
        };
        let reader: Box<dyn CallReader> = match &format.call {
            Call::Object { name, arguments } => {
                let is_open = is_short || format.open.ends_with('{');
                Box::new(Object::new(Keys { name, arguments }, names, is_open, is_short))
            }
            Call::Json { prefix, until, index } => {
                Box::new(Named::new(Form { prefix, until, index: *index }, names))
            }
            Call::Tagged(tagged) => Box::new(Tagged::new(format, tagged, names, is_short)),
            Call::Literal(literal) => Box::new(Literal::new(*literal, names)),
            Call::None | Call::Harmony => return,
        };
        self.state = State::Call { reader, origin };
    }

    /// No call: the tag is text or thought, and what follows it is looked at again.
    fn no_call(&mut self, origin: Origin) -> bool {
        self.buffer.back_to(origin.tag_end);
        if origin.in_thought {
            self.buffer.reasoning();
            self.state = State::Reasoning { is_fresh: false };
        } else {
            self.text();
            self.state = State::Text { is_fresh: false };
        }
        true
    }

    /// Behind a call: in a list a comma or the list's end, else the section's.
    fn after_call(&mut self) -> bool {
        if !self.format.list {
            self.state = State::SectionEnd;
            return true;
        }
        self.buffer.skip_blanks();
        let Some(next) = self.buffer.rest().bytes().next() else { return false };
        if next == b',' {
            self.buffer.skip(1);
            let tag_end = self.buffer.pending().len();
            let origin = Origin { in_thought: false, tag_end, line_start: true };
            self.state = State::NextItem { origin };
        } else if next == b']' {
            self.buffer.skip(1);
            self.buffer.framing();
            self.state = State::SectionEnd;
        } else {
            self.state = State::Text { is_fresh: true };
        }
        true
    }

    fn section_end(&mut self) -> bool {
        let close = self.format.section.map_or("", |(_, close)| close);
        if !close.is_empty() {
            match skip_tag(&mut self.buffer, close) {
                Match::Maybe => return false,
                Match::Yes => self.buffer.framing(),
                Match::No => {}
            }
        }
        self.state = State::Text { is_fresh: true };
        true
    }
}
