//! Calls as a JSON object that holds the name and the arguments, as Hermes models write them.

use std::ops::Range;

use super::End;
use super::buffer::Buffer;
use super::call::{CallReader, Names, Passing, Progress};
use super::json::{Json, Step, is_blank, is_object};

/// The reader of such a call.
#[derive(Debug)]
pub(super) struct Object {
    keys: Keys,
    names: Names,
    state: State,
}

/// The keys of the two members.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys {
    pub(super) name: &'static str,
    pub(super) arguments: &'static [&'static str],
}

#[derive(Debug)]
enum State {
    /// Before the arguments are sent. All is pending; places count from the mark.
    Find(Find),
    /// In the arguments.
    Arguments(Passing),
    /// Behind the arguments: what remains of the object.
    Rest(Json),
}

#[derive(Debug)]
struct Find {
    json: Json,
    key: Range<usize>,
    /// The value that is being read, and where it begins.
    value: Option<(Part, usize)>,
    name: Option<String>,
    /// Arguments that came before the name.
    arguments: Option<Arguments>,
    /// There are members that no call has.
    others: bool,
    /// The name is not there, and only texts that say what the object is may precede it.
    is_short: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Name,
    Arguments,
    Other,
}

#[derive(Debug)]
enum Arguments {
    /// As they stand.
    There(Range<usize>),
    /// From a string, or none.
    Text(String),
}

impl Object {
    /// `is_open`: the opening tag ends with the object's brace. `is_short`: the brace was all of
    /// it, and nothing but a type and an id may precede the name, so that other objects are not held
    /// back.
    pub(super) fn new(keys: Keys, names: Names, is_open: bool, is_short: bool) -> Self {
        let mut json = Json::new();
        if is_open {
            json.push(b'{');
        }
        let find = Find {
            json,
            is_short,
            key: 0..0,
            value: None,
            name: None,
            arguments: None,
            others: false,
        };
        Self { keys, names, state: State::Find(find) }
    }
}

impl CallReader for Object {
    fn read(&mut self, buffer: &mut Buffer) -> Progress {
        loop {
            match &mut self.state {
                State::Find(find) => match find.read(buffer, self.keys, self.names) {
                    Ok(next) => self.state = next,
                    Err(progress) => return progress,
                },
                State::Arguments(passing) => match passing.read(buffer, 1) {
                    Step::Going => return Progress::More,
                    Step::Done => self.state = State::Rest(passing.json().clone()),
                    Step::Wrong | Step::Before => {
                        buffer.cut();
                        return Progress::Broken;
                    }
                },
                State::Rest(json) => {
                    let mut used = 0;
                    let mut end = Step::Going;
                    for byte in buffer.rest().bytes() {
                        end = json.push(byte);
                        used += usize::from(end != Step::Wrong);
                        if end != Step::Going {
                            break;
                        }
                    }
                    buffer.skip(used);
                    buffer.framing();
                    if end == Step::Going {
                        return Progress::More;
                    }
                    // The arguments are whole, whatever is wrong behind them.
                    buffer.end();
                    return Progress::Ended { closed: false };
                }
            }
        }
    }

    fn finish(&mut self, buffer: &mut Buffer, _: End) -> Progress {
        match &self.state {
            State::Find(Find { name: Some(name), .. }) => {
                buffer.skip_all();
                buffer.framing();
                buffer.call(name);
                buffer.cut();
                Progress::Broken
            }
            State::Find(_) => Progress::NoCall,
            State::Arguments(_) => {
                buffer.framing();
                buffer.cut();
                Progress::Broken
            }
            State::Rest(_) => {
                buffer.end();
                Progress::Ended { closed: false }
            }
        }
    }
}

