//! Tokens' bytes to text: stateful UTF-8 and stop strings across token borders.

use std::collections::VecDeque;

/// Assembles the text of one sequence. Bytes go in per token; whole characters that cannot be
/// part of a stop string come out.
#[derive(Debug)]
pub struct TextAssembler<T> {
    stops: Vec<String>,
    /// Bytes of a character that later tokens complete.
    partial: Vec<u8>,
    /// Text that may still turn out to be the beginning of a stop string.
    held: String,
    /// Bytes of text that have been released.
    released: usize,
    /// Tokens whose text is held back, with the text offsets where they begin and end.
    tokens: VecDeque<(T, usize, usize)>,
}

/// What one token made available.
#[derive(Debug, PartialEq, Eq)]
pub struct Assembled<T> {
    /// Text to emit.
    pub text: String,
    /// The tokens whose text is complete with it.
    pub tokens: Vec<T>,
    /// The stop string that was found; nothing may follow.
    pub stop: Option<String>,
}

impl<T> TextAssembler<T> {
    /// `stops` must not contain empty strings.
    pub fn new(stops: Vec<String>) -> Self {
        Self {
            stops,
            partial: Vec::new(),
            held: String::new(),
            released: 0,
            tokens: VecDeque::new(),
        }
    }

    /// Adds one token with its bytes.
    pub fn push(&mut self, token: T, piece: &[u8]) -> Assembled<T> {
        let begin = self.decoded();
        let searched = self.held.len();
        self.decode(piece);
        // A token that ends inside a character is complete when that character is.
        let end = self.decoded() + usize::from(!self.partial.is_empty());
        self.tokens.push_back((token, begin, end));
        if let Some((at, stop)) = self.find_stop(searched) {
            return self.stopped(at, stop);
        }
        let keep = self.longest_stop_prefix();
        let text = self.release(self.held.len() - keep);
        Assembled { text, tokens: self.complete_tokens(), stop: None }
    }

    /// The end of generation: what was held back can no longer become a stop string. A character
    /// that was never completed comes out as one U+FFFD, as llama-server gives it: it was
    /// generated and counted.
    pub fn finish(&mut self) -> Assembled<T> {
        if !std::mem::take(&mut self.partial).is_empty() {
            let searched = self.held.len();
            self.held.push(char::REPLACEMENT_CHARACTER);
            if let Some((at, stop)) = self.find_stop(searched) {
                return self.stopped(at, stop);
            }
        }
        let text = self.release(self.held.len());
        let tokens = self.tokens.drain(..).map(|t| t.0).collect();
        Assembled { text, tokens, stop: None }
    }

    /// The text ends at `at` in the held text, where a stop string begins.
    fn stopped(&mut self, at: usize, stop: String) -> Assembled<T> {
        let cut = self.released + at;
        self.held.truncate(at);
        let text = self.release(at);
        let tokens = self.tokens.drain(..).filter(|t| t.1 < cut).map(|t| t.0).collect();
        Assembled { text, tokens, stop: Some(stop) }
    }

    fn decoded(&self) -> usize {
        self.released + self.held.len()
    }

