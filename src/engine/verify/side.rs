//! One side of a comparison: a model on one device, and the logits of what it computes.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, Instant};

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;

use super::cases::{BATCH, SEQUENCES, Step};
use super::comparison::VerifyError;
use crate::config::CacheType;
use crate::engine::backend::backend;
use crate::engine::load::{flash_attention, kv_type, new_context};
use crate::engine::worker::memory;

/// What computes a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placement {
    /// The device's place in ggml's list; `None`: the CPU.
    pub(super) device: Option<usize>,
    /// Threads of the CPU.
    pub(super) threads: u32,
    /// Tokens that are computed at once.
    pub(super) ubatch: u32,
    /// Whether attention is computed at once where it need not be: a CPU then adds values of f16 up in
    /// f16, which would be most of the difference. With a quantized cache it always is.
    pub(super) flash_attn: bool,
}

/// Loads a model to where it is computed.
pub(super) fn load(path: &Path, placement: Placement) -> Result<LlamaModel, VerifyError> {
    let backend = backend().map_err(VerifyError)?;
    let layers = if placement.device.is_some() { 999 } else { 0 };
    // An empty list is no GPU at all, also not for some of the operations.
    let devices: Vec<usize> = placement.device.into_iter().collect();
    let params = LlamaModelParams::default()
        .with_n_gpu_layers(layers)
        .with_use_mmap(false)
        .with_devices(&devices)
        .map_err(|error| VerifyError(error.to_string()))?;
    LlamaModel::load_from_file(backend, path, &params)
        .map_err(|error| VerifyError(format!("the model cannot be loaded: {error}")))
}

/// A context of [`SEQUENCES`] sequences of `tokens` tokens each, as the server has it.
pub(super) fn context<'a>(
    model: &'a LlamaModel,
    placement: Placement,
    kv: CacheType,
    tokens: u32,
) -> Result<LlamaContext<'a>, VerifyError> {
    let backend = backend().map_err(VerifyError)?;
    let threads = i32::try_from(placement.threads.max(1)).unwrap_or(1);
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(SEQUENCES * tokens))
        .with_n_seq_max(SEQUENCES)
        .with_n_batch(BATCH)
        .with_n_ubatch(placement.ubatch)
        .with_flash_attention_policy(flash_attention(placement.flash_attn || kv.is_quantized()))
        .with_type_k(kv_type(kv))
        .with_type_v(kv_type(kv))
        .with_n_threads(threads)
        .with_n_threads_batch(threads)
        .with_offload_kqv(placement.device.is_some())
        .with_op_offload(placement.device.is_some())
        .with_kv_unified(false)
        .with_no_perf(true);
    new_context(model, backend, params)
        .map_err(|error| VerifyError(format!("no context can be made: {error}")))
}

/// What a side computed.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// The logits of the tokens that are to be compared, in order.
    pub(super) rows: Vec<Vec<f32>>,
    /// Tokens that were read many at a time, and the time that it took.
    read: (usize, Duration),
}

impl Run {
    /// Seconds for each token of a prompt.
    pub(super) fn seconds_per_token(&self) -> f64 {
        self.read.1.as_secs_f64() / self.read.0.max(1) as f64
    }
}

/// Does the steps. `go_on` is asked between them; its false ends the work.
pub(super) fn run(
    context: &mut LlamaContext<'_>,
    steps: &[Step],
    go_on: &dyn Fn() -> bool,
) -> Result<Run, VerifyError> {
    let mut run = Run::default();
    let mut batch = LlamaBatch::new(BATCH as usize, 1);
    for step in steps {
        if !go_on() {
            return Err(VerifyError::stopped());
        }
        match step {
            Step::Remove { sequence, from } => {
                if !memory::remove(context, *sequence, *from) {
                    return Err(VerifyError(format!("a sequence cannot be cut at {from}")));
                }
            }
            Step::Decode(entries) => {
                let start = Instant::now();
                batch.clear();
                for entry in entries {
                    let sequences = [entry.sequence];
                    batch
                        .add(LlamaToken(entry.token), entry.position, &sequences, entry.output)
                        .map_err(|error| VerifyError(error.to_string()))?;
                }
                context
                    .decode(&mut batch)
                    .map_err(|error| VerifyError(format!("a decode failed: {error}")))?;
                context.synchronize();
                if entries.len() > SEQUENCES as usize {
                    run.read.0 += entries.len();
                    run.read.1 += start.elapsed();
                }
                let outputs = entries.iter().enumerate().filter(|(_, entry)| entry.output);
                run.rows.extend(outputs.map(|(at, _)| context.get_logits_ith(at as i32).to_vec()));
            }
        }
    }
    Ok(run)
}
