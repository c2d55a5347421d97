//! Tiny models with random weights, made in memory: a mixture of experts and a hybrid with recurrent
//! layers. They have the head sizes of the models that are served, since kernels differ by them, and
//! weights of f16, q8_0 and q4_0.

use super::ggml::{Kind, quantize};
use crate::model::Writer;

/// Tokens of the vocabulary.
pub(super) const VOCABULARY: u32 = 512;
const WIDTH: usize = 128;
const EXPERTS: usize = 8;
const EXPERTS_USED: u32 = 2;
const EXPERT_WIDTH: usize = 64;
/// Whatever is compared must be the same in each run of every version.
const SEED: u64 = 21;

/// A tensor before its values are written in its type.
#[derive(Debug, Clone)]
pub(super) struct TinyTensor {
    pub(super) name: String,
    /// Columns first.
    pub(super) dims: Vec<usize>,
    pub(super) kind: Kind,
    pub(super) values: Vec<f32>,
}

/// A model that can be changed before it is written.
#[derive(Clone)]
pub(super) struct TinyModel {
    header: Writer,
    pub(super) tensors: Vec<TinyTensor>,
    random: fastrand::Rng,
}

impl TinyModel {
    /// Qwen3's mixture of experts: attention in f16, experts in q4_0, the output in q8_0.
    pub(super) fn moe() -> Self {
        let mut model = Self::new("qwen3moe", 2, 4, 2, 128);
        for layer in 0..2 {
            model.attention(layer, Kind::F16, 4, 2, 128, false);
            model.experts(layer, Kind::Q4_0);
            model.ones(&format!("blk.{layer}.ffn_norm.weight"), WIDTH, 1.0);
        }
        model.ends(Kind::Q8_0);
        model
    }

    /// Qwen3-Next's layers, of which three in four are recurrent (gated delta net), in q8_0.
    pub(super) fn hybrid() -> Self {
        const STATE: usize = 128;
        const KEY_HEADS: usize = 1;
        const VALUE_HEADS: usize = 2;
        const CONVOLUTION: usize = 4;
        let (keys, values) = (KEY_HEADS * STATE, VALUE_HEADS * STATE);
        let mut model = Self::new("qwen3next", 4, 2, 1, 256);
        for (key, value) in [
            ("expert_shared_feed_forward_length", EXPERT_WIDTH),
            ("rope.dimension_count", 64),
            ("full_attention_interval", 4),
            ("ssm.conv_kernel", CONVOLUTION),
            ("ssm.state_size", STATE),
            ("ssm.group_count", KEY_HEADS),
            ("ssm.time_step_rank", VALUE_HEADS),
            ("ssm.inner_size", values),
        ] {
            model.header = model.header.u32(&format!("qwen3next.{key}"), value as u32);
        }
        let kind = Kind::Q8_0;
        for layer in 0..4 {
            let name = |part: &str| format!("blk.{layer}.{part}");
            if layer == 3 {
                model.attention(layer, kind, 2, 1, 256, true);
            } else {
                model.ones(&name("attn_norm.weight"), WIDTH, 1.0);
                model.matrix(&name("attn_qkv.weight"), kind, 2 * keys + values, WIDTH);
                model.matrix(&name("attn_gate.weight"), kind, values, WIDTH);
                model.matrix(&name("ssm_conv1d.weight"), Kind::F32, 2 * keys + values, CONVOLUTION);
                model.matrix(&name("ssm_ba.weight"), kind, 2 * VALUE_HEADS, WIDTH);
                model.ones(&name("ssm_norm.weight"), STATE, 1.0);
                model.residual(&name("ssm_out.weight"), kind, 1, values);
                // exp(ssm_a * step) is what a token leaves of the state; the step is about 0.7.
                let forgetting = (0..VALUE_HEADS).map(|head| -0.02 - 0.2 * head as f32).collect();
                model.vector(&name("ssm_a"), forgetting);
                model.vector(&name("ssm_dt.bias"), vec![0.0; VALUE_HEADS]);
            }
            model.ones(&name("post_attention_norm.weight"), WIDTH, 1.0);
            model.experts(layer, kind);
            let gate = model.normal(WIDTH, 1.0 / (WIDTH as f32).sqrt());
            model.vector(&name("ffn_gate_inp_shexp.weight"), gate);
            model.matrix(&name("ffn_gate_shexp.weight"), kind, EXPERT_WIDTH, WIDTH);
            model.matrix(&name("ffn_up_shexp.weight"), kind, EXPERT_WIDTH, WIDTH);
            model.residual(&name("ffn_down_shexp.weight"), kind, 1, EXPERT_WIDTH);
        }
        model.ends(kind);
        model
    }

    fn new(architecture: &str, layers: u32, heads: u32, kv_heads: u32, head: u32) -> Self {
        let key = |suffix: &str| format!("{architecture}.{suffix}");
        // llama.cpp looks for the line break and warns where there is none.
        let tokens: Vec<String> = std::iter::once("\u{10a}".to_owned())
            .chain((1..VOCABULARY).map(|token| format!("t{token}")))
            .collect();
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        let header = Writer::empty()
            .text("general.architecture", architecture)
            .text("general.name", "strixhalo verification")
            .u32(&key("context_length"), 8192)
            .u32(&key("embedding_length"), WIDTH as u32)
            .u32(&key("block_count"), layers)
            .u32(&key("attention.head_count"), heads)
            .u32(&key("attention.head_count_kv"), kv_heads)
            .u32(&key("attention.key_length"), head)
            .u32(&key("attention.value_length"), head)
            .u32(&key("feed_forward_length"), EXPERT_WIDTH as u32)
            .f32(&key("rope.freq_base"), 1e6)
            .f32(&key("attention.layer_norm_rms_epsilon"), 1e-6)
            .u32(&key("expert_count"), EXPERTS as u32)
            .u32(&key("expert_used_count"), EXPERTS_USED)
            .u32(&key("expert_feed_forward_length"), EXPERT_WIDTH as u32)
            .text("tokenizer.ggml.model", "gpt2")
            .text("tokenizer.ggml.pre", "qwen2")
            .texts("tokenizer.ggml.tokens", &tokens)
            .i32s("tokenizer.ggml.token_type", &vec![1; tokens.len()])
            .texts("tokenizer.ggml.merges", &["t 1"])
            .u32("tokenizer.ggml.bos_token_id", 1)
            .u32("tokenizer.ggml.eos_token_id", 2);
        Self { header, tensors: Vec::new(), random: fastrand::Rng::with_seed(SEED) }
    }

