//! Text to tokens and back, for callers outside the engine thread.

mod cut;
mod pair;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token_type::LlamaTokenAttr;
use llama_cpp_2::vocab::VocabType;

use self::cut::{Cuts, Cutter};
use super::Token;

/// The vocabulary of a loaded model. Cheap to clone.
#[derive(Clone)]
pub struct Vocabulary {
    model: Arc<LlamaModel>,
    n_tokens: i32,
    /// Bytes of each token's piece with special tokens spelt out.
    piece_bytes: Arc<[u16]>,
    cutter: Arc<Cutter>,
    /// Control, unknown and user-defined tokens by their texts.
    specials: Arc<HashMap<String, Token>>,
    end_tokens: Arc<[Token]>,
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vocabulary").field("n_tokens", &self.n_tokens).finish()
    }
}

/// The tokens that frame a gap in a text, with which a model was trained to fill it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FimTokens {
    /// Before the text in front of the gap.
    pub prefix: Token,
    /// Before the text behind the gap.
    pub suffix: Token,
    /// Before the text in the gap, which the model writes.
    pub middle: Token,
    /// Before a repository's name.
    pub repository: Option<Token>,
    /// Before a file's name.
    pub file: Option<Token>,
}

impl Vocabulary {
    pub(super) fn new(model: Arc<LlamaModel>) -> Self {
        let vocab = model.vocab();
        let n_tokens = vocab.n_tokens();
        let mut piece = Vec::new();
        let piece_bytes = (0..n_tokens)
            .map(|t| {
                piece.clear();
                vocab.token_to_piece_into(LlamaToken(t), &mut piece, true, None);
                u16::try_from(piece.len()).unwrap_or(u16::MAX)
            })
            .collect();
        let cutter = Arc::new(cutter(&model, n_tokens));
        let specials = Arc::new(specials(&model, n_tokens));
        let end_tokens = (0..n_tokens).filter(|&t| vocab.is_eog(LlamaToken(t))).collect();
        Self { model, n_tokens, piece_bytes, cutter, specials, end_tokens }
    }

    pub(super) fn model(&self) -> &LlamaModel {
        &self.model
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.n_tokens.max(0) as usize
    }

    /// Whether the model has no tokenizer.
    pub fn is_empty(&self) -> bool {
        self.n_tokens <= 0
    }

    /// Whether `token` is an id of this vocabulary. Others must not reach llama.cpp.
    pub fn contains(&self, token: Token) -> bool {
        (0..self.n_tokens).contains(&token)
    }

    /// Text to tokens. `add_special` adds the tokens that the model wants at the start or end;
    /// `parse_special` reads `<|im_start|>` and the like as single tokens. Blocking: 100 ms for
    /// a long prompt.
    pub fn tokenize(&self, text: &str, add_special: bool, parse_special: bool) -> Vec<Token> {
        let cuts = self.cutter.cuts(text, parse_special);
        self.tokenize_cut(text, &cuts, add_special, parse_special)
    }

