//! `strixhalo bench`: measures any OpenAI-compatible server from outside, so that two servers can
//! be compared with the same client.

mod arguments;
mod client;
mod conversation;
mod load;
mod prompt;
mod report;
mod rps;
mod slots;
pub mod sse;
mod stall;
mod stats;
mod step;
mod target;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

pub use self::arguments::BenchArgs;
use self::arguments::Scenario;
use self::client::{Client, ClientError};
use self::conversation::ConversationLoad;
use self::load::Load;
use self::prompt::PromptMaker;
use self::report::{Environment, Report};
use self::stall::StallLoad;
use self::target::Target;

/// Exit code: a value on the command line makes no sense.
const EX_USAGE: u8 = 64;
/// Exit code: the server cannot be reached or does not let us in.
const EX_UNAVAILABLE: u8 = 69;
/// Exit code: some requests failed.
const EX_REQUESTS: u8 = 70;

/// Tokens of an answer when the server does not say how large its context is.
const UNKNOWN_CONTEXT: u32 = 4096;

/// Runs the command. 0: all requests were answered; 64: the URL is none, or no load fits the
/// server's context; 69: the server cannot be reached; 70: some requests failed (the result is
/// printed all the same).
pub fn run(args: BenchArgs) -> ExitCode {
    match measure(&args) {
        Ok(report) => {
            let text = if args.json { report.json() } else { report.text() };
            print!("{text}");
            if report.errors() == 0 { ExitCode::SUCCESS } else { ExitCode::from(EX_REQUESTS) }
        }
        Err((code, message)) => {
            eprintln!("strixhalo bench: {message}");
            ExitCode::from(code)
        }
    }
}

fn measure(args: &BenchArgs) -> Result<Report, (u8, String)> {
    if !(args.url.starts_with("http://") || args.url.starts_with("https://")) {
        return Err((
            EX_USAGE,
            format!("--url {}: not a URL such as http://127.0.0.1:8091/v1", args.url),
        ));
    }
    let timeout = Duration::from_secs(args.timeout);
    let client = Client::new(&args.url, args.api_key.as_deref(), timeout);
    let model = choose_model(args, &client)?;
    let props = client.props();
    let mut target = Target {
        client,
        endpoint: args.endpoint,
        model,
        ignore_eos: args.ignore_eos,
        temperature: 0.0,
        prompts: PromptMaker::new(args.seed, args.shared_prefix, 1.0),
    };
    let edit_text = args.edit_text.as_deref().map(read_text).transpose()?;
    let mut notes = Vec::new();
    eprintln!("{}: model {}, warming up", args.url, target.model);
    let tokens_per_word = target.warm_up().map_err(|error| unavailable(args, &error))?;
    if tokens_per_word.is_none() {
        notes.push(
            "the server counts no tokens (`usage` is missing): prompt sizes are in words".into(),
        );
    }
    target.prompts =
        PromptMaker::new(args.seed, args.shared_prefix, tokens_per_word.unwrap_or(1.0));
    let mut report = Report {
        environment: Environment::of(args, &target.model, props.as_ref(), tokens_per_word),
        decode: Vec::new(),
        edit: Vec::new(),
        prose: Vec::new(),
        prefill: Vec::new(),
        stall: None,
        rps: None,
        conversations: Vec::new(),
        slots: None,
        notes,
    };
    run_scenarios(args, &target, edit_text, props.as_ref(), &mut report);
    if report.is_empty() {
        return Err((EX_USAGE, format!("nothing to measure: {}", report.notes.join("; "))));
    }
    Ok(report)
}

