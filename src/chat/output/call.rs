//! What the forms of calls have in common.

use super::End;
use super::buffer::{BLANKS, Buffer, Match, starts_with};
use super::json::{Json, Step};

/// Longer names are none.
const MAX_NAME: usize = 512;

/// What became of the text behind a tag that opens a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// More of it is needed.
    More,
    /// It is no call. No event came of it, and the mark is where it was.
    NoCall,
    /// The call is whole; `closed` if its closing tag was read as well.
    Ended { closed: bool },
    /// The call went wrong after it had begun: what follows is text.
    Broken,
}

/// Which names are those of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Those of tools that are offered.
    Offered,
    /// All. A client that gets a call of a tool that it has not offered says so to the model, which
    /// then corrects itself; as text the call would end the turn.
    Any,
}

/// Reads one call: from behind its opening tag, with what precedes it still pending.
pub(super) trait CallReader: std::fmt::Debug + Send + Sync {
    fn read(&mut self, buffer: &mut Buffer) -> Progress;

    /// The output ended here. Never `More`.
    fn finish(&mut self, buffer: &mut Buffer, end: End) -> Progress;
}

impl Names {
    pub(super) fn admit(self, name: &str, buffer: &Buffer) -> bool {
        match self {
            Self::Offered => buffer.tool(name).is_some(),
            Self::Any => !name.is_empty(),
        }
    }
}

/// A name, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Name {
    /// Where it begins behind the mark, once that is known.
    begin: Option<usize>,
}

impl Name {
    /// Reads a name up to what ends it. `Some(None)`: here is none.
    pub(super) fn read(&mut self, buffer: &mut Buffer) -> Option<Option<String>> {
        let begin = *self.begin.get_or_insert(buffer.pending().len());
        let rest = buffer.rest();
        let length = rest.bytes().take_while(|byte| is_of_name(*byte)).count();
        let is_whole = length < rest.len();
        buffer.skip(length);
        let name = &buffer.pending()[begin..];
        if name.len() > MAX_NAME || is_whole && name.is_empty() {
            return Some(None);
        }
        is_whole.then(|| Some(name.to_owned()))
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte)
}

/// Looks over `tag` if it comes next. White space before it is looked over in any case.
pub(super) fn skip_tag(buffer: &mut Buffer, tag: &str) -> Match {
    buffer.skip_blanks();
    // Line breaks that belong to the tag may be among the blanks.
    let found = starts_with(buffer.rest(), tag.trim_start_matches(BLANKS));
    if found == Match::Yes {
        buffer.skip(tag.trim_start_matches(BLANKS).len());
    }
    found
}

/// Hands a JSON object on as it comes. It never stops inside an escape.
#[derive(Debug)]
pub(super) struct Passing {
    json: Json,
}

impl Passing {
    /// `json` may have seen the beginning, which is pending.
    pub(super) fn new(json: Json) -> Self {
        Self { json }
    }

    pub(super) fn json(&self) -> &Json {
        &self.json
    }

    /// Stops behind the bracket that goes back to `depth`, or before what is no JSON; the pending
    /// text is then without a whole escape.
    pub(super) fn read(&mut self, buffer: &mut Buffer, depth: usize) -> Step {
        let before = buffer.pending().len();
        let mut clean = if self.json.in_escape() { 0 } else { before };
        let mut used = 0;
        let mut end = Step::Going;
        for byte in buffer.rest().bytes() {
            end = self.json.push(byte);
            if matches!(end, Step::Wrong | Step::Before) {
                break;
            }
            used += 1;
            if !self.json.in_escape() {
                clean = before + used;
            }
            if byte == b'}' && self.json.depth() == depth && !self.json.in_string() {
                end = Step::Done;
                break;
            }
        }
        buffer.skip(used);
        buffer.arguments_to(clean);
        end
    }
}