    fn tokenize_cut(
        &self,
        text: &str,
        cuts: &Cuts,
        add_special: bool,
        parse_special: bool,
    ) -> Vec<Token> {
        let work = || self.tokenize_parts(text, &cuts.at, add_special, parse_special);
        if !cuts.deep {
            return work();
        }
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("tokenize".to_owned())
                .stack_size(cut::DEEP_STACK)
                .spawn_scoped(scope, work);
            let outcome = match thread {
                Ok(thread) => thread.join(),
                // The caller takes a panic for an internal error, as it does with any other.
                Err(error) => Err(Box::new(error) as Box<dyn std::any::Any + Send>),
            };
            outcome.unwrap_or_else(|cause| std::panic::resume_unwind(cause))
        })
    }

    /// [`tokenize`](Self::tokenize) with special tokens, with the parts between `breaks` tokenized
    /// apart: byte offsets inside the text, ascending. A vocabulary that puts a space before a
    /// text puts one before each part.
    pub fn tokenize_apart(&self, text: &str, breaks: &[usize], add_special: bool) -> Vec<Token> {
        if breaks.is_empty() {
            return self.tokenize(text, add_special, true);
        }
        let mut cuts = self.cutter.cuts(text, true);
        cuts.at.extend(breaks.iter().copied().filter(|&at| text.is_char_boundary(at)));
        cuts.at.sort_unstable();
        cuts.at.dedup();
        self.tokenize_cut(text, &cuts, add_special, true)
    }

    /// The text of the BOS token that [`tokenize`](Self::tokenize) adds; empty without one.
    pub fn added_bos(&self) -> String {
        if !self.adds_bos() {
            return String::new();
        }
        let bos = self.model.vocab().bos();
        String::from_utf8_lossy(&self.piece(bos.0, true)).into_owned()
    }

    fn tokenize_parts(
        &self,
        text: &str,
        cuts: &[usize],
        add_special: bool,
        parse_special: bool,
    ) -> Vec<Token> {
        let vocab = self.model.vocab();
        if cuts.is_empty() {
            let tokens = vocab.tokenize(text.as_bytes(), add_special, parse_special);
            return tokens.into_iter().map(|t| t.0).collect();
        }
        // WordPiece frames a text, whatever the file says of added tokens.
        let is_framed = vocab.vocab_type() == VocabType::WPM;
        let mut tokens = Vec::new();
        if add_special && (is_framed || vocab.should_add_bos()) {
            tokens.push(vocab.bos().0);
        }
        let mut begin = 0;
        for end in cuts.iter().copied().chain([text.len()]) {
            let part = vocab.tokenize(&text.as_bytes()[begin..end], false, parse_special);
            tokens.extend(part.into_iter().map(|t| t.0));
            begin = end;
        }
        if add_special && is_framed {
            tokens.push(vocab.sep().0);
        } else if add_special && vocab.should_add_eos() {
            tokens.push(vocab.eos().0);
        }
        tokens
    }

    /// The bytes of one token, which need not be whole characters. Ids outside the vocabulary
    /// have none. `special` spells out tokens such as `<|im_end|>`.
    pub fn piece(&self, token: Token, special: bool) -> Vec<u8> {
        if !self.contains(token) {
            return Vec::new();
        }
        self.model.vocab().token_to_piece(LlamaToken(token), special, None)
    }

    /// The bytes of several tokens, special ones spelt out.
    pub fn detokenize(&self, tokens: &[Token]) -> Vec<u8> {
        tokens.iter().flat_map(|&t| self.piece(t, true)).collect()
    }

    /// The control or user-defined token of exactly this text.
    pub fn special(&self, text: &str) -> Option<Token> {
        self.specials.get(text).copied()
    }

    /// The texts that tokenizing may read as single tokens with a meaning of their own: those of
    /// control, unknown and user-defined tokens, in no order.
    pub fn specials(&self) -> impl Iterator<Item = &str> {
        self.specials.keys().map(String::as_str)
    }

    /// The tokens that frame a gap, if the model has them.
    pub fn fim(&self) -> Option<FimTokens> {
        let vocab = self.model.vocab();
        let known = |token: LlamaToken| Some(token.0).filter(|&token| self.contains(token));
        Some(FimTokens {
            prefix: known(vocab.fim_pre())?,
            suffix: known(vocab.fim_suf())?,
            middle: known(vocab.fim_mid())?,
            repository: known(vocab.fim_rep()),
            file: known(vocab.fim_sep()),
        })
    }

    /// The BOS token that [`tokenize`](Self::tokenize) puts first, if it does.
    pub fn bos(&self) -> Option<Token> {
        self.adds_bos().then(|| self.model.vocab().bos().0)
    }

    /// The tokens that end a sequence.
    pub fn end_tokens(&self) -> &[Token] {
        &self.end_tokens
    }

    /// Whether llama.cpp would put a BOS token first (`add_special`).
    pub fn adds_bos(&self) -> bool {
        self.model.vocab().should_add_bos()
    }

    /// The indices in `tokens` of the tokens that hold the bytes at `offsets` of their text;
    /// `offsets` must ascend.
    pub fn tokens_at_bytes(
        &self,
        tokens: &[Token],
        offsets: impl IntoIterator<Item = usize>,
    ) -> Vec<usize> {
        let bytes = |t: Token| self.piece_bytes.get(t as usize).map_or(0, |&n| usize::from(n));
        let (mut index, mut begin) = (0, 0);
        offsets
            .into_iter()
            .map(|offset| {
                while let Some(&token) = tokens.get(index)
                    && begin + bytes(token) <= offset
                {
                    begin += bytes(token);
                    index += 1;
                }
                index
            })
            .collect()
    }
}

fn specials(model: &LlamaModel, n_tokens: i32) -> HashMap<String, Token> {
    let vocab = model.vocab();
    let special = LlamaTokenAttr::Control | LlamaTokenAttr::Unknown | LlamaTokenAttr::UserDefined;
    (0..n_tokens)
        .filter(|&t| vocab.attr(LlamaToken(t)).intersects(special))
        .filter_map(|t| Some((vocab.text(LlamaToken(t))?.to_str().ok()?.to_owned(), t)))
        .filter(|(text, _)| !text.is_empty())
        .collect()
}

fn cutter(model: &LlamaModel, n_tokens: i32) -> Cutter {
    let vocab = model.vocab();
    let specials: Vec<(Vec<u8>, bool)> = (0..n_tokens)
        .map(LlamaToken)
        .filter_map(|token| {
            let attr = vocab.attr(token);
            let special = LlamaTokenAttr::Control | LlamaTokenAttr::Unknown;
            let plain = attr.contains(LlamaTokenAttr::UserDefined);
            // Where a token takes the space before it, a cut would keep that space.
            let found =
                (plain || attr.intersects(special)) && !attr.contains(LlamaTokenAttr::LStrip);
            found.then(|| Some((vocab.text(token)?.to_bytes().to_vec(), plain)))?
        })
        .collect();
    let meta = |key| model.meta_val_str(key).unwrap_or_default();
    Cutter::new(
        &specials,
        cut::uses_regex(&meta("tokenizer.ggml.model"), &meta("tokenizer.ggml.pre")),
    )
}
