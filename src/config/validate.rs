//! What one value says about another, and forms that types cannot express. Ranges were checked
//! where each value was read.

use std::path::Path;

use super::catalogue;
use super::error::ConfigError;
use super::loaded::Loaded;
use super::nearest::suggestion;
use super::origin::Origin;
use super::settings::{CacheType, FlashAttn, Gpu, Settings};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Checks the settings, and brings those into shape that have several forms.
pub(crate) fn validate(loaded: &mut Loaded) -> Result<(), ConfigError> {
    context(loaded)?;
    rope(loaded)?;
    template(loaded)?;
    server(loaded)?;
    models(loaded)?;
    device(loaded)?;
    level(&loaded.settings.log.level).map_err(|problem| wrong(loaded, "log.level", &problem))
}

fn wrong(loaded: &Loaded, key: &str, problem: &str) -> ConfigError {
    let origin = loaded.origins.get(key);
    let message = match origin {
        Origin::Default => format!("{key}: {problem}"),
        origin => format!("{origin}: {key}: {problem}"),
    };
    ConfigError::new(origin.error_kind(), message)
}

/// Paths and names of all models. No two models may share a name.
fn models(loaded: &mut Loaded) -> Result<(), ConfigError> {
    let Settings { model, embedding_model, rerank_model, .. } = loaded.settings.clone();
    let models = [
        ("model", model.path, model.alias),
        ("embedding_model", embedding_model.path, embedding_model.alias),
        ("rerank_model", rerank_model.path, rerank_model.alias),
    ];
    for (i, (section, path, alias)) in models.iter().enumerate() {
        let key = format!("{section}.alias");
        if alias.iter().any(|name| name.trim().is_empty()) {
            return Err(wrong(loaded, &key, "a name is empty; leave it out"));
        }
        if alias.iter().any(|name| name.contains(char::is_control)) {
            // It stands in log lines.
            let problem = "a name holds a control character, such as a line break; leave it out";
            return Err(wrong(loaded, &key, problem));
        }
        for (other, _, taken) in &models[..i] {
            if let Some(name) = alias.iter().find(|name| taken.contains(name)) {
                let problem = format!("{name:?} is a name of {other} too; choose another one");
                return Err(wrong(loaded, &key, &problem));
            }
        }
        if path.as_deref() == Some(Path::new("")) {
            let key = format!("{section}.path");
            return Err(wrong(loaded, &key, "the path is empty; name a GGUF file"));
        }
        if i > 0 && path.is_none() {
            without_model(loaded, section);
        }
    }
    Ok(())
}

/// Warns of what is set about a model that nobody named.
fn without_model(loaded: &mut Loaded, section: &str) {
    let keys: Vec<&str> = catalogue::keys()
        .iter()
        .filter(|key| key.section() == section && loaded.origins.is_set(&key.path))
        .map(|key| key.path.as_str())
        .collect();
    for key in keys {
        let origin = loaded.origins.get(key);
        loaded.warnings.push(format!("{key} from {origin} has no effect: {section}.path is unset"));
    }
}

fn device(loaded: &Loaded) -> Result<(), ConfigError> {
    let model = &loaded.settings.model;
    let problem = if model.device.iter().any(|name| name.trim().is_empty()) {
        "a name is empty; leave it out"
    } else if !model.device.iter().any(|name| name == "none") {
        return Ok(());
    } else if model.device.len() > 1 {
        "none stands for the CPU alone; name it or GPUs"
    } else if model.gpu == Gpu::Required {
        "none stands for the CPU alone, but model.gpu is \"required\"; change one of them"
    } else {
        return Ok(());
    };
    Err(wrong(loaded, "model.device", problem))
}

