//! Calls as a name and each argument between tags, as Qwen3-Coder, GLM and MiniMax write them.

use super::End;
use super::buffer::{Buffer, Match, Search, starts_with};
use super::call::{CallReader, Name, Names, Progress, skip_tag};
use super::format::{Format, Tagged as Form};
use super::json::{Json, Step, begins_json};
use super::schema::Kinds;
use crate::chat::json_text::json_string;

/// Longer keys are none.
const MAX_KEY: usize = 512;

/// The reader of such a call.
#[derive(Debug)]
pub(super) struct Tagged {
    form: &'static Form,
    close: &'static str,
    names: Names,
    state: State,
    name: String,
    /// The call was begun.
    sent: bool,
    /// Of the arguments so far.
    keys: Vec<String>,
}

#[derive(Debug)]
enum State {
    Head,
    Name(Name),
    NameEnd,
    /// Between arguments.
    Between,
    Key,
    ValueBegin,
    Value(Value),
}

#[derive(Debug)]
struct Value {
    kinds: Kinds,
    /// The key was given before: the value is left out.
    repeated: bool,
    /// The opening quote of a string was sent.
    open: bool,
    /// A value that is no string is JSON first of all, in whose strings a closing tag is text.
    json: Option<Json>,
    /// Behind a closing tag, which is text unless what follows confirms it: how many of the pending
    /// bytes are the value's, and where the tag ends.
    closing: Option<(usize, usize)>,
}

impl Tagged {
    /// `is_short`: the opening tag was the head.
    pub(super) fn new(
        format: &'static Format,
        form: &'static Form,
        names: Names,
        is_short: bool,
    ) -> Self {
        let state = if is_short { State::Name(Name::default()) } else { State::Head };
        Self {
            form,
            close: format.close,
            names,
            state,
            name: String::new(),
            sent: false,
            keys: Vec::new(),
        }
    }

    /// The call begins, if it has not.
    fn begin(&mut self, buffer: &mut Buffer) {
        if !std::mem::replace(&mut self.sent, true) {
            buffer.framing();
            buffer.call(&self.name);
        }
    }

    fn end(&mut self, buffer: &mut Buffer) {
        self.begin(buffer);
        buffer.framing();
        buffer.arguments(if self.keys.is_empty() { "{}" } else { "}" });
        buffer.end();
    }

    /// What went wrong goes on as text.
    fn fail(&mut self, buffer: &mut Buffer) -> Progress {
        if !self.sent {
            return Progress::NoCall;
        }
        buffer.cut();
        Progress::Broken
    }

    /// Between arguments: a key, or the call's end.
    fn between(&mut self, buffer: &mut Buffer) -> Option<Progress> {
        buffer.skip_blanks();
        let rest = buffer.rest();
        let mut maybe = rest.is_empty();
        for tag in [self.form.key.0, self.form.end, self.close] {
            if tag.is_empty() {
                continue;
            }
            match starts_with(rest, tag) {
                Match::Maybe => maybe = true,
                Match::No => {}
                Match::Yes => {
                    buffer.skip(tag.len());
                    self.begin(buffer);
                    if tag == self.form.key.0 {
                        self.state = State::Key;
                        return None;
                    }
                    self.end(buffer);
                    return Some(Progress::Ended { closed: tag == self.close });
                }
            }
        }
        if maybe {
            return Some(Progress::More);
        }
        Some(self.fail(buffer))
    }

    fn key(&mut self, buffer: &mut Buffer) -> Option<Progress> {
        let close = self.form.key.1;
        // A key is short, and its text is looked at again with each piece.
        match buffer.search(&[close]) {
            Search::Found { at, .. } if at <= MAX_KEY => {
                let key = buffer.rest()[..at].split('"').next().unwrap_or_default();
                let key = key.trim().to_owned();
                buffer.skip(at + close.len());
                self.state = State::ValueBegin;
                self.keys.push(key);
                None
            }
            Search::None { keep } if buffer.rest().len() - keep <= MAX_KEY => Some(Progress::More),
            _ => Some(self.fail(buffer)),
        }
    }

