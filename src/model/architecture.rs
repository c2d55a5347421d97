//! The architectures that the pinned llama.cpp knows (`LLM_ARCH_NAMES`); to be read anew when
//! the pin moves.

/// Sorted, for a binary search.
const KNOWN: &[&str] = &[
    "afmoe",
    "apertus",
    "arcee",
    "arctic",
    "arwkv7",
    "baichuan",
    "bailingmoe",
    "bailingmoe2",
    "bailingmoe3",
    "bert",
    "bitnet",
    "bloom",
    "chameleon",
    "chatglm",
    "clef",
    "clip",
    "codeshell",
    "cogvlm",
    "cohere2",
    "cohere2moe",
    "command-r",
    "dbrx",
    "deci",
    "deepseek",
    "deepseek2",
    "deepseek2-ocr",
    "deepseek32",
    "deepseek4",
    "dflash",
    "dots1",
    "dots3note",
    "dream",
    "eagle3",
    "ernie4_5",
    "ernie4_5-moe",
    "eurobert",
    "exaone",
    "exaone-moe",
    "exaone4",
    "falcon",
    "falcon-h1",
    "gemma",
    "gemma-embedding",
    "gemma2",
    "gemma3",
    "gemma3n",
    "gemma4",
    "gemma4-assistant",
    "glm-dsa",
    "glm4",
    "glm4moe",
    "glm5-next",
    "gpt-oss",
    "gpt2",
    "gptj",
    "gptneox",
    "granite",
    "granite_swa",
    "granitehybrid",
    "granitemoe",
    "graniteswitch",
    "grok",
    "grovemoe",
    "hrm_text",
    "hunyuan-dense",
    "hunyuan-moe",
    "hunyuan_vl",
    "hy_v3",
    "hy_v4",
    "internlm2",
    "jais",
    "jais2",
    "jamba",
    "jina-bert-v2",
    "jina-bert-v3",
    "kimi-k3",
    "kimi-linear",
    "laguna",
    "lfm2",
    "lfm2moe",
    "llada",
    "llada-moe",
    "llama",
    "llama-embed",
    "llama4",
    "maincoder",
    "mamba",
    "mamba2",
    "maple",
    "mellum",
    "mimo2",
    "minicpm",
    "minicpm3",
    "minimax-01",
    "minimax-m2",
    "minimax-m3",
    "mistral3",
    "mistral4",
    "modern-bert",
    "mpt",
    "muse-glimmer",
    "nanbeige",
    "nemotron",
    "nemotron_h",
    "nemotron_h_moe",
    "neo-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "olmo",
    "olmo2",
    "olmoe",
    "openelm",
    "orion",
    "paddleocr",
    "pangu-embedded",
    "phi2",
    "phi3",
    "phimoe",
    "plamo",
    "plamo2",
    "plamo3",
    "plm",
    "pockettts",
    "qwen",
    "qwen2",
    "qwen2moe",
    "qwen2vl",
    "qwen3",
    "qwen35",
    "qwen35moe",
    "qwen3moe",
    "qwen3next",
    "qwen3tts",
    "qwen3vl",
    "qwen3vlmoe",
    "qwen4exp",
    "refact",
    "rnd1",
    "rwkv6",
    "rwkv6qwen2",
    "rwkv7",
    "seed_oss",
    "smallthinker",
    "smollm3",
    "spark2_5",
    "stablelm",
    "starcoder",
    "starcoder2",
    "step35",
    "t5",
    "t5encoder",
    "talkie",
    "wavtokenizer-dec",
    "xverse",
];