impl Find {
    /// What comes next, or how the call ends here.
    fn read(&mut self, buffer: &mut Buffer, keys: Keys, names: Names) -> Result<State, Progress> {
        let begin = buffer.pending().len();
        let mut at = begin;
        let mut result = Err(Progress::More);
        let mut is_done = false;
        while let Some(&byte) = buffer.unsettled().as_bytes().get(at) {
            let depth = self.json.depth();
            let key_next = depth == 1 && self.json.expects_key();
            let value_next = depth == 1 && self.json.expects_value();
            if depth == 0 && byte != b'{' && !is_blank(byte) {
                return Err(Progress::NoCall);
            }
            let step = self.json.push(byte);
            if matches!(step, Step::Wrong | Step::Before) {
                return Err(Progress::NoCall);
            }
            at += 1;
            if key_next && byte == b'"' {
                self.key = at..at;
            } else if depth == 1 && self.key.is_empty() && self.json.is_behind_key() {
                self.key.end = at - 1;
            } else if value_next && !is_blank(byte) {
                let part = self.part(buffer, keys);
                let key = &buffer.unsettled()[self.key.clone()];
                if self.is_short {
                    let is_known = part == Part::Name || key == "type" || key == "id";
                    if !is_known || byte != b'"' {
                        return Err(Progress::NoCall);
                    }
                    self.is_short = part != Part::Name;
                }
                self.value = Some((part, at - 1));
                self.others |= match part {
                    Part::Name => byte != b'"',
                    Part::Arguments => !matches!(byte, b'{' | b'"' | b'n'),
                    Part::Other => key != "type" && key != "id",
                };
                if part == Part::Arguments && byte == b'{' && self.name.is_some() {
                    result = Ok(());
                    break;
                }
            }
            if self.json.depth() == 1
                && self.json.is_behind_value()
                && let Some((part, begin)) = self.value.take()
            {
                self.member(buffer, part, begin..at);
                if self.name.as_ref().is_some_and(|name| !names.admit(name, buffer)) {
                    return Err(Progress::NoCall);
                }
                if self.name.is_some() && self.arguments.is_some() {
                    result = Ok(());
                    break;
                }
            }
            if step == Step::Done {
                if self.name.is_none() || self.others {
                    return Err(Progress::NoCall);
                }
                self.arguments = Some(Arguments::Text("{}".to_owned()));
                is_done = true;
                result = Ok(());
                break;
            }
        }
        buffer.skip(at - begin);
        result?;
        let next = self.begin(buffer);
        if is_done {
            buffer.end();
            return Err(Progress::Ended { closed: false });
        }
        Ok(next)
    }

    fn part(&self, buffer: &Buffer, keys: Keys) -> Part {
        let key = &buffer.unsettled()[self.key.clone()];
        if key == keys.name && self.name.is_none() {
            Part::Name
        } else if keys.arguments.contains(&key) && self.arguments.is_none() {
            Part::Arguments
        } else {
            Part::Other
        }
    }

    /// A member whose value lies at `place` is whole.
    fn member(&mut self, buffer: &Buffer, part: Part, place: Range<usize>) {
        let value = &buffer.unsettled()[place.clone()];
        match part {
            Part::Name => self.name = serde_json::from_str(value).ok(),
            Part::Arguments if value.starts_with('{') => {
                self.arguments = Some(Arguments::There(place));
            }
            Part::Arguments if value == "null" => {
                self.arguments = Some(Arguments::Text("{}".to_owned()));
            }
            Part::Arguments => {
                // Some models write the object once more as a string.
                let text = serde_json::from_str::<String>(value).ok();
                self.arguments = text.filter(|text| is_object(text)).map(Arguments::Text);
                self.others |= self.arguments.is_none();
            }
            Part::Other => {}
        }
    }

    /// The call begins, with the arguments so far.
    fn begin(&mut self, buffer: &mut Buffer) -> State {
        let json = self.json.clone();
        let name = self.name.take().unwrap_or_default();
        match (self.arguments.take(), self.value) {
            (Some(Arguments::There(place)), _) => {
                buffer.framing_to(place.start);
                buffer.call(&name);
                buffer.arguments_to(place.len());
                buffer.framing();
                State::Rest(json)
            }
            (Some(Arguments::Text(text)), _) => {
                buffer.framing();
                buffer.call(&name);
                buffer.arguments(&text);
                State::Rest(json)
            }
            (None, value) => {
                buffer.framing_to(value.map_or(0, |(_, begin)| begin));
                buffer.call(&name);
                State::Arguments(Passing::new(json))
            }
        }
    }
}