    fn value_begin(&mut self, buffer: &mut Buffer) -> Option<Progress> {
        if self.form.value.0.is_empty() {
            if self.form.broken {
                match starts_with(buffer.rest(), "\n") {
                    Match::Maybe => return Some(Progress::More),
                    Match::Yes => buffer.skip(1),
                    Match::No => {}
                }
            }
        } else {
            match skip_tag(buffer, self.form.value.0) {
                Match::Maybe => return Some(Progress::More),
                Match::Yes => {}
                Match::No => {
                    self.keys.pop();
                    return Some(self.fail(buffer));
                }
            }
        }
        buffer.framing();
        let kinds = match (self.keys.split_last(), buffer.tool(&self.name)) {
            (Some((key, _)), Some(tool)) => Kinds::of(&tool.parameters, key),
            _ => Kinds::Unknown,
        };
        let repeated = self.keys.split_last().is_some_and(|(key, before)| before.contains(key));
        let json = matches!(kinds, Kinds::Json | Kinds::StringOrNested | Kinds::Unknown);
        self.state = State::Value(Value {
            kinds,
            repeated,
            open: false,
            json: json.then(Json::new),
            closing: None,
        });
        None
    }
}

impl CallReader for Tagged {
    fn read(&mut self, buffer: &mut Buffer) -> Progress {
        loop {
            let progress = match &mut self.state {
                State::Head => match skip_tag(buffer, self.form.head) {
                    Match::Maybe => Some(Progress::More),
                    Match::No => Some(Progress::NoCall),
                    Match::Yes if self.form.head.is_empty() && buffer.rest().is_empty() => {
                        Some(Progress::More)
                    }
                    Match::Yes => {
                        self.state = State::Name(Name::default());
                        None
                    }
                },
                State::Name(name) => match name.read(buffer) {
                    None => Some(Progress::More),
                    Some(Some(name)) if self.names.admit(&name, buffer) => {
                        self.name = name;
                        self.state = State::NameEnd;
                        None
                    }
                    Some(_) => Some(Progress::NoCall),
                },
                State::NameEnd => {
                    let ends = self.form.head_end;
                    let found = match ends.trim().is_empty() {
                        // White space, which `between` takes.
                        true => Match::Yes,
                        false => skip_tag(buffer, ends),
                    };
                    match found {
                        Match::Maybe => Some(Progress::More),
                        Match::No => Some(Progress::NoCall),
                        Match::Yes => {
                            self.state = State::Between;
                            None
                        }
                    }
                }
                State::Between => self.between(buffer),
                State::Key => self.key(buffer),
                State::ValueBegin => self.value_begin(buffer),
                State::Value(value) => {
                    let read = value.read(buffer, self.form, self.close, &self.keys);
                    match read {
                        true => {
                            if value.repeated {
                                self.keys.pop();
                            }
                            self.state = State::Between;
                            None
                        }
                        false => Some(Progress::More),
                    }
                }
            };
            if let Some(progress) = progress {
                return progress;
            }
        }
    }

    fn finish(&mut self, buffer: &mut Buffer, end: End) -> Progress {
        match &mut self.state {
            State::Head | State::Name(_) => return Progress::NoCall,
            _ if !self.sent && buffer.tool(&self.name).is_none() => return Progress::NoCall,
            State::NameEnd | State::Between => {
                // A model that says no more has said all.
                let is_whole = end == End::Model && self.sent && buffer.rest().is_empty();
                buffer.skip_all();
                buffer.framing();
                if is_whole {
                    self.end(buffer);
                    return Progress::Ended { closed: false };
                }
                self.begin(buffer);
            }
            State::Key | State::ValueBegin => {}
            State::Value(value) => {
                let is_whole =
                    end == End::Model && value.closing.is_some() && buffer.rest().is_empty();
                value.finish(buffer, &self.keys);
                if is_whole {
                    self.end(buffer);
                    return Progress::Ended { closed: false };
                }
            }
        }
        buffer.skip_all();
        buffer.framing();
        buffer.cut();
        Progress::Broken
    }
}

impl Value {
    /// Whether the value is whole; else more text is needed.
    fn read(&mut self, buffer: &mut Buffer, form: &Form, close: &str, keys: &[String]) -> bool {
        loop {
            if let Some(json) = &mut self.json {
                if !read_json(json, buffer) {
                    return false;
                }
                self.json = None;
            }
            match self.closing {
                Some((length, tag_end)) => match confirmed(buffer, form, close) {
                    Match::Maybe => return false,
                    Match::Yes => {
                        self.end(buffer, length, keys);
                        return true;
                    }
                    Match::No => {
                        buffer.back_to(tag_end);
                        self.closing = None;
                    }
                },
                None => {
                    if !self.read_text(buffer, form, keys) {
                        return false;
                    }
                }
            }
        }
    }

