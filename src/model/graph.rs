//! The widths of what llama.cpp computes for a token, which decide its compute buffers.

use super::architecture;

use super::gguf::{Gguf, GgufError, TensorInfo};
use super::keys::Keys;

/// Types that ggml repacks on an x86 CPU (`repack.cpp`).
const REPACKED: &[&str] = &["q4_0", "q4_K", "q2_K", "iq4_nl", "mxfp4"];

/// Widths of the widest layer, in values for one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GraphFacts {
    /// Queries of all heads.
    pub queries: u64,
    /// Whether each query has a gate beside it.
    pub gated: bool,
    /// A dense feed-forward layer.
    pub n_ff: u64,
    /// Experts that a token uses.
    pub experts_used: u64,
    /// All experts of a layer.
    pub experts: u64,
    /// One expert.
    pub n_ff_exp: u64,
    /// What a recurrent layer mixes: queries, keys and values.
    pub channels: u64,
    /// Of that, values.
    pub inner: u64,
    /// Bytes of the embeddings if they serve as the output's weights too; 0: they do not.
    pub tied_bytes: u64,
    /// Whether a CPU keeps its own copy of such embeddings, in an order that it multiplies faster.
    pub tied_repacked: bool,
    /// Bytes of what predicts further tokens, which is not loaded.
    pub unused_bytes: u64,
}

impl GraphFacts {
    pub(super) fn read(
        gguf: &Gguf,
        keys: &Keys<'_>,
        layers: u32,
        used: u32,
    ) -> Result<Self, GgufError> {
        let widest = |suffix: &str| -> Result<u64, GgufError> {
            let values = keys.per_layer(suffix, layers)?;
            Ok(values.and_then(|values| values.into_iter().max()).unwrap_or(0).into())
        };
        let number = |suffix: &str| Ok::<u64, GgufError>(keys.number(suffix)?.unwrap_or(0).into());
        let heads = widest("attention.head_count")?;
        let default_length = number("embedding_length")?.checked_div(heads).unwrap_or(0);
        let length = keys.number("attention.key_length")?.map_or(default_length, u64::from);
        let inner = number("ssm.inner_size")?;
        let mixed = 2 * number("ssm.group_count")?.saturating_mul(number("ssm.state_size")?);
        let has_output = gguf.tensors.iter().any(|tensor| tensor.name == "output.weight");
        let embeddings = gguf.tensors.iter().find(|tensor| tensor.name == "token_embd.weight");
        let tied = embeddings.filter(|_| !has_output);
        // Mixtures have the key too, and mostly no such layer.
        let is_predictor = |tensor: &TensorInfo| {
            let layer = tensor.name.strip_prefix("blk.").and_then(|rest| rest.split('.').next());
            layer.and_then(|layer| layer.parse::<u32>().ok()).is_some_and(|layer| layer >= used)
        };
        let dense = |name: &str| name.ends_with(".ffn_up.weight");
        let dense = gguf.tensors.iter().filter(|tensor| dense(&tensor.name));
        Ok(Self {
            queries: heads.saturating_mul(length),
            gated: architecture::has_interval(keys.architecture),
            n_ff: dense.filter_map(|tensor| tensor.dims.get(1).copied()).max().unwrap_or(0),
            experts_used: widest("expert_used_count")?,
            experts: number("expert_count")?,
            n_ff_exp: widest("expert_feed_forward_length")?,
            channels: inner.saturating_add(mixed),
            inner,
            tied_bytes: tied.map_or(0, |tensor| tensor.bytes),
            unused_bytes: gguf
                .tensors
                .iter()
                .filter(|tensor| is_predictor(tensor))
                .map(|tensor| tensor.bytes)
                .fold(0, u64::saturating_add),
            tied_repacked: tied.is_some_and(|tensor| REPACKED.contains(&tensor.kind.name)),
        })
    }
}
