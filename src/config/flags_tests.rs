use proptest::prelude::*;
use serde_json::json;

use super::*;

fn translated(line: &[&str]) -> Vec<String> {
    let line: Vec<OsString> = line.iter().map(OsString::from).collect();
    let out = translate(&line).unwrap();
    assert_eq!(out.warnings, Vec::<String>::new());
    out.arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect()
}

fn refused(line: &[&str]) -> String {
    let line: Vec<OsString> = line.iter().map(OsString::from).collect();
    let error = translate(&line).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    error.to_string()
}

fn set(line: &[&str]) -> Vec<(String, Value, String)> {
    let command = clap::Command::new("serve").no_binary_name(true).args(arguments());
    let matches = command.try_get_matches_from(translated(line)).unwrap();
    assignments(&from_matches(&matches))
        .unwrap()
        .into_iter()
        .map(|a| (a.key.path.clone(), a.value, a.origin.to_string()))
        .collect()
}

fn one(key: &str, value: Value, origin: &str) -> (String, Value, String) {
    (key.to_owned(), value, origin.to_owned())
}

#[test]
fn short_forms_of_several_letters_become_long_flags() {
    assert_eq!(
        translated(&["-np", "4", "-ngl", "all", "-ctk", "f16", "-m", "a.gguf", "--ctx_size=9"]),
        [
            "--parallel=4",
            "--n-gpu-layers=all",
            "--cache-type-k=f16",
            "--model=a.gguf",
            "--ctx-size=9"
        ]
    );
}

#[test]
fn negative_numbers_are_values() {
    assert_eq!(translated(&["-n", "-1", "--seed", "-1"]), ["--n-predict=-1", "--seed=-1"]);
    assert_eq!(set(&["-s", "-1"]), [one("sampling.seed", json!(-1), "--seed")]);
}

#[test]
fn a_value_that_may_be_left_out_is_taken_only_when_it_is_one() {
    assert_eq!(translated(&["-fa", "-m", "x"]), ["--flash-attn=on", "--model=x"]);
    assert_eq!(translated(&["-fa", "off"]), ["--flash-attn=off"]);
    assert_eq!(translated(&["-fa"]), ["--flash-attn=on"]);
}

#[test]
fn a_flag_is_never_taken_for_a_value() {
    assert_eq!(refused(&["-c", "--port", "1"]), "-c needs a value: -c N");
    assert_eq!(refused(&["-m"]), "-m needs a value: -m FILE");
}

#[test]
fn the_last_of_a_switch_and_its_opposite_wins() {
    let path = |line: &[&str]| set(line).pop().unwrap();
    assert_eq!(path(&["--mmap", "--no-mmap"]), one("model.mmap", json!(false), "--no-mmap"));
    assert_eq!(path(&["--no-mmap", "--mmap"]), one("model.mmap", json!(true), "--mmap"));
    assert_eq!(path(&["-v", "--log-level", "warn"]).1, json!("warn"));
    assert_eq!(path(&["--log-level", "warn", "-v"]).1, json!("debug"));
}

#[test]
fn lists_that_are_given_twice_are_joined() {
    assert_eq!(
        set(&["--host", "::1,127.0.0.1", "--host", "/run/a.sock", "--port", "1"]),
        [
            one("server.host", json!(["::1", "127.0.0.1", "/run/a.sock"]), "--host"),
            one("server.port", json!(1), "--port")
        ]
    );
    assert_eq!(set(&["-lm", "mlock"]).len(), 2);
}

#[test]
fn what_we_lack_is_named_and_its_value_goes_with_it() {
    let line = ["-md", "draft.gguf", "-cb", "--jinja", "--numa", "isolate", "-c", "8"];
    let line: Vec<OsString> = line.iter().map(OsString::from).collect();
    let out = translate(&line).unwrap();
    assert_eq!(out.arguments, ["--ctx-size=8"]);
    assert_eq!(out.warnings.len(), 2, "{:?}", out.warnings);
    assert!(out.warnings[0].starts_with("-md is not supported and has no effect: "));
    assert!(refused(&["-hf", "a/b"]).contains("--model"));
    assert!(refused(&["--ssl-key-file", "k"]).contains("reverse proxy"));
    assert!(refused(&["--lora", "k"]).contains("merge"));
}

#[test]
fn kinds_of_speculation_are_read_and_a_drafting_model_is_named_in_a_warning() {
    let line = |words: &[&str]| -> (Vec<OsString>, Vec<String>) {
        let out = translate(&words.iter().map(OsString::from).collect::<Vec<_>>()).unwrap();
        (out.arguments, out.warnings)
    };
    assert_eq!(line(&["--spec-type", "ngram-mod"]), (vec!["--spec-type=ngram-mod".into()], vec![]));
    let (arguments, warnings) = line(&["--spec-type", "draft-mtp,ngram-mod", "--draft-max", "16"]);
    assert_eq!(arguments, ["--spec-type=draft-mtp,ngram-mod"]);
    assert!(warnings[0].starts_with("--spec-type draft-mtp,ngram-mod names"), "{warnings:?}");
    assert!(warnings[1].starts_with("--draft-max is not supported"), "{warnings:?}");
    let off = one("context.speculation", json!("off"), "--spec-type");
    assert_eq!(set(&["--spec-type", "none"]), [off]);
    let auto = one("context.speculation", json!("auto"), "--spec-default");
    assert_eq!(set(&["--spec-default"]), [auto]);
}

#[test]
fn an_unknown_flag_is_told_with_the_nearest() {
    assert_eq!(
        refused(&["--ctx-sise", "1"]),
        "unknown flag --ctx-sise; did you mean --ctx-size? (--help lists all flags)"
    );
    assert!(refused(&["-ngk", "1"]).starts_with("unknown flag -ngk"));
}

#[test]
fn wrong_values_are_usage_errors() {
    let command = clap::Command::new("serve").no_binary_name(true).args(arguments());
    let matches = command.try_get_matches_from(translated(&["--temp", "1e9"])).unwrap();
    let error = assignments(&from_matches(&matches)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(
        error.to_string(),
        "--temp (sampling.temperature): expected a number from 0 to 100, found 1000000000.0"
    );
}

#[test]
fn clap_accepts_the_definition_of_all_flags() {
    clap::Command::new("serve").args(arguments()).debug_assert();
}

proptest! {
    #[test]
    fn no_command_line_makes_the_translation_fail_other_than_by_an_error(
        line in proptest::collection::vec(
            prop_oneof![
                any::<String>(),
                "--?[a-z-]{1,12}(=.{0,5})?",
                proptest::sample::select(all_flags().collect::<Vec<_>>()).prop_map(str::to_owned),
            ],
            0..8,
        )
    ) {
        let line: Vec<OsString> = line.iter().map(OsString::from).collect();
        let _ = translate(&line);
    }

    #[test]
    fn a_value_reaches_its_flag_unchanged(value in "[^\0]*") {
        prop_assume!(!is_flag(&OsString::from(&value)));
        let line = ["--chat-template".to_owned(), value.clone()].map(OsString::from);
        let out = translate(&line).unwrap();
        prop_assert_eq!(out.arguments, [OsString::from(format!("--chat-template={value}"))]);
    }
}
