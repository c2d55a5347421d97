//! llama-server's settings that strixhalo lacks, and what to use instead.

use Policy::{Refuse, Warn};

/// What happens when somebody sets one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Named in a warning: the answers stay the same without it.
    Warn,
    /// An error: something else than what was asked for would be served.
    Refuse,
}

/// A setting that strixhalo lacks.
#[derive(Debug)]
pub(crate) struct Unsupported {
    /// Its variable, or none.
    pub(crate) env: &'static str,
    /// Its flags; those that start with `--no-` or `-no` turn it off when `values` is 0.
    pub(crate) flags: &'static [&'static str],
    /// How many values follow the flag.
    pub(crate) values: usize,
    /// What happens.
    pub(crate) policy: Policy,
    /// Values that ask for what strixhalo does anyway; for a flag without a value, `true` or
    /// `false`.
    pub(crate) fine: &'static [&'static str],
    /// What to use instead, or why it is not needed.
    pub(crate) advice: &'static str,
}

const fn row(
    env: &'static str,
    flags: &'static [&'static str],
    values: usize,
    policy: Policy,
    fine: &'static [&'static str],
    advice: &'static str,
) -> Unsupported {
    Unsupported { env, flags, values, policy, fine, advice }
}

const OFF: &[&str] = &["false"];
const ON: &[&str] = &["true"];
const DOWNLOAD: &str =
    "strixhalo does not download models; get the GGUF file and name it with --model";
const VISION: &str = "images, audio and video are not served; use a text model without it";
const LORA: &str = "adapters and control vectors are not loaded; merge them into the GGUF file";
const SHARED: &str =
    "memory is shared on a Strix Halo, so placement saves nothing; use --n-gpu-layers";
const DRAFT: &str =
    "drafts come from the text itself, without a second model; the answers are the same without it";
const NGRAM: &str = "drafts are as long as they pay; --speculation off makes none";
const LOOKUP: &str = "drafts come from each conversation's own text, without a file";
const CPU: &str = "threads are placed by the kernel; use taskset or systemd's CPUAffinity=";
const UI: &str = "there is no web UI; point any OpenAI-compatible one at the server";
const AGENT: &str = "the server runs no tools of its own; clients do";
const THINK: &str = "reasoning is left in the text; turn thinking off with --chat-template-kwargs '{\"enable_thinking\":false}'";
const GRAMMAR: &str = "a grammar for all requests is not supported; start without it";
const EMBEDDING: &str =
    "a model for /v1/embeddings is named by --embedding-model, beside the one that chats";
const RERANKING: &str =
    "a model for /v1/rerank is named by --rerank-model, beside the one that chats";
const CACHE: &str = "prompts are reused without it; there is nothing to set";
const CHECKPOINTS: &str = "recurrent states are bounded in bytes and thinned by distance; see --cache-checkpoints and --cache-checkpoint-every";
const BENCHMARK: &str = "it serves benchmarks of llama.cpp only";
const LOGS: &str = "logs go to stderr; see --log-level and --log-format";
const CORS: &str = "it is fixed; set the origins with --cors-origins";
const OUTPUT: &str = "it changes the output of all requests and is not supported; set it per request if it has a field";
const ROUTER: &str = "one model is served per process; start one for each";
const ONE_GPU: &str = "layers are shared out by llama.cpp; choose the GPUs with --device";
const TLS: &str = "TLS is not built in and plain HTTP is not what you asked for; put a reverse proxy in front and unset it";

