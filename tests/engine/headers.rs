//! For several test programs: files with the headers of real models and no data: sparse, so that 90 GB take some megabytes.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use strixhalo::model::{Family, Gguf, MetaValue, TensorType, ValueType, WeightType};

/// A header in the making.
pub(crate) struct Header {
    pub(crate) keys: Vec<(String, Vec<u8>)>,
    /// Name, dimensions, ggml's number of the type.
    pub(crate) tensors: Vec<(String, Vec<u64>, u32)>,
}

fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat()
}

fn value(kind: u32, bytes: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], bytes].concat()
}

fn array(kind: u32, len: usize, values: &[u8]) -> Vec<u8> {
    value(9, &[&kind.to_le_bytes()[..], &(len as u64).to_le_bytes(), values].concat())
}

impl Header {
    /// With a vocabulary of `n_vocab` tokens that mean nothing.
    pub(crate) fn new(architecture: &str, n_vocab: u64) -> Self {
        let mut header = Self { keys: Vec::new(), tensors: Vec::new() };
        header.vocabulary(n_vocab);
        header.set("general.architecture", value(8, &text(architecture)));
        header.set("tokenizer.ggml.model", value(8, &text("gpt2")));
        header.set("tokenizer.ggml.pre", value(8, &text("qwen2")));
        header.set("tokenizer.ggml.merges", array(8, 1, &text("t 0")));
        header
    }

    /// Another vocabulary; that of a real size takes other programs long to read.
    pub(crate) fn vocabulary(&mut self, n_vocab: u64) {
        let tokens: Vec<u8> = (0..n_vocab).flat_map(|id| text(&format!("t{id}"))).collect();
        let types = 1_i32.to_le_bytes().repeat(n_vocab as usize);
        self.set("tokenizer.ggml.tokens", array(8, n_vocab as usize, &tokens));
        self.set("tokenizer.ggml.token_type", array(5, n_vocab as usize, &types));
    }

    pub(crate) fn family(family: &Family, weights: WeightType) -> Self {
        let gguf: Gguf = family.header(weights);
        let mut header = Self::new(family.architecture, family.n_vocab.into());
        for (key, entry) in &gguf.meta {
            let value = match (&entry.value, entry.kind) {
                (MetaValue::Text(value), _) => value_of_text(value),
                (MetaValue::Unsigned(number), _) => value(4, &(*number as u32).to_le_bytes()),
                (MetaValue::Float(number), _) => value(6, &(*number as f32).to_le_bytes()),
                (MetaValue::Array(list), _) => match &list.integers {
                    Some(numbers) if list.kind == ValueType::I32 => {
                        let bytes: Vec<u8> =
                            numbers.iter().flat_map(|n| (*n as i32).to_le_bytes()).collect();
                        array(5, numbers.len(), &bytes)
                    }
                    _ => continue,
                },
                other => panic!("{other:?}"),
            };
            header.set(key, value);
        }
        let id = |kind: TensorType| (0..64).find(|id| TensorType::from_id(*id) == Some(kind));
        header.tensors = gguf
            .tensors
            .iter()
            .map(|tensor| (tensor.name.clone(), tensor.dims.clone(), id(tensor.kind).unwrap()))
            .collect();
        header
    }

