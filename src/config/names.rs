//! llama-server's names for our settings: its variables and its flags.

use super::syntax::Syntax;

/// The environment file's name for the model file, as the Compose set-up had it.
pub(crate) const MODEL_FILE: &str = "MODEL_FILE";
/// The environment file's name for the model's alias.
pub(crate) const MODEL_ALIAS: &str = "MODEL_ALIAS";
/// The variable that names the settings file.
pub(crate) const CONFIG_VARIABLE: &str = "STRIXHALO_CONFIG";

/// Names that set one key, and how their values are written.
#[derive(Debug)]
pub(crate) struct Binding {
    /// Dotted key.
    pub(crate) key: &'static str,
    /// How a value is written.
    pub(crate) syntax: Syntax,
    /// Variables.
    pub(crate) env: &'static [&'static str],
    /// Flags; the first is the long form that help and origins show.
    pub(crate) flags: &'static [&'static str],
    /// What follows the flags.
    pub(crate) takes: Takes,
}

/// What follows a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// A value with this name in the help.
    Value(&'static str),
    /// A value that may be left out, and then is the second string.
    Optional(&'static str, &'static str),
    /// Nothing: the flag means this value, and the listed flags mean `false`.
    Nothing(&'static str, &'static [&'static str]),
}

use Takes::{Nothing, Optional, Value};

const fn row(
    key: &'static str,
    syntax: Syntax,
    env: &'static [&'static str],
    flags: &'static [&'static str],
    takes: Takes,
) -> Binding {
    Binding { key, syntax, env, flags, takes }
}

