//! The arguments of `strixhalo bench`.

use std::path::PathBuf;

use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;

use super::target::Endpoint;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Scenario {
    /// Tokens/s and the time between tokens, for each number of streams; prompts of the first
    /// size given.
    Decode,
    /// The same while answers say again what stands in the prompt, with small edits: the prompts
    /// ask for that. Speculation pays there.
    Edit,
    /// The same at temperature 1, where answers repeat nothing. Speculation must not cost there.
    Prose,
    /// Time to first token of one stream, for each prompt size.
    Prefill,
    /// How long a running stream stands still while a long prompt arrives.
    Stall,
    /// Requests per second, one token each, over connections that stay open.
    Rps,
    /// A chat twice, with another last message, then an agent's loop. This and the following send
    /// chats of the first size; what counts is prompt tokens computed and time to first token.
    Repeat,
    /// An agent's conversation of `--turns` turns.
    Turns,
    /// `--conversations` conversations in turn, `--turns` times.
    Rotate,
    /// Two conversations with the same system prompt.
    Share,
    /// `--connections` requests at once with the same system prompt.
    Burst,
    /// One more request with the system prompt of `--connections` running streams.
    Join,
    /// A parent, its sub-agents with the same system prompt, and the parent again.
    Agents,
    /// A conversation; with `--resumed` the turn that follows it.
    Resume,
    /// Tokens/s for each number of streams, before and after every slot held a conversation.
    Slots,
}

impl Scenario {
    /// Its name on the command line and in results.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether chats are sent, in which something comes again.
    pub(super) fn is_conversation(self) -> bool {
        match self {
            Scenario::Decode
            | Scenario::Edit
            | Scenario::Prose
            | Scenario::Prefill
            | Scenario::Stall
            | Scenario::Rps
            | Scenario::Slots => false,
            Scenario::Repeat
            | Scenario::Turns
            | Scenario::Rotate
            | Scenario::Share
            | Scenario::Burst
            | Scenario::Join
            | Scenario::Agents
            | Scenario::Resume => true,
        }
    }
}

/// Measures an OpenAI-compatible server: tokens/s, time to first token, time between tokens.
///
/// Tokens are counted by the server (`usage`), times are taken at the client, at each chunk with
/// text. The same seed sends the same prompts, to whichever server.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Base URL of the server, up to and with /v1
    #[arg(long, default_value = "http://127.0.0.1:8091/v1")]
    pub(super) url: String,
    /// API key
    #[arg(long, env = "OPENAI_API_KEY", hide_env_values = true)]
    pub(super) api_key: Option<String>,
    /// Model to ask for [default: the first that the server lists]
    #[arg(long)]
    pub(super) model: Option<String>,
    /// What is measured
    #[arg(long, value_enum, value_delimiter = ',', default_value = "decode,prefill")]
    pub(super) scenario: Vec<Scenario>,
    /// Where requests go
    #[arg(long, value_enum, default_value = "completions")]
    pub(super) endpoint: Endpoint,
    /// Numbers of streams that run at a time
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16",
          value_parser = RangedU64ValueParser::<u32>::new().range(1..=1024))]
    pub(super) streams: Vec<u32>,
    /// Sizes of prompts, about; the exact ones are in the result
    #[arg(long, value_delimiter = ',', default_value = "128,512,2048,8192",
          value_parser = RangedU64ValueParser::<u32>::new().range(1..=4_000_000))]
    pub(super) prompt_tokens: Vec<u32>,
    /// Tokens to generate in each answer of `decode`, `edit` and `prose`
    #[arg(long, default_value_t = 128,
          value_parser = RangedU64ValueParser::<u32>::new().range(1..=1_000_000))]
    pub(super) max_tokens: u32,
    /// The text that the prompts of `edit` ask for [default: a made one of the first prompt size]
    #[arg(long, value_name = "FILE")]
    pub(super) edit_text: Option<PathBuf>,
    /// Repetitions of each load
    #[arg(long, default_value_t = 3,
          value_parser = RangedU64ValueParser::<u32>::new().range(1..=1000))]
    pub(super) repeat: u32,
    /// Go on past the end-of-text token, so that all answers have the same length (llama.cpp,
    /// vLLM and others; not OpenAI)
    #[arg(long)]
    pub(super) ignore_eos: bool,
    /// Tokens at the start of all prompts that are the same, to measure prefix caches
    #[arg(long, default_value_t = 0)]
    pub(super) shared_prefix: u32,
    /// Size of the long prompt of `stall`
    #[arg(long, default_value_t = 8192,
          value_parser = RangedU64ValueParser::<u32>::new().range(1..=4_000_000))]
    pub(super) stall_prompt: u32,
    /// Connections of `rps`, requests of `burst`, running streams of `join`
    #[arg(long, default_value_t = 8,
          value_parser = RangedU64ValueParser::<u32>::new().range(1..=1024))]
    pub(super) connections: u32,
    /// Seconds that `rps` runs
    #[arg(long, default_value_t = 10,
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=86_400))]
    pub(super) duration: u64,
    /// Conversations of `rotate`
    #[arg(long, default_value_t = 6,
          value_parser = RangedU64ValueParser::<u32>::new().range(1..=1024))]
    pub(super) conversations: u32,
    /// Turns of each conversation of `turns` and `rotate`
    #[arg(long, default_value_t = 10,
          value_parser = RangedU64ValueParser::<u32>::new().range(1..=1000))]
    pub(super) turns: u32,
    /// Send the next turn of the conversation that `resume` sent with the same seed
    #[arg(long)]
    pub(super) resumed: bool,
    /// Which prompts are made
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Longest time for one request, in seconds
    #[arg(long, default_value_t = 600,
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=86_400))]
    pub(super) timeout: u64,
    /// Print one JSON object instead of tables
    #[arg(long)]
    pub(super) json: bool,
}