    /// A BERT in Q8_0 that gives the mean of the tokens' vectors.
    pub(crate) fn bert(n_vocab: u64, n_embd: u64, n_layer: u64, n_head: u64, n_ctx: u64) -> Self {
        let mut header = Self::new("bert", n_vocab);
        for (key, number) in [
            ("context_length", n_ctx),
            ("embedding_length", n_embd),
            ("block_count", n_layer),
            ("feed_forward_length", 4 * n_embd),
            ("attention.head_count", n_head),
            ("pooling_type", 1),
        ] {
            header.u32(&format!("bert.{key}"), number as u32);
        }
        header.u32("tokenizer.ggml.token_type_count", 2);
        header.f32("bert.attention.layer_norm_epsilon", 1e-12);
        header.set("bert.attention.causal", value(7, &[0]));
        header.tensor("token_embd.weight", &[n_embd, n_vocab], Q8_0);
        header.tensor("token_types.weight", &[n_embd, 2], F32);
        header.tensor("position_embd.weight", &[n_embd, n_ctx], F32);
        header.tensor("token_embd_norm.weight", &[n_embd], F32);
        header.tensor("token_embd_norm.bias", &[n_embd], F32);
        for layer in 0..n_layer {
            for (name, rows, columns) in [
                ("attn_q", n_embd, n_embd),
                ("attn_k", n_embd, n_embd),
                ("attn_v", n_embd, n_embd),
                ("attn_output", n_embd, n_embd),
                ("ffn_up", n_embd, 4 * n_embd),
                ("ffn_down", 4 * n_embd, n_embd),
            ] {
                header.tensor(&format!("blk.{layer}.{name}.weight"), &[rows, columns], Q8_0);
                header.tensor(&format!("blk.{layer}.{name}.bias"), &[columns], F32);
            }
            for name in ["attn_output_norm", "layer_output_norm"] {
                header.tensor(&format!("blk.{layer}.{name}.weight"), &[n_embd], F32);
                header.tensor(&format!("blk.{layer}.{name}.bias"), &[n_embd], F32);
            }
        }
        header
    }

    pub(crate) fn set(&mut self, key: &str, value: Vec<u8>) {
        self.keys.retain(|(known, _)| known != key);
        self.keys.push((key.to_owned(), value));
    }

    pub(crate) fn u32(&mut self, key: &str, number: u32) {
        self.set(key, value(4, &number.to_le_bytes()));
    }

    pub(crate) fn f32(&mut self, key: &str, number: f32) {
        self.set(key, value(6, &number.to_le_bytes()));
    }

    pub(crate) fn tensor(&mut self, name: &str, dims: &[u64], kind: u32) {
        self.tensors.push((name.to_owned(), dims.to_vec(), kind));
    }

    /// Writes the header; the data behind it is a hole.
    pub(crate) fn write(&self, path: &Path) {
        write_part(path, &self.keys, &self.tensors);
    }

    /// Writes it as a split model; gives the first part.
    pub(crate) fn write_split(&self, directory: &Path, name: &str, count: usize) -> PathBuf {
        let part = |number: usize| directory.join(format!("{name}-{number:05}-of-{count:05}.gguf"));
        let size = self.tensors.len().div_ceil(count);
        for (index, tensors) in self.tensors.chunks(size).enumerate() {
            let mut keys = if index == 0 { self.keys.clone() } else { Vec::new() };
            let short = |number: usize| value(2, &(number as u16).to_le_bytes());
            keys.push(("split.no".to_owned(), short(index)));
            keys.push(("split.count".to_owned(), short(count)));
            let all = value(5, &(self.tensors.len() as i32).to_le_bytes());
            keys.push(("split.tensors.count".to_owned(), all));
            write_part(&part(index + 1), &keys, tensors);
        }
        part(1)
    }
}

fn write_part(path: &Path, keys: &[(String, Vec<u8>)], tensors: &[(String, Vec<u64>, u32)]) {
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((keys.len() as u64).to_le_bytes());
    for (key, value) in keys {
        out.extend(text(key));
        out.extend(value);
    }
    let mut offset = 0_u64;
    for (name, dims, kind) in tensors {
        out.extend(text(name));
        out.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
        out.extend(kind.to_le_bytes());
        out.extend(offset.to_le_bytes());
        let block = TensorType::from_id(*kind).unwrap();
        let bytes = dims.iter().product::<u64>() / block.values * block.bytes;
        offset += bytes.next_multiple_of(32);
    }
    let data = (out.len() as u64).next_multiple_of(32);
    let mut file = File::create(path).unwrap();
    file.write_all(&out).unwrap();
    file.set_len(data + offset).unwrap();
}

