//! The self-test of the GPU before READY. Without a GPU there is nothing to test; `./dev gpu-check`
//! runs the other test.

use std::time::{Duration, Instant};

use crate::harness::{Start, get};
use crate::manager::Manager;

#[test]
fn a_server_on_the_cpu_says_that_there_is_nothing_to_test() {
    let mut manager = Manager::new();
    let variable = manager.variable();
    let words = ["--port", "0", "--gpu", "off", "--selftest", "startup", &variable];
    let service = Start::with(&words).spawn();
    manager.wait_for_name("READY");
    let log = service.log();
    assert!(log.contains("no GPU is used: there is nothing to test"), "{log}");
    assert!(!log.contains("self-test:"), "{log}");
    assert_eq!(get(&format!("{}/health", service.base())).0, 200);
}

/// A GPU's kernels are compiled at their first use, which takes lavapipe minutes.
const TIME: Duration = Duration::from_secs(900);

#[test]
#[ignore = "needs a GPU: ./dev gpu-check"]
fn gpu_ready_waits_for_the_self_test() {
    let mut manager = Manager::new();
    let mut words =
        ["--port", "0", "--gpu", "required", "--selftest", "startup"].map(str::to_owned).to_vec();
    words.push(manager.variable());
    // What leads to the driver.
    let is_drivers = |name: &str| {
        ["VK_", "GGML_", "HSA_", "PATH", "HOME"].iter().any(|start| name.starts_with(start))
    };
    words.extend(
        std::env::vars().filter(|(name, _)| is_drivers(name)).map(|(n, v)| format!("{n}={v}")),
    );
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let service = Start::with(&words).spawn();
    let start = Instant::now();
    let mut tested = 0;
    loop {
        let log = || service.log();
        assert!(start.elapsed() < TIME, "{}", log());
        let Some(message) = manager.next(Duration::from_secs(20)) else { continue };
        let status = message.get("STATUS").unwrap_or_default();
        if status.starts_with("self-test") {
            tested += 1;
            assert!(message.has("EXTEND_TIMEOUT_USEC"), "{message:?}");
            assert!(!log().contains("self-test: Vulkan0 computes what"), "{}", log());
        }
        if message.has("READY") {
            break;
        }
    }
    assert!(tested > 0);
    let log = service.log();
    assert!(log.contains("computes what the CPU computes (18 comparisons"), "{log}");
    assert_eq!(get(&format!("{}/health", service.base())).0, 200);
}
