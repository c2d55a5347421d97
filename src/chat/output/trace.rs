//! For tests: what became of each byte of an output.

/// The pieces of an output in their order, and how much work they were.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) pieces: Vec<(Kind, String)>,
    /// Bytes looked at, those that were looked at again counted again.
    pub(super) steps: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Reasoning,
    /// Arguments byte for byte.
    Arguments,
    /// A value that is written otherwise in the arguments.
    Value,
    Framing,
}

impl Trace {
    fn add(&mut self, kind: Kind, text: &str) {
        match self.pieces.last_mut() {
            _ if text.is_empty() => {}
            Some((last, all)) if *last == kind => all.push_str(text),
            _ => self.pieces.push((kind, text.to_owned())),
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        self.add(Kind::Text, text);
    }

    pub(super) fn reasoning(&mut self, text: &str) {
        self.add(Kind::Reasoning, text);
    }

    pub(super) fn arguments(&mut self, text: &str) {
        self.add(Kind::Arguments, text);
    }

    pub(super) fn value(&mut self, text: &str) {
        self.add(Kind::Value, text);
    }

    pub(super) fn framing(&mut self, text: &str) {
        self.add(Kind::Framing, text);
    }
}
