//! Published models whose files are not there yet: the header that such a file would have.

mod shapes;
mod weights;

use std::collections::HashMap;

pub use shapes::{DeltaNet, Experts, FAMILIES, Family};
pub use weights::WeightType;

use super::facts::GgufFacts;
use super::gguf::{
    ArrayFacts, Entry, Gguf, GgufError, MetaValue, TOKENS, TensorInfo, TokenTexts, ValueType,
};
use super::keys::Purpose;

/// Keys and values of a recurrent layer's head.
const STATE: u32 = 128;
/// Tokens that a recurrent layer's convolution sees.
const CONVOLUTION: u32 = 4;

impl Family {
    /// The family called `name`, whatever its case.
    pub fn find(name: &str) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.name.eq_ignore_ascii_case(name))
    }

    /// What the header of its file with these weights says.
    pub fn facts(&self, weights: WeightType) -> Result<GgufFacts, GgufError> {
        GgufFacts::read(&self.header(weights), Purpose::Generate)
    }

    /// The header of its file with these weights, but for the texts of the vocabulary. The bytes of
    /// a file are what its tensors take.
    pub fn header(&self, weights: WeightType) -> Gguf {
        let tensors = self.tensors(weights);
        let file_bytes = tensors.last().map_or(0, |tensor| tensor.offset + tensor.bytes);
        Gguf {
            version: 3,
            meta: self.meta(weights),
            tensors,
            data_start: 0,
            file_bytes,
            token_texts: TokenTexts::default(),
        }
    }

    fn meta(&self, weights: WeightType) -> HashMap<String, Entry> {
        let text =
            |value: &str| Entry { kind: ValueType::Text, value: MetaValue::Text(value.to_owned()) };
        let number =
            |value: u32| Entry { kind: ValueType::U32, value: MetaValue::Unsigned(value.into()) };
        let float = |value: f64| Entry { kind: ValueType::F32, value: MetaValue::Float(value) };
        let tokens = ArrayFacts { kind: ValueType::Text, len: self.n_vocab.into(), integers: None };
        let mut meta = HashMap::from([
            ("general.architecture".to_owned(), text(self.architecture)),
            ("general.name".to_owned(), text(self.name)),
            ("general.file_type".to_owned(), number(weights.file_type())),
            ("tokenizer.ggml.model".to_owned(), text("gpt2")),
            ("tokenizer.ggml.pre".to_owned(), text("qwen2")),
            (TOKENS.to_owned(), Entry { kind: ValueType::Array, value: MetaValue::Array(tokens) }),
        ]);
        let mut set = |suffix: &str, entry| {
            meta.insert(format!("{}.{suffix}", self.architecture), entry);
        };
        set("context_length", number(self.n_ctx_train));
        set("embedding_length", number(self.n_embd));
        set("block_count", number(self.n_layer));
        set("feed_forward_length", number(self.n_ff));
        set("attention.head_count", number(self.n_head));
        set("attention.head_count_kv", number(self.n_head_kv));
        set("attention.key_length", number(self.head_dim));
        set("attention.value_length", number(self.head_dim));
        set("attention.layer_norm_rms_epsilon", float(1e-6));
        set("rope.freq_base", float(1e6));
        if let Some(experts) = self.experts {
            set("expert_count", number(experts.count));
            set("expert_used_count", number(experts.used));
            set("expert_feed_forward_length", number(experts.n_ff));
            if experts.n_ff_shared > 0 {
                set("expert_shared_feed_forward_length", number(experts.n_ff_shared));
            }
        }
        if let Some(delta) = self.delta_net {
            set("rope.dimension_count", number(self.head_dim / 4));
            set("full_attention_interval", number(4));
            set("ssm.conv_kernel", number(CONVOLUTION));
            set("ssm.state_size", number(STATE));
            set("ssm.group_count", number(delta.key_heads));
            set("ssm.time_step_rank", number(delta.value_heads));
            set("ssm.inner_size", number(delta.value_heads * STATE));
            if self.architecture != "qwen3next" {
                let sections = ArrayFacts {
                    kind: ValueType::I32,
                    len: 4,
                    integers: Some(vec![11, 11, 10, 0]),
                };
                let value = MetaValue::Array(sections);
                set("rope.dimension_sections", Entry { kind: ValueType::Array, value });
            }
        }
        meta
    }

    fn tensors(&self, weights: WeightType) -> Vec<TensorInfo> {
        let mut all = Vec::new();
        let mut add = |name: String, dims: &[u32]| all.push((name, dims.to_vec()));
        add("token_embd.weight".to_owned(), &[self.n_embd, self.n_vocab]);
        add("output_norm.weight".to_owned(), &[self.n_embd]);
        if !self.tied {
            add("output.weight".to_owned(), &[self.n_embd, self.n_vocab]);
        }
        for index in 0..self.n_layer {
            let mut add = |name: &str, dims: &[u32]| add(format!("blk.{index}.{name}"), dims);
            add("attn_norm.weight", &[self.n_embd]);
            match self.delta_net {
                Some(delta) if (index + 1) % 4 != 0 => self.delta_layer(delta, &mut add),
                _ => self.attention_layer(&mut add),
            }
            let norm = if self.delta_net.is_some() {
                "post_attention_norm.weight"
            } else {
                "ffn_norm.weight"
            };
            add(norm, &[self.n_embd]);
            self.feed_forward(&mut add);
        }
        weights.assign(self, all)
    }

    fn attention_layer(&self, add: &mut impl FnMut(&str, &[u32])) {
        // Hybrids have a gate beside each query.
        let gates = if self.delta_net.is_some() { 2 } else { 1 };
        let (queries, keys) = (self.n_head * self.head_dim, self.n_head_kv * self.head_dim);
        add("attn_q.weight", &[self.n_embd, queries * gates]);
        add("attn_k.weight", &[self.n_embd, keys]);
        add("attn_v.weight", &[self.n_embd, keys]);
        add("attn_output.weight", &[queries, self.n_embd]);
        add("attn_q_norm.weight", &[self.head_dim]);
        add("attn_k_norm.weight", &[self.head_dim]);
    }

    fn delta_layer(&self, delta: DeltaNet, add: &mut impl FnMut(&str, &[u32])) {
        let (keys, values) = (delta.key_heads * STATE, delta.value_heads * STATE);
        add("attn_qkv.weight", &[self.n_embd, 2 * keys + values]);
        add("attn_gate.weight", &[self.n_embd, values]);
        add("ssm_conv1d.weight", &[CONVOLUTION, 2 * keys + values]);
        add("ssm_dt.bias", &[delta.value_heads]);
        add("ssm_a", &[delta.value_heads]);
        if self.architecture == "qwen3next" {
            add("ssm_ba.weight", &[self.n_embd, 2 * delta.value_heads]);
        } else {
            add("ssm_beta.weight", &[self.n_embd, delta.value_heads]);
            add("ssm_alpha.weight", &[self.n_embd, delta.value_heads]);
        }
        add("ssm_norm.weight", &[STATE]);
        add("ssm_out.weight", &[values, self.n_embd]);
    }

    fn feed_forward(&self, add: &mut impl FnMut(&str, &[u32])) {
        let Some(experts) = self.experts else {
            add("ffn_gate.weight", &[self.n_embd, self.n_ff]);
            add("ffn_up.weight", &[self.n_embd, self.n_ff]);
            add("ffn_down.weight", &[self.n_ff, self.n_embd]);
            return;
        };
        add("ffn_gate_inp.weight", &[self.n_embd, experts.count]);
        add("ffn_gate_exps.weight", &[self.n_embd, experts.n_ff, experts.count]);
        add("ffn_up_exps.weight", &[self.n_embd, experts.n_ff, experts.count]);
        add("ffn_down_exps.weight", &[experts.n_ff, self.n_embd, experts.count]);
        if experts.n_ff_shared > 0 {
            add("ffn_gate_inp_shexp.weight", &[self.n_embd]);
            add("ffn_gate_shexp.weight", &[self.n_embd, experts.n_ff_shared]);
            add("ffn_up_shexp.weight", &[self.n_embd, experts.n_ff_shared]);
            add("ffn_down_shexp.weight", &[experts.n_ff_shared, self.n_embd]);
        }
    }
}