/// Known, but no server of text: encoders whose graphs have no logits, T5 (its decoder wants the
/// encoder's output), models that denoise a text as a whole, and the drafters, voices and
/// scorers that only work beside another model.
const NO_TEXT: &[&str] = &[
    "bert",
    "clef",
    "dflash",
    "dream",
    "eagle3",
    "eurobert",
    "gemma-embedding",
    "gemma4-assistant",
    "jina-bert-v2",
    "jina-bert-v3",
    "llada",
    "llada-moe",
    "llama-embed",
    "modern-bert",
    "neo-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "pockettts",
    "qwen3tts",
    "rnd1",
    "t5",
    "t5encoder",
    "wavtokenizer-dec",
];

/// Of those, encoders: each token sees all of its text, which has no KV cache (`create_memory` in
/// `llama-model.cpp`).
const ENCODERS: &[&str] = &[
    "bert",
    "eurobert",
    "gemma-embedding",
    "jina-bert-v2",
    "jina-bert-v3",
    "modern-bert",
    "neo-bert",
    "nomic-bert",
    "nomic-bert-moe",
];

/// Recurrent in every layer (`llm_arch_is_recurrent`).
const RECURRENT: &[&str] = &["arwkv7", "mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7"];

/// Hybrids whose layers attend fully every so many layers, four unless the file says otherwise.
const INTERVAL: &[&str] = &["minimax-01", "qwen35", "qwen35moe", "qwen3next", "qwen4exp"];

/// Keeps the recurrent states of the last tokens of a step where that is asked for
/// (`llm_arch_supports_rs_rollback`; those of them that have such states).
const ROLLS_BACK: &[&str] = &[
    "bailingmoe3",
    "glm5-next",
    "kimi-k3",
    "lfm2",
    "lfm2moe",
    "nemotron_h",
    "nemotron_h_moe",
    "qwen35",
    "qwen35moe",
    "qwen4exp",
];

/// Whether llama.cpp was built with nix/packages/qwen3next-rollback.patch.
const QWEN3NEXT_ROLLS_BACK: bool = option_env!("STRIXHALO_QWEN3NEXT_ROLLBACK").is_some();

/// Whether llama.cpp can load `name`.
pub(super) fn is_known(name: &str) -> bool {
    KNOWN.binary_search(&name).is_ok()
}

/// Whether `name` continues a text token by token.
pub(super) fn generates_text(name: &str) -> bool {
    NO_TEXT.binary_search(&name).is_err()
}

/// Whether `name` makes vectors of texts and computes each text whole, without a KV cache.
pub(super) fn is_encoder(name: &str) -> bool {
    ENCODERS.binary_search(&name).is_ok()
}

/// Whether `name` makes vectors of texts, though it does not continue them. (`llama-embed` is a
/// Llama whose tokens all see each other; it keeps the KV cache.)
pub(super) fn embeds(name: &str) -> bool {
    is_encoder(name) || name == "llama-embed"
}

/// Whether no layer of `name` has a KV cache.
pub(super) fn is_recurrent(name: &str) -> bool {
    RECURRENT.contains(&name)
}

/// Whether llama.cpp can take the last tokens of a step out of a recurrent state of `name`.
pub(super) fn rolls_back(name: &str) -> bool {
    ROLLS_BACK.contains(&name) || (QWEN3NEXT_ROLLS_BACK && name == "qwen3next")
}

/// Whether `full_attention_interval` says which layers of `name` attend.
pub(super) fn has_interval(name: &str) -> bool {
    INTERVAL.contains(&name)
}

/// The known architecture that looks most like `name`.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    KNOWN
        .iter()
        .map(|known| (strsim::jaro_winkler(name, known), *known))
        .filter(|(score, _)| *score > 0.9)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_so_that_the_search_finds_every_name() {
        assert!(KNOWN.is_sorted() && NO_TEXT.is_sorted() && ENCODERS.is_sorted());
        assert!(ENCODERS.iter().all(|name| !generates_text(name)));
        assert!(NO_TEXT.iter().all(|name| is_known(name)));
        assert!(is_known("qwen3") && is_known("qwen3next") && !is_known("nosucharch"));
        assert_eq!(nearest("qwen3_next"), Some("qwen3next"));
    }
}
