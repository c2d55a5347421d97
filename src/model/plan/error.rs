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

impl MemoryNeed {
    /// The parts that [`total`](Self::total) is the sum of.
    pub fn parts(&self) -> [NeedPart; 6] {
        let Self { weights, kv, recurrent, checkpoints, host_cache, compute } = *self;
        [
            NeedPart { key: "weights", name: "weights", bytes: weights },
            NeedPart { key: "kv", name: "KV cache", bytes: kv },
            NeedPart { key: "recurrent", name: "recurrent state", bytes: recurrent },
            NeedPart { key: "checkpoints", name: "earlier recurrent states", bytes: checkpoints },
            NeedPart { key: "host_cache", name: "saved states", bytes: host_cache },
            NeedPart { key: "compute", name: "compute buffers about", bytes: compute },
        ]
    }
}

/// A part of what a model needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeedPart {
    /// Its name in `/props` and as a label of metrics.
    pub key: &'static str,
    /// Its name in texts.
    pub name: &'static str,
    /// Bytes.
    pub bytes: u64,
}

impl MemoryShortage {
    /// What is needed, with its parts, which add up as they are printed.
    pub(super) fn needs(&self) -> String {
        let Self { need, slots, per_slot, .. } = self;
        let bytes = need.parts().map(|part| part.bytes);
        let shown = need.parts().into_iter().zip(shares(need.total(), &bytes));
        let parts: Vec<String> = shown
            .filter(|(part, _)| part.bytes > 0 || ["weights", "kv"].contains(&part.key))
            .map(|(part, share)| format!("{} {}", part.name, gib_of_tenths(share)))
            .collect();
        let total = gib(need.total());
        format!("{slots} x {per_slot} tokens of context need {total} ({})", parts.join(", "))
    }

    /// What would help, three ways at most.
    pub(super) fn ways_out(&self) -> String {
        let Self { need, slots, .. } = self;
        let lower_cache = (need.host_cache > 0).then(|| "lower cache.ram_mib".to_owned());
        let mut ways = Vec::new();
        match self.largest_ctx {
            Some(largest) => {
                ways.push(format!("set context.ctx_size to at most {largest}"));
                ways.extend(lower_cache);
                if let Some(need) = self.need_q4_0 {
                    ways.push(format!(
                        "set both cache types to q4_0 (then {} are needed)",
                        gib(need)
                    ));
                }
                if *slots > 1 {
                    ways.push(format!(
                        "lower context.parallel from {slots} and context.ctx_size with it"
                    ));
                }
                ways.push("use a smaller quantization of the model".to_owned());
            }
            None => {
                ways.extend(lower_cache);
                ways.push("free memory".to_owned());
                ways.push("use a smaller quantization of the model".to_owned());
                ways.push("use a smaller model".to_owned());
            }
        }
        ways.truncate(3);
        ways.join(", or ")
    }
}

impl fmt::Display for MemoryShortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, but {} are free: {}", self.needs(), gib(self.free), self.ways_out())
    }
}

/// The name of a cache type, as settings have it.
pub(super) fn name(kind: CacheType) -> String {
    format!("{kind:?}").to_lowercase()
}

/// Bytes as people read them.
pub(super) fn gib(bytes: u64) -> String {
    gib_of_tenths(tenths(bytes))
}

/// Tenths of GiB, rounded.
pub(super) fn tenths(bytes: u64) -> u64 {
    u64::try_from((u128::from(bytes) * 10 + (1 << 29)) >> 30).unwrap_or(u64::MAX)
}

/// Such as `12.3 GiB`.
pub(super) fn gib_of_tenths(tenths: u64) -> String {
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

/// The parts of a sum in tenths of GiB, rounded so that they add up to the rounded sum: those that
/// come closest to the next tenth get it.
fn shares(sum: u64, parts: &[u64]) -> Vec<u64> {
    let exact = |bytes: u64| u128::from(bytes) * 10;
    let mut shares: Vec<u64> =
        parts.iter().map(|part| u64::try_from(exact(*part) >> 30).unwrap_or(u64::MAX)).collect();
    let given = shares.iter().fold(0, |sum: u64, share| sum.saturating_add(*share));
    let missing = usize::try_from(tenths(sum).saturating_sub(given)).unwrap_or(usize::MAX);
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(exact(parts[*index]) & ((1 << 30) - 1)));
    for index in order.into_iter().take(missing) {
        shares[index] += 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number behind `name`, or in front of ` GiB` where it is empty, in tenths.
    fn number(text: &str) -> u64 {
        text.split(' ').next().unwrap_or_default().replace('.', "").parse().unwrap_or_default()
    }

    fn shortage(need: MemoryNeed) -> MemoryShortage {
        MemoryShortage {
            need,
            free: 1 << 30,
            slots: 2,
            per_slot: 4096,
            largest_ctx: None,
            need_q4_0: None,
        }
    }

    #[test]
    fn the_parts_that_are_printed_add_up_to_the_sum() {
        for odd in 1..50_u64 {
            let need = MemoryNeed {
                weights: 80 << 30,
                kv: odd * 77_777_777,
                recurrent: odd * 1_234_567,
                checkpoints: odd * 51_000_000,
                host_cache: odd * 123_456_789,
                compute: odd * 54_321_987,
            };
            let text = shortage(need).to_string();
            let (sum, parts) = text.split_once(" (").unwrap_or_default();
            let sum = number(sum.rsplit_once("need ").unwrap_or_default().1);
            let parts = parts.split_once(')').unwrap_or_default().0;
            let numbers = parts.split(" GiB").filter(|part| !part.is_empty());
            let parts = numbers.map(|part| number(part.rsplit(' ').next().unwrap_or_default()));
            assert_eq!(parts.sum::<u64>(), sum, "{text}");
            assert_eq!(sum, tenths(need.total()), "{text}");
        }
    }
}
