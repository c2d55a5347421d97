//! Streams in both directions: tokens' bytes to text with stop strings, and server-sent events
//! as the benchmark reads them.
//!
//! The first byte chooses. For text, what follows is parted by 0xFE: first the stop strings, each
//! ended by 0xFD, then the pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use strixhalo::cli::bench::sse::{Event, Line, parse_line};
use strixhalo::engine::TextAssembler;

fuzz_target!(|data: &[u8]| {
    let Some((&which, rest)) = data.split_first() else { return };
    if which % 4 == 0 { events(rest) } else { text(rest) }
});

fn text(data: &[u8]) {
    let mut parts = data.split(|&byte| byte == 0xfe);
    let stops: Vec<String> = parts
        .next()
        .unwrap_or_default()
        .split(|&byte| byte == 0xfd)
        .map(|stop| String::from_utf8_lossy(stop).into_owned())
        .filter(|stop| !stop.is_empty())
        .take(64)
        .collect();
    let pieces: Vec<&[u8]> = parts.collect();
    let whole = String::from_utf8_lossy(&pieces.concat()).into_owned();

    let mut assembler = TextAssembler::new(stops.clone());
    let (mut text, mut tokens, mut found) = (String::new(), Vec::new(), None);
    for (i, piece) in pieces.iter().enumerate() {
        let out = assembler.push(i, piece);
        text.push_str(&out.text);
        tokens.extend(out.tokens);
        if out.stop.is_some() {
            found = out.stop;
            break;
        }
    }
    if found.is_none() {
        let out = assembler.finish();
        text.push_str(&out.text);
        tokens.extend(out.tokens);
        found = out.stop;
        assert!(found.is_some() || tokens.len() == pieces.len(), "every token is reported");
    }
    assert!(tokens.iter().copied().eq(0..tokens.len()), "tokens come once and in order");

    let first = stops.iter().filter_map(|stop| whole.find(stop.as_str())).min();
    match (&found, first) {
        (Some(stop), Some(at)) => {
            assert!(stops.contains(stop));
            // With stop strings inside one another, the one that is complete first counts.
            assert!(whole.starts_with(&text) && text.len() >= at, "{text:?} of {whole:?}");
        }
        (None, None) => assert_eq!(text, whole),
        _ => panic!("{found:?} was found, {stops:?} in {whole:?}"),
    }
    assert!(!stops.iter().any(|stop| text.contains(stop.as_str())), "part of a stop: {text:?}");
}

fn events(data: &[u8]) {
    for line in data.split_inclusive(|&byte| byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        if let Line::Data(value) = parse_line(&line)
            && let Ok(event) = serde_json::from_str::<Event>(value)
        {
            let _ = (event.has_text(), event.finish_reason(), event.error());
            let _ = event.usage.and_then(|usage| usage.cached_tokens());
        }
    }
}
