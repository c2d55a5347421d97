//! `strixhalo plan`: what a model would take, from its header alone.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::{Value, json};

use super::{arguments, print};
use crate::config::{Gpu, Loaded};
use crate::host::{GpuPool, Memory, service_memory};
use crate::model::{
    EmbeddingSource, EmbeddingSources, FAMILIES, Family, GgufFacts, GpuMemory, LargestContext,
    MemoryReadings, PlanReport, Source, StretchedContext, UNIFIED_MEMORY, WeightType, budget,
};
use crate::server::{Exit, Failure};
use crate::service;

const GIB: f64 = (1_u64 << 30) as f64;

pub(super) fn command() -> Command {
    let value = |name: &'static str, of: &'static str| Arg::new(name).long(name).value_name(of);
    Command::new("plan")
        .about("Print what a model needs of memory, and which context fits")
        .long_about(
            "Print what a model needs of memory under the settings that `serve` would have, and \
             which context fits. Reads the headers of the model's files only and opens no GPU. \
             Ends with 0 if the model fits and with 70 if it does not.",
        )
        .arg(
            Arg::new("file")
                .value_name("MODEL")
                .value_parser(value_parser!(PathBuf))
                .conflicts_with("family")
                .help("The model's GGUF file, as with --model; of a split model, any part"),
        )
        .arg(value("family", "NAME").help(format!("A model that is not there yet: {}", families())))
        .arg(
            value("weights", "TYPE")
                .requires("family")
                .default_value("Q8_0")
                .help(format!("How its weights are stored: {}", weight_types())),
        )
        .arg(
            value("memory", "GIB")
                .value_parser(value_parser!(f64))
                .help("Memory that is free, in place of this machine's"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print the plan as JSON, sizes in bytes"),
        )
        .args(arguments::sources())
        .args(crate::config::arguments())
}

fn families() -> String {
    FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>().join(", ")
}

fn weight_types() -> String {
    WeightType::ALL.map(WeightType::name).join(", ")
}

pub(super) fn run(matches: &ArgMatches, warnings: Vec<String>) -> ExitCode {
    let planned = arguments::load(arguments::given(matches), warnings)
        .map_err(Failure::from)
        .and_then(|loaded| planned(matches, loaded));
    match planned {
        Ok((text, exit)) => {
            let printed = print(&text);
            if exit == Exit::Success { printed } else { exit.into() }
        }
        Err(failure) => failure.report(),
    }
}

fn planned(matches: &ArgMatches, mut loaded: Loaded) -> Result<(String, Exit), Failure> {
    loaded.warnings.iter().for_each(|warning| service::warn(warning));
    if let Some(path) = matches.get_one::<PathBuf>("file") {
        loaded.settings.model.path = Some(path.clone());
    }
    let (name, facts) = subject(matches, &loaded)?;
    let names = [loaded.settings.model.alias.as_slice(), std::slice::from_ref(&name)].concat();
    let others = EmbeddingSources::open(&loaded.settings, &names, &facts)?;
    let machine = Machine::read(&loaded, matches.get_one::<f64>("memory").copied(), &others)?;
    let mut report = PlanReport::new(&loaded, &facts, machine.on_gpu, machine.free)?;
    report.notices.splice(0..0, machine.notices);
    let exit = if report.fits { Exit::Success } else { Exit::Internal };
    let beside = [("embedding_model", &others.embedding), ("rerank_model", &others.rerank)];
    let text = if matches.get_flag("json") {
        let mut json = json!(report);
        json["model"] = json!(name);
        for (section, model) in beside {
            if let Some(model) = model {
                json[section] = beside_json(model, machine.on_gpu);
            }
        }
        format!("{json:#}\n")
    } else {
        let mut text = as_text(&name, &report);
        for (section, model) in beside {
            if let Some(model) = model {
                text += &beside_text(section, model, machine.on_gpu);
            }
        }
        if others.iter().next().is_some() {
            text += "free is without them\n";
        }
        text
    };
    Ok((text, exit))
}

/// A model that is served beside the other one, sizes in bytes.
fn beside_json(model: &EmbeddingSource, on_gpu: bool) -> Value {
    let (shape, need) = (model.shape(on_gpu), model.need(on_gpu));
    json!({
        "model": model.names.first(),
        "architecture": model.source.facts.architecture,
        "pooling": shape.pooling.name(),
        "context": shape.context,
        "need": need,
        "total": need.total(),
    })
}

fn beside_text(section: &str, model: &EmbeddingSource, on_gpu: bool) -> String {
    let shape = model.shape(on_gpu);
    let name = model.names.first().map_or("", String::as_str);
    format!(
        "\n{section} {name}: {}, pooling {}, up to {} tokens a text\n{}",
        model.source.facts.architecture,
        shape.pooling.name(),
        shape.context,
        row("total", model.need(on_gpu).total()),
    )
}

/// The model's name and facts.
fn subject(matches: &ArgMatches, loaded: &Loaded) -> Result<(String, GgufFacts), Failure> {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let Some(name) = text("family") else {
        let source = Source::open(&loaded.settings.model)?;
        let name = source.names(&loaded.settings.model.alias).remove(0);
        return Ok((name, source.facts));
    };
    let unknown = |what: &str, name: &str, known: String| {
        Failure::new(Exit::Usage, format!("no {what} {name} is known; use one of {known}"))
    };
    let family = Family::find(name).ok_or_else(|| unknown("family", name, families()))?;
    let weights = text("weights").unwrap_or_default();
    let weights = WeightType::find(weights)
        .ok_or_else(|| unknown("type of weights", weights, weight_types()))?;
    let facts = family
        .facts(weights)
        .map_err(|error| Failure::new(Exit::Internal, format!("{name}: {error}")))?;
    Ok((family.name.to_owned(), facts))
}

/// What the plan is for.
struct Machine {
    on_gpu: bool,
    /// What the models beside the one that is planned leave.
    free: Option<u64>,
    notices: Vec<String>,
}

impl Machine {
    /// From /proc and /sys; no GPU is opened. `memory`: GiB in place of what is free.
    fn read(
        loaded: &Loaded,
        memory: Option<f64>,
        others: &EmbeddingSources,
    ) -> Result<Self, Failure> {
        let root = Path::new("/");
        let has_backend = cfg!(any(feature = "hip", feature = "vulkan", feature = "cuda"));
        let model = &loaded.settings.model;
        let is_off = model.gpu == Gpu::Off || model.device == ["none"];
        let gpus: Vec<GpuMemory> = if has_backend && !is_off {
            GpuPool::read_all(root).iter().map(gpu_memory).collect()
        } else {
            Vec::new()
        };
        let mut notices = Vec::new();
        if gpus.is_empty() {
            let cause = match (has_backend, model.gpu) {
                (_, Gpu::Off) => "model.gpu is off",
                _ if is_off => "model.device is none",
                (true, _) => "no GPU of the amdgpu driver is found",
                (false, _) => "this build has no GPU backend",
            };
            notices.push(format!("planned for the CPU: {cause}"));
            if model.gpu == Gpu::Required {
                notices.push(format!(
                    "serve would refuse to start: model.gpu is required, and {cause}"
                ));
            } else if !has_backend && !is_off && !model.device.is_empty() {
                notices.push(format!(
                    "serve would refuse to start: model.device is {}, and {cause}",
                    model.device.join(", ")
                ));
            }
        }
        if gpus.len() > 1 && !model.device.is_empty() {
            notices.push(format!(
                "the memory of all {} GPUs is counted: which of them {} is, is not known before one is opened",
                gpus.len(),
                model.device.join(", ")
            ));
        }
        let on_gpu = !gpus.is_empty();
        let taken = others.need(on_gpu);
        let free = match memory {
            None => {
                let read = MemoryReadings {
                    host: Memory::read(root),
                    gpus,
                    is_unified: cfg!(feature = "hip") && std::env::var_os(UNIFIED_MEMORY).is_some(),
                    service: service_memory(root),
                };
                let budget = budget(&read).map(|whole| whole.without(taken));
                notices.extend(budget.map(|budget| budget.to_string()));
                budget.map(|budget| budget.bytes)
            }
            Some(gib) if gib.is_finite() && gib > 0.0 => {
                Some(((gib * GIB) as u64).saturating_sub(taken))
            }
            Some(_) => {
                let message = "--memory: expected a number of GiB above 0";
                return Err(Failure::new(Exit::Usage, message));
            }
        };
        Ok(Self { on_gpu, free, notices })
    }
}

/// What sysfs says of the memory that a GPU's buffers lie in.
fn gpu_memory(pool: &GpuPool) -> GpuMemory {
    GpuMemory {
        total: pool.total,
        free: pool.total.saturating_sub(pool.used),
        is_shared: pool.is_gtt,
        is_gtt: pool.is_gtt,
    }
}

fn as_text(name: &str, report: &PlanReport) -> String {
    let type_name = |kind| json!(kind).as_str().unwrap_or_default().to_owned();
    let mut out = format!(
        "{name}: {} {}, {} weights, trained for {} tokens\n{} x {} tokens of context, keys {}, values {}, flash attention {}, {} tokens at once, on the {}\n\n",
        report.architecture,
        report.quantization.unwrap_or("of unknown quantization"),
        counted(report.parameters),
        report.trained_context,
        report.slots,
        report.context_per_slot,
        type_name(report.cache_type_k),
        type_name(report.cache_type_v),
        if report.flash_attention { "on" } else { "off" },
        report.ubatch,
        if report.on_gpu { "GPU" } else { "CPU" },
    );
    let need = &report.need;
    for (part, bytes) in [
        ("weights", need.weights),
        ("KV cache", need.kv),
        ("recurrent states", need.recurrent),
        ("compute buffers", need.compute),
        ("checkpoints", need.checkpoints),
        ("saved states, at most", need.host_cache),
        ("total", report.total),
    ] {
        out += &row(part, bytes);
    }
    match report.free {
        Some(free) => out += &row("free", free),
        None => out += "how much is free is not known\n",
    }
    if let Some(shortage) = &report.shortage {
        out += &format!("\nit does not fit: {shortage}\n");
    }
    if !report.largest_context.is_empty() {
        out += "\nlargest context, by the type of the KV cache:\n";
    }
    for LargestContext { cache_type, per_slot, flash_attention } in &report.largest_context {
        let largest = match per_slot {
            Some(tokens) if *tokens >= u64::from(report.trained_context) => {
                format!("{tokens:>11} tokens a slot, more than the model was trained for")
            }
            Some(tokens) => format!("{tokens:>11} tokens a slot"),
            None => "       none fits".to_owned(),
        };
        let flash = if per_slot.is_none() || *flash_attention == report.flash_attention {
            ""
        } else {
            ", with flash attention on"
        };
        out += &format!("  {:5}{largest}{flash}\n", type_name(*cache_type));
    }
    if !report.yarn.is_empty() {
        out += "\npast the trained context, with --rope-scaling yarn:\n";
    }
    for StretchedContext { factor, per_slot, kv, total, fits } in &report.yarn {
        out += &format!(
            "  --rope-scale {factor}: {per_slot} tokens a slot take {:.2} GiB of KV cache, {:.2} GiB in all{}\n",
            *kv as f64 / GIB,
            *total as f64 / GIB,
            if *fits { "" } else { ", which does not fit" },
        );
    }
    if !report.notices.is_empty() {
        out += "\n";
    }
    report.notices.iter().for_each(|notice| out += &format!("note: {notice}\n"));
    out
}

/// A number of weights as people say it.
fn counted(weights: u64) -> String {
    match weights as f64 {
        many if many >= 1e9 => format!("{:.1} billion", many / 1e9),
        few => format!("{:.1} million", few / 1e6),
    }
}

fn row(part: &str, bytes: u64) -> String {
    format!("{part:24}{:10.3} GiB {bytes:>17} bytes\n", bytes as f64 / GIB)
}