fn run_scenarios(
    args: &BenchArgs,
    target: &Target,
    edit_text: Option<Arc<str>>,
    props: Option<&Value>,
    report: &mut Report,
) {
    let mut index = 0;
    let context = context_size(props);
    let fits = |load: Load, notes: &mut Vec<String>| {
        let tokens = load.prompt_tokens.saturating_add(load.max_tokens);
        let fits = context.is_none_or(|context| tokens <= context);
        if !fits {
            notes.push(format!(
                "{} + {} tokens left out: the server's context holds {} per slot",
                load.prompt_tokens,
                load.max_tokens,
                context.unwrap_or_default()
            ));
        }
        fits
    };
    let first_size = args.prompt_tokens.first().copied().unwrap_or(1);
    let editing = Target { prompts: target.prompts.editing(edit_text), ..target.clone() };
    let writing = Target { temperature: 1.0, ..target.clone() };
    for (scenario, target, results) in [
        (Scenario::Decode, target, &mut report.decode),
        (Scenario::Edit, &editing, &mut report.edit),
        (Scenario::Prose, &writing, &mut report.prose),
    ] {
        let streams = args.streams.iter().filter(|_| args.scenario.contains(&scenario));
        for &streams in streams {
            let load = Load { streams, prompt_tokens: first_size, max_tokens: args.max_tokens };
            if !fits(load, &mut report.notes) {
                break;
            }
            progress(&format!("{}: {streams} streams", scenario.name()), args.repeat);
            results.push(load::run(target, load, args.repeat, &mut index));
        }
    }
    if args.scenario.contains(&Scenario::Prefill) {
        for &prompt_tokens in &args.prompt_tokens {
            let load = Load { streams: 1, prompt_tokens, max_tokens: 1 };
            if fits(load, &mut report.notes) {
                progress(&format!("prefill: {prompt_tokens} tokens"), args.repeat);
                report.prefill.push(load::run(target, load, args.repeat, &mut index));
            }
        }
    }
    if args.scenario.contains(&Scenario::Stall) {
        // A tenth for prompts that came out longer than asked for.
        let room = context.unwrap_or(UNKNOWN_CONTEXT);
        let load = StallLoad {
            prompt_tokens: first_size,
            max_tokens: room.saturating_sub(first_size + first_size / 10 + 16).max(1),
            long_prompt_tokens: args.stall_prompt,
            timeout: Duration::from_secs(args.timeout),
        };
        let long = Load { streams: 1, prompt_tokens: args.stall_prompt, max_tokens: 1 };
        if fits(long, &mut report.notes) {
            progress(&format!("stall: a prompt of {} tokens", args.stall_prompt), args.repeat);
            report.stall = Some(stall::run(target, load, args.repeat, &mut index));
        }
    }
    if args.scenario.contains(&Scenario::Rps) {
        progress(&format!("rps: {} connections, {} s", args.connections, args.duration), 1);
        let duration = Duration::from_secs(args.duration);
        report.rps = Some(rps::run(target, args.connections, duration, &mut index));
    }
    for &scenario in args.scenario.iter().filter(|scenario| scenario.is_conversation()) {
        let mut load = ConversationLoad {
            scenario,
            tokens: first_size,
            conversations: args.conversations,
            turns: args.turns,
            at_once: args.connections,
            resumed: args.resumed,
            stream_tokens: 0,
            timeout: Duration::from_secs(args.timeout),
        };
        let needed = load.context_tokens();
        load.stream_tokens = context.unwrap_or(UNKNOWN_CONTEXT).saturating_sub(needed).max(1);
        if fits(Load { streams: 1, prompt_tokens: needed, max_tokens: 1 }, &mut report.notes) {
            progress(&format!("{}: {first_size} tokens", scenario.name()), args.repeat);
            report.conversations.push(conversation::run(target, load, args.repeat, &mut index));
        }
    }
    if args.scenario.contains(&Scenario::Slots) {
        let of =
            |&streams| Load { streams, prompt_tokens: first_size, max_tokens: args.max_tokens };
        let mut loads: Vec<Load> = args.streams.iter().map(of).collect();
        loads.retain(|&load| fits(load, &mut report.notes));
        let most = loads.iter().map(|load| load.streams).max();
        if let Some(slots) = most.map(|most| total_slots(props).unwrap_or(most)) {
            progress(&format!("slots: {:?} streams over {slots} slots", args.streams), args.repeat);
            report.slots = Some(slots::run(target, &loads, slots, args.repeat, &mut index));
        }
    }
}

fn read_text(path: &Path) -> Result<Arc<str>, (u8, String)> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim_end().into()),
        Err(error) => Err((EX_USAGE, format!("--edit-text {}: {error}", path.display()))),
    }
}