fn context(loaded: &mut Loaded) -> Result<(), ConfigError> {
    let context = &mut loaded.settings.context;
    if context.batch < context.parallel {
        // llama.cpp aborts the process when a batch has no room for a token of every slot.
        loaded.warnings.push(format!(
            "context.batch: {} is raised to {}, a token for each of context.parallel's slots",
            context.batch, context.parallel
        ));
        context.batch = context.parallel;
    }
    if context.ubatch > context.batch {
        if loaded.origins.is_set("context.ubatch") {
            loaded.warnings.push(format!(
                "context.ubatch: {} is cut to context.batch, which is {}",
                context.ubatch, context.batch
            ));
        }
        context.ubatch = context.batch;
    }
    let (size, parallel) = (context.ctx_size, context.parallel);
    if size != 0 && size < parallel {
        let problem = format!(
            "{size} tokens leave none for some of {parallel} slots; use 0 or at least {parallel}"
        );
        return Err(wrong(loaded, "context.ctx_size", &problem));
    }
    let context = &mut loaded.settings.context;
    if context.flash_attn == FlashAttn::Off && context.cache_type_v.is_quantized() {
        if loaded.origins.is_set("context.cache_type_v") {
            return Err(wrong(
                loaded,
                "context.cache_type_v",
                "quantized values need flash attention; use f16 or turn context.flash_attn on",
            ));
        }
        context.cache_type_v = CacheType::F16;
        loaded.warnings.push(
            "context.cache_type_v: f16 is used, because flash attention is off and quantized \
             values need it"
                .to_owned(),
        );
    }
    Ok(())
}

/// One factor that has two names: the stronger layer's is taken, as llama-server takes the last.
fn rope(loaded: &mut Loaded) -> Result<(), ConfigError> {
    const SCALE: &str = "context.rope_scale";
    const INVERSE: &str = "context.rope_freq_scale";
    let context = &mut loaded.settings.context;
    if context.rope_scale == 0.0 || context.rope_freq_scale == 0.0 {
        return Ok(());
    }
    let (scale, inverse) = (loaded.origins.get(SCALE).rank(), loaded.origins.get(INVERSE).rank());
    let (kept, dropped) = match scale.cmp(&inverse) {
        std::cmp::Ordering::Greater => {
            context.rope_freq_scale = 0.0;
            (SCALE, INVERSE)
        }
        std::cmp::Ordering::Less => {
            context.rope_scale = 0.0;
            (INVERSE, SCALE)
        }
        std::cmp::Ordering::Equal => {
            let problem = "rope_scale, which is its inverse, is set as well; set one of the two";
            return Err(wrong(loaded, INVERSE, problem));
        }
    };
    loaded.warnings.push(format!(
        "{dropped} from {} has no effect: {kept} from {} is stronger",
        loaded.origins.get(dropped),
        loaded.origins.get(kept)
    ));
    loaded.origins.unset(dropped);
    Ok(())
}

/// llama-server's name for the one built-in template that is known here.
pub(crate) const CHATML: &str = "chatml";

/// The names of llama.cpp's other built-in templates (`llm_chat_template` in its `llama-chat.cpp`).
/// They are for models whose own template cannot be rendered, which a Jinja engine can.
const BUILT_IN_TEMPLATES: [&str; 53] = [
    "bailing",
    "bailing-think",
    "bailing2",
    "chatglm3",
    "chatglm4",
    "command-r",
    "deepseek",
    "deepseek-ocr",
    "deepseek2",
    "deepseek3",
    "exaone-moe",
    "exaone3",
    "exaone4",
    "falcon3",
    "gemma",
    "gigachat",
    "glmedge",
    "gpt-oss",
    "granite",
    "granite-4.0",
    "granite-4.1",
    "grok-2",
    "hunyuan-dense",
    "hunyuan-moe",
    "hunyuan-vl",
    "kimi-k2",
    "llama2",
    "llama2-sys",
    "llama2-sys-bos",
    "llama2-sys-strip",
    "llama3",
    "llama4",
    "megrez",
    "minicpm",
    "mistral-v1",
    "mistral-v3",
    "mistral-v3-tekken",
    "mistral-v7",
    "mistral-v7-tekken",
    "monarch",
    "openchat",
    "orion",
    "pangu-embedded",
    "phi3",
    "phi4",
    "rwkv-world",
    "seed_oss",
    "smolvlm",
    "solar-open",
    "vicuna",
    "vicuna-orca",
    "yandex",
    "zephyr",
];

