//! Calls as a name, a mark and the arguments as JSON, as Kimi and DeepSeek write them.

use super::End;
use super::buffer::{Buffer, Match, starts_with};
use super::call::{CallReader, Name, Names, Passing, Progress, skip_tag};
use super::json::{Json, Step};

/// How the name is marked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    /// May precede the name.
    pub(super) prefix: &'static str,
    /// The mark behind it.
    pub(super) until: &'static str,
    /// The name may end with `:` and the call's number.
    pub(super) index: bool,
}

/// The reader of such a call.
#[derive(Debug)]
pub(super) struct Named {
    form: Form,
    names: Names,
    state: State,
}

#[derive(Debug)]
enum State {
    Prefix,
    Name(Name),
    Mark {
        name: String,
    },
    /// Blanks may precede the arguments, which are an object.
    Begin {
        name: String,
    },
    Arguments(Passing),
}

impl Named {
    pub(super) fn new(form: Form, names: Names) -> Self {
        Self { form, names, state: State::Prefix }
    }

    /// The name without the number behind it.
    fn plain<'a>(&self, name: &'a str) -> &'a str {
        match name.rsplit_once(':') {
            Some((before, number))
                if self.form.index && number.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                before
            }
            _ => name,
        }
    }
}

impl CallReader for Named {
    fn read(&mut self, buffer: &mut Buffer) -> Progress {
        loop {
            match &mut self.state {
                State::Prefix => {
                    buffer.skip_blanks();
                    match starts_with(buffer.rest(), self.form.prefix) {
                        _ if buffer.rest().is_empty() => return Progress::More,
                        Match::Maybe => return Progress::More,
                        Match::Yes => buffer.skip(self.form.prefix.len()),
                        _ => {}
                    }
                    self.state = State::Name(Name::default());
                }
                State::Name(name) => match name.read(buffer) {
                    None => return Progress::More,
                    Some(None) => return Progress::NoCall,
                    Some(Some(name)) => {
                        let name = self.plain(&name).to_owned();
                        if !self.names.admit(&name, buffer) {
                            return Progress::NoCall;
                        }
                        self.state = State::Mark { name };
                    }
                },
                State::Mark { name } => match skip_tag(buffer, self.form.until) {
                    Match::Maybe => return Progress::More,
                    Match::No => return Progress::NoCall,
                    Match::Yes => self.state = State::Begin { name: std::mem::take(name) },
                },
                State::Begin { name } => {
                    buffer.skip_blanks();
                    match buffer.rest().bytes().next() {
                        None => return Progress::More,
                        Some(b'{') => {}
                        Some(_) => return Progress::NoCall,
                    }
                    buffer.framing();
                    buffer.call(name);
                    self.state = State::Arguments(Passing::new(Json::new()));
                }
                State::Arguments(passing) => match passing.read(buffer, 0) {
                    Step::Going => return Progress::More,
                    Step::Done => {
                        buffer.end();
                        return Progress::Ended { closed: false };
                    }
                    Step::Wrong | Step::Before => {
                        buffer.cut();
                        return Progress::Broken;
                    }
                },
            }
        }
    }

    fn finish(&mut self, buffer: &mut Buffer, _: End) -> Progress {
        match &self.state {
            State::Prefix | State::Name(_) => return Progress::NoCall,
            State::Mark { name } | State::Begin { name } => {
                buffer.skip_all();
                buffer.framing();
                buffer.call(name);
            }
            State::Arguments(_) => buffer.framing(),
        }
        buffer.cut();
        Progress::Broken
    }
}
