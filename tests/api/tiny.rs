//! Tiny models of other kinds than the built-in one, with random weights unless told otherwise,
//! written by the test that serves them.

use std::io::Write;

use tempfile::NamedTempFile;

use crate::harness::Server;

const WIDTH: u64 = 32;
/// GGUF's types of values.
const U32: u32 = 4;
const F32: u32 = 6;
const BOOL: u32 = 7;
const TEXT: u32 = 8;
const ARRAY: u32 = 9;
/// GGUF's types of tokens.
pub const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
pub const CONTROL: i32 = 3;
pub const USER_DEFINED: i32 = 4;
const BYTE: i32 = 6;

/// A GGUF file in the making.
pub struct Tiny {
    keys: Vec<(String, Vec<u8>)>,
    /// Name, dimensions, and what is in it if not something random.
    tensors: Vec<(String, Vec<u64>, Option<Vec<f32>>)>,
}

impl Tiny {
    /// Llama with one layer and a SentencePiece vocabulary, which puts `<s>` and a space in front
    /// of a text.
    pub fn llama() -> Self {
        let mut tokens =
            vec![("<unk>".to_owned(), UNKNOWN), ("<s>".into(), CONTROL), ("</s>".into(), CONTROL)];
        tokens.extend((0..=255).map(|byte| (format!("<0x{byte:02X}>"), BYTE)));
        tokens.extend(["\u{2581}H", "el", "lo", "ello"].map(|text| (text.to_owned(), NORMAL)));
        tokens.extend(('!'..='~').chain(['\u{2581}']).map(|c| (c.to_string(), NORMAL)));
        let scores: Vec<u8> =
            (0..tokens.len()).flat_map(|rank| (-(rank as f32)).to_le_bytes()).collect();
        Self::new("llama", 2048, WIDTH, &tokens)
            .text("tokenizer.ggml.model", "llama")
            .array("tokenizer.ggml.scores", F32, tokens.len(), &scores)
            .u32("tokenizer.ggml.bos_token_id", 1)
            .u32("tokenizer.ggml.eos_token_id", 2)
            .u32("tokenizer.ggml.unknown_token_id", 0)
            .raw("tokenizer.ggml.add_bos_token", BOOL, &[1])
            .raw("tokenizer.ggml.add_space_prefix", BOOL, &[1])
            .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
            .u32("llama.rope.dimension_count", WIDTH as u32)
            .tensor("output.weight", &[WIDTH, tokens.len() as u64])
            .tensor("blk.0.attn_norm.weight", &[WIDTH])
            .tensor("blk.0.attn_q.weight", &[WIDTH, WIDTH])
            .tensor("blk.0.attn_k.weight", &[WIDTH, WIDTH])
            .tensor("blk.0.attn_v.weight", &[WIDTH, WIDTH])
            .tensor("blk.0.attn_output.weight", &[WIDTH, WIDTH])
            .tensor("blk.0.ffn_norm.weight", &[WIDTH])
            .tensor("blk.0.ffn_gate.weight", &[WIDTH, WIDTH])
            .tensor("blk.0.ffn_up.weight", &[WIDTH, WIDTH])
            .tensor("blk.0.ffn_down.weight", &[WIDTH, WIDTH])
    }

    /// GPT-2 with one layer, which has learned what a token at each of `positions` positions is.
    pub fn gpt2(positions: u32) -> Self {
        let mut tokens: Vec<_> = ('!'..='~').map(|c| (c.to_string(), NORMAL)).collect();
        tokens.push(("\u{120}".to_owned(), NORMAL));
        tokens.push(("<|endoftext|>".to_owned(), CONTROL));
        Self::new("gpt2", positions, WIDTH, &tokens)
            .text("tokenizer.ggml.model", "gpt2")
            .text("tokenizer.ggml.pre", "gpt-2")
            .texts("tokenizer.ggml.merges", &["a b"])
            .u32("tokenizer.ggml.bos_token_id", tokens.len() as u32 - 1)
            .u32("tokenizer.ggml.eos_token_id", tokens.len() as u32 - 1)
            .f32("gpt2.attention.layer_norm_epsilon", 1e-5)
            .tensor("position_embd.weight", &[WIDTH, positions.into()])
            .tensor("output_norm.bias", &[WIDTH])
            .tensor("blk.0.attn_norm.weight", &[WIDTH])
            .tensor("blk.0.attn_norm.bias", &[WIDTH])
            .tensor("blk.0.attn_qkv.weight", &[WIDTH, 3 * WIDTH])
            .tensor("blk.0.attn_qkv.bias", &[3 * WIDTH])
            .tensor("blk.0.attn_output.weight", &[WIDTH, WIDTH])
            .tensor("blk.0.attn_output.bias", &[WIDTH])
            .tensor("blk.0.ffn_norm.weight", &[WIDTH])
            .tensor("blk.0.ffn_norm.bias", &[WIDTH])
            .tensor("blk.0.ffn_up.weight", &[WIDTH, WIDTH])
            .tensor("blk.0.ffn_up.bias", &[WIDTH])
            .tensor("blk.0.ffn_down.weight", &[WIDTH, WIDTH])
            .tensor("blk.0.ffn_down.bias", &[WIDTH])
    }