    /// Looks for a closing tag. Sends what is certain of a string.
    fn read_text(&mut self, buffer: &mut Buffer, form: &Form, keys: &[String]) -> bool {
        let tag = form.value.1;
        let (end, found) = match buffer.search(&[tag]) {
            Search::Found { at, .. } => (at, true),
            Search::None { keep } => (buffer.rest().len() - keep, false),
        };
        buffer.skip(end);
        let mut length = buffer.pending().len();
        // A line break right before the tag is the tag's.
        if form.broken && buffer.pending().ends_with('\n') {
            length -= 1;
        }
        if found {
            buffer.skip(tag.len());
            self.closing = Some((length, buffer.pending().len()));
        }
        if !self.repeated && (self.open || self.kinds.is_string(&buffer.pending()[..length])) {
            self.open(buffer, keys);
            buffer.string_to(length);
            if let Some((length, tag_end)) = &mut self.closing {
                *tag_end -= *length;
                *length = 0;
            }
        }
        found
    }

    /// Sends the key and the quote of a string.
    fn open(&mut self, buffer: &mut Buffer, keys: &[String]) {
        if !std::mem::replace(&mut self.open, true) {
            buffer.arguments(&before(keys));
            buffer.arguments("\"");
        }
    }

    /// The first `length` pending bytes are the rest of the value.
    fn end(&mut self, buffer: &mut Buffer, length: usize, keys: &[String]) {
        if self.repeated {
            buffer.framing();
        } else if self.open || self.kinds == Kinds::String {
            self.open(buffer, keys);
            buffer.string_to(length);
            buffer.arguments("\"");
        } else {
            let value = self.kinds.value(&buffer.pending()[..length]);
            buffer.arguments(&before(keys));
            buffer.arguments(&value);
            buffer.value_to(length);
        }
        buffer.framing();
    }

    /// The output ended inside the value: what there is of it is sent.
    fn finish(&mut self, buffer: &mut Buffer, keys: &[String]) {
        match self.closing.take() {
            // Nothing refuted the closing tag.
            Some((length, _)) => self.end(buffer, length, keys),
            None if self.repeated => {}
            None => {
                buffer.skip_all();
                let length = buffer.pending().len();
                // As JSON it must not close the arguments.
                let is_string = self.open
                    || self.kinds.is_string(buffer.pending())
                    || !begins_json(buffer.pending().trim());
                if is_string {
                    self.open(buffer, keys);
                    buffer.string_to(length);
                } else {
                    let value = buffer.pending().trim().to_owned();
                    buffer.arguments(&before(keys));
                    buffer.arguments(&value);
                    buffer.value_to(length);
                }
            }
        }
    }
}

fn before(keys: &[String]) -> String {
    let key = keys.last().map(|key| json_string(key)).unwrap_or_default();
    format!("{}{key}: ", if keys.len() == 1 { "{" } else { ", " })
}

/// Whether the tag before is a closing tag: another tag follows.
fn confirmed(buffer: &mut Buffer, form: &Form, close: &str) -> Match {
    buffer.skip_blanks();
    let rest = buffer.rest();
    let tags = [form.key.0, form.end, close];
    let matches = tags.iter().filter(|tag| !tag.is_empty()).map(|tag| starts_with(rest, tag));
    matches.fold(Match::No, |all, one| match (all, one) {
        (Match::Yes, _) | (_, Match::Yes) => Match::Yes,
        (Match::Maybe, _) | (_, Match::Maybe) => Match::Maybe,
        _ => Match::No,
    })
}

/// Looks over a JSON value, or back to its beginning if it is none. Whether it is decided.
fn read_json(json: &mut Json, buffer: &mut Buffer) -> bool {
    let mut used = 0;
    let mut step = Step::Going;
    for byte in buffer.rest().bytes() {
        step = json.push(byte);
        if matches!(step, Step::Before | Step::Wrong) {
            break;
        }
        used += 1;
        if step == Step::Done {
            break;
        }
    }
    match step {
        Step::Wrong => buffer.back_to(0),
        _ => buffer.skip(used),
    }
    step != Step::Going
}