fn value_of_text(content: &str) -> Vec<u8> {
    value(8, &text(content))
}

const F32: u32 = 0;
const Q8_0: u32 = 8;
const Q6_K: u32 = 14;
const MXFP4: u32 = 39;

/// Sizes of a model that `--family` does not know.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) architecture: &'static str,
    pub(crate) n_vocab: u64,
    pub(crate) n_embd: u64,
    pub(crate) n_layer: u64,
    pub(crate) n_head: u64,
    pub(crate) n_head_kv: u64,
    pub(crate) head_dim: u64,
    pub(crate) n_ff: u64,
    /// Experts, how many a token uses, their width.
    pub(crate) experts: Option<(u64, u64, u64)>,
    pub(crate) window: u64,
}

const LLAMA_8B: Shape = Shape {
    name: "llama-3.1-8b",
    architecture: "llama",
    n_vocab: 128_256,
    n_embd: 4096,
    n_layer: 32,
    n_head: 32,
    n_head_kv: 8,
    head_dim: 128,
    n_ff: 14_336,
    experts: None,
    window: 0,
};
const GEMMA_12B: Shape = Shape {
    name: "gemma-3-12b",
    architecture: "gemma3",
    n_vocab: 262_208,
    n_embd: 3840,
    n_layer: 48,
    n_head: 16,
    n_head_kv: 8,
    head_dim: 256,
    n_ff: 15_360,
    experts: None,
    window: 1024,
};
const GPT_OSS_20B: Shape = Shape {
    name: "gpt-oss-20b",
    architecture: "gpt-oss",
    n_vocab: 201_088,
    n_embd: 2880,
    n_layer: 24,
    n_head: 64,
    n_head_kv: 8,
    head_dim: 64,
    n_ff: 2880,
    experts: Some((32, 4, 2880)),
    window: 128,
};

/// Models of other makers, from their configurations.
pub(crate) const SHAPES: &[Shape] = &[
    LLAMA_8B,
    Shape {
        name: "llama-3.3-70b",
        n_embd: 8192,
        n_layer: 80,
        n_head: 64,
        n_ff: 28_672,
        ..LLAMA_8B
    },
    Shape {
        name: "mistral-small-24b",
        n_vocab: 131_072,
        n_embd: 5120,
        n_layer: 40,
        n_ff: 32_768,
        ..LLAMA_8B
    },
    GEMMA_12B,
    Shape {
        name: "gemma-3-27b",
        n_embd: 5376,
        n_layer: 62,
        n_head: 32,
        n_head_kv: 16,
        head_dim: 128,
        n_ff: 21_504,
        ..GEMMA_12B
    },
    GPT_OSS_20B,
    Shape { name: "gpt-oss-120b", n_layer: 36, experts: Some((128, 4, 2880)), ..GPT_OSS_20B },
    Shape {
        name: "glm-4.5-air",
        architecture: "glm4moe",
        n_vocab: 151_552,
        n_layer: 46,
        n_head: 96,
        n_ff: 10_944,
        experts: Some((128, 8, 1408)),
        ..LLAMA_8B
    },
];

impl Shape {
    pub(crate) fn header(&self) -> Header {
        let mut header = Header::new(self.architecture, self.n_vocab);
        let key = |suffix: &str| format!("{}.{suffix}", self.architecture);
        for (suffix, number) in [
            ("context_length", 131_072),
            ("embedding_length", self.n_embd),
            ("block_count", self.n_layer),
            ("feed_forward_length", self.n_ff),
            ("attention.head_count", self.n_head),
            ("attention.head_count_kv", self.n_head_kv),
            ("attention.key_length", self.head_dim),
            ("attention.value_length", self.head_dim),
            ("rope.dimension_count", self.head_dim),
        ] {
            header.u32(&key(suffix), number as u32);
        }
        header.f32(&key("attention.layer_norm_rms_epsilon"), 1e-5);
        if self.window > 0 {
            header.u32(&key("attention.sliding_window"), self.window as u32);
        }
        if let Some((count, used, width)) = self.experts {
            header.u32(&key("expert_count"), count as u32);
            header.u32(&key("expert_used_count"), used as u32);
            header.u32(&key("expert_feed_forward_length"), width as u32);
        }
        if self.architecture == "glm4moe" {
            header.u32(&key("expert_shared_count"), 1);
            header.u32(&key("leading_dense_block_count"), 1);
        }
        header.tensor("token_embd.weight", &[self.n_embd, self.n_vocab], Q8_0);
        header.tensor("output_norm.weight", &[self.n_embd], F32);
        if self.architecture != "gemma3" {
            header.tensor("output.weight", &[self.n_embd, self.n_vocab], Q8_0);
        }
        (0..self.n_layer).for_each(|index| self.layer(index, &mut header));
        header
    }

