//! A small GGUF writer: for models that are made in memory, and for tests, whose files may be as wrong
//! as they want.

/// A GGUF file in the making.
#[derive(Clone)]
pub(crate) struct Writer {
    keys: Vec<(String, Vec<u8>)>,
    /// Name, dimensions, type and offset; without a name, where the next one begins.
    tensors: Vec<(String, Vec<u64>, u32, u64)>,
    /// What is not zeros, by its offset in the data.
    contents: Vec<(u64, Vec<u8>)>,
}

fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat()
}

impl Writer {
    /// An empty file.
    pub(crate) fn empty() -> Self {
        Self { keys: Vec::new(), tensors: Vec::new(), contents: Vec::new() }
    }

    pub(crate) fn raw(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        let bytes = [&kind.to_le_bytes()[..], value].concat();
        match self.keys.iter_mut().find(|(known, _)| known == key) {
            Some(entry) => entry.1 = bytes,
            None => self.keys.push((key.to_owned(), bytes)),
        }
        self
    }

    pub(crate) fn u32(self, key: &str, value: u32) -> Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    #[cfg(feature = "engine")]
    pub(crate) fn f32(self, key: &str, value: f32) -> Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.raw(key, 8, &text(value))
    }

    pub(crate) fn array(self, key: &str, kind: u32, len: u64, values: &[u8]) -> Self {
        let bytes = [&kind.to_le_bytes()[..], &len.to_le_bytes(), values].concat();
        self.raw(key, 9, &bytes)
    }

    pub(crate) fn i32s(self, key: &str, values: &[i32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.array(key, 5, values.len() as u64, &bytes)
    }

    pub(crate) fn texts(self, key: &str, values: &[&str]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| text(value)).collect();
        self.array(key, 8, values.len() as u64, &bytes)
    }

    /// A tensor behind the others, with its contents. The first dimension is the innermost.
    #[cfg(feature = "engine")]
    pub(crate) fn tensor_with(
        mut self,
        name: &str,
        dims: &[u64],
        kind: u32,
        contents: Vec<u8>,
    ) -> Self {
        let (offset, bytes) = (self.data_len(), contents.len() as u64);
        self.contents.push((offset, contents));
        self.place(name, dims, kind, bytes)
    }

    fn place(mut self, name: &str, dims: &[u64], kind: u32, bytes: u64) -> Self {
        let offset = self.data_len();
        self.tensors.push((name.to_owned(), dims.to_vec(), kind, offset));
        self.tensors.push((String::new(), Vec::new(), 0, offset + bytes.next_multiple_of(32)));
        self
    }

    fn data_len(&self) -> u64 {
        self.tensors.last().map_or(0, |tensor| tensor.3)
    }

    /// The whole file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let tensors: Vec<_> = self.tensors.iter().filter(|tensor| !tensor.0.is_empty()).collect();
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend((tensors.len() as u64).to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            out.extend(text(key));
            out.extend(value);
        }
        for (name, dims, kind, offset) in tensors {
            out.extend(text(name));
            out.extend((dims.len() as u32).to_le_bytes());
            for dim in dims {
                out.extend(dim.to_le_bytes());
            }
            out.extend(kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
        }
        let data = out.len().next_multiple_of(32);
        out.resize(data + self.data_len() as usize, 0);
        for (offset, contents) in &self.contents {
            let start = data + *offset as usize;
            out[start..start + contents.len()].copy_from_slice(contents);
        }
        out
    }
}

#[cfg(test)]
impl Writer {
    /// A small whole model.
    pub(super) fn model(architecture: &str) -> Self {
        let key = |suffix: &str| format!("{architecture}.{suffix}");
        Self::empty()
            .text("general.architecture", architecture)
            .text("general.name", "A Test")
            .u32("general.file_type", 7)
            .u32(&key("context_length"), 4096)
            .u32(&key("embedding_length"), 64)
            .u32(&key("block_count"), 2)
            .u32(&key("attention.head_count"), 4)
            .u32(&key("attention.head_count_kv"), 2)
            .u32(&key("attention.key_length"), 32)
            .u32(&key("attention.value_length"), 32)
            .text("tokenizer.ggml.model", "gpt2")
            .text("tokenizer.ggml.pre", "qwen2")
            .texts("tokenizer.ggml.tokens", &["a", "b", "ab", "<|end|>"])
            .i32s("tokenizer.ggml.token_type", &[1, 1, 1, 3])
            .texts("tokenizer.ggml.merges", &["a b"])
            .text("tokenizer.chat_template", "{{ messages }}")
            .tensor("token_embd.weight", &[64, 4], 8)
            .tensor("output_norm.weight", &[64], 0)
    }

    pub(super) fn without(mut self, key: &str) -> Self {
        self.keys.retain(|(known, _)| known != key);
        self
    }

    pub(super) fn u16(self, key: &str, value: u16) -> Self {
        self.raw(key, 2, &value.to_le_bytes())
    }

    pub(super) fn i32(self, key: &str, value: i32) -> Self {
        self.raw(key, 5, &value.to_le_bytes())
    }

    pub(super) fn bool(self, key: &str, value: bool) -> Self {
        self.raw(key, 7, &[value.into()])
    }

    /// A tensor of zeros behind the others; types 0 (f32) and 8 (q8_0) have their sizes here.
    pub(super) fn tensor(self, name: &str, dims: &[u64], kind: u32) -> Self {
        let values: u64 = dims.iter().product();
        let bytes = if kind == 8 { values / 32 * 34 } else { values * 4 };
        self.place(name, dims, kind, bytes)
    }

    /// Moves the data of the last tensor.
    pub(super) fn shifted(mut self, by: u64) -> Self {
        let last = self.tensors.len() - 2;
        self.tensors[last].3 += by;
        self
    }
}