/// All names. Of two rows with the same key, the later one wins inside one layer.
#[rustfmt::skip]
pub(crate) const BINDINGS: &[Binding] = &[
    row("model.path", Syntax::Plain, &["LLAMA_ARG_MODEL"], &["--model", "-m"], Value("FILE")),
    row("model.models_dir", Syntax::Plain, &["LLAMA_ARG_MODELS_DIR"], &["--models-dir"], Value("DIR")),
    row("model.alias", Syntax::Plain, &["LLAMA_ARG_ALIAS"], &["--alias", "-a"], Value("NAMES")),
    row("model.n_gpu_layers", Syntax::GpuLayers, &["LLAMA_ARG_N_GPU_LAYERS"], &["--n-gpu-layers", "--gpu-layers", "-ngl"], Value("N")),
    row("model.gpu", Syntax::Plain, &[], &["--gpu"], Value("WHEN")),
    row("model.device", Syntax::Plain, &["LLAMA_ARG_DEVICE"], &["--device", "-dev"], Value("NAMES")),
    row("model.memory_gate", Syntax::Plain, &[], &["--memory-gate"], Value("WHEN")),
    row("model.mmap", Syntax::LoadModeMmap, &["LLAMA_ARG_LOAD_MODE"], &["--load-mode", "-lm"], Value("MODE")),
    row("model.mlock", Syntax::LoadModeMlock, &["LLAMA_ARG_LOAD_MODE"], &[], Value("MODE")),
    row("model.mmap", Syntax::Plain, &["LLAMA_ARG_MMAP"], &["--mmap"], Nothing("true", &["--no-mmap"])),
    row("model.mlock", Syntax::Plain, &["LLAMA_ARG_MLOCK"], &["--mlock"], Nothing("true", &[])),
    row("model.chat_template", Syntax::Plain, &["LLAMA_ARG_CHAT_TEMPLATE"], &["--chat-template"], Value("JINJA")),
    row("model.chat_template_file", Syntax::Plain, &["LLAMA_ARG_CHAT_TEMPLATE_FILE"], &["--chat-template-file"], Value("FILE")),
    row("model.chat_template_kwargs", Syntax::Plain, &["LLAMA_ARG_CHAT_TEMPLATE_KWARGS"], &["--chat-template-kwargs"], Value("JSON")),
    row("model.warmup", Syntax::Plain, &[], &["--warmup"], Nothing("true", &["--no-warmup"])),
    row("model.selftest", Syntax::Plain, &[], &["--selftest"], Value("WHEN")),

    row("embedding_model.path", Syntax::Plain, &[], &["--embedding-model"], Value("FILE")),
    row("embedding_model.alias", Syntax::Plain, &[], &["--embedding-alias"], Value("NAMES")),
    row("embedding_model.ctx_size", Syntax::Plain, &[], &["--embedding-ctx-size"], Value("N")),
    row("embedding_model.pooling", Syntax::Plain, &["LLAMA_ARG_POOLING"], &["--pooling"], Value("model|mean|cls|last")),
    row("rerank_model.path", Syntax::Plain, &[], &["--rerank-model"], Value("FILE")),
    row("rerank_model.alias", Syntax::Plain, &[], &["--rerank-alias"], Value("NAMES")),
    row("rerank_model.ctx_size", Syntax::Plain, &[], &["--rerank-ctx-size"], Value("N")),

    row("context.ctx_size", Syntax::Plain, &["LLAMA_ARG_CTX_SIZE"], &["--ctx-size", "-c"], Value("N")),
    row("context.parallel", Syntax::DefaultIfNegative, &["LLAMA_ARG_N_PARALLEL"], &["--parallel", "-np"], Value("N")),
    row("context.batch", Syntax::Plain, &["LLAMA_ARG_BATCH"], &["--batch-size", "-b"], Value("N")),
    row("context.ubatch", Syntax::Plain, &["LLAMA_ARG_UBATCH"], &["--ubatch-size", "-ub"], Value("N")),
    row("context.flash_attn", Syntax::FlashAttn, &["LLAMA_ARG_FLASH_ATTN"], &["--flash-attn", "-fa"], Optional("on|off|auto", "on")),
    row("context.cache_type_k", Syntax::Plain, &["LLAMA_ARG_CACHE_TYPE_K"], &["--cache-type-k", "-ctk"], Value("TYPE")),
    row("context.cache_type_v", Syntax::Plain, &["LLAMA_ARG_CACHE_TYPE_V"], &["--cache-type-v", "-ctv"], Value("TYPE")),
    row("context.threads", Syntax::ZeroIfNegative, &["LLAMA_ARG_THREADS"], &["--threads", "-t"], Value("N")),
    row("context.threads_batch", Syntax::ZeroIfNegative, &[], &["--threads-batch", "-tb"], Value("N")),
    row("context.cache_prompt", Syntax::Plain, &["LLAMA_ARG_CACHE_PROMPT"], &["--cache-prompt"], Nothing("true", &["--no-cache-prompt"])),
    row("context.speculation", Syntax::Plain, &[], &["--speculation"], Value("auto|off")),
    row("context.speculation", Syntax::SpeculationTypes, &["LLAMA_ARG_SPEC_TYPE"], &["--spec-type"], Value("TYPES")),
    row("context.speculation", Syntax::Plain, &[], &["--spec-default"], Nothing("auto", &[])),
    row("context.step_target_ms", Syntax::Plain, &[], &["--step-target-ms"], Value("MS")),
    row("context.rope_scaling", Syntax::Plain, &["LLAMA_ARG_ROPE_SCALING_TYPE"], &["--rope-scaling"], Value("none|linear|yarn")),
    row("context.rope_scale", Syntax::Plain, &["LLAMA_ARG_ROPE_SCALE"], &["--rope-scale"], Value("N")),
    row("context.rope_freq_base", Syntax::Plain, &["LLAMA_ARG_ROPE_FREQ_BASE"], &["--rope-freq-base"], Value("N")),
    row("context.rope_freq_scale", Syntax::Plain, &["LLAMA_ARG_ROPE_FREQ_SCALE"], &["--rope-freq-scale"], Value("N")),
    row("context.yarn_orig_ctx", Syntax::ZeroIfNegative, &["LLAMA_ARG_YARN_ORIG_CTX"], &["--yarn-orig-ctx"], Value("N")),
    row("context.yarn_ext_factor", Syntax::Plain, &["LLAMA_ARG_YARN_EXT_FACTOR"], &["--yarn-ext-factor"], Value("N")),
    row("context.yarn_attn_factor", Syntax::Plain, &["LLAMA_ARG_YARN_ATTN_FACTOR"], &["--yarn-attn-factor"], Value("N")),
    row("context.yarn_beta_slow", Syntax::Plain, &["LLAMA_ARG_YARN_BETA_SLOW"], &["--yarn-beta-slow"], Value("N")),
    row("context.yarn_beta_fast", Syntax::Plain, &["LLAMA_ARG_YARN_BETA_FAST"], &["--yarn-beta-fast"], Value("N")),

    row("cache.ram_mib", Syntax::Plain, &["LLAMA_ARG_CACHE_RAM"], &["--cache-ram", "-cram"], Value("MIB")),
    row("cache.checkpoint_mib", Syntax::Plain, &[], &["--cache-checkpoints"], Value("MIB")),
    row("cache.checkpoint_every", Syntax::Plain, &[], &["--cache-checkpoint-every"], Value("N")),
    row("cache.disk_dir", Syntax::Plain, &[], &["--cache-disk"], Value("DIR")),
    row("cache.disk_mib", Syntax::Plain, &[], &["--cache-disk-size"], Value("MIB")),
    row("cache.disk_write_mib_per_hour", Syntax::Plain, &[], &["--cache-disk-writes"], Value("MIB")),
    row("cache.disk_min_free_mib", Syntax::Plain, &[], &["--cache-disk-min-free"], Value("MIB")),
    row("cache.isolate_keys", Syntax::Plain, &[], &["--cache-isolate-keys"], Nothing("true", &["--no-cache-isolate-keys"])),

    row("sampling.temperature", Syntax::Plain, &["LLAMA_ARG_TEMPERATURE"], &["--temp", "--temperature"], Value("N")),
    row("sampling.top_k", Syntax::ZeroIfNegative, &["LLAMA_ARG_TOP_K"], &["--top-k"], Value("N")),
    row("sampling.top_p", Syntax::Plain, &["LLAMA_ARG_TOP_P"], &["--top-p"], Value("N")),
    row("sampling.min_p", Syntax::Plain, &["LLAMA_ARG_MIN_P"], &["--min-p"], Value("N")),
    row("sampling.typical_p", Syntax::Plain, &[], &["--typical", "--typical-p"], Value("N")),
    row("sampling.top_n_sigma", Syntax::Plain, &[], &["--top-nsigma", "--top-n-sigma"], Value("N")),
    row("sampling.xtc_probability", Syntax::Plain, &[], &["--xtc-probability"], Value("N")),
    row("sampling.xtc_threshold", Syntax::Plain, &[], &["--xtc-threshold"], Value("N")),
    row("sampling.dynatemp_range", Syntax::Plain, &[], &["--dynatemp-range"], Value("N")),
    row("sampling.dynatemp_exponent", Syntax::Plain, &[], &["--dynatemp-exp"], Value("N")),
    row("sampling.repeat_last_n", Syntax::Plain, &[], &["--repeat-last-n"], Value("N")),
    row("sampling.repeat_penalty", Syntax::Plain, &["LLAMA_ARG_REPEAT_PENALTY"], &["--repeat-penalty"], Value("N")),
    row("sampling.frequency_penalty", Syntax::Plain, &["LLAMA_ARG_FREQUENCY_PENALTY"], &["--frequency-penalty"], Value("N")),
    row("sampling.presence_penalty", Syntax::Plain, &["LLAMA_ARG_PRESENCE_PENALTY"], &["--presence-penalty"], Value("N")),
    row("sampling.dry_multiplier", Syntax::Plain, &[], &["--dry-multiplier"], Value("N")),
    row("sampling.dry_base", Syntax::Plain, &[], &["--dry-base"], Value("N")),
    row("sampling.dry_allowed_length", Syntax::Plain, &[], &["--dry-allowed-length"], Value("N")),
    row("sampling.dry_penalty_last_n", Syntax::Plain, &[], &["--dry-penalty-last-n"], Value("N")),
    row("sampling.dry_sequence_breakers", Syntax::Breaker, &[], &["--dry-sequence-breaker"], Value("TEXT")),
    row("sampling.mirostat", Syntax::Plain, &[], &["--mirostat"], Value("0|1|2")),
    row("sampling.mirostat_tau", Syntax::Plain, &[], &["--mirostat-ent"], Value("N")),
    row("sampling.mirostat_eta", Syntax::Plain, &[], &["--mirostat-lr"], Value("N")),
    row("sampling.samplers", Syntax::Plain, &[], &["--samplers"], Value("NAMES")),
    row("sampling.samplers", Syntax::SamplerLetters, &[], &["--sampler-seq", "--sampling-seq"], Value("LETTERS")),
    row("sampling.seed", Syntax::Plain, &[], &["--seed", "-s"], Value("N")),
    row("sampling.n_predict", Syntax::Plain, &["LLAMA_ARG_N_PREDICT"], &["--n-predict", "--predict", "-n"], Value("N")),

    row("server.host", Syntax::Plain, &["LLAMA_ARG_HOST"], &["--host"], Value("ADDRESSES")),
    row("server.port", Syntax::Plain, &["LLAMA_ARG_PORT"], &["--port"], Value("PORT")),
    row("server.api_prefix", Syntax::Plain, &["LLAMA_ARG_API_PREFIX"], &["--api-prefix"], Value("PATH")),
    row("server.api_key_file", Syntax::Plain, &["LLAMA_ARG_API_KEY_FILE"], &["--api-key-file"], Value("FILE")),
    row("server.api_keys", Syntax::Plain, &["LLAMA_API_KEY"], &["--api-key"], Value("KEYS")),
    row("server.cors_origins", Syntax::Plain, &["LLAMA_ARG_CORS_ORIGINS"], &["--cors-origins"], Value("ORIGINS")),
    row("server.allowed_hosts", Syntax::Plain, &[], &["--allowed-hosts"], Value("NAMES")),
    row("server.strict_model_names", Syntax::Plain, &[], &["--strict-model-names"], Nothing("true", &["--no-strict-model-names"])),
    row("server.metrics", Syntax::Plain, &["LLAMA_ARG_ENDPOINT_METRICS"], &["--metrics"], Nothing("true", &["--no-metrics"])),
    row("server.slots", Syntax::Plain, &["LLAMA_ARG_ENDPOINT_SLOTS"], &["--slots"], Nothing("true", &["--no-slots"])),
    row("server.props", Syntax::Plain, &["LLAMA_ARG_ENDPOINT_PROPS"], &["--props"], Nothing("true", &["--no-props"])),
    row("server.ollama", Syntax::Plain, &[], &["--ollama"], Nothing("true", &["--no-ollama"])),
    row("server.threads", Syntax::ZeroIfNegative, &["LLAMA_ARG_THREADS_HTTP"], &["--threads-http"], Value("N")),

    row("limits.stream_stall_timeout", Syntax::Plain, &["LLAMA_ARG_TIMEOUT"], &["--timeout", "-to"], Value("SECONDS")),
    row("limits.sse_ping_interval", Syntax::ZeroIfNegative, &["LLAMA_ARG_SSE_PING_INTERVAL"], &["--sse-ping-interval"], Value("SECONDS")),

    row("log.level", Syntax::Verbosity, &["LLAMA_ARG_LOG_VERBOSITY"], &["--log-verbosity", "--verbosity", "-lv"], Value("N")),
    row("log.level", Syntax::Plain, &[], &["--log-level"], Value("LEVEL")),
    row("log.level", Syntax::Plain, &[], &["--verbose", "--log-verbose", "-v"], Nothing("debug", &[])),
    row("log.level", Syntax::Plain, &[], &["--log-disable"], Nothing("off", &[])),
    row("log.format", Syntax::JsonLines, &["LLAMA_ARG_LOG_JSONL"], &["--log-jsonl"], Nothing("true", &["--no-log-jsonl"])),
    row("log.format", Syntax::Plain, &[], &["--log-format"], Value("FORMAT")),
    row("log.colors", Syntax::FlashAttn, &["LLAMA_ARG_LOG_COLORS"], &["--log-colors"], Optional("on|off|auto", "on")),
];

