use std::fs;

use serde_json::{Value, json};

use crate::binary::{refused, run};

/// What `config show --json` says, with its warnings.
fn show(arguments: &[&str], variables: &[(&str, &str)]) -> (Value, String) {
    let run = run(&[&["config", "show", "--json"], arguments].concat(), variables);
    assert_eq!(run.code, 0, "{run:?}");
    (serde_json::from_str(&run.stdout).unwrap(), run.stderr)
}

#[test]
fn show_names_the_origin_of_every_value() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("strixhalo.toml");
    fs::write(&file, "[sampling]\ntemperature = 0.7\n\n[context]\nparallel = 4\n").unwrap();
    let env_file = directory.path().join(".env");
    fs::write(&env_file, "MODEL_FILE=a.gguf\nMODEL_ALIAS=a\n").unwrap();
    let (file, env_file) = (file.to_str().unwrap(), env_file.to_str().unwrap());
    let (shown, warnings) = show(
        &["-ngl", "all", "--env-file", env_file],
        &[
            ("STRIXHALO_CONFIG", file),
            ("LLAMA_ARG_CTX_SIZE", "8192"),
            ("STRIXHALO_LOG__LEVEL", "debug"),
        ],
    );
    assert_eq!(warnings, "");
    let entry = |value, origin, source| json!({"value": value, "origin": origin, "source": source});
    assert_eq!(
        shown["sampling.temperature"],
        entry(json!(0.7), "file", json!(format!("{file}:2")))
    );
    assert_eq!(shown["context.parallel"], entry(json!(4), "file", json!(format!("{file}:5"))));
    assert_eq!(
        shown["context.ctx_size"],
        entry(json!(8192), "environment", json!("LLAMA_ARG_CTX_SIZE"))
    );
    assert_eq!(
        shown["log.level"],
        entry(json!("debug"), "environment", json!("STRIXHALO_LOG__LEVEL"))
    );
    assert_eq!(shown["model.n_gpu_layers"], entry(json!(999), "flag", json!("--n-gpu-layers")));
    assert_eq!(
        shown["model.alias"],
        entry(json!(["a"]), "env-file", json!(format!("{env_file}:2 MODEL_ALIAS")))
    );
    assert_eq!(shown["sampling.top_p"], entry(json!(0.95), "default", Value::Null));
    assert_eq!(shown["model.chat_template"], entry(Value::Null, "default", Value::Null));
}

#[test]
fn the_defaults_are_those_of_the_set_up_that_is_replaced() {
    let (shown, warnings) = show(&[], &[]);
    assert_eq!(warnings, "");
    for (key, value) in [
        ("context.ctx_size", json!(524_288)),
        ("context.parallel", json!(2)),
        ("context.batch", json!(2048)),
        ("context.ubatch", json!(512)),
        ("context.flash_attn", json!("on")),
        ("context.cache_type_k", json!("q8_0")),
        ("context.cache_type_v", json!("q8_0")),
        ("model.n_gpu_layers", json!(999)),
        ("model.mmap", json!(false)),
        ("sampling.temperature", json!(1.0)),
        ("sampling.top_p", json!(0.95)),
        ("sampling.top_k", json!(40)),
        ("sampling.min_p", json!(0.01)),
        ("server.metrics", json!(true)),
        ("server.port", json!(8091)),
    ] {
        assert_eq!(shown[key]["value"], value, "{key}");
    }
}

