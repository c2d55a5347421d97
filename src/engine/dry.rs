//! DRY, the sampler that takes long to make.
//!
//! llama.cpp compares each sequence breaker with the text of each token: 70 ms a breaker for a
//! vocabulary of 32,000 tokens, 300 ms for Qwen3's. So it is made before a request is submitted, is
//! kept for others with the same parameters, and is copied for each sequence.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::sampling::LlamaSampler;

use super::SamplingParams;
use super::sampler::look_back;

/// Bytes of a sequence breaker that llama.cpp looks at.
const LOOKED_AT: usize = 40;

/// A DRY sampler that has seen no token.
pub struct DrySampler {
    made_with: DryParams,
    sampler: LlamaSampler,
}

/// What it is made with.
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

impl fmt::Debug for DrySampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.made_with.fmt(f)
    }
}

impl DryParams {
    fn new(p: &SamplingParams, n_ctx: u32) -> Self {
        // A C string ends at its first NUL.
        let usable = |s: &&String| !s.is_empty() && !s.contains('\0');
        let mut breakers: Vec<_> = p.dry_sequence_breakers.iter().filter(usable).cloned().collect();
        breakers.sort_unstable();
        let seen = |s: &str| s.len().min(LOOKED_AT);
        breakers.dedup_by(|a, b| a.as_bytes()[..seen(a)] == b.as_bytes()[..seen(b)]);
        Self {
            multiplier: p.dry_multiplier,
            base: p.dry_base,
            allowed_length: p.dry_allowed_length,
            last_n: look_back(p.dry_penalty_last_n, n_ctx),
            breakers,
        }
    }
}

impl DrySampler {
    /// `n_ctx` bounds how far it looks back.
    pub(super) fn new(p: &SamplingParams, model: &LlamaModel, n_ctx: u32) -> Self {
        Self::made(DryParams::new(p, n_ctx), model)
    }

    fn made(params: DryParams, model: &LlamaModel) -> Self {
        let sampler = LlamaSampler::dry(
            model,
            params.multiplier,
            params.base,
            params.allowed_length,
            params.last_n,
            &params.breakers,
        );
        Self { made_with: params, sampler }
    }

    /// A sampler for one sequence, with a copy of all that is known of breakers.
    pub(super) fn copy(&self) -> LlamaSampler {
        self.sampler.clone()
    }
}

/// The samplers that were asked for last, the latest first.
#[derive(Debug, Default)]
pub(crate) struct DrySamplers {
    latest: Mutex<VecDeque<Arc<DrySampler>>>,
}

impl DrySamplers {
    /// One may know of a million tokens that hold a breaker.
    const MOST: usize = 4;

    fn latest(&self) -> MutexGuard<'_, VecDeque<Arc<DrySampler>>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one for these parameters, if it is there.
    pub(super) fn find(&self, p: &SamplingParams, n_ctx: u32) -> Option<Arc<DrySampler>> {
        self.find_made(&DryParams::new(p, n_ctx))
    }

    fn find_made(&self, params: &DryParams) -> Option<Arc<DrySampler>> {
        let mut latest = self.latest();
        let at = latest.iter().position(|known| known.made_with == *params)?;
        let known = latest.remove(at)?;
        latest.push_front(known.clone());
        Some(known)
    }

    /// The one for these parameters.
    pub(super) fn get(
        &self,
        p: &SamplingParams,
        model: &LlamaModel,
        n_ctx: u32,
    ) -> Arc<DrySampler> {
        let params = DryParams::new(p, n_ctx);
        if let Some(known) = self.find_made(&params) {
            return known;
        }
        // Without the lock: requests with other parameters need not wait.
        let new = Arc::new(DrySampler::made(params, model));
        let mut latest = self.latest();
        latest.push_front(new.clone());
        latest.truncate(Self::MOST);
        new
    }
}
