//! Why a plan cannot be met, with its numbers.

use std::fmt;

use super::memory::MemoryNeed;
use crate::config::CacheType;

/// The settings cannot be met; one line with the numbers and the ways out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The context is shorter than one token for each slot.
    #[error(
        "context.ctx_size {ctx_size} is less than one token for each of {slots} slots: raise it or lower context.parallel"
    )]
    TooFewTokens {
        /// Tokens of all slots together.
        ctx_size: u32,
        /// Slots.
        slots: u32,
    },
    /// The tokens of all slots are more than llama.cpp can count.
    #[error(
        "{slots} slots of {per_slot} tokens are more than llama.cpp can count: lower context.parallel or context.ctx_size"
    )]
    TooManyTokens {
        /// Tokens of one slot.
        per_slot: u32,
        /// Slots.
        slots: u32,
    },
    /// A type of the KV cache was set that cannot be.
    #[error("context.{key} {} {conflict}: set it to f16{}", name(*kind), conflict.way_out())]
    CacheType {
        /// The setting in the section `context`.
        key: &'static str,
        /// The type that was set.
        kind: CacheType,
        /// What rules it out.
        conflict: CacheTypeConflict,
    },
    /// Two types were set for a model that takes one.
    #[error(
        "this model keeps keys and values in one tensor: set context.cache_type_k and context.cache_type_v to the same type"
    )]
    TwoCacheTypes,
    /// The one type of such a model is quantized, and flash attention is off.
    #[error(
        "this model keeps keys and values in one tensor, and quantized values need flash attention: set context.cache_type_k to f16, or turn flash attention on"
    )]
    QuantizedWithoutFlash,
    /// Memory does not suffice.
    #[error("{0}")]
    Memory(MemoryShortage),
}

/// What rules a type of the KV cache out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CacheTypeConflict {
    /// The model's keys cannot be divided into blocks of it.
    #[error("needs a key size divisible by 32, this model's is {size}")]
    KeySize {
        /// Values of one key.
        size: u32,
    },
    /// The model's values cannot be divided into blocks of it.
    #[error("needs a value size divisible by 32, this model's is {size}")]
    ValueSize {
        /// Values of one value vector.
        size: u32,
    },
    /// Flash attention is off.
    #[error("needs flash attention")]
    FlashAttention,
}

impl CacheTypeConflict {
    /// What else would help, behind "set it to f16".
    fn way_out(self) -> &'static str {
        match self {
            Self::FlashAttention => ", or turn flash attention on",
            Self::KeySize { .. } | Self::ValueSize { .. } => "",
        }
    }
}

/// The model and its context need more memory than is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryShortage {
    /// Bytes that are needed.
    pub need: MemoryNeed,
    /// Bytes that are free.
    pub free: u64,
    /// Slots.
    pub slots: u32,
    /// Tokens of one slot, as they were asked for.
    pub per_slot: u32,
    /// The most tokens of all slots together that fit; `None`: not even the least.
    pub largest_ctx: Option<u64>,
    /// Bytes that are needed with both cache types q4_0, if they are fewer.
    pub need_q4_0: Option<u64>,
}

impl fmt::Display for MemoryShortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { need, free, slots, per_slot, .. } = self;
        write!(
            f,
            "{slots} x {per_slot} tokens of context need {} (weights {}, KV cache {}",
            gib(need.total()),
            gib(need.weights),
            gib(need.kv)
        )?;
        if need.recurrent > 0 {
            write!(f, ", recurrent state {}", gib(need.recurrent))?;
        }
        if need.checkpoints > 0 {
            write!(f, ", earlier recurrent states {}", gib(need.checkpoints))?;
        }
        if need.host_cache > 0 {
            write!(f, ", saved states {}", gib(need.host_cache))?;
        }
        write!(f, ", compute buffers about {}), but {} are free: ", gib(need.compute), gib(*free))?;
        let lower_cache = (need.host_cache > 0).then(|| "lower cache.ram_mib".to_owned());
        let Some(largest) = self.largest_ctx else {
            let lower_cache = lower_cache.map(|way| format!("{way}, ")).unwrap_or_default();
            return write!(
                f,
                "{lower_cache}free memory, use a smaller quantization of the model, or a smaller model"
            );
        };
        let mut ways = vec![format!("set context.ctx_size to at most {largest}")];
        ways.extend(lower_cache);
        if let Some(need) = self.need_q4_0 {
            ways.push(format!("set both cache types to q4_0 (then {} are needed)", gib(need)));
        }
        if *slots > 1 {
            ways.push(format!("lower context.parallel from {slots} and context.ctx_size with it"));
        }
        ways.push("use a smaller quantization of the model".to_owned());
        ways.truncate(3);
        f.write_str(&ways.join(", or "))
    }
}

/// The name of a cache type, as settings have it.
pub(super) fn name(kind: CacheType) -> String {
    format!("{kind:?}").to_lowercase()
}

/// Bytes as people read them.
pub(super) fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1_u64 << 30) as f64)
}
