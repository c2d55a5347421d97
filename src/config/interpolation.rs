//! Docker Compose's interpolation of variables in values.
//!
//! `$NAME` and `${NAME}` stand for a variable, `${NAME:-default}` for a default where it is unset or
//! empty, `${NAME:+other}` for another value where it is neither, `${NAME:?message}` for an error
//! where it is unset or empty; without the colon an empty variable counts as set. Defaults, other
//! values and messages may hold variables again. `$$` is a dollar sign.

/// `${A:-${B:-..}}` that are read inside each other at most.
const MAX_DEPTH: usize = 20;

/// Values of variables by their names, and the names that a text asked for.
pub(crate) struct Variables<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    /// All names.
    pub(crate) named: Vec<String>,
    /// Those that have no value and counted as empty, each once.
    pub(crate) unset: Vec<String>,
}

impl<'a> Variables<'a> {
    pub(crate) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, named: Vec::new(), unset: Vec::new() }
    }

    /// The text with values in place of variables; an error is what is wrong with it.
    pub(crate) fn interpolate(&mut self, text: &str) -> Result<String, String> {
        self.interpolate_at(text, 0)
    }

    fn interpolate_at(&mut self, text: &str, depth: usize) -> Result<String, String> {
        if depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} variables stand inside each other"));
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some(body) = after.strip_prefix('{') {
                let end = closing_brace(body)
                    .ok_or_else(|| "the brace of a `${` is not closed".to_owned())?;
                out.push_str(&self.braced(&body[..end], depth)?);
                rest = &body[end + 1..];
            } else {
                let (name, after) = split_name(after);
                if name.is_empty() {
                    return Err(no_variable());
                }
                out.push_str(&self.value_or_empty(name));
                rest = after;
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    /// The value of what stands between braces.
    fn braced(&mut self, body: &str, depth: usize) -> Result<String, String> {
        let (name, rest) = split_name(body);
        if name.is_empty() {
            return Err(no_variable());
        }
        if rest.is_empty() {
            return Ok(self.value_or_empty(name));
        }
        let (is_empty_unset, rest) = match rest.strip_prefix(':') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let value = self.value(name).filter(|value| !(is_empty_unset && value.is_empty()));
        let mut chars = rest.chars();
        let operator = chars.next();
        let word = chars.as_str();
        match (operator, value) {
            (Some('-'), Some(value)) | (Some('?'), Some(value)) => Ok(value),
            (Some('-'), None) | (Some('+'), Some(_)) => self.interpolate_at(word, depth + 1),
            (Some('+'), None) => Ok(String::new()),
            (Some('?'), None) => {
                let message = self.interpolate_at(word, depth + 1)?;
                let colon = if message.is_empty() { "" } else { ": " };
                Err(format!("the variable {name} is required and has no value{colon}{message}"))
            }
            _ => Err(no_variable()),
        }
    }

    fn value(&mut self, name: &str) -> Option<String> {
        self.named.push(name.to_owned());
        (self.lookup)(name)
    }

    fn value_or_empty(&mut self, name: &str) -> String {
        self.value(name).unwrap_or_else(|| {
            if !self.unset.iter().any(|unset| unset == name) {
                self.unset.push(name.to_owned());
            }
            String::new()
        })
    }
}

/// The text itself may be a key, and is not shown.
fn no_variable() -> String {
    "a `$` that names no variable; write `$$` for a dollar sign".to_owned()
}

/// The name that a text begins with, and what follows it.
fn split_name(text: &str) -> (&str, &str) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    match text.chars().next() {
        Some(first) if first.is_ascii_digit() => ("", text),
        _ => text.split_at(end),
    }
}

/// Where the brace ends that was opened right before the text.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 1_usize;
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        match (previous, c) {
            ('$', '{') => open += 1,
            (_, '}') => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
        // `$$` is a dollar sign, behind which no variable begins.
        previous = if (previous, c) == ('$', '$') { ' ' } else { c };
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (Result<String, String>, Vec<String>) {
        let lookup = |name: &str| match name {
            "M" => Some("tiny".to_owned()),
            "N" => Some("q8".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let mut variables = Variables::new(&lookup);
        let read = variables.interpolate(text);
        (read, variables.unset)
    }

    #[test]
    fn composes_forms_are_read() {
        for (text, value) in [
            ("plain", "plain"),
            ("${M}.gguf", "tiny.gguf"),
            ("$M.gguf", "tiny.gguf"),
            ("$M-$N", "tiny-q8"),
            ("$$M ${M}$$", "$M tiny$"),
            ("${NO:-default}", "default"),
            ("${NO-default}", "default"),
            ("${M:-default}", "tiny"),
            ("${EMPTY:-default}", "default"),
            ("${EMPTY-default}", ""),
            ("${NO:-}", ""),
            ("${M:+other}", "other"),
            ("${NO:+other}", ""),
            ("${EMPTY:+other}", ""),
            ("${EMPTY+other}", "other"),
            ("${M:?message}", "tiny"),
            ("${EMPTY?message}", ""),
            ("${NO:-${M:-x}-${N}}", "tiny-q8"),
            ("${NO:-a b: c}", "a b: c"),
            ("${NO:-$$}", "$"),
            ("{M} }", "{M} }"),
        ] {
            assert_eq!(read(text), (Ok(value.to_owned()), Vec::new()), "{text}");
        }
    }

    #[test]
    fn a_variable_that_is_not_set_is_empty_and_named_once() {
        let (value, unset) = read("a${NO}b$NO-$OTHER");
        assert_eq!((value.unwrap().as_str(), unset), ("ab-", vec!["NO".into(), "OTHER".into()]));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let required = "the variable NO is required and has no value";
        for (text, problem) in [
            ("${NO:?set it to tiny}", format!("{required}: set it to tiny")),
            ("${NO?${M}}", format!("{required}: tiny")),
            ("${EMPTY:?}", "the variable EMPTY is required and has no value".to_owned()),
            ("${M", "the brace of a `${` is not closed".to_owned()),
            ("5 $", no_variable()),
            ("$5", no_variable()),
            ("${M!}", no_variable()),
            ("${M:x}", no_variable()),
            ("${}", no_variable()),
        ] {
            assert_eq!(read(text).0, Err(problem), "{text}");
        }
        let deep = format!("{}{}", "${A:-".repeat(5000), "}".repeat(5000));
        assert!(read(&deep).0.unwrap_err().contains("inside each other"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_fail_other_than_by_an_error(text in "[${}:?+a-zA-Z-]*|.*") {
            let _ = read(&text);
        }

        #[test]
        fn a_dollar_sign_that_is_written_twice_stands_for_itself(text in any::<String>()) {
            let (value, unset) = read(&text.replace('$', "$$"));
            prop_assert_eq!((value, unset), (Ok(text), Vec::new()));
        }
    }
}
