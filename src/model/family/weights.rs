//! Which type each tensor of a quantized file has: the rules of llama.cpp's quantizer
//! (`llama_tensor_get_type_impl` in `llama-quant.cpp` of the pin), without an importance matrix.
//! Files that others mixed by hand (such as those named `UD-`) differ by some percent.

use super::super::gguf::TensorInfo;
use super::super::quantization::{TensorType, file_type_name};
use super::Family;

/// Where tensors begin in a file.
const ALIGNMENT: u64 = 32;

/// How a file's weights are stored; the number is llama.cpp's file type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, non_camel_case_types)] // llama.cpp's names
pub enum WeightType {
    F16 = 1,
    Q4_0 = 2,
    Q8_0 = 7,
    Q4_K_S = 14,
    Q4_K_M = 15,
    Q5_K_S = 16,
    Q5_K_M = 17,
    Q6_K = 18,
    IQ4_XS = 30,
    BF16 = 32,
}

/// ggml's numbers of tensor types.
mod kind {
    pub(super) const F32: u32 = 0;
    pub(super) const F16: u32 = 1;
    pub(super) const Q4_0: u32 = 2;
    pub(super) const Q5_0: u32 = 6;
    pub(super) const Q5_1: u32 = 7;
    pub(super) const Q8_0: u32 = 8;
    pub(super) const Q4_K: u32 = 12;
    pub(super) const Q5_K: u32 = 13;
    pub(super) const Q6_K: u32 = 14;
    pub(super) const IQ4_NL: u32 = 20;
    pub(super) const IQ4_XS: u32 = 23;
    pub(super) const BF16: u32 = 30;
}

impl WeightType {
    /// All of them, the largest first.
    pub const ALL: [Self; 10] = {
        use WeightType::*;
        [F16, BF16, Q8_0, Q6_K, Q5_K_M, Q5_K_S, Q4_K_M, Q4_K_S, Q4_0, IQ4_XS]
    };

    /// llama.cpp's name, such as `Q4_K_M`.
    pub fn name(self) -> &'static str {
        file_type_name(u64::from(self.file_type())).unwrap_or_default()
    }

    /// The type called `name`, whatever its case.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    pub(super) fn file_type(self) -> u32 {
        self as u32
    }

    fn base(self) -> u32 {
        match self {
            Self::F16 => kind::F16,
            Self::BF16 => kind::BF16,
            Self::Q4_0 => kind::Q4_0,
            Self::Q8_0 => kind::Q8_0,
            Self::Q4_K_S | Self::Q4_K_M => kind::Q4_K,
            Self::Q5_K_S | Self::Q5_K_M => kind::Q5_K,
            Self::Q6_K => kind::Q6_K,
            Self::IQ4_XS => kind::IQ4_XS,
        }
    }

    /// Gives each of `tensors` (names and dimensions, in the order of the file) its type and place.
    pub(super) fn assign(
        self,
        family: &Family,
        tensors: Vec<(String, Vec<u32>)>,
    ) -> Vec<TensorInfo> {
        let attention_values = |name: &str| name.contains("attn_v.") || name.contains("attn_qkv.");
        let count = tensors.iter().filter(|(name, _)| attention_values(name)).count() as u32;
        let (mut seen, mut offset) = (0, 0);
        tensors
            .into_iter()
            .filter_map(|(name, dims)| {
                let id = self.kind_of(family, &name, &dims, (seen, count));
                seen += u32::from(attention_values(&name));
                let kind = TensorType::from_id(id)?;
                let dims: Vec<u64> = dims.into_iter().map(u64::from).collect();
                let bytes = dims.iter().product::<u64>() / kind.values * kind.bytes;
                let tensor = TensorInfo { name, dims, kind, offset, bytes };
                offset += bytes.next_multiple_of(ALIGNMENT);
                Some(tensor)
            })
            .collect()
    }

    /// ggml's number of the type of one tensor; `values`: which of how many tensors of attention's
    /// values it is.
    fn kind_of(self, family: &Family, name: &str, dims: &[u32], values: (u32, u32)) -> u32 {
        let small = ["_norm.weight", "ffn_gate_inp", "ssm_conv1d"];
        if dims.len() < 2 || small.iter().any(|part| name.contains(part)) {
            return kind::F32;
        }
        let base = self.base();
        if matches!(self, Self::F16 | Self::BF16) {
            return base;
        }
        let (n_layer, layer) = (family.n_layer, layer_of(name));
        let more_bits = |index: u32, count: u32| {
            index < count / 8 || index >= 7 * count / 8 || (index - count / 8) % 3 == 2
        };
        let is_medium = matches!(self, Self::Q4_K_M | Self::Q5_K_M);
        let gqa = family.n_head / family.n_head_kv.max(1);
        let id = if name == "output.weight" || (family.tied && name == "token_embd.weight") {
            if self == Self::Q8_0 { kind::Q8_0 } else { kind::Q6_K }
        } else if name.contains("attn_v.") || name.contains("attn_qkv.") {
            match self {
                Self::IQ4_XS if gqa >= 4 => kind::Q5_K,
                _ if is_medium && more_bits(values.0, values.1) => kind::Q6_K,
                Self::Q4_K_S if values.0 < 4 => kind::Q5_K,
                _ => base,
            }
        } else if name.contains("ffn_down") {
            match self {
                _ if is_medium && more_bits(layer, n_layer) => kind::Q6_K,
                Self::IQ4_XS | Self::Q4_K_S if layer < n_layer / 8 => kind::Q5_K,
                _ => base,
            }
        } else {
            base
        };
        fallback(id, dims)
    }
}

/// The type for rows that are no multiple of a block.
fn fallback(id: u32, dims: &[u32]) -> u32 {
    let row = u64::from(dims.first().copied().unwrap_or(0));
    let fits = |id| TensorType::from_id(id).is_some_and(|kind| row.is_multiple_of(kind.values));
    if fits(id) {
        return id;
    }
    let smaller = match id {
        kind::IQ4_XS => kind::IQ4_NL,
        kind::Q4_K => kind::Q5_0,
        kind::Q5_K => kind::Q5_1,
        kind::Q6_K => kind::Q8_0,
        other => other,
    };
    if fits(smaller) { smaller } else { kind::F16 }
}

/// The number of the layer in `blk.3.ffn_down.weight`.
fn layer_of(name: &str) -> u32 {
    name.split('.').nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}
