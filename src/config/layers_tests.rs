use std::fs;

use super::*;
use crate::config::{FlashAttn, from_matches, translate};

fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn line(arguments: &[&str]) -> Vec<FlagValue> {
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    let command = clap::Command::new("serve").no_binary_name(true).args(crate::config::arguments());
    let arguments = translate(&arguments).unwrap().arguments;
    from_matches(&command.try_get_matches_from(arguments).unwrap())
}

fn write(directory: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn nothing_set_gives_the_defaults() {
    let loaded = load(Sources::default()).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert_eq!(loaded.origins.iter().count(), 0);
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.changed(), []);
}

#[test]
fn later_layers_win_and_each_value_knows_its_origin() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(
        &directory,
        "s.toml",
        "[context]\nctx_size = 1000\nparallel = 5\nbatch = 100\n[server]\nport = 1\n",
    );
    let env_file = write(&directory, ".env", "LLAMA_ARG_CTX_SIZE=2000\nLLAMA_ARG_N_PARALLEL=6\n");
    let loaded = load(Sources {
        file: Some(file.clone()),
        env_file: Some(env_file.clone()),
        environment: environment(&[("LLAMA_ARG_CTX_SIZE", "3000"), ("LLAMA_ARG_PORT", "3")]),
        flags: line(&["--port", "4"]),
    })
    .unwrap();
    let of = |key: &str| loaded.origins.get(key).to_string();
    let context = &loaded.settings.context;
    assert_eq!((context.ctx_size, context.parallel, context.batch), (3000, 6, 100));
    assert_eq!(loaded.settings.server.port, 4);
    assert_eq!(of("context.ctx_size"), "LLAMA_ARG_CTX_SIZE");
    assert_eq!(of("context.parallel"), format!("{}:2 LLAMA_ARG_N_PARALLEL", env_file.display()));
    assert_eq!(of("context.batch"), format!("{}:4", file.display()));
    assert_eq!(of("server.port"), "--port");
    assert!(!loaded.origins.is_set("context.threads"));
    assert_eq!(context.ubatch, 100, "an unset ubatch follows batch");
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn the_environment_names_the_file_unless_a_flag_does() {
    let directory = tempfile::tempdir().unwrap();
    let a = write(&directory, "a.toml", "[server]\nport = 1\n");
    let b = write(&directory, "b.toml", "[server]\nport = 2\n");
    let environment = environment(&[("STRIXHALO_CONFIG", b.to_str().unwrap())]);
    let both = Sources { file: Some(a), environment: environment.clone(), ..Sources::default() };
    assert_eq!(load(both).unwrap().settings.server.port, 1);
    let one = Sources { environment, ..Sources::default() };
    assert_eq!(load(one).unwrap().settings.server.port, 2);
}

#[test]
fn a_model_is_switched_by_the_environment_file() {
    let directory = tempfile::tempdir().unwrap();
    let env_file = write(
        &directory,
        ".env",
        "MODEL_FILE=Qwen3-Q8_0-00001-of-00003.gguf\nMODEL_ALIAS=qwen3\nHSA_XNACK=1\n",
    );
    let sources = Sources { env_file: Some(env_file.clone()), ..Sources::default() };
    let loaded = load(sources.clone()).unwrap();
    let model = &loaded.settings.model;
    assert_eq!(model.path.as_deref(), Some(Path::new("Qwen3-Q8_0-00001-of-00003.gguf")));
    assert_eq!(model.models_dir.as_deref(), Some(directory.path().join("models").as_path()));
    assert_eq!(model.alias, ["qwen3"]);
    assert!(loaded.warnings[0].contains("HSA_XNACK set nothing here"), "{:?}", loaded.warnings);

    let real = environment(&[("LLAMA_ARG_MODELS_DIR", "/m"), ("MODEL_FILE", "not-from-here.gguf")]);
    let loaded = load(Sources { environment: real, ..sources.clone() }).unwrap();
    assert_eq!(loaded.settings.model.models_dir.as_deref(), Some(Path::new("/m")));
    assert_eq!(loaded.origins.get("model.path").layer(), "env-file");

    let loaded = load(Sources { flags: line(&["-m", "x.gguf"]), ..sources }).unwrap();
    assert_eq!(loaded.settings.model.path.as_deref(), Some(Path::new("x.gguf")));
    assert_eq!(loaded.settings.model.models_dir, None);
}