    fn decode(&mut self, piece: &[u8]) {
        if self.partial.is_empty()
            && let Ok(text) = std::str::from_utf8(piece)
        {
            self.held.push_str(text);
            return;
        }
        self.partial.extend_from_slice(piece);
        let mut rest = self.partial.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.held.push_str(text);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    // Checked just above; a lossy conversion of valid text is exact.
                    self.held.push_str(&String::from_utf8_lossy(valid));
                    match error.error_len() {
                        Some(invalid) => {
                            self.held.push(char::REPLACEMENT_CHARACTER);
                            rest = &after[invalid..];
                        }
                        None => {
                            rest = after;
                            break;
                        }
                    }
                }
            }
        }
        self.partial = rest.to_vec();
    }

    /// The earliest stop string in the held text; the first `searched` bytes were searched
    /// before, so a match must end after them.
    fn find_stop(&self, searched: usize) -> Option<(usize, String)> {
        self.stops
            .iter()
            .filter_map(|stop| {
                let mut from = (searched + 1).saturating_sub(stop.len());
                while !self.held.is_char_boundary(from) {
                    from -= 1;
                }
                self.held[from..].find(stop.as_str()).map(|at| (from + at, stop))
            })
            .min_by_key(|(at, stop)| (*at, std::cmp::Reverse(stop.len())))
            .map(|(at, stop)| (at, stop.clone()))
    }

    /// Bytes at the end of the held text that are the beginning of some stop string.
    fn longest_stop_prefix(&self) -> usize {
        let longest = |stop: &String| {
            let most = self.held.len().min(stop.len() - 1);
            (1..=most)
                .rev()
                .find(|&n| self.held.as_bytes().ends_with(&stop.as_bytes()[..n]))
                .unwrap_or(0)
        };
        // A prefix of a stop string may end inside one of its characters, but then the held
        // text, being whole characters, cannot end with it: `keep` is a character boundary.
        self.stops.iter().map(longest).max().unwrap_or(0)
    }

    fn release(&mut self, bytes: usize) -> String {
        let rest = self.held.split_off(bytes);
        self.released += bytes;
        std::mem::replace(&mut self.held, rest)
    }

    fn complete_tokens(&mut self) -> Vec<T> {
        let complete = self.tokens.iter().take_while(|t| t.2 <= self.released).count();
        self.tokens.drain(..complete).map(|t| t.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(stops: &[&str], pieces: &[&[u8]]) -> (String, Vec<usize>, Option<String>) {
        let mut assembler = TextAssembler::new(stops.iter().map(|s| s.to_string()).collect());
        let (mut text, mut tokens) = (String::new(), Vec::new());
        for (i, piece) in pieces.iter().enumerate() {
            let out = assembler.push(i, piece);
            text += &out.text;
            tokens.extend(out.tokens);
            if out.stop.is_some() {
                return (text, tokens, out.stop);
            }
        }
        let out = assembler.finish();
        text += &out.text;
        tokens.extend(out.tokens);
        (text, tokens, out.stop)
    }

    #[test]
    fn a_character_split_over_tokens_comes_out_whole() {
        let emoji = "🦀".as_bytes();
        assert_eq!(
            run(&[], &[b"a", &emoji[..1], &emoji[1..3], &emoji[3..], b"b"]),
            ("a🦀b".to_owned(), vec![0, 1, 2, 3, 4], None)
        );
    }

    #[test]
    fn invalid_bytes_become_one_replacement_each() {
        assert_eq!(run(&[], &[b"a\xff", b"b"]).0, "a\u{fffd}b");
    }

    #[test]
    fn a_character_that_is_never_completed_comes_out_as_one_replacement() {
        let want = ("a\u{fffd}".to_owned(), vec![0, 1, 2], None);
        assert_eq!(run(&[], &[b"a", b"\xf0\x9f", b"\xa6"]), want);
    }

    #[test]
    fn a_stop_string_of_a_replacement_is_found_at_the_end_too() {
        let want = ("b".to_owned(), vec![0], Some("\u{fffd}".to_owned()));
        assert_eq!(run(&["\u{fffd}"], &[b"b", b"\xd8"]), want);
        assert_eq!(run(&["\u{fffd}"], &[b"b", b"\xff"]), want);
    }

    #[test]
    fn a_stop_string_across_tokens_is_never_emitted_in_part() {
        let (text, tokens, stop) = run(&["END"], &[b"one E", b"N", b"D two"]);
        assert_eq!((text.as_str(), stop.as_deref()), ("one ", Some("END")));
        assert_eq!(tokens, vec![0]);
    }

    #[test]
    fn text_that_only_began_like_a_stop_string_is_emitted() {
        assert_eq!(run(&["END"], &[b"E", b"N", b"E", b"N", b"X"]).0, "ENENX");
        assert_eq!(run(&["END"], &[b"the EN"]).0, "the EN");
    }

    #[test]
    fn the_earliest_of_several_stop_strings_counts() {
        assert_eq!(run(&["c", "bc"], &[b"abcd"]), ("a".to_owned(), vec![0], Some("bc".to_owned())));
    }

    proptest! {
        #[test]
        fn any_split_of_a_text_gives_the_text(
            text in "\\PC{0,40}",
            cuts in proptest::collection::vec(0usize..200, 0..10),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().filter(|&c| c <= bytes.len()).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(run(&[], &pieces).0, text);
        }

        #[test]
        fn whatever_the_split_text_before_the_first_stop_string_comes_out(
            text in "[ab🦀é]{0,30}",
            stop in "[ab🦀é]{1,4}",
            cuts in proptest::collection::vec(0usize..100, 0..10),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().filter(|&c| c <= bytes.len()).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            let want = text.split(stop.as_str()).next().unwrap_or_default();
            prop_assert_eq!(run(&[&stop], &pieces).0, want);
        }
    }
}
