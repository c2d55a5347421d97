//! Refuses what would end the process inside llama.cpp: values that its loader asserts on or
//! divides by, found in `llama-vocab.cpp`, `llama-model.cpp` and the Qwen models of the pin.

use super::facts::GgufFacts;
use super::gguf::{Entry, Gguf, GgufError, MetaValue, TOKENS, ValueType};
use super::keys::{Keys, Purpose, wrong_type};

/// Attention whose keys, values and rotation share one size; llama.cpp asserts it.
const ONE_HEAD_SIZE: &[&str] = &["llama", "qwen2", "qwen2moe", "qwen3", "qwen3moe"];
const EQUAL_HEADS: &[&str] = &["qwen3next", "qwen35", "qwen35moe"];

pub(super) fn check(gguf: &Gguf, facts: &GgufFacts, purpose: Purpose) -> Result<(), GgufError> {
    let keys = Keys::of(gguf, purpose)?;
    check_vocabulary(&keys, facts.n_vocab)?;
    check_experts(&keys)?;
    check_heads(&keys, facts)?;
    if let Some(scaling) = keys.text(&keys.key("rope.scaling.type"))?
        && !["none", "linear", "yarn", "longrope"].contains(&scaling)
    {
        return Err(GgufError(format!(
            "{} is `{scaling}`, which llama.cpp does not know",
            keys.key("rope.scaling.type")
        )));
    }
    Ok(())
}

fn check_vocabulary(keys: &Keys<'_>, n_vocab: u32) -> Result<(), GgufError> {
    let texts = &keys.gguf.token_texts;
    if let Some(token) = &texts.duplicate {
        return Err(GgufError(format!(
            "the vocabulary has the token {token:?} twice: the file is damaged"
        )));
    }
    // llama.cpp throws, past all C, at a character that such a vocabulary cannot spell.
    if keys.text("tokenizer.ggml.model")? == Some("llama") && texts.bytes < 256 {
        return Err(GgufError(format!(
            "its SentencePiece vocabulary has tokens for {} of 256 bytes, so there is text that it cannot spell: use a model with byte fallback",
            texts.bytes
        )));
    }
    let lists: [(&str, &[ValueType]); 2] = [
        ("tokenizer.ggml.scores", &[ValueType::F32, ValueType::I32]),
        ("tokenizer.ggml.token_type", &[ValueType::I32]),
    ];
    for (key, kinds) in lists {
        match keys.gguf.meta.get(key) {
            None => {}
            Some(Entry { value: MetaValue::Array(array), .. })
                if kinds.contains(&array.kind) && array.len >= n_vocab.into() => {}
            Some(Entry { value: MetaValue::Array(array), .. }) if kinds.contains(&array.kind) => {
                return Err(GgufError(format!(
                    "{key} has {} values for {n_vocab} tokens: the file is damaged",
                    array.len
                )));
            }
            Some(entry) => return Err(wrong_type(key, entry, "a list of numbers")),
        }
    }
    let merges = "tokenizer.ggml.merges";
    match keys.gguf.meta.get(merges) {
        Some(Entry { value: MetaValue::Array(array), .. }) if array.kind == ValueType::Text => {}
        Some(entry) => return Err(wrong_type(merges, entry, "list of str")),
        None if keys.text("tokenizer.ggml.model")? == Some("gpt2")
            && keys.text("tokenizer.ggml.pre")? != Some("kimi-k2") =>
        {
            return Err(GgufError(format!(
                "the tokenizer has no merges ({merges} is missing): convert the model again"
            )));
        }
        None => {}
    }
    // llama.cpp skips an id outside the vocabulary, and then asserts on one that it must add.
    // Gemma 4's tokenizer has no ids of its own to fall back on, and always adds BOS.
    let model = keys.text("tokenizer.ggml.model")?;
    let is_gemma4 = model == Some("gemma4");
    // Neither has T5's for BOS.
    let has_no_own = is_gemma4 || model == Some("t5");
    for (added, always, id) in [
        ("tokenizer.ggml.add_bos_token", is_gemma4, "tokenizer.ggml.bos_token_id"),
        ("tokenizer.ggml.add_eos_token", false, "tokenizer.ggml.eos_token_id"),
    ] {
        let is_added = match keys.gguf.meta.get(added) {
            _ if always => true,
            None => false,
            Some(Entry { value: MetaValue::Bool(flag), .. }) => *flag,
            Some(entry) => return Err(wrong_type(added, entry, "bool")),
        };
        match keys.gguf.meta.get(id) {
            None if is_added && has_no_own => {
                return Err(GgufError(format!("{id} is missing: convert the model again")));
            }
            None => {}
            Some(Entry { kind: ValueType::U32, value: MetaValue::Unsigned(token) })
                if is_added && *token >= n_vocab.into() =>
            {
                return Err(GgufError(format!(
                    "{id} is {token}, but {TOKENS} has only {n_vocab} tokens: the file is damaged"
                )));
            }
            Some(Entry { kind: ValueType::U32, .. }) => {}
            Some(entry) => return Err(wrong_type(id, entry, "u32")),
        }
    }
    if model == Some("bert") {
        check_frame(keys, n_vocab)?;
    }
    Ok(())
}