#[test]
fn an_environment_file_is_composes() {
    let directory = tempfile::tempdir().unwrap();
    let text = "M=tiny\nMODEL_FILE=${M}.gguf\nMODEL_ALIAS=${Q}-${NOPE:-dflt}\nLLAMA_ARG_PORT\n\
                LLAMA_ARG_THREADS: 3\n";
    let env_file = write(&directory, ".env", text);
    let environment = environment(&[("LLAMA_ARG_PORT", "81")]);
    let place = format!("{}:3: the variable Q is not set", env_file.display());
    let sources = Sources { env_file: Some(env_file), environment, ..Sources::default() };
    let loaded = load(sources.clone()).unwrap();
    let Settings { model, server, context, .. } = &loaded.settings;
    assert_eq!(model.path.as_deref(), Some(Path::new("tiny.gguf")));
    assert_eq!(model.alias, ["-dflt"]);
    assert_eq!((server.port, context.threads), (81, 3));
    assert!(loaded.warnings[0].starts_with(&place), "{:?}", loaded.warnings);
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);

    let environment = [sources.environment.clone(), self::environment(&[("Q", "q")])].concat();
    let loaded = load(Sources { environment, ..sources }).unwrap();
    assert_eq!(loaded.settings.model.alias, ["q-dflt"]);
}

