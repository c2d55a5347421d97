//! llama-server's sampling chain for one sequence.

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;

use super::dry::look_back;
use super::logits;
use super::matcher::Mask;
use crate::config::SamplerKind;
use crate::engine::{SamplingParams, Token};

/// The samplers of one sequence.
pub(super) struct Chain {
    bias: Vec<(Token, f32)>,
    first: First,
    /// Samplers whose state follows the tokens (penalties, DRY) sit in `chain` as well; whether
    /// there are any decides if the prompt must be told to it.
    follows_tokens: bool,
    chain: Option<LlamaSampler>,
    mirostat: bool,
    seed: u32,
}

/// How candidates are taken from the row of logits. The whole vocabulary is only copied where
/// a sampler that must see all of it comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    /// The largest logit.
    Argmax,
    /// The k largest, sorted.
    TopK(usize),
    /// All of them.
    All,
}

/// A lower temperature would divide logits to infinity, which is no number after the next
/// subtraction, and llama.cpp sorts: with values that compare to nothing a sort may leave its array.
/// At this one the best token is as good as certain.
const MIN_TEMPERATURE: f32 = 1e-4;

/// Buffers that all sequences share.
#[derive(Debug)]
pub(crate) struct Candidates {
    array: LlamaTokenDataArray,
    top: Vec<(Token, f32)>,
    row: Vec<f32>,
}

impl Candidates {
    pub(crate) fn new() -> Self {
        Self {
            array: LlamaTokenDataArray::new(Vec::new(), false),
            top: Vec::new(),
            row: Vec::new(),
        }
    }
}

impl Chain {
    /// `dry`: the DRY sampler, if these parameters use one; `n_ctx` bounds how far samplers look
    /// back; `end_tokens` are forbidden by `ignore_eos`.
    pub(super) fn new(
        params: &SamplingParams,
        mut dry: Option<LlamaSampler>,
        model: &LlamaModel,
        n_ctx: u32,
        end_tokens: &[Token],
    ) -> Self {
        let seed = params.seed.unwrap_or_else(|| fastrand::u32(..));
        let mut bias = params.logit_bias.to_vec();
        if params.ignore_eos {
            bias.extend(end_tokens.iter().map(|&t| (t, f32::NEG_INFINITY)));
        }
        // What its file says that the model must not write (image tokens, mostly).
        let suppressed = model.vocab();
        bias.extend(suppressed.suppress_tokens().iter().map(|t| (t.0, f32::NEG_INFINITY)));
        let mut active: Vec<SamplerKind> = if params.mirostat == 0 {
            params.samplers.iter().copied().filter(|&kind| is_active(params, kind)).collect()
        } else {
            vec![SamplerKind::Temperature]
        };
        // Twice the temperature would be a lower one than the least, and so on.
        let mut seen = Vec::with_capacity(active.len());
        active.retain(|kind| {
            let first = !seen.contains(kind);
            seen.push(*kind);
            first
        });
        let follows = |k: &SamplerKind| matches!(k, SamplerKind::Penalties | SamplerKind::Dry);
        let greedy = params.mirostat == 0
            && params.temperature <= 0.0
            && params.dynatemp_range <= 0.0
            && active.contains(&SamplerKind::Temperature)
            && !active.iter().any(|k| matches!(k, SamplerKind::TypP | SamplerKind::Xtc))
            // What was cut before penalties cannot come back through them.
            && active.is_sorted_by_key(|k| !follows(k));
        if greedy {
            // None of the others can remove or overtake the best token.
            active.retain(follows);
        }
        let follows_tokens = active.iter().any(follows);
        let first = match active.first() {
            None if greedy => First::Argmax,
            Some(SamplerKind::TopK) => {
                active.remove(0);
                First::TopK(params.top_k as usize)
            }
            _ => First::All,
        };
        let chain = (first != First::Argmax).then(|| {
            let build = |&kind| build(params, kind, &mut dry, model, n_ctx, seed);
            let mut samplers: Vec<_> = active.iter().filter_map(build).collect();
            samplers.push(match params.mirostat {
                1 => {
                    let (tau, eta) = (params.mirostat_tau, params.mirostat_eta);
                    LlamaSampler::mirostat(model.n_vocab(), seed, tau, eta, 100)
                }
                2 => LlamaSampler::mirostat_v2(seed, params.mirostat_tau, params.mirostat_eta),
                _ if greedy => LlamaSampler::greedy(),
                _ => LlamaSampler::dist(seed),
            });
            LlamaSampler::chain(samplers, true)
        });
        let mirostat = params.mirostat != 0;
        Self { bias, first, follows_tokens, chain, mirostat, seed }
    }

    /// The seed in use: the request's, or the one drawn for it.
    pub(super) fn seed(&self) -> u32 {
        self.seed
    }

    /// Whether what is drawn changes what is drawn later, so that nothing may be drawn that is
    /// refused then.
    pub(super) fn learns(&self) -> bool {
        self.mirostat
    }

    /// Whether what came before changes what is drawn.
    pub(super) fn follows_tokens(&self) -> bool {
        self.follows_tokens
    }

