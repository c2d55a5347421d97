use crate::binary::{refused, run};

#[test]
fn help_and_version_are_no_errors() {
    let help = run(&["--help"], &[]);
    assert_eq!(help.code, 0);
    assert!(help.stdout.contains("config") && help.stdout.contains("serve"));
    let serve = run(&["serve", "--help"], &[]);
    assert_eq!(serve.code, 0);
    assert!(serve.stdout.contains("-c, --ctx-size <N>") && serve.stdout.contains("-ngl"));
    let version = run(&["--version"], &[]);
    assert_eq!(version.code, 0);
    assert!(version.stdout.starts_with(concat!("strixhalo ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn what_would_serve_something_else_is_refused() {
    for line in [
        &["-hf", "some/model"] as &[&str],
        &["serve", "--model-url", "https://example.invalid/a.gguf"],
        &["--ssl-key-file", "key.pem"],
        &["serve", "--lora", "a.gguf"],
        &["--gpt-oss-20b-default"],
    ] {
        assert!(refused(64, line, &[]).contains("is not supported: "), "{line:?}");
    }
    for variable in ["LLAMA_ARG_HF_REPO", "LLAMA_ARG_SSL_CERT_FILE", "LLAMA_ARG_MMPROJ"] {
        let line = refused(64, &["serve"], &[(variable, "x")]);
        assert!(line.starts_with(&format!("strixhalo: {variable} is not supported: ")), "{line}");
    }
}

#[test]
fn wrong_command_lines_end_with_64_and_the_nearest_name() {
    assert!(refused(64, &["--modle", "a"], &[]).contains("did you mean --model?"));
    assert!(refused(64, &["-c", "many"], &[]).contains("--ctx-size (context.ctx_size): expected"));
    assert!(refused(64, &["-ctk", "q8"], &[]).contains("did you mean q8_0?"));
    assert_eq!(refused(64, &["-c"], &[]), "strixhalo: -c needs a value: -c N");
    assert_eq!(run(&["serv"], &[]).code, 64);
    assert_eq!(run(&["serve", "stray"], &[]).code, 64);
    assert_eq!(run(&["config"], &[]).code, 64);
}

#[test]
fn a_mistake_on_the_command_line_is_told_in_one_line() {
    assert_eq!(
        refused(64, &["serve", "-fa", "bogus"], &[]),
        "strixhalo: unexpected argument 'bogus' found (--help lists all)"
    );
    assert!(refused(64, &["config", "chek"], &[]).contains("'check'"));
    assert!(refused(64, &["config", "check"], &[]).contains("<FILE>"));
}

#[test]
fn wrong_variables_end_with_78() {
    let line = refused(78, &["serve"], &[("LLAMA_ARG_N_PARALLEL", "0")]);
    assert!(line.contains("from 1 to 256, found 0"), "{line}");
    let line = refused(78, &["serve"], &[("STRIXHALO_LOG__LEVEL", "loud")]);
    assert!(line.contains("is no level"), "{line}");
}

#[test]
fn what_changes_nothing_is_a_warning() {
    let shown = run(&["config", "show", "--numa", "isolate"], &[("LLAMA_ARG_CTX_SISE", "1")]);
    assert_eq!(shown.code, 0);
    assert!(shown.stderr.contains("warning: --numa is not supported and has no effect: "));
    assert!(shown.stderr.contains("did you mean LLAMA_ARG_CTX_SIZE?"));
}

#[test]
fn warnings_that_cannot_be_written_change_no_exit_code() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let run = |arguments: &[&str], stdout: std::process::Stdio| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_strixhalo"));
        command.args(arguments).env_clear().env("LLAMA_ARG_NUMA", "distribute");
        command.stdout(stdout).stderr(full()).status().unwrap().code()
    };
    assert_eq!(run(&["config", "show"], std::process::Stdio::null()), Some(0));
    assert_eq!(run(&["config", "show"], full().into()), Some(71));
    assert_eq!(run(&["generate", "man", "/proc/none"], std::process::Stdio::null()), Some(71));
}