#[test]
fn the_table_redacts_keys_and_names_origins() {
    let run = run(&["config", "show", "--port", "1"], &[("LLAMA_API_KEY", "hunter2")]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(!run.stdout.contains("hunter2"));
    let line =
        |key: &str| run.stdout.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(line("server.port").ends_with("--port"), "{}", line("server.port"));
    assert!(line("server.api_keys").contains("<redacted>"));
    assert!(line("server.api_keys").ends_with("LLAMA_API_KEY"));
    assert!(line("context.batch").ends_with("default"));
}

#[test]
fn check_reads_the_file_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.toml");
    let file = path.to_str().unwrap();
    fs::write(
        &path,
        "[model]\npath = '/nonexistent.gguf'\n[server]\napi_key_file = '/nonexistent'\n",
    )
    .unwrap();
    let checked = run(&["config", "check", file], &[("LLAMA_ARG_PORT", "not a port")]);
    assert_eq!((checked.code, checked.stderr.as_str()), (0, ""));

    fs::write(&path, "[server]\nport = 1\nhosts = []\n").unwrap();
    assert_eq!(
        refused(78, &["config", "check", file], &[]),
        format!("strixhalo: {file}:3: unknown setting server.hosts; did you mean host?")
    );
    fs::write(&path, "[server]\nport = true\n").unwrap();
    assert_eq!(
        refused(78, &["config", "check", file], &[]),
        format!(
            "strixhalo: {file}:2: server.port: expected a whole number from 0 to 65535, found true"
        )
    );
    fs::write(&path, "[server]\nport = 1 2\n").unwrap();
    assert!(refused(78, &["config", "check", file], &[]).contains(&format!("{file}:2: ")));
    fs::remove_file(&path).unwrap();
    assert!(refused(66, &["config", "check", file], &[]).contains("does not exist"));
}

#[test]
fn the_example_passes_the_check_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.toml");
    fs::write(&path, run(&["config", "example"], &[]).stdout).unwrap();
    let file = path.to_str().unwrap();
    assert_eq!(run(&["config", "check", file], &[]).code, 0);
    assert_eq!(show(&["--config", file], &[]), show(&[], &[]));
}

#[test]
fn the_schema_is_json_with_a_description_for_every_key() {
    let schema: Value = serde_json::from_str(&run(&["config", "schema"], &[]).stdout).unwrap();
    let keys = schema["properties"]["sampling"]["properties"].as_object().unwrap();
    assert!(keys.values().all(|key| key["description"].is_string()));
    assert_eq!(keys["top_p"]["default"], json!(0.95));
    assert_eq!(schema["additionalProperties"], json!(false));
}

#[test]
fn rope_and_yarn_are_set_by_llama_servers_names() {
    let (shown, warnings) = show(
        &["--rope-scaling", "yarn", "--rope-scale", "4", "--yarn-orig-ctx", "32768"],
        &[
            ("LLAMA_ARG_ROPE_FREQ_BASE", "1000000"),
            ("LLAMA_ARG_YARN_EXT_FACTOR", "0.5"),
            ("LLAMA_ARG_YARN_ATTN_FACTOR", "1.1"),
            ("LLAMA_ARG_YARN_BETA_SLOW", "2"),
            ("LLAMA_ARG_YARN_BETA_FAST", "16"),
            ("LLAMA_ARG_ROPE_FREQ_SCALE", "0.5"),
        ],
    );
    assert_eq!(
        warnings.trim_end(),
        "strixhalo: warning: context.rope_freq_scale from LLAMA_ARG_ROPE_FREQ_SCALE has no effect: context.rope_scale from --rope-scale is stronger"
    );
    for (key, value) in [
        ("rope_scaling", json!("yarn")),
        ("rope_scale", json!(4.0)),
        ("rope_freq_base", json!(1e6)),
        ("rope_freq_scale", json!(0.0)),
        ("yarn_orig_ctx", json!(32768)),
        ("yarn_ext_factor", json!(0.5)),
        ("yarn_attn_factor", json!(1.1)),
        ("yarn_beta_slow", json!(2.0)),
        ("yarn_beta_fast", json!(16.0)),
    ] {
        assert_eq!(shown[format!("context.{key}")]["value"], value, "{key}");
    }
    let (unset, warnings) = show(&["--yarn-ext-factor", "-1", "--rope-scaling", "none"], &[]);
    assert_eq!(
        (unset["context.rope_scaling"]["value"].clone(), warnings.as_str()),
        (json!("none"), "")
    );
    let both = ["config", "show", "--rope-scale", "4", "--rope-freq-scale", "0.25"];
    assert!(refused(64, &both, &[]).contains("set one of the two"));
}