/// The row of a flag, and the value that the flag itself means if it takes none.
pub(crate) fn binding_of_flag(flag: &str) -> Option<(&'static Binding, Option<&'static str>)> {
    BINDINGS.iter().find_map(|binding| {
        let positive = binding.flags.contains(&flag);
        match binding.takes {
            Nothing(value, _) if positive => Some((binding, Some(value))),
            Nothing(_, negative) if negative.contains(&flag) => Some((binding, Some("false"))),
            _ if positive => Some((binding, None)),
            _ => None,
        }
    })
}

/// All flags of the table, in all their forms.
pub(crate) fn all_flags() -> impl Iterator<Item = &'static str> {
    BINDINGS.iter().flat_map(|binding| {
        let negative = match binding.takes {
            Nothing(_, negative) => negative,
            _ => &[],
        };
        binding.flags.iter().chain(negative).copied()
    })
}

/// The long form of a negative flag, such as `--no-mmap`.
pub(crate) fn negative_flag(binding: &Binding) -> Option<&'static str> {
    match binding.takes {
        Nothing(_, negative) => negative.first().copied(),
        _ => None,
    }
}

/// `LLAMA_ARG_NO_X` for `LLAMA_ARG_X`.
pub(crate) fn negative_variable(variable: &str) -> Option<String> {
    variable.strip_prefix("LLAMA_ARG_").map(|rest| format!("LLAMA_ARG_NO_{rest}"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::catalogue;
    use super::*;

    #[test]
    fn every_name_belongs_to_a_key_and_no_flag_is_listed_twice() {
        let mut seen = HashSet::new();
        for binding in BINDINGS {
            assert!(catalogue::key(binding.key).is_some(), "{} is no key", binding.key);
        }
        for flag in all_flags() {
            assert!(seen.insert(flag), "{flag} is listed twice");
        }
    }
}
