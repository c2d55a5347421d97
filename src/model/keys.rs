//! Typed access to a header's metadata, as strict as llama.cpp's.

use super::architecture;
use super::gguf::{Entry, Gguf, GgufError, MetaValue, TOKENS, ValueType};

/// What a model is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To continue a text token by token.
    Generate,
    /// To make vectors of texts, or scores of pairs of them.
    Embed,
}

/// Typed access to the metadata of one architecture.
pub(super) struct Keys<'a> {
    pub(super) gguf: &'a Gguf,
    pub(super) architecture: &'a str,
    /// Whether a token sees only those before it.
    pub(super) is_causal: bool,
}

impl<'a> Keys<'a> {
    pub(super) fn of(gguf: &'a Gguf, purpose: Purpose) -> Result<Self, GgufError> {
        let mut keys = Self { gguf, architecture: "", is_causal: true };
        match keys.text("general.type")? {
            Some("adapter") => return Err(not_a_model("a LoRA adapter")),
            Some("mmproj") => return Err(not_a_model("a vision or audio projector (mmproj)")),
            Some("imatrix") => return Err(not_a_model("an importance matrix")),
            _ => {}
        }
        keys.architecture = keys.text("general.architecture")?.ok_or_else(|| {
            GgufError(
                "general.architecture is missing: it is not a model, or the file is damaged"
                    .to_owned(),
            )
        })?;
        if keys.architecture == "clip" {
            return Err(not_a_model("a vision or audio projector (mmproj)"));
        }
        if !architecture::is_known(keys.architecture) {
            let hint = architecture::nearest(keys.architecture)
                .map(|known| format!(" (the nearest that it knows is `{known}`)"))
                .unwrap_or_default();
            return Err(GgufError(format!(
                "the llama.cpp in this server does not know the architecture `{}`{hint}: use another model or a newer server",
                keys.architecture
            )));
        }
        let causal = keys.key("attention.causal");
        let causal = match keys.gguf.meta.get(&causal) {
            None => true,
            Some(Entry { value: MetaValue::Bool(causal), .. }) => *causal,
            Some(entry) => return Err(wrong_type(&causal, entry, "bool")),
        };
        let generates = causal && architecture::generates_text(keys.architecture);
        keys.is_causal = causal && !architecture::embeds(keys.architecture);
        if purpose == Purpose::Generate && !generates {
            return Err(GgufError(format!(
                "a model of the architecture `{}` does not generate text token by token (it embeds, drafts, speaks or denoises): serve a chat or completion model, and name an embedding model by embedding_model.path (--embedding-model), a reranker by rerank_model.path (--rerank-model)",
                keys.architecture
            )));
        }
        if purpose == Purpose::Embed && !generates && !architecture::embeds(keys.architecture) {
            return Err(GgufError(format!(
                "a model of the architecture `{}` makes no vectors of texts (it drafts, speaks or denoises): serve an embedding model or a reranker",
                keys.architecture
            )));
        }
        Ok(keys)
    }

    pub(super) fn key(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.architecture)
    }

    pub(super) fn entry(&self, suffix: &str) -> Option<&'a Entry> {
        self.gguf.meta.get(&self.key(suffix))
    }

    /// The text at the full key `key`.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, GgufError> {
        match self.gguf.meta.get(key) {
            None => Ok(None),
            Some(Entry { value: MetaValue::Text(text), .. }) => Ok(Some(text)),
            Some(entry) => Err(wrong_type(key, entry, "str")),
        }
    }

    /// The u32 at `{architecture}.{suffix}`; llama.cpp takes no other type.
    pub(super) fn number(&self, suffix: &str) -> Result<Option<u32>, GgufError> {
        match self.entry(suffix) {
            None => Ok(None),
            Some(Entry { kind: ValueType::U32, value: MetaValue::Unsigned(value) }) => {
                Ok(u32::try_from(*value).ok())
            }
            Some(entry) => Err(wrong_type(&self.key(suffix), entry, "u32")),
        }
    }

    pub(super) fn required(&self, suffix: &str) -> Result<u32, GgufError> {
        match self.number(suffix)? {
            Some(0) => Err(GgufError(format!("{} is 0: the file is damaged", self.key(suffix)))),
            Some(value) => Ok(value),
            None => Err(GgufError(format!(
                "{} is missing: the file is damaged or was converted wrongly",
                self.key(suffix)
            ))),
        }
    }

    /// A value for each of `layers` layers, given as one number for all or as an array.
    pub(super) fn per_layer(
        &self,
        suffix: &str,
        layers: u32,
    ) -> Result<Option<Vec<u32>>, GgufError> {
        let Some(entry) = self.entry(suffix) else { return Ok(None) };
        let count = layers as usize;
        let MetaValue::Array(array) = &entry.value else {
            return match (entry.kind, &entry.value) {
                (ValueType::Bool, MetaValue::Bool(flag)) => Ok(Some(vec![u32::from(*flag); count])),
                _ => Ok(self.number(suffix)?.map(|value| vec![value; count])),
            };
        };
        let key = self.key(suffix);
        if array.len != u64::from(layers) {
            return Err(GgufError(format!(
                "{key} has {} values, but the model has {layers} layers",
                array.len
            )));
        }
        match (&array.integers, array.kind) {
            (Some(values), ValueType::U32 | ValueType::I32 | ValueType::Bool) => values
                .iter()
                .map(|value| {
                    u32::try_from(*value)
                        .map_err(|_| GgufError(format!("{key} has the value {value}")))
                })
                .collect::<Result<_, _>>()
                .map(Some),
            _ => Err(wrong_type(&key, entry, "list of u32")),
        }
    }

    pub(super) fn is_mla(&self) -> Result<bool, GgufError> {
        let set = |key| Ok::<bool, GgufError>(self.number(key)?.unwrap_or(0) != 0);
        Ok(set("attention.key_length_mla")? && set("attention.value_length_mla")?)
    }

    /// Number of tokens; an error when the file has no vocabulary.
    pub(super) fn vocabulary(&self) -> Result<u32, GgufError> {
        let model = self.text("tokenizer.ggml.model")?;
        if matches!(model, None | Some("none" | "no_vocab")) {
            return Err(GgufError(
                "it has no tokenizer, so text cannot be served: download a complete model, or convert it again with its tokenizer"
                    .to_owned(),
            ));
        }
        match self.gguf.meta.get(TOKENS) {
            Some(Entry { value: MetaValue::Array(array), .. }) if array.kind == ValueType::Text => {
                if array.len == 0 {
                    return Err(GgufError("its vocabulary is empty: the file is damaged".into()));
                }
                u32::try_from(array.len)
                    .map_err(|_| GgufError("its vocabulary is too large".to_owned()))
            }
            Some(entry) => Err(wrong_type(TOKENS, entry, "list of str")),
            None => Err(GgufError(format!(
                "it has no vocabulary ({TOKENS} is missing): download a complete model, or convert it again"
            ))),
        }
    }
}

fn not_a_model(what: &str) -> GgufError {
    GgufError(format!("it is {what}, not a language model: give the model's own GGUF file"))
}

pub(super) fn wrong_type(key: &str, entry: &Entry, expected: &str) -> GgufError {
    let found = match &entry.value {
        MetaValue::Array(array) => format!("a list of {}", array.kind.name()),
        _ => entry.kind.name().to_owned(),
    };
    GgufError(format!(
        "{key} has the type {found}, llama.cpp expects {expected}: the file is damaged or was converted wrongly"
    ))
}