/// The table.
#[rustfmt::skip]
pub(crate) const UNSUPPORTED: &[Unsupported] = &[
    // Another model, or none of what was asked for.
    row("LLAMA_ARG_MODEL_URL", &["-mu", "--model-url"], 1, Refuse, &[], DOWNLOAD),
    row("LLAMA_ARG_DOCKER_REPO", &["-dr", "--docker-repo"], 1, Refuse, &[], DOWNLOAD),
    row("LLAMA_ARG_HF_REPO", &["-hf", "-hfr", "--hf-repo"], 1, Refuse, &[], DOWNLOAD),
    row("LLAMA_ARG_HF_FILE", &["-hff", "--hf-file"], 1, Refuse, &[], DOWNLOAD),
    row("LLAMA_ARG_HF_REPO_V", &["-hfv", "-hfrv", "--hf-repo-v"], 1, Refuse, &[], DOWNLOAD),
    row("LLAMA_ARG_HF_FILE_V", &["-hffv", "--hf-file-v"], 1, Refuse, &[], DOWNLOAD),
    row("", &["--embd-gemma-default", "--fim-qwen-1.5b-default", "--fim-qwen-3b-default", "--fim-qwen-7b-default",
        "--fim-qwen-7b-spec", "--fim-qwen-14b-spec", "--fim-qwen-30b-default", "--gpt-oss-20b-default",
        "--gpt-oss-120b-default", "--vision-gemma-4b-default", "--vision-gemma-12b-default"], 0, Refuse, &[], DOWNLOAD),
    row("LLAMA_ARG_MODELS_PRESET", &["--models-preset"], 1, Refuse, &[], ROUTER),
    row("LLAMA_ARG_MODELS_MAX", &["--models-max"], 1, Warn, &["1"], ROUTER),
    row("LLAMA_ARG_MODELS_AUTOLOAD", &["--models-autoload", "--no-models-autoload"], 0, Warn, &[], ROUTER),
    row("", &["-hft", "--hf-token"], 1, Warn, &[], DOWNLOAD),
    row("LLAMA_ARG_OFFLINE", &["--offline"], 0, Warn, &["true", "false"], "the server never uses the network to load"),
    row("LLAMA_ARG_MMPROJ", &["-mm", "--mmproj"], 1, Refuse, &[], VISION),
    row("LLAMA_ARG_MMPROJ_URL", &["-mmu", "--mmproj-url"], 1, Refuse, &[], VISION),
    row("LLAMA_ARG_MMPROJ_AUTO", &["--mmproj-auto", "--no-mmproj", "--no-mmproj-auto"], 0, Warn, OFF, VISION),
    row("LLAMA_ARG_MMPROJ_OFFLOAD", &["--mmproj-offload", "--no-mmproj-offload"], 0, Warn, &[], VISION),
    row("", &["-mmdev", "--mmproj-device"], 1, Warn, &[], VISION),
    row("LLAMA_ARG_IMAGE_MIN_TOKENS", &["--image-min-tokens"], 1, Warn, &[], VISION),
    row("LLAMA_ARG_IMAGE_MAX_TOKENS", &["--image-max-tokens"], 1, Warn, &[], VISION),
    row("LLAMA_ARG_MTMD_BATCH_MAX_TOKENS", &["--mtmd-batch-max-tokens"], 1, Warn, &[], VISION),
    row("LLAMA_ARG_VIDEO_FPS", &["--video-fps"], 1, Warn, &[], VISION),
    row("LLAMA_ARG_VIDEO_TIMESTAMP_INTERVAL", &["--video-timestamp-interval"], 1, Warn, &[], VISION),
    row("LLAMA_ARG_VIDEO_FFMPEG_DIR", &["--video-ffmpeg-dir"], 1, Warn, &[], VISION),
    row("", &["--media-path"], 1, Warn, &[], VISION),
    row("", &["--lora"], 1, Refuse, &[], LORA),
    row("", &["--lora-scaled"], 1, Refuse, &[], LORA),
    row("", &["--lora-init-without-apply"], 0, Warn, &[], LORA),
    row("", &["--control-vector"], 1, Refuse, &[], LORA),
    row("", &["--control-vector-scaled"], 1, Refuse, &[], LORA),
    row("", &["--control-vector-layer-range"], 2, Refuse, &[], LORA),
    row("", &["--override-kv"], 1, Refuse, &[], "metadata cannot be overridden; write it into the GGUF file"),
    row("LLAMA_ARG_GRP_ATTN_N", &["-gan", "--grp-attn-n"], 1, Refuse, &["1"], "self-extend is not supported; use a model trained for the context"),
    row("LLAMA_ARG_GRP_ATTN_W", &["-gaw", "--grp-attn-w"], 1, Warn, &[], "self-extend is not supported; use a model trained for the context"),
    row("LLAMA_ARG_EMBEDDINGS", &["--embedding", "--embeddings"], 0, Warn, OFF, EMBEDDING),
    row("LLAMA_ARG_RERANKING", &["--rerank", "--reranking"], 0, Warn, OFF, RERANKING),
    row("", &["--embd-normalize"], 1, Warn, &["2"], "set it per request: `embd_normalize` of /embedding"),
    row("", &["--spm-infill"], 0, Warn, &[], "/infill puts the prefix first; there is no other order"),
    // Who may call, and how.
    row("LLAMA_ARG_SSL_KEY_FILE", &["--ssl-key-file"], 1, Refuse, &[], TLS),
    row("LLAMA_ARG_SSL_CERT_FILE", &["--ssl-cert-file"], 1, Refuse, &[], TLS),
    row("LLAMA_ARG_CORS_METHODS", &["--cors-methods"], 1, Warn, &[], CORS),
    row("LLAMA_ARG_CORS_HEADERS", &["--cors-headers"], 1, Warn, &[], CORS),
    row("LLAMA_ARG_CORS_CREDENTIALS", &["--cors-credentials", "--no-cors-credentials"], 0, Warn, OFF, CORS),
    row("LLAMA_ARG_REUSE_PORT", &["--reuse-port"], 0, Warn, OFF, "each server needs its own port"),
    // Output of requests.
    row("", &["--ignore-eos"], 0, Refuse, &[], OUTPUT),
    row("", &["-l", "--logit-bias"], 1, Refuse, &[], OUTPUT),
    row("", &["-r", "--reverse-prompt"], 1, Refuse, &[], OUTPUT),
    row("", &["-sp", "--special"], 0, Refuse, &[], OUTPUT),
    row("", &["--adaptive-target"], 1, Refuse, &["-1", "-1.0"], "the adaptive-p sampler is not built in; use --top-p or --min-p"),
    row("", &["--adaptive-decay"], 1, Warn, &[], "the adaptive-p sampler is not built in; use --top-p or --min-p"),
    row("", &["--grammar"], 1, Refuse, &[], GRAMMAR),
    row("", &["--grammar-file"], 1, Refuse, &[], GRAMMAR),
    row("", &["-j", "--json-schema"], 1, Refuse, &[], GRAMMAR),
    row("", &["-jf", "--json-schema-file"], 1, Refuse, &[], GRAMMAR),
    row("LLAMA_ARG_JINJA", &["--jinja", "--no-jinja"], 0, Warn, ON, "templates are always rendered by the Jinja engine"),
    row("LLAMA_ARG_THINK", &["--reasoning-format"], 1, Warn, &["none"], THINK),
    row("LLAMA_ARG_REASONING", &["-rea", "--reasoning"], 1, Warn, &["auto"], THINK),
    row("LLAMA_ARG_REASONING_EFFORT", &["--reasoning-effort"], 1, Warn, &["default"], "give it to the template with --chat-template-kwargs '{\"reasoning_effort\":\"high\"}'"),
    row("LLAMA_ARG_THINK_BUDGET", &["--reasoning-budget"], 1, Warn, &["-1"], THINK),
    row("LLAMA_ARG_THINK_BUDGET_MESSAGE", &["--reasoning-budget-message"], 1, Warn, &[], THINK),
    row("LLAMA_ARG_REASONING_PRESERVE", &["--reasoning-preserve", "--no-reasoning-preserve"], 0, Warn, &[], "give it to the template with --chat-template-kwargs"),
    row("LLAMA_ARG_SKIP_CHAT_PARSING", &["--skip-chat-parsing", "--no-skip-chat-parsing"], 0, Warn, &[], "text is passed on as the model writes it"),
    row("LLAMA_ARG_PREFILL_ASSISTANT", &["--prefill-assistant", "--no-prefill-assistant"], 0, Warn, ON, "set continue_final_message in the request"),
    row("LLAMA_ARG_CONTEXT_SHIFT", &["--context-shift", "--no-context-shift"], 0, Warn, OFF, "generation ends with finish_reason length when the context is full"),
    row("", &["--keep"], 1, Warn, &["0"], "it serves context shift, which is not supported"),
    row("", &["-e", "--escape", "--no-escape"], 0, Warn, &["true", "false"], "prompts come in requests"),
    row("LLAMA_ARG_TAGS", &["--tags"], 1, Warn, &[], "tags are not shown; use --alias"),
    row("LLAMA_ARG_SHOW_TIMINGS", &["--show-timings", "--no-show-timings"], 0, Warn, &[], "answers carry their timings"),
    // Speed and memory: the answers are the same.
    row("LLAMA_ARG_CONT_BATCHING", &["-cb", "--cont-batching", "-nocb", "--no-cont-batching"], 0, Warn, ON, "requests are always batched continuously; use --parallel 1 for one at a time"),
    row("LLAMA_ARG_SWA_FULL", &["--swa-full"], 0, Warn, OFF, CACHE),
    row("LLAMA_ARG_KV_OFFLOAD", &["-kvo", "--kv-offload", "-nkvo", "--no-kv-offload"], 0, Warn, ON, SHARED),
    row("LLAMA_ARG_REPACK", &["--repack", "-nr", "--no-repack"], 0, Warn, ON, "weights are repacked where it helps"),
    row("LLAMA_ARG_NO_HOST", &["--no-host"], 0, Warn, &[], SHARED),
    row("", &["--op-offload", "--no-op-offload"], 0, Warn, ON, SHARED),
    row("LLAMA_ARG_DEFRAG_THOLD", &["-dt", "--defrag-thold"], 1, Warn, &[], "llama.cpp does this by itself now"),
    row("LLAMA_ARG_RPC", &["--rpc"], 1, Warn, &[], "one machine computes everything"),
    row("LLAMA_ARG_LAZY_MODE", &["-lzm", "--lazy-mode"], 1, Warn, &["auto", "off"], "the whole model is loaded"),
    row("LLAMA_ARG_NUMA", &["--numa"], 1, Warn, &[], "a Strix Halo has one memory node"),
    row("LLAMA_ARG_SPLIT_MODE", &["-sm", "--split-mode"], 1, Warn, &["none", "layer"], ONE_GPU),
    row("LLAMA_ARG_TENSOR_SPLIT", &["-ts", "--tensor-split"], 1, Warn, &[], ONE_GPU),
    row("LLAMA_ARG_MAIN_GPU", &["-mg", "--main-gpu"], 1, Warn, &["0"], ONE_GPU),
    row("LLAMA_ARG_OVERRIDE_TENSOR", &["-ot", "--override-tensor"], 1, Warn, &[], SHARED),
    row("LLAMA_ARG_CPU_MOE", &["-cmoe", "--cpu-moe"], 0, Warn, OFF, SHARED),
    row("LLAMA_ARG_N_CPU_MOE", &["-ncmoe", "--n-cpu-moe"], 1, Warn, &["0"], SHARED),
    row("LLAMA_ARG_MOE_CACHE_MIB", &["--moe-cache-mib"], 1, Warn, &["0"], SHARED),
    row("LLAMA_ARG_N_CPU_FFN", &["-ncffn", "--n-cpu-ffn"], 1, Warn, &["0"], SHARED),
    row("LLAMA_ARG_FIT", &["-fit", "--fit"], 1, Warn, &["on"], "an unset context is always fitted to memory, a set one never"),
    row("LLAMA_ARG_FIT_TARGET", &["-fitt", "--fit-target"], 1, Warn, &[], "the reserve is chosen for this machine"),
    row("LLAMA_ARG_FIT_CTX", &["-fitc", "--fit-ctx"], 1, Warn, &[], "set the context you need with --ctx-size"),
    row("LLAMA_ARG_FIT_ESTIMATE", &[], 1, Warn, &[], "set the context you need with --ctx-size"),
    row("LLAMA_ARG_KV_UNIFIED_PER_SLOT", &["--kv-unified-per-slot"], 1, Warn, &[], "a slot gets --ctx-size divided by --parallel"),
    row("LLAMA_ARG_KV_UNIFIED", &["-kvu", "--kv-unified", "-no-kvu", "--no-kv-unified"], 0, Warn, &[], "the layout of the KV cache is chosen by the server"),
    row("LLAMA_ARG_CTX_CHECKPOINTS", &["-ctxcp", "--ctx-checkpoints", "--swa-checkpoints"], 1, Warn, &[], CHECKPOINTS),
    row("LLAMA_ARG_CHECKPOINT_MIN_SPACING_NT", &["-cms", "--checkpoint-min-step"], 1, Warn, &[], CHECKPOINTS),
    row("LLAMA_ARG_CACHE_IDLE_SLOTS", &["--cache-idle-slots", "--no-cache-idle-slots"], 0, Warn, ON, "a conversation that loses its slot is always saved; --cache-ram 0 turns it off"),
    row("LLAMA_ARG_CACHE_REUSE", &["--cache-reuse"], 1, Warn, &["0"], "only what a prompt begins with is reused: parts behind a change would have been computed in another context"),
    row("LLAMA_ARG_SLOT_SAVE_PATH", &["--slot-save-path"], 1, Warn, &[], "slots are not saved by request; conversations outlive the server by themselves with --cache-disk DIR"),
    row("", &["-sps", "--slot-prompt-similarity"], 1, Warn, &[], "the slot with the longest common prefix is taken, a free one before a busy history"),
    row("", &["--sleep-idle-seconds"], 1, Warn, &["-1"], "the model stays loaded"),
    row("LLAMA_ARG_BACKEND_SAMPLING", &["-bs", "--backend-sampling"], 0, Warn, OFF, "tokens are sampled on the CPU"),
    row("", &["--check-tensors"], 0, Warn, &[], "verify the file's checksum instead"),
    row("LLAMA_ARG_PERF", &["--perf", "--no-perf"], 0, Warn, OFF, "see /metrics and the timings in answers"),
    row("", &["-C", "--cpu-mask"], 1, Warn, &[], CPU),
    row("", &["-Cr", "--cpu-range"], 1, Warn, &[], CPU),
    row("", &["--cpu-strict"], 1, Warn, &["0"], CPU),
    row("", &["--prio"], 1, Warn, &["0"], "use nice or systemd's Nice="),
    row("", &["--poll"], 1, Warn, &[], CPU),
    row("", &["-Cb", "--cpu-mask-batch"], 1, Warn, &[], CPU),
    row("", &["-Crb", "--cpu-range-batch"], 1, Warn, &[], CPU),
    row("", &["--cpu-strict-batch"], 1, Warn, &["0"], CPU),
    row("", &["--prio-batch"], 1, Warn, &["0"], "use nice or systemd's Nice="),
    row("", &["--poll-batch"], 1, Warn, &[], CPU),
    row("", &["-lcs", "--lookup-cache-static"], 1, Warn, &[], LOOKUP),
    row("", &["-lcd", "--lookup-cache-dynamic"], 1, Warn, &[], LOOKUP),
    row("LLAMA_ARG_SPEC_DRAFT_MODEL", &["--spec-draft-model", "-md", "--model-draft"], 1, Warn, &[], DRAFT),
    row("LLAMA_ARG_SPEC_DRAFT_HF_REPO", &["--spec-draft-hf", "-hfd", "-hfrd", "--hf-repo-draft"], 1, Warn, &[], DRAFT),
    row("LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_K", &["--spec-draft-type-k", "-ctkd", "--cache-type-k-draft"], 1, Warn, &[], DRAFT),
    row("LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_V", &["--spec-draft-type-v", "-ctvd", "--cache-type-v-draft"], 1, Warn, &[], DRAFT),
    row("LLAMA_ARG_SPEC_DRAFT_CPU_MOE", &["--spec-draft-cpu-moe", "-cmoed", "--cpu-moe-draft"], 0, Warn, &[], DRAFT),
    row("LLAMA_ARG_SPEC_DRAFT_N_CPU_MOE", &["--spec-draft-n-cpu-moe", "--spec-draft-ncmoe", "-ncmoed", "--n-cpu-moe-draft"], 1, Warn, &[], DRAFT),
    row("LLAMA_ARG_SPEC_DRAFT_N_MAX", &["--spec-draft-n-max"], 1, Warn, &[], NGRAM),
    row("LLAMA_ARG_SPEC_DRAFT_N_MIN", &["--spec-draft-n-min"], 1, Warn, &[], NGRAM),
    row("LLAMA_ARG_SPEC_DRAFT_N_UBATCH", &["--spec-draft-n-ubatch"], 1, Warn, &[], DRAFT),
    row("LLAMA_ARG_SPEC_SYNTH_LEN", &["--spec-synth-len"], 1, Warn, &[], BENCHMARK),
    row("LLAMA_ARG_SPEC_SYNTH_RATES", &["--spec-synth-rates"], 1, Warn, &[], BENCHMARK),
    row("LLAMA_ARG_SPEC_DRAFT_P_SPLIT", &["--spec-draft-p-split", "--draft-p-split"], 1, Warn, &[], NGRAM),
    row("LLAMA_ARG_SPEC_DRAFT_P_MIN", &["--spec-draft-p-min", "--draft-p-min"], 1, Warn, &[], NGRAM),
    row("LLAMA_ARG_SPEC_DRAFT_BACKEND_SAMPLING", &["--spec-draft-backend-sampling", "--no-spec-draft-backend-sampling"], 0, Warn, &[], DRAFT),
    row("LLAMA_ARG_SPEC_DRAFT_SAMPLING", &["--spec-draft-sampling"], 1, Warn, &[], DRAFT),
    row("LLAMA_ARG_N_GPU_LAYERS_DRAFT", &["--spec-draft-ngl", "-ngld", "--gpu-layers-draft", "--n-gpu-layers-draft"], 1, Warn, &[], DRAFT),
    row("LLAMA_ARG_DRAFT_MAX", &["--draft", "--draft-n", "--draft-max"], 1, Warn, &[], NGRAM),
    row("LLAMA_ARG_DRAFT_MIN", &["--draft-min", "--draft-n-min"], 1, Warn, &[], NGRAM),
    row("", &["--spec-draft-threads", "-td", "--threads-draft", "--spec-draft-threads-batch", "-tbd", "--threads-batch-draft",
        "--spec-draft-cpu-mask", "-Cd", "--cpu-mask-draft", "--spec-draft-cpu-range", "-Crd", "--cpu-range-draft",
        "--spec-draft-cpu-strict", "--cpu-strict-draft", "--spec-draft-prio", "--prio-draft", "--spec-draft-poll",
        "--poll-draft", "--spec-draft-cpu-mask-batch", "-Cbd", "--cpu-mask-batch-draft", "--spec-draft-cpu-range-batch", "-Crbd",
        "--cpu-range-batch-draft", "--spec-draft-cpu-strict-batch",
        "--cpu-strict-batch-draft", "--spec-draft-prio-batch", "--prio-batch-draft", "--spec-draft-poll-batch",
        "--poll-batch-draft", "--spec-draft-override-tensor", "-otd", "--override-tensor-draft", "--spec-draft-device",
        "-devd", "--device-draft"], 1, Warn, &[], DRAFT),
    row("", &["--spec-ngram-mod-n-min", "--spec-ngram-mod-n-max", "--spec-ngram-mod-n-match",
        "--spec-ngram-simple-size-n", "--spec-ngram-simple-size-m", "--spec-ngram-simple-min-hits",
        "--spec-ngram-map-k-size-n", "--spec-ngram-map-k-size-m", "--spec-ngram-map-k-min-hits",
        "--spec-ngram-map-k4v-size-n", "--spec-ngram-map-k4v-size-m", "--spec-ngram-map-k4v-min-hits",
        "--spec-ngram-size-n", "--spec-ngram-size-m", "--spec-ngram-min-hits"], 1, Warn, &[], NGRAM),
    // Around the server.
    row("LLAMA_ARG_LOG_FILE", &["--log-file"], 1, Warn, &[], "logs go to stderr; redirect it"),
    row("LLAMA_ARG_LOG_PREFIX", &["--log-prefix", "--no-log-prefix"], 0, Warn, &[], LOGS),
    row("LLAMA_ARG_LOG_TIMESTAMPS", &["--log-timestamps", "--no-log-timestamps"], 0, Warn, &[], LOGS),
    row("", &["--log-prompts-dir"], 1, Warn, &[], "prompts are never logged"),
    row("LLAMA_ARG_STATIC_PATH", &["--path"], 1, Warn, &[], UI),
    row("LLAMA_ARG_UI", &["--ui", "--webui", "--no-ui", "--no-webui"], 0, Warn, OFF, UI),
    row("LLAMA_ARG_UI_CONFIG", &["--ui-config", "--webui-config"], 1, Warn, &[], UI),
    row("LLAMA_ARG_UI_CONFIG_FILE", &["--ui-config-file", "--webui-config-file"], 1, Warn, &[], UI),
    row("LLAMA_ARG_UI_MCP_PROXY", &["--ui-mcp-proxy", "--webui-mcp-proxy", "--no-ui-mcp-proxy", "--no-webui-mcp-proxy"], 0, Warn, OFF, UI),
    row("LLAMA_ARG_TOOLS", &["--tools"], 1, Warn, &[], AGENT),
    row("LLAMA_ARG_TOOLS_RUNTIME", &["--tools-runtime"], 1, Warn, &["none"], AGENT),
    row("LLAMA_ARG_MCP_SERVERS_CONFIG", &["--mcp-servers-config"], 1, Warn, &[], AGENT),
    row("LLAMA_ARG_MCP_SERVERS_JSON", &["--mcp-servers-json"], 1, Warn, &[], AGENT),
    row("LLAMA_ARG_AGENT", &["-ag", "--agent", "-no-ag", "--no-agent"], 0, Warn, OFF, AGENT),
    row("", &["-cl", "--cache-list", "--list-devices", "--completion-bash"], 0, Refuse, &[], "it is no part of this server; start without it"),
];

