use serde_json::Value;

use crate::binary::{refused, run};

#[test]
fn without_a_gpu_it_says_so_and_names_what_there_is() {
    let line = refused(69, &["verify-gpu"], &[]);
    assert!(line.contains("there is no GPU to verify: ggml sees CPU"), "{line}");
    assert!(line.contains("--device cpu"), "{line}");
    let line = refused(69, &["verify-gpu", "--device", "Vulkan7"], &[]);
    assert!(line.contains("there is no device Vulkan7: ggml sees CPU"), "{line}");
}

#[test]
fn memory_that_is_not_free_is_not_asked_for() {
    let line = refused(71, &["verify-gpu", "--device", "cpu", "--allocate", "1000000"], &[]);
    assert!(line.contains("1000000 GiB are more than the"), "{line}");
    refused(64, &["verify-gpu", "--device", "cpu", "--allocate", "-1"], &[]);
    refused(64, &["verify-gpu", "--device", "cpu", "--allocate", "much"], &[]);
}

#[test]
fn the_cpu_agrees_with_itself_in_json_and_in_a_table() {
    let line = ["verify-gpu", "--device", "cpu", "--allocate", "0.05", "--seconds", "1"];
    let json = run(&[&line[..], &["--json"]].concat(), &[]);
    assert_eq!(json.code, 0, "{json:?}");
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&report["passed"], &report["device"]), (&true.into(), &"CPU".into()));
    assert_eq!(report["allocation"]["taken_bytes"], report["allocation"]["wanted_bytes"]);
    assert!(report["bandwidth"]["on_device_bytes_per_second"].as_f64().unwrap() > 1e6);
    let kinds: Vec<_> = report["matmul"].as_array().unwrap().iter().map(|m| &m["type"]).collect();
    assert_eq!(kinds, ["f16", "f16", "q8_0", "q8_0", "q4_0", "q4_0"]);
    let comparisons = report["comparisons"].as_array().unwrap();
    assert_eq!(comparisons.len(), 18);
    for comparison in comparisons {
        assert_eq!(comparison["passed"], true, "{comparison}");
        assert!(comparison["rows"].as_u64().unwrap() > 20, "{comparison}");
        assert!(comparison["tolerance"]["rms"].as_f64().unwrap() > 0.0, "{comparison}");
    }

    let text = run(&line, &[]);
    assert_eq!((text.code, text.stderr.as_str()), (0, ""), "{text:?}");
    for part in ["ggml 0.", "* CPU: ", "memory: 0.05 of 0.05 GiB", "copies: ", "GFLOPS"] {
        assert!(text.stdout.contains(part), "{part}: {}", text.stdout);
    }
    assert_eq!(text.stdout.lines().filter(|line| line.ends_with("  ok")).count(), 18);
    let last = text.stdout.lines().last().unwrap();
    assert!(last.starts_with("CPU: all 18 comparisons agree"), "{last}");
    // A prompt that was shortened is never passed off as a long one. (How much of it there is time
    // for is measured by each run anew.)
    let mut lines = text.stdout.lines().peekable();
    while let Some(line) = lines.next() {
        if !line.contains("a long prompt") {
            continue;
        }
        let tokens =
            line.split("a long prompt").nth(1).and_then(|rest| rest.split_whitespace().next());
        let is_short = !["4032", "4224"].contains(&tokens.unwrap());
        let is_said = lines.peek().is_some_and(|next| next.contains("shortened from"));
        assert_eq!(is_short, is_said, "{}", text.stdout);
    }
}