    /// Tells the prompt to the samplers that penalize repetition.
    pub(super) fn read_prompt(&mut self, prompt: &[Token]) {
        if self.follows_tokens
            && let Some(chain) = &mut self.chain
        {
            chain.accept_many(prompt.iter().map(|&t| LlamaToken(t)));
        }
    }

    /// Tells of the token that comes next: what was drawn may be refused.
    pub(super) fn accept(&mut self, token: Token) {
        // Mirostat learns in `apply`; only penalties and DRY need to hear of the choice.
        if self.follows_tokens
            && let Some(chain) = &mut self.chain
        {
            chain.accept(LlamaToken(token));
        }
    }

    /// Chooses from a row of logits, among the tokens of `mask`; `None`: all are forbidden.
    pub(super) fn draw(
        &mut self,
        row: &[f32],
        mask: Option<&Mask>,
        candidates: &mut Candidates,
    ) -> Option<Token> {
        let Candidates { array, top, row: copy } = candidates;
        let row = if self.bias.is_empty() && mask.is_none() {
            row
        } else {
            copy.clear();
            copy.extend_from_slice(row);
            for &(token, bias) in &self.bias {
                if let Some(logit) = copy.get_mut(token as usize) {
                    *logit += bias;
                }
            }
            if let Some(mask) = mask {
                mask.apply(copy);
            }
            copy
        };
        let best = || {
            let token = logits::argmax(row);
            row.get(token as usize).is_some_and(|&x| x > f32::NEG_INFINITY).then_some(token)
        };
        let Some(chain) = &mut self.chain else { return best() };
        array.data.clear();
        array.selected = None;
        let candidate = |token, logit| LlamaTokenData::new(LlamaToken(token), logit, 0.0);
        // What is no number must not reach a sort; `top_k` leaves it out as well. What is forbidden
        // could be chosen, if seldom, by samplers that compare sums of probabilities.
        let counts =
            |&(_, x): &(Token, f32)| !x.is_nan() && (mask.is_none() || x > f32::NEG_INFINITY);
        match self.first {
            First::TopK(k) => {
                logits::top_k(row, k, top);
                let top = top.iter().copied().filter(counts);
                array.data.extend(top.map(|(t, x)| candidate(t, x)));
                array.sorted = true;
            }
            First::All | First::Argmax => {
                let row = (0..).zip(row.iter().copied()).filter(counts);
                array.data.extend(row.map(|(t, x)| candidate(t, x)));
                array.sorted = false;
            }
        }
        // Where all is forbidden there are no probabilities.
        if !array.data.iter().any(|c| c.logit() > f32::NEG_INFINITY) {
            return None;
        }
        chain.apply(array);
        array.selected_token().map(|t| t.0).or_else(best)
    }
}

/// Whether a sampler changes anything with these parameters.
fn is_active(p: &SamplingParams, kind: SamplerKind) -> bool {
    match kind {
        SamplerKind::Penalties => {
            p.repeat_last_n != 0
                && (p.repeat_penalty != 1.0
                    || p.frequency_penalty != 0.0
                    || p.presence_penalty != 0.0)
        }
        SamplerKind::Dry => p.uses_dry(),
        SamplerKind::TopNSigma => p.top_n_sigma > 0.0,
        SamplerKind::TopK => p.top_k > 0,
        SamplerKind::TypP => p.typical_p < 1.0,
        SamplerKind::TopP => p.top_p < 1.0,
        SamplerKind::MinP => p.min_p > 0.0,
        SamplerKind::Xtc => p.xtc_probability > 0.0 && p.xtc_threshold <= 0.5,
        SamplerKind::Temperature => true,
    }
}

fn build(
    p: &SamplingParams,
    kind: SamplerKind,
    dry: &mut Option<LlamaSampler>,
    model: &LlamaModel,
    n_ctx: u32,
    seed: u32,
) -> Option<LlamaSampler> {
    let min_keep = p.min_keep as usize;
    Some(match kind {
        SamplerKind::Penalties => LlamaSampler::penalties(
            model.n_vocab(),
            look_back(p.repeat_last_n, n_ctx),
            p.repeat_penalty,
            p.frequency_penalty,
            p.presence_penalty,
        ),
        // A chain has each kind once.
        SamplerKind::Dry => return dry.take(),
        SamplerKind::TopNSigma => LlamaSampler::top_n_sigma(p.top_n_sigma),
        SamplerKind::TopK => LlamaSampler::top_k(i32::try_from(p.top_k).unwrap_or(i32::MAX)),
        SamplerKind::TypP => LlamaSampler::typical(p.typical_p, min_keep),
        SamplerKind::TopP => LlamaSampler::top_p(p.top_p, min_keep),
        SamplerKind::MinP => LlamaSampler::min_p(p.min_p, min_keep),
        SamplerKind::Xtc => LlamaSampler::xtc(p.xtc_probability, p.xtc_threshold, min_keep, seed),
        SamplerKind::Temperature => {
            let temperature = match p.temperature {
                t if t > 0.0 => t.max(MIN_TEMPERATURE),
                _ => 0.0,
            };
            LlamaSampler::temp_ext(temperature, p.dynatemp_range, p.dynatemp_exponent)
        }
    })
}