    /// What every architecture has; one layer of `width` with one head.
    pub fn new(architecture: &str, n_ctx: u32, width: u64, tokens: &[(String, i32)]) -> Self {
        let kinds: Vec<u8> = tokens.iter().flat_map(|token| token.1.to_le_bytes()).collect();
        let texts: Vec<&str> = tokens.iter().map(|token| token.0.as_str()).collect();
        let new = Self { keys: Vec::new(), tensors: Vec::new() };
        let key = |suffix: &str| format!("{architecture}.{suffix}");
        new.text("general.architecture", architecture)
            .u32(&key("context_length"), n_ctx)
            .u32(&key("embedding_length"), width as u32)
            .u32(&key("feed_forward_length"), width as u32)
            .u32(&key("block_count"), 1)
            .u32(&key("attention.head_count"), 1)
            .texts("tokenizer.ggml.tokens", &texts)
            .array("tokenizer.ggml.token_type", 5, tokens.len(), &kinds)
            .tensor("token_embd.weight", &[width, tokens.len() as u64])
            .tensor("output_norm.weight", &[width])
    }

    /// As it is but for one key.
    pub fn without(mut self, key: &str) -> Self {
        self.keys.retain(|(known, _)| known != key);
        self
    }

    fn raw(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.keys.push((key.to_owned(), [&kind.to_le_bytes(), value].concat()));
        self
    }

    pub fn u32(self, key: &str, value: u32) -> Self {
        self.raw(key, U32, &value.to_le_bytes())
    }

    pub fn f32(self, key: &str, value: f32) -> Self {
        self.raw(key, F32, &value.to_le_bytes())
    }

    pub fn text(self, key: &str, value: &str) -> Self {
        self.raw(key, TEXT, &text(value))
    }

    pub fn texts(self, key: &str, values: &[&str]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| text(value)).collect();
        self.array(key, TEXT, values.len(), &bytes)
    }

    pub fn i32s(self, key: &str, values: &[i32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.array(key, 5, values.len(), &bytes)
    }

    fn array(self, key: &str, kind: u32, len: usize, values: &[u8]) -> Self {
        let value = [&kind.to_le_bytes()[..], &(len as u64).to_le_bytes(), values].concat();
        self.raw(key, ARRAY, &value)
    }

    pub fn tensor(mut self, name: &str, dims: &[u64]) -> Self {
        self.tensors.push((name.to_owned(), dims.to_vec(), None));
        self
    }

    /// Says what is in a tensor.
    pub fn fill(mut self, name: &str, values: Vec<f32>) -> Self {
        let tensor = self.tensors.iter_mut().find(|tensor| tensor.0 == name).expect("a tensor");
        assert_eq!(tensor.1.iter().product::<u64>(), values.len() as u64, "{name}");
        tensor.2 = Some(values);
        self
    }

    /// The model in a file.
    pub fn file(&self) -> NamedTempFile {
        let mut file = tempfile::Builder::new().suffix(".gguf").tempfile().expect("a file");
        file.write_all(&self.bytes()).expect("the file is written");
        file
    }

    /// Serves the model.
    pub fn serve(&self, flags: &[&str]) -> Served {
        let file = self.file();
        let path = file.path().to_str().expect("a path in UTF-8").to_owned();
        let server = Server::start(&[&["--model", &path], flags].concat());
        Served { server, _file: file }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            out.extend(text(key));
            out.extend(value);
        }
        let mut offset = 0_u64;
        for (name, dims, _) in &self.tensors {
            out.extend(text(name));
            out.extend((dims.len() as u32).to_le_bytes());
            dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(0_u32.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += dims.iter().product::<u64>() * 4;
        }
        out.resize(out.len().next_multiple_of(32), 0);
        let mut seed = 1_u32;
        for (name, dims, values) in &self.tensors {
            if let Some(values) = values {
                values.iter().for_each(|value| out.extend(value.to_le_bytes()));
                continue;
            }
            for _ in 0..dims.iter().product() {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let random = (seed >> 8) as f32 / (1 << 23) as f32 - 1.0;
                let value = if name.ends_with("norm.weight") { 1.0 } else { random / 3.0 };
                out.extend(value.to_le_bytes());
            }
        }
        out
    }
}

fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat()
}

/// A server with the file that it serves.
pub struct Served {
    server: Server,
    _file: NamedTempFile,
}

impl std::ops::Deref for Served {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}
