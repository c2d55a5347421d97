//! DRY, the sampler that takes long to make.
//!
//! llama.cpp compares each sequence breaker with the text of each token: 10 to 70 ms a breaker for a
//! vocabulary of 32,000 tokens, more for larger ones. So it is made where a request is submitted, not
//! on the engine thread, where all others would wait.

use std::sync::Arc;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::sampling::LlamaSampler;

use crate::engine::SamplingParams;

/// What a DRY sampler is made with.
#[derive(Debug, PartialEq)]
struct DryParams {
    multiplier: f32,
    base: f32,
    allowed_length: i32,
    /// Tokens.
    last_n: i32,
    /// Sorted, none of them twice.
    breakers: Vec<String>,
}

impl DryParams {
    /// `n_ctx` bounds how far it looks back.
    fn new(p: &SamplingParams, n_ctx: u32) -> Self {
        // A C string ends at its first NUL.
        let usable = |s: &&String| !s.is_empty() && !s.contains('\0');
        let mut breakers: Vec<_> = p.dry_sequence_breakers.iter().filter(usable).cloned().collect();
        breakers.sort_unstable();
        breakers.dedup();
        Self {
            multiplier: p.dry_multiplier,
            base: p.dry_base,
            allowed_length: p.dry_allowed_length,
            last_n: look_back(p.dry_penalty_last_n, n_ctx),
            breakers,
        }
    }

    fn sampler(&self, model: &LlamaModel) -> LlamaSampler {
        LlamaSampler::dry(
            model,
            self.multiplier,
            self.base,
            self.allowed_length,
            self.last_n,
            &self.breakers,
        )
    }
}

/// Tokens to look back on, of `n` that were asked for (negative: all of `n_ctx`). llama.cpp
/// allocates them.
pub(super) fn look_back(n: i32, n_ctx: u32) -> i32 {
    let most = i32::try_from(n_ctx).unwrap_or(i32::MAX);
    if n < 0 { most } else { n.min(most) }
}

/// Makes the DRY samplers of sequences; those with the parameters of the one before share the work.
pub(crate) struct DrySamplers<'m> {
    model: &'m LlamaModel,
    n_ctx: u32,
    latest: Option<(DryParams, Arc<LlamaSampler>)>,
}

impl<'m> DrySamplers<'m> {
    /// `n_ctx`: tokens of a sequence, which bound how far samplers look back.
    pub(crate) fn new(model: &'m LlamaModel, n_ctx: u32) -> Self {
        Self { model, n_ctx, latest: None }
    }

    /// The sampler to copy for one sequence when it starts, as a copy may know of a million tokens
    /// that hold a breaker; `None`: DRY changes nothing. Blocking: seconds, for many breakers.
    pub(crate) fn get(&mut self, params: &SamplingParams) -> Option<Arc<LlamaSampler>> {
        if !params.uses_dry() {
            return None;
        }
        let params = DryParams::new(params, self.n_ctx);
        let sampler = match self.latest.take() {
            Some((known, sampler)) if known == params => sampler,
            _ => Arc::new(params.sampler(self.model)),
        };
        self.latest = Some((params, sampler.clone()));
        Some(sampler)
    }
}