    /// Attention whose queries are long, so that a token looks at few others, each of which counts.
    fn attention(
        &mut self,
        layer: usize,
        kind: Kind,
        heads: usize,
        kv_heads: usize,
        head: usize,
        gated: bool,
    ) {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let queries = heads * head * if gated { 2 } else { 1 };
        self.ones(&name("attn_norm.weight"), WIDTH, 1.0);
        self.matrix(&name("attn_q.weight"), kind, queries, WIDTH);
        self.matrix(&name("attn_k.weight"), kind, kv_heads * head, WIDTH);
        self.matrix(&name("attn_v.weight"), kind, kv_heads * head, WIDTH);
        self.residual(&name("attn_output.weight"), kind, 1, heads * head);
        self.ones(&name("attn_q_norm.weight"), head, 2.0);
        self.ones(&name("attn_k_norm.weight"), head, 1.0);
    }

    /// Experts, chosen by what each token has in the first columns: see [`Self::ends`].
    fn experts(&mut self, layer: usize, kind: Kind) {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let mut router = vec![0.0; EXPERTS * WIDTH];
        for expert in 0..EXPERTS {
            router[expert * WIDTH + (expert + layer) % EXPERTS] = 2.0;
        }
        self.push(&name("ffn_gate_inp"), Kind::F32, vec![WIDTH, EXPERTS], router);
        for part in ["ffn_gate_exps", "ffn_up_exps"] {
            let values = self.normal(EXPERTS * EXPERT_WIDTH * WIDTH, 1.5 / (WIDTH as f32).sqrt());
            self.push(&name(part), kind, vec![WIDTH, EXPERT_WIDTH, EXPERTS], values);
        }
        self.residual(&name("ffn_down_exps"), kind, EXPERTS, EXPERT_WIDTH);
    }

    /// The vocabulary's tensors. The first columns of a token hold the numbers by which its experts are
    /// chosen, in an order of its own and well apart; nothing is ever added to these columns. So no
    /// rounding changes the choice, which would change the logits by leaps.
    fn ends(&mut self, kind: Kind) {
        let mut embeddings = self.normal(VOCABULARY as usize * WIDTH, 1.0);
        for row in embeddings.chunks_mut(WIDTH) {
            let mut levels: Vec<f32> =
                (0..EXPERTS).map(|level| level as f32 / 2.0 - 1.75).collect();
            self.random.shuffle(&mut levels);
            row[..EXPERTS].copy_from_slice(&levels);
        }
        let rows = VOCABULARY as usize;
        self.push("token_embd.weight", Kind::F16, vec![WIDTH, rows], embeddings);
        self.ones("output_norm.weight", WIDTH, 3.0);
        self.matrix("output.weight", kind, rows, WIDTH);
    }

    /// A matrix that keeps the size of what it is multiplied with.
    fn matrix(&mut self, name: &str, kind: Kind, rows: usize, columns: usize) {
        let values = self.normal(rows * columns, 1.0 / (columns as f32).sqrt());
        self.push(name, kind, vec![columns, rows], values);
    }

    /// A matrix whose product is added to the stream between layers, whose first columns stay.
    fn residual(&mut self, name: &str, kind: Kind, experts: usize, columns: usize) {
        let mut values = self.normal(experts * WIDTH * columns, 1.5 / (columns as f32).sqrt());
        for expert in values.chunks_mut(WIDTH * columns) {
            expert[..EXPERTS * columns].fill(0.0);
        }
        let mut dims = vec![columns, WIDTH];
        if experts > 1 {
            dims.push(experts);
        }
        self.push(name, kind, dims, values);
    }

    fn ones(&mut self, name: &str, n: usize, value: f32) {
        self.vector(name, vec![value; n]);
    }

    fn vector(&mut self, name: &str, values: Vec<f32>) {
        self.push(name, Kind::F32, vec![values.len()], values);
    }

    fn push(&mut self, name: &str, kind: Kind, dims: Vec<usize>, values: Vec<f32>) {
        self.tensors.push(TinyTensor { name: name.to_owned(), dims, kind, values });
    }

    /// Numbers of a normal distribution.
    fn normal(&mut self, n: usize, deviation: f32) -> Vec<f32> {
        let random = &mut self.random;
        // Box and Muller's way.
        let mut one = || {
            let radius = (-2.0 * (1.0 - random.f32()).ln()).sqrt();
            radius * (std::f32::consts::TAU * random.f32()).cos() * deviation
        };
        (0..n).map(|_| one()).collect()
    }

    /// The GGUF file.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut writer = self.header.clone();
        for tensor in &self.tensors {
            let dims: Vec<u64> = tensor.dims.iter().map(|&n| n as u64).collect();
            let contents = quantize(tensor.kind, &tensor.values, tensor.dims[0]);
            writer = writer.tensor_with(&tensor.name, &dims, tensor.kind.id(), contents);
        }
        writer.bytes()
    }
}