/// The row of a flag.
pub(crate) fn of_flag(flag: &str) -> Option<&'static Unsupported> {
    UNSUPPORTED.iter().find(|row| row.flags.contains(&flag))
}

/// The row of a variable, and whether it is the form that means `false`.
pub(crate) fn of_variable(name: &str) -> Option<(&'static Unsupported, bool)> {
    let row = |name: &str| UNSUPPORTED.iter().find(|row| !row.env.is_empty() && row.env == name);
    row(name).map(|row| (row, false)).or_else(|| {
        let positive = format!("LLAMA_ARG_{}", name.strip_prefix("LLAMA_ARG_NO_")?);
        row(&positive).filter(|row| row.values == 0).map(|row| (row, true))
    })
}

impl Unsupported {
    /// Whether `value` asks for what strixhalo does anyway.
    pub(crate) fn is_fine(&self, value: &str) -> bool {
        let value = value.trim().to_lowercase();
        let word = match super::syntax::boolean(&value) {
            Some(on) if self.values == 0 => if on { "true" } else { "false" }.to_owned(),
            _ => value,
        };
        self.fine.contains(&word.as_str())
    }

    /// The line that names it as `name`, and what to use instead.
    pub(crate) fn message(&self, name: &str) -> String {
        match self.policy {
            Warn => format!("{name} is not supported and has no effect: {}", self.advice),
            Refuse => format!("{name} is not supported: {}", self.advice),
        }
    }
}

/// Whether a flag without a value means `false`.
pub(crate) fn turns_off(flag: &str) -> bool {
    flag != "--no-host"
        && (flag.starts_with("--no-")
            || flag.starts_with("-no")
            || flag == "-nkvo"
            || flag == "-nr")
}
