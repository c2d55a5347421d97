//! A template's source as minijinja reads it: what Jinja2 does before parsing, and the syntax of
//! Python's that minijinja lacks.

/// `source` in minijinja's dialect: line breaks are `\n`, `{% generation %}` blocks always true,
/// escapes of strings Python's, and `'..' % x` the filter `percent`.
pub(super) fn translated(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    Translator { rest: &without_generation_tags(&source), out: String::new(), depth: 0 }.run()
}

/// transformers' `{% generation %}` marks the assistant's part for training. It renders what is
/// inside, as a block that is always true does, which also strips the same white space.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        // `{%}` is no tag: its end is not its beginning's.
        let replaced = tag[2..].find("%}").and_then(|length| {
            let inside = &tag[2..2 + length];
            let open = inside.len() - inside.trim_start_matches(['-', '+']).len();
            let word = &inside[open..];
            let close = word.len() - word.trim_end_matches(['-', '+']).len();
            let block = match word[..word.len() - close].trim() {
                "generation" => "if true",
                "endgeneration" => "endif",
                _ => return None,
            };
            let (open, close) = (&inside[..open], &word[word.len() - close..]);
            Some((format!("{{%{open} {block} {close}%}}"), 2 + length + 2))
        });
        match replaced {
            Some((block, length)) => {
                out.push_str(&block);
                rest = &tag[length..];
            }
            None => {
                out.push_str("{%");
                rest = &tag[2..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// Operands of `%` inside each other; deeper ones are left as they are.
const MAX_DEPTH: usize = 16;

/// Walks over text, comments and blocks; only inside of blocks is anything changed.
struct Translator<'a> {
    rest: &'a str,
    out: String,
    depth: usize,
}

impl Translator<'_> {
    fn run(mut self) -> String {
        while let Some(at) = self.rest.find('{') {
            self.copy(at);
            let close = match self.rest.as_bytes().get(1) {
                Some(b'#') => {
                    let end = self.rest.find("#}").map_or(self.rest.len(), |end| end + 2);
                    self.copy(end);
                    continue;
                }
                Some(b'%') => "%}",
                Some(b'{') => "}}",
                _ => {
                    self.copy(1);
                    continue;
                }
            };
            let is_raw = close == "%}" && tag_word(&self.rest[2..]) == "raw";
            self.copy(2);
            self.code(Some(close));
            if is_raw {
                self.raw();
            }
        }
        self.copy(self.rest.len());
        self.out
    }

    fn copy(&mut self, length: usize) {
        let (head, rest) = self.rest.split_at(length);
        self.out.push_str(head);
        self.rest = rest;
    }

    /// Copies up to the tag that ends a raw block.
    fn raw(&mut self) {
        while let Some(at) = self.rest.find("{%") {
            self.copy(at + 2);
            if tag_word(self.rest) == "endraw" {
                return;
            }
        }
        self.copy(self.rest.len());
    }

    /// Translates code up to and with `close`, or, without it, all that is left.
    fn code(&mut self, close: Option<&str>) {
        let mut depth = 0_usize;
        while let Some(c) = self.rest.chars().next() {
            if depth == 0 && close.is_some_and(|close| self.rest.starts_with(close)) {
                self.copy(2);
                return;
            }
            match c {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                '\'' | '"' => {
                    self.string(c);
                    self.percent(close);
                    continue;
                }
                _ => {}
            }
            self.copy(c.len_utf8());
        }
    }

    /// A string's escapes. Python keeps the backslash of one that it does not know.
    fn string(&mut self, quote: char) {
        let length = string_length(self.rest, quote);
        let (literal, rest) = self.rest.split_at(length);
        self.rest = rest;
        let mut chars = literal.chars();
        while let Some(c) = chars.next() {
            if c != '\\' {
                self.out.push(c);
                continue;
            }
            let hex = |digits: usize| {
                let digits = chars.as_str().get(1..=digits)?;
                let code = u32::from_str_radix(digits, 16).ok()?;
                Some((char::from_u32(code)?, digits.len()))
            };
            match chars.as_str().chars().next() {
                Some('U') if let Some((c, digits)) = hex(8) => {
                    match c {
                        '\\' | '\'' | '"' => self.out.extend(['\\', c]),
                        c => self.out.push(c),
                    }
                    chars = chars.as_str()[1 + digits..].chars();
                    continue;
                }
                Some('a') => self.out.push('\u{7}'),
                Some('v') => self.out.push('\u{b}'),
                Some('\n') => {}
                Some(
                    c @ ('\'' | '"' | '\\' | 'b' | 'f' | 'n' | 'r' | 't' | 'u' | 'x' | '0'..='7'),
                ) => {
                    self.out.extend(['\\', c]);
                }
                Some(c) => self.out.extend(['\\', '\\', c]),
                None => self.out.push('\\'),
            }
            chars.next();
        }
    }

    /// `% x` behind a string literal becomes `|percent(x)`, which binds as tightly; a second one
    /// formats the result.
    fn percent(&mut self, close: Option<&str>) {
        loop {
            let operator = self.rest.trim_start();
            let is_close = close.is_some_and(|close| operator.starts_with(close));
            if !operator.starts_with('%') || is_close || self.depth == MAX_DEPTH {
                return;
            }
            let operand = operator[1..].trim_start();
            let length = operand_length(operand);
            if length == 0 {
                return;
            }
            let depth = self.depth + 1;
            let inside = Translator { rest: &operand[..length], out: String::new(), depth };
            self.out.push_str("|percent(");
            self.out.push_str(&inside.all_code());
            self.out.push(')');
            self.rest = &operand[length..];
        }
    }

    fn all_code(mut self) -> String {
        self.code(None);
        self.out
    }
}

/// The first word of a tag whose `{%` was read.
fn tag_word(tag: &str) -> &str {
    let word = tag.trim_start_matches(['-', '+']).trim_start();
    &word[..word.find(|c: char| !c.is_alphanumeric()).unwrap_or(word.len())]
}

/// Bytes of the string literal at the start of `text`.
fn string_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Bytes of the operand at the start of `text`: a literal, a name or a bracket, with what is
/// called, taken or filtered of it.
fn operand_length(text: &str) -> usize {
    let word =
        |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let mut at = text.len() - text.trim_start_matches(['-', '+']).len();
    at += match text[at..].chars().next() {
        Some(quote @ ('\'' | '"')) => string_length(&text[at..], quote),
        Some('(' | '[' | '{') => bracket_length(&text[at..]),
        _ => word(&text[at..]),
    };
    loop {
        let rest = text[at..].trim_start();
        let begin = text.len() - rest.len();
        let step = match rest.chars().next() {
            Some('(' | '[') => bracket_length(rest),
            Some('.' | '|') => {
                let name = rest[1..].trim_start();
                rest.len() - name.len() + word(name)
            }
            _ => 0,
        };
        if step == 0 {
            return at;
        }
        at = begin + step;
    }
}

/// Bytes of the bracketed code at the start of `text`.
fn bracket_length(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(c) = text[at..].chars().next() {
        match c {
            '\'' | '"' => {
                at += string_length(&text[at..], c);
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += c.len_utf8();
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_tags_become_blocks_that_strip_the_same_space() {
        let source = "a {%- generation -%} b {% endgeneration %}{% if generation %}{% endif %}";
        assert_eq!(
            without_generation_tags(source),
            "a {%- if true -%} b {% endif %}{% if generation %}{% endif %}"
        );
        for odd in ["{%}", "{%-%}", "{%", "{%}{% generatio %}", "%}{%"] {
            assert_eq!(without_generation_tags(odd), odd);
        }
    }

    #[test]
    fn only_code_is_translated() {
        for (source, expected) in [
            ("a\r\nb\rc", "a\nb\nc"),
            (r"{{ 'a\/b' }} 'a\/b'", r"{{ 'a\\/b' }} 'a\/b'"),
            (r"{{ '\U0001F600\n\'' }}", "{{ '\u{1f600}\\n\\'' }}"),
            (
                r"{# '\/' #}{% raw %}{{ '\/' }}{% endraw %}",
                r"{# '\/' #}{% raw %}{{ '\/' }}{% endraw %}",
            ),
            ("{{ '%s' % x }}", "{{ '%s'|percent(x) }}"),
            (
                "{{ '%s %s' % (a, '%d' % 5) ~ b }}",
                "{{ '%s %s'|percent((a, '%d'|percent(5))) ~ b }}",
            ),
            ("{{ '%s' % a.b['c'] | upper + 'x' }}", "{{ '%s'|percent(a.b['c'] | upper) + 'x' }}"),
            (
                "{% if x == 'a' %}b{% endif %}{{ 'a' }}% x",
                "{% if x == 'a' %}b{% endif %}{{ 'a' }}% x",
            ),
            ("{{ {'a': {'b': '}}'}}['a'] }}", "{{ {'a': {'b': '}}'}}['a'] }}"),
            ("{{ 5 % 3 }}{{ 'a", "{{ 5 % 3 }}{{ 'a"),
        ] {
            assert_eq!(translated(source), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_translated(source in "[{}%#'\"a\\\\ (\\[|.\\rUé]{0,60}") {
            let _ = translated(&source);
        }
    }
}
