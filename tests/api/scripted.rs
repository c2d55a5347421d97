//! Models that answer with a given text, whatever they are asked, token by token.
//!
//! No two tokens of the text are the same, so each token alone tells which comes next: its
//! embedding is the code of its successor, and the one layer adds nothing. `make_scripted.py` of
//! tools/models writes the same with turns, for clients.

use std::collections::{BTreeMap, BTreeSet};

use crate::tiny::{CONTROL, NORMAL, Served, Tiny, USER_DEFINED};

/// Calls as JSON between tags, and a switch for thinking: the built-in model's template.
pub const HERMES: &str = include_str!("../../tools/models/chat_template.jinja");
/// Calls as XML elements.
pub const XML: &str = include_str!("../../src/chat/template/fixtures/xml.jinja");
/// Calls as XML elements; the prompt opens a thinking block.
pub const XML_THINKING: &str = include_str!("../../src/chat/template/fixtures/thinking.jinja");
/// Behind a template: the prompt opens a thinking block.
pub const OPENS_THINKING: &str = "{%- if add_generation_prompt %}{{- '<think>\\n' }}{%- endif %}";

/// Ends the prompt of a gap.
const MIDDLE: &str = "<|fim_middle|>";

const SPECIALS: [(&str, i32); 12] = [
    ("<|endoftext|>", CONTROL),
    ("<|im_start|>", CONTROL),
    ("<|im_end|>", CONTROL),
    ("<tool_call>", USER_DEFINED),
    ("</tool_call>", USER_DEFINED),
    ("<think>", USER_DEFINED),
    ("</think>", USER_DEFINED),
    ("<|fim_prefix|>", CONTROL),
    ("<|fim_suffix|>", CONTROL),
    (MIDDLE, CONTROL),
    ("<|repo_name|>", CONTROL),
    ("<|file_sep|>", CONTROL),
];
const END: &str = "<|im_end|>";
/// Of the codes; wide enough that none looks like another.
const WIDTH: usize = 256;

/// Such a model on a server.
pub struct Scripted {
    pub server: Served,
    /// The tokens of its text.
    pub tokens: usize,
}

/// Serves a model that says a text, at the end of a prompt that ends in a line break or is that of a
/// gap.
pub fn serve(template: &str, says: &str, flags: &[&str]) -> Scripted {
    let line_break = spell(b"\n");
    let mut taken = BTreeSet::from([line_break.clone(), END.to_owned()]);
    let script = cut(says, &mut taken);
    let mut tokens: Vec<_> = (0..=255).map(|byte| (spell(&[byte]), NORMAL)).collect();
    tokens.push(("aa".to_owned(), NORMAL));
    let known: BTreeSet<_> = tokens.iter().map(|token| token.0.clone()).collect();
    let special = |text: &str| SPECIALS.iter().any(|special| special.0 == text);
    let new = |text: &&String| !special(text) && !known.contains(*text);
    tokens.extend(script.iter().filter(new).map(|text| (text.clone(), NORMAL)));
    tokens.extend(SPECIALS.map(|(text, kind)| (text.to_owned(), kind)));

    let ids: BTreeMap<_, _> = tokens.iter().enumerate().map(|(id, t)| (t.0.as_str(), id)).collect();
    let mut successors = vec![ids[END]; tokens.len()];
    if let Some(first) = script.first() {
        successors[ids[MIDDLE]] = ids[first.as_str()];
    }
    let mut last = ids[line_break.as_str()];
    for text in &script {
        successors[last] = ids[text.as_str()];
        last = ids[text.as_str()];
    }
    let codes: Vec<_> = (0..tokens.len()).map(|id| code(id as u64)).collect();
    let embeddings = successors.iter().flat_map(|id| codes[*id]).collect();
    // The right logit is 64, the others are below 20.
    let outputs = codes.iter().flatten().map(|value| value / 4.0).collect();

    let width = WIDTH as u64;
    let model = Tiny::new("llama", 8192, width, &tokens)
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "qwen2")
        .texts("tokenizer.ggml.merges", &["a a"])
        .u32("tokenizer.ggml.eos_token_id", ids[END] as u32)
        .u32("llama.rope.dimension_count", width as u32)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .text("tokenizer.chat_template", template)
        .tensor("output.weight", &[width, tokens.len() as u64])
        .tensor("blk.0.attn_norm.weight", &[width])
        .tensor("blk.0.attn_q.weight", &[width, width])
        .tensor("blk.0.attn_k.weight", &[width, width])
        .tensor("blk.0.attn_v.weight", &[width, width])
        .tensor("blk.0.attn_output.weight", &[width, width])
        .tensor("blk.0.ffn_norm.weight", &[width])
        .tensor("blk.0.ffn_gate.weight", &[width, width])
        .tensor("blk.0.ffn_up.weight", &[width, width])
        .tensor("blk.0.ffn_down.weight", &[width, width])
        .fill("token_embd.weight", embeddings)
        .fill("output.weight", outputs)
        .fill("blk.0.attn_output.weight", vec![0.0; WIDTH * WIDTH])
        .fill("blk.0.ffn_down.weight", vec![0.0; WIDTH * WIDTH]);
    Scripted { server: model.serve(flags), tokens: script.len() }
}