/// A template by name, and one given twice: the stronger layer's is taken.
fn template(loaded: &mut Loaded) -> Result<(), ConfigError> {
    const TEXT: &str = "model.chat_template";
    const FILE: &str = "model.chat_template_file";
    if let Some(text) = &loaded.settings.model.chat_template
        && text != CHATML
        && !text.contains("{{")
        && !text.contains("{%")
    {
        if BUILT_IN_TEMPLATES.contains(&text.as_str()) {
            loaded.warnings.push(format!(
                "{TEXT} from {}: llama-server's built-in template {text} is not known here, so \
                 the model's own is used; for another, give its Jinja text or a file with \
                 chat_template_file",
                loaded.origins.get(TEXT)
            ));
            loaded.settings.model.chat_template = None;
            loaded.origins.unset(TEXT);
        } else {
            let near = suggestion(text, BUILT_IN_TEMPLATES.into_iter().chain([CHATML]));
            let problem = format!(
                "this is no Jinja text{near}; give the text, a file with chat_template_file, or \
                 chatml"
            );
            return Err(wrong(loaded, TEXT, &problem));
        }
    }
    let model = &mut loaded.settings.model;
    if model.chat_template.is_none() || model.chat_template_file.is_none() {
        return Ok(());
    }
    let (text, file) = (loaded.origins.get(TEXT).rank(), loaded.origins.get(FILE).rank());
    let (kept, dropped) = match text.cmp(&file) {
        std::cmp::Ordering::Greater => {
            model.chat_template_file = None;
            (TEXT, FILE)
        }
        std::cmp::Ordering::Less => {
            model.chat_template = None;
            (FILE, TEXT)
        }
        std::cmp::Ordering::Equal => {
            return Err(wrong(loaded, FILE, "chat_template is set as well; set one of the two"));
        }
    };
    loaded.warnings.push(format!(
        "{dropped} from {} has no effect: {kept} from {} is stronger",
        loaded.origins.get(dropped),
        loaded.origins.get(kept)
    ));
    loaded.origins.unset(dropped);
    Ok(())
}

fn server(loaded: &mut Loaded) -> Result<(), ConfigError> {
    let server = &mut loaded.settings.server;
    for host in &mut server.host {
        if host.ends_with(".sock") && !host.starts_with("unix:") {
            *host = format!("unix:{host}");
        }
        if let Some(inner) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            *host = inner.to_owned();
        }
    }
    let hosts = &server.host;
    let host_problem = if hosts.is_empty() {
        Some("no address to listen on; 127.0.0.1 is this machine only, 0.0.0.0 all")
    } else if hosts.iter().any(|host| host.is_empty() || host.contains(char::is_whitespace)) {
        Some("an address is empty or holds blanks; write it without them")
    } else if hosts.iter().any(|host| host == "unix:") {
        Some("unix: needs a path, such as unix:/run/strixhalo.sock")
    } else if hosts.iter().any(|host| host.contains("://")) {
        Some("an address has no scheme; write 0.0.0.0, not http://0.0.0.0")
    } else {
        None
    };
    while server.api_prefix.ends_with('/') {
        server.api_prefix.pop();
    }
    let prefix = &server.api_prefix;
    let prefix_problem = if !prefix.is_empty() && !prefix.starts_with('/') {
        Some("the prefix must start with /")
    } else if prefix.contains(|c: char| !(c.is_ascii_alphanumeric() || "/-._~".contains(c))) {
        Some("the prefix may hold letters, digits and - . _ ~ / only")
    } else if prefix.contains("//") {
        Some("the prefix holds an empty part; write single slashes")
    } else {
        None
    };
    let key_problem = server
        .api_keys
        .iter()
        .any(|key| key.is_empty() || key.contains(|c: char| c.is_whitespace() || c.is_control()))
        .then_some("a key is empty or holds blanks; no client could send it");
    for (key, problem) in [
        ("server.host", host_problem),
        ("server.api_prefix", prefix_problem),
        ("server.api_keys", key_problem),
    ] {
        if let Some(problem) = problem {
            return Err(wrong(loaded, key, problem));
        }
    }
    Ok(())
}

/// The filter's own parser takes any unknown word for a module's name; a misspelled level would
/// then silence the log.
fn level(level: &str) -> Result<(), String> {
    for directive in level.split(',') {
        let word = directive.rsplit('=').next().unwrap_or_default().trim();
        if !LEVELS.contains(&word.to_lowercase().as_str()) {
            let near = suggestion(word, LEVELS);
            return Err(format!(
                "{word:?} is no level{near} (levels: {}; a filter is written info,module=debug)",
                LEVELS.join(", ")
            ));
        }
    }
    tracing_subscriber::EnvFilter::try_new(level).map(drop).map_err(|error| error.to_string())
}