#[test]
fn files_that_cannot_be_read_are_told_apart() {
    let kind = |path: &str| {
        let sources = Sources { file: Some(path.into()), ..Sources::default() };
        load(sources).unwrap_err().kind()
    };
    assert_eq!(kind("/nonexistent/s.toml"), ErrorKind::Missing);
    assert_eq!(kind("/"), ErrorKind::Missing);
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("b.toml");
    fs::write(&binary, [0xff, 0xfe, 0]).unwrap();
    assert_eq!(kind(binary.to_str().unwrap()), ErrorKind::Content);
    let env_file = Some("/nonexistent/.env".into());
    let error = load(Sources { env_file, ..Sources::default() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
}

#[test]
fn a_settings_file_whose_name_is_no_text_is_an_error_and_not_left_out() {
    use std::os::unix::ffi::OsStringExt;
    let name = OsString::from_vec(b"/etc/\xff.toml".to_vec());
    let environment = vec![("STRIXHALO_CONFIG".into(), name)];
    let error = load(Sources { environment, ..Sources::default() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Content);
    assert!(error.to_string().starts_with("STRIXHALO_CONFIG: the value is not UTF-8"), "{error}");
}

#[test]
fn values_are_checked_against_each_other() {
    let error = |arguments: &[&str]| {
        load(Sources { flags: line(arguments), ..Sources::default() }).unwrap_err().to_string()
    };
    assert_eq!(
        error(&["-c", "3", "-np", "4"]),
        "--ctx-size: context.ctx_size: 3 tokens leave none for some of 4 slots; use 0 or at least 4"
    );
    assert!(error(&["-fa", "off", "-ctv", "q4_0"]).contains("flash attention"));
    assert!(error(&["--api-prefix", "llm"]).contains("must start with /"));
    assert!(error(&["--log-level", "infos"]).contains("did you mean info?"));
    assert!(error(&["--chat-template", "lama3"]).contains("no Jinja text; did you mean llama3?"));
    assert!(error(&["--host", "http://a"]).contains("scheme"));
    assert!(error(&["--alias", "a\nb"]).contains("control character"));
    assert!(
        error(&["--chat-template", "{{ a }}", "--chat-template-file", "b"])
            .contains("one of the two")
    );
    assert!(error(&["-np", "257"]).contains("from 1 to 256, found 257"));
}

#[test]
fn values_with_several_forms_are_brought_into_one() {
    let flags = line(&[
        "--host",
        "::1,/run/a.sock",
        "--host",
        "[::2]",
        "--api-prefix",
        "/llm/",
        "-b",
        "64",
        "-ub",
        "65",
    ]);
    let loaded = load(Sources { flags, ..Sources::default() }).unwrap();
    assert_eq!(loaded.settings.server.host, ["::1", "unix:/run/a.sock", "::2"]);
    assert_eq!(loaded.settings.server.api_prefix, "/llm");
    assert_eq!(loaded.settings.context.ubatch, 64);
    assert_eq!(loaded.warnings, ["context.ubatch: 65 is cut to context.batch, which is 64"]);
}

#[test]
fn a_batch_has_room_for_a_token_of_every_slot() {
    let flags = line(&["-b", "2", "-np", "4"]);
    let loaded = load(Sources { flags, ..Sources::default() }).unwrap();
    assert_eq!((loaded.settings.context.batch, loaded.settings.context.ubatch), (4, 4));
    assert_eq!(
        loaded.warnings,
        ["context.batch: 2 is raised to 4, a token for each of context.parallel's slots"]
    );
}

#[test]
fn unset_values_that_cannot_be_are_replaced_with_a_notice() {
    let flags = line(&["-fa", "off"]);
    let loaded = load(Sources { flags, ..Sources::default() }).unwrap();
    assert_eq!(loaded.settings.context.flash_attn, FlashAttn::Off);
    assert_eq!(loaded.settings.context.cache_type_v, crate::config::CacheType::F16);
    assert_eq!(loaded.warnings.len(), 1);
}

#[test]
fn llama_servers_names_of_templates_are_taken_or_named_in_a_warning() {
    let load = |name: &str| {
        let environment = environment(&[("LLAMA_ARG_CHAT_TEMPLATE", name)]);
        load(Sources { environment, ..Sources::default() }).unwrap()
    };
    let loaded = load("chatml");
    assert_eq!(loaded.settings.model.chat_template.as_deref(), Some("chatml"));
    assert_eq!(loaded.warnings, [] as [&str; 0]);
    let loaded = load("llama3");
    assert_eq!(loaded.settings.model.chat_template, None);
    let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
    assert!(warning.contains("LLAMA_ARG_CHAT_TEMPLATE"), "{warning}");
    assert!(warning.contains("llama3"), "{warning}");
    assert!(warning.contains("chat_template_file"), "{warning}");
}

#[test]
fn the_stronger_layer_chooses_the_template() {
    let sources = Sources {
        environment: environment(&[("LLAMA_ARG_CHAT_TEMPLATE", "{{ x }}")]),
        flags: line(&["--chat-template-file", "f"]),
        ..Sources::default()
    };
    let loaded = load(sources).unwrap();
    assert_eq!(loaded.settings.model.chat_template, None);
    assert!(loaded.warnings[0].contains("LLAMA_ARG_CHAT_TEMPLATE has no effect"));
}

#[test]
fn secrets_are_never_in_the_entries() {
    let environment = environment(&[("LLAMA_API_KEY", "hunter2,hunter3")]);
    let loaded = load(Sources { environment, ..Sources::default() }).unwrap();
    assert_eq!(loaded.settings.server.api_keys, ["hunter2", "hunter3"]);
    assert!(!format!("{:?}", loaded.entries()).contains("hunter"));
    assert_eq!(loaded.changed().len(), 1);
}

#[test]
fn models_beside_the_first_have_paths_and_names_of_their_own() {
    let of = |flags: &[&str]| load(Sources { flags: line(flags), ..Sources::default() });
    let flags = ["--embedding-model", "e.gguf", "--pooling", "cls", "--rerank-model", "r.gguf"];
    let settings = of(&flags).unwrap().settings;
    assert_eq!(settings.embedding_model.path.as_deref(), Some(Path::new("e.gguf")));
    assert_eq!(settings.embedding_model.pooling, crate::config::EmbeddingPooling::Cls);
    assert_eq!(settings.rerank_model.path.as_deref(), Some(Path::new("r.gguf")));
    for (flags, problem) in [
        (&["--pooling", "rank"][..], "expected one of model, mean, cls, last"),
        (&["--alias", "a,b", "--embedding-alias", "b"], "\"b\" is a name of model too"),
        (&["--embedding-alias", "b", "--rerank-alias", "b"], "a name of embedding_model too"),
        (&["--rerank-alias", "[\" \"]"], "rerank_model.alias: a name is empty"),
        (&["--embedding-ctx-size", "4k"], "embedding_model.ctx_size"),
    ] {
        let error = of(flags).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    let warnings = of(&["--embedding-ctx-size", "512"]).unwrap().warnings;
    assert!(warnings.iter().any(|w| w.contains("embedding_model.path is unset")), "{warnings:?}");
}