/// A text as tokens that are not in `taken`, to which they are added: special tokens whole where
/// they come first, the rest as short as can be.
fn cut(text: &str, taken: &mut BTreeSet<String>) -> Vec<String> {
    let mut rest = text.as_bytes();
    let (mut tokens, mut plain) = (Vec::new(), Vec::new());
    while let Some(byte) = rest.first() {
        let special = SPECIALS
            .iter()
            .map(|special| special.0)
            .find(|special| rest.starts_with(special.as_bytes()) && !taken.contains(*special));
        if let Some((special, pieces)) = special.and_then(|s| Some((s, cut_plain(&plain, taken)?)))
        {
            tokens.extend(pieces);
            tokens.push(special.to_owned());
            taken.extend(tokens.iter().cloned());
            plain.clear();
            rest = &rest[special.len()..];
        } else {
            plain.push(*byte);
            rest = &rest[1..];
        }
    }
    tokens.extend(cut_plain(&plain, taken).expect("the end of the text is not said before"));
    tokens
}

/// Bytes as different tokens that are not in `taken`; none where that cannot be.
fn cut_plain(mut rest: &[u8], taken: &BTreeSet<String>) -> Option<Vec<String>> {
    let mut pieces: Vec<String> = Vec::new();
    while !rest.is_empty() {
        let is_taken =
            |piece: &String, pieces: &[String]| taken.contains(piece) || pieces.contains(piece);
        let len = (1..rest.len()).find(|len| !is_taken(&spell(&rest[..*len]), &pieces));
        let (piece, tail) = rest.split_at(len.unwrap_or(rest.len()));
        let mut piece = spell(piece);
        rest = tail;
        // What is left at the end may be there already: it goes to the piece before.
        while is_taken(&piece, &pieces) {
            piece = pieces.pop()? + &piece;
        }
        pieces.push(piece);
    }
    Some(pieces)
}

/// Bytes as GPT-2's vocabulary spells them.
fn spell(bytes: &[u8]) -> String {
    let printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let stand_in = |byte: &u8| match printable(*byte) {
        true => char::from(*byte),
        false => {
            let before = (0..*byte).filter(|b| !printable(*b)).count() as u32;
            char::from_u32(256 + before).expect("a character")
        }
    };
    bytes.iter().map(stand_in).collect()
}

/// The code of a token: signs that depend on its id alone.
fn code(id: u64) -> [f32; WIDTH] {
    let mut state = id.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    std::array::from_fn(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if state >> 63 == 0 { 1.0 } else { -1.0 }
    })
}