fn choose_model(args: &BenchArgs, client: &Client) -> Result<String, (u8, String)> {
    match (client.models(), &args.model) {
        // Not every server lists its models.
        (Ok(_) | Err(ClientError::Status { status: 404 | 405 | 501, .. }), Some(model)) => {
            Ok(model.clone())
        }
        (Ok(models), None) => models.into_iter().next().ok_or_else(|| {
            (EX_UNAVAILABLE, "the server lists no model: name one with --model".to_owned())
        }),
        (Err(error), _) => Err(unavailable(args, &error)),
    }
}

/// The one line for a server that does not even answer the first requests.
fn unavailable(args: &BenchArgs, error: &ClientError) -> (u8, String) {
    let url = &args.url;
    let message = match error {
        ClientError::Transport(cause) => {
            format!("cannot reach {url} ({cause}): is the server running, is --url right?")
        }
        ClientError::Status { status: 401 | 403, message } => {
            format!("{url} wants an API key ({message}): set --api-key or OPENAI_API_KEY")
        }
        ClientError::Status { status: 503, message } => {
            format!("{url} is not ready ({message}): try again when it has loaded its model")
        }
        ClientError::Status { status: 404, message } => {
            format!("{url} has no such endpoint or model ({message}): check --url and --model")
        }
        ClientError::Status { .. } | ClientError::Answer(_) => format!("{url}: {error}"),
    };
    (EX_UNAVAILABLE, message)
}

/// Tokens of one slot, from servers that tell.
fn context_size(props: Option<&Value>) -> Option<u32> {
    let size = props?.pointer("/default_generation_settings/n_ctx")?.as_u64()?;
    u32::try_from(size).ok().filter(|size| *size > 0)
}

/// Slots, from servers that tell.
fn total_slots(props: Option<&Value>) -> Option<u32> {
    let slots = props?.get("total_slots")?.as_u64()?;
    u32::try_from(slots).ok().filter(|slots| (1..=1024).contains(slots))
}

fn progress(what: &str, repeat: u32) {
    match repeat {
        1 => eprintln!("{what}"),
        _ => eprintln!("{what}, {repeat} times"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::{Parser, ValueEnum};

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn parse(words: &[&str]) -> Result<BenchArgs, clap::Error> {
        let words = std::iter::once("bench").chain(words.iter().copied());
        Cli::try_parse_from(words).map(|cli| cli.args)
    }

    #[test]
    fn without_flags_one_to_sixteen_streams_and_four_prompt_sizes_are_measured() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.streams, [1, 2, 4, 8, 16]);
        assert_eq!(args.prompt_tokens, [128, 512, 2048, 8192]);
        assert_eq!(args.scenario, [Scenario::Decode, Scenario::Prefill]);
        assert_eq!((args.max_tokens, args.repeat), (128, 3));
    }

    #[test]
    fn lists_are_separated_by_commas_and_zero_is_refused() {
        let args = parse(&["--streams", "1,8", "--scenario", "stall,rps"]).unwrap();
        assert_eq!(args.streams, [1, 8]);
        assert_eq!(args.scenario, [Scenario::Stall, Scenario::Rps]);
        for wrong in [["--streams", "0"], ["--repeat", "0"], ["--scenario", "nothing"]] {
            assert!(parse(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn each_scenario_is_known_by_its_name() {
        for &scenario in Scenario::value_variants() {
            let args = parse(&["--scenario", &scenario.name(), "--resumed"]).unwrap();
            assert_eq!(args.scenario, [scenario]);
        }
    }

    #[test]
    fn a_url_without_scheme_is_a_usage_error() {
        let args = parse(&["--url", "localhost:8091"]).unwrap();
        assert_eq!(measure(&args).err().map(|(code, _)| code), Some(EX_USAGE));
    }

    #[test]
    fn a_server_that_is_not_there_is_unavailable() {
        // Port 1 of the loopback has no listener on any sane machine.
        let args = parse(&["--url", "http://127.0.0.1:1/v1"]).unwrap();
        let (code, message) = measure(&args).err().unwrap();
        assert_eq!(code, EX_UNAVAILABLE);
        assert!(message.contains("cannot reach http://127.0.0.1:1/v1"), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }

    #[test]
    fn the_context_of_a_slot_is_read_from_props() {
        let props = serde_json::json!({"default_generation_settings": {"n_ctx": 4096}});
        assert_eq!(context_size(Some(&props)), Some(4096));
        assert_eq!(context_size(Some(&serde_json::json!({}))), None);
        assert_eq!(context_size(None), None);
    }
}
