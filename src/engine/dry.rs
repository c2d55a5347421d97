//! DRY, the sampler that takes long to make.
//!
//! llama.cpp compares each sequence breaker with the text of each token: 70 ms a breaker for a
//! vocabulary of 32,000 tokens, 300 ms for Qwen3's. So it is made before a request is submitted, on
//! that request's own thread, is kept for others with the same parameters, and is copied for each
//! sequence.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::sampling::LlamaSampler;

use super::SamplingParams;

/// A DRY sampler that has seen no token. Cheap to clone.
#[derive(Clone)]
pub struct DrySampler {
    made_with: Arc<DryParams>,
    sampler: Arc<LlamaSampler>,
}

/// What it is made with.
#[derive(Debug, PartialEq)]
struct DryParams {
    multiplier: f32,
    base: f32,
    allowed_length: i32,
    /// Tokens.
    last_n: i32,
    breakers: Vec<String>,
}

impl fmt::Debug for DrySampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.made_with.fmt(f)
    }
}

/// Whether DRY changes anything with these parameters.
pub(super) fn is_active(p: &SamplingParams) -> bool {
    p.dry_multiplier > 0.0 && p.dry_base >= 1.0 && p.dry_penalty_last_n != 0
}

impl DryParams {
    fn new(p: &SamplingParams, n_ctx: u32) -> Self {
        let n_ctx = i32::try_from(n_ctx).unwrap_or(i32::MAX);
        Self {
            multiplier: p.dry_multiplier,
            base: p.dry_base,
            allowed_length: p.dry_allowed_length,
            // llama.cpp allocates what it looks back on.
            last_n: if p.dry_penalty_last_n < 0 { n_ctx } else { p.dry_penalty_last_n.min(n_ctx) },
            breakers: p.dry_sequence_breakers.clone(),
        }
    }
}

impl DrySampler {
    /// `n_ctx` bounds how far it looks back.
    pub(super) fn new(p: &SamplingParams, model: &LlamaModel, n_ctx: u32) -> Self {
        Self::made(DryParams::new(p, n_ctx), model)
    }

    fn made(params: DryParams, model: &LlamaModel) -> Self {
        // A C string ends at its first NUL.
        let breakers = params.breakers.iter().filter(|s| !s.is_empty() && !s.contains('\0'));
        let sampler = LlamaSampler::dry(
            model,
            params.multiplier,
            params.base,
            params.allowed_length,
            params.last_n,
            breakers,
        );
        Self { made_with: Arc::new(params), sampler: Arc::new(sampler) }
    }

    /// A sampler for one sequence.
    pub(super) fn copy(&self) -> LlamaSampler {
        LlamaSampler::clone(&self.sampler)
    }
}

/// The samplers that were asked for last, the latest first.
#[derive(Debug, Default)]
pub(crate) struct DrySamplers {
    latest: Mutex<VecDeque<DrySampler>>,
}

impl DrySamplers {
    const MOST: usize = 8;

    /// The one for these parameters.
    pub(super) fn get(&self, p: &SamplingParams, model: &LlamaModel, n_ctx: u32) -> DrySampler {
        let params = DryParams::new(p, n_ctx);
        let find = || {
            let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
            let at = latest.iter().position(|known| *known.made_with == params)?;
            let known = latest.remove(at)?;
            latest.push_front(known.clone());
            Some(known)
        };
        if let Some(known) = find() {
            return known;
        }
        // Without the lock: requests with other parameters need not wait.
        let new = DrySampler::made(params, model);
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.push_front(new.clone());
        latest.truncate(Self::MOST);
        new
    }
}