/// WordPiece puts a token before each text and one behind it, and one in the place of a word that
/// it cannot spell; each has an id of its own that the file may change.
fn check_frame(keys: &Keys<'_>, n_vocab: u32) -> Result<(), GgufError> {
    for (key, default) in [("bos", 101), ("unknown", 100), ("seperator", 102)] {
        let key = format!("tokenizer.ggml.{key}_token_id");
        let id = match keys.gguf.meta.get(&key) {
            None => default,
            Some(Entry { kind: ValueType::U32, value: MetaValue::Unsigned(id) }) => *id,
            Some(entry) => return Err(wrong_type(&key, entry, "u32")),
        };
        if id >= n_vocab.into() {
            return Err(GgufError(format!(
                "{key} is {id}, but {TOKENS} has only {n_vocab} tokens: the file is damaged"
            )));
        }
    }
    Ok(())
}

fn check_experts(keys: &Keys<'_>) -> Result<(), GgufError> {
    let experts = keys.number("expert_count")?.unwrap_or(0);
    let groups = keys.number("expert_group_count")?.unwrap_or(0);
    let total = keys.number("block_count")?.unwrap_or(0);
    let used = keys
        .per_layer("expert_used_count", total)?
        .and_then(|used| used.into_iter().max())
        .unwrap_or(0);
    // Hunyuan's dense models say one expert and mean none.
    if keys.architecture.starts_with("hunyuan") && experts <= 1 {
        return Ok(());
    }
    let group_used = keys.number("expert_group_used_count")?.unwrap_or(0);
    let sound = experts <= 1024
        && used <= experts
        && (experts > 0) == (used > 0)
        && (groups == 0 || groups < experts)
        && (groups <= 1
            || (experts.is_multiple_of(groups) && group_used > 0 && group_used < groups));
    if sound {
        return Ok(());
    }
    Err(GgufError(format!(
        "{experts} experts in {groups} groups, of which each token uses {used}, cannot be: the file is damaged"
    )))
}

fn check_heads(keys: &Keys<'_>, facts: &GgufFacts) -> Result<(), GgufError> {
    let total = keys.number("block_count")?.unwrap_or(0);
    let heads = keys.per_layer("attention.head_count", total)?.unwrap_or_default();
    for (index, layer) in facts.layers.iter().enumerate() {
        let heads = heads.get(index).copied().unwrap_or(0);
        if layer.kv_heads > 0 && !heads.is_multiple_of(layer.kv_heads) {
            return Err(GgufError(format!(
                "layer {index} has {heads} heads for {} KV heads, not a multiple: the file is damaged",
                layer.kv_heads
            )));
        }
    }
    let Some(layer) = facts.layers.first() else { return Ok(()) };
    let (key, value) = (layer.key_length, layer.value_length);
    let rotated = keys.number("rope.dimension_count")?.unwrap_or(key);
    let one_size = ONE_HEAD_SIZE.contains(&keys.architecture) && (key != value || key != rotated);
    if one_size || (EQUAL_HEADS.contains(&keys.architecture) && key != value) {
        return Err(GgufError(format!(
            "keys of {key}, values of {value} and {rotated} rotated dimensions do not go together in {}: the file is damaged",
            keys.architecture
        )));
    }
    if EQUAL_HEADS.contains(&keys.architecture) {
        let groups = keys.number("ssm.group_count")?.unwrap_or(0);
        let ranks = keys.number("ssm.time_step_rank")?.unwrap_or(0);
        if groups == 0 || !ranks.is_multiple_of(groups) {
            return Err(GgufError(format!(
                "{} is {groups}, which does not divide {} ({ranks}): the file is damaged",
                keys.key("ssm.group_count"),
                keys.key("ssm.time_step_rank")
            )));
        }
    }
    Ok(())
}