    fn layer(&self, index: u64, header: &mut Header) {
        let is = |architecture: &str| self.architecture == architecture;
        let mut add = |name: &str, dims: &[u64], kind| {
            header.tensor(&format!("blk.{index}.{name}"), dims, kind);
        };
        let (queries, keys) = (self.n_head * self.head_dim, self.n_head_kv * self.head_dim);
        add("attn_norm.weight", &[self.n_embd], F32);
        add("attn_q.weight", &[self.n_embd, queries], Q8_0);
        add("attn_k.weight", &[self.n_embd, keys], Q8_0);
        add("attn_v.weight", &[self.n_embd, keys], Q8_0);
        add("attn_output.weight", &[queries, self.n_embd], Q8_0);
        if is("gpt-oss") || is("glm4moe") {
            add("attn_q.bias", &[queries], F32);
            add("attn_k.bias", &[keys], F32);
            add("attn_v.bias", &[keys], F32);
            add("post_attention_norm.weight", &[self.n_embd], F32);
        } else {
            add("ffn_norm.weight", &[self.n_embd], F32);
        }
        if is("gemma3") {
            add("attn_q_norm.weight", &[self.head_dim], F32);
            add("attn_k_norm.weight", &[self.head_dim], F32);
            add("post_attention_norm.weight", &[self.n_embd], F32);
            add("post_ffw_norm.weight", &[self.n_embd], F32);
        }
        match self.experts {
            Some((count, _, width)) if !(is("glm4moe") && index == 0) => {
                let kind = if is("gpt-oss") { MXFP4 } else { Q6_K };
                let down = if width % 256 == 0 {
                    kind
                } else if is("gpt-oss") {
                    MXFP4
                } else {
                    Q8_0
                };
                add("ffn_gate_inp.weight", &[self.n_embd, count], F32);
                add("ffn_gate_exps.weight", &[self.n_embd, width, count], kind);
                add("ffn_up_exps.weight", &[self.n_embd, width, count], kind);
                add("ffn_down_exps.weight", &[width, self.n_embd, count], down);
                if is("gpt-oss") {
                    add("attn_output.bias", &[self.n_embd], F32);
                    add("attn_sinks.weight", &[self.n_head], F32);
                    add("ffn_gate_inp.bias", &[count], F32);
                    add("ffn_gate_exps.bias", &[width, count], F32);
                    add("ffn_up_exps.bias", &[width, count], F32);
                    add("ffn_down_exps.bias", &[self.n_embd, count], F32);
                } else {
                    add("exp_probs_b.bias", &[count], F32);
                    add("ffn_gate_shexp.weight", &[self.n_embd, width], Q8_0);
                    add("ffn_up_shexp.weight", &[self.n_embd, width], Q8_0);
                    add("ffn_down_shexp.weight", &[width, self.n_embd], Q8_0);
                }
            }
            _ => {
                add("ffn_gate.weight", &[self.n_embd, self.n_ff], Q8_0);
                add("ffn_up.weight", &[self.n_embd, self.n_ff], Q8_0);
                add("ffn_down.weight", &[self.n_ff, self.n_embd], Q8_0);
            }
        }
    }
}
