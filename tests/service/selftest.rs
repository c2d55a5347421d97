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

/// A start that must prove its GPU, with the variables that lead to the driver and these.
fn tested_gpu(variables: &[&str]) -> Start {
    let is_drivers = |name: &str| {
        ["VK_", "GGML_", "HSA_", "PATH", "HOME"].iter().any(|start| name.starts_with(start))
    };
    let drivers: Vec<String> = std::env::vars()
        .filter(|(name, _)| is_drivers(name))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let flags = ["--port", "0", "--gpu", "required", "--selftest", "startup"];
    let words = flags.iter().chain(variables).copied();
    Start::with(&words.chain(drivers.iter().map(String::as_str)).collect::<Vec<_>>())
}

#[test]
#[ignore = "needs a GPU: ./dev gpu-check"]
fn gpu_ready_waits_for_the_self_test() {
    let mut manager = Manager::new();
    let service = tested_gpu(&[&manager.variable()]).spawn();
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

#[test]
#[ignore = "needs a GPU: ./dev gpu-check"]
fn gpu_that_computes_wrongly_ends_the_start_with_70_and_the_table_in_the_log() {
    // wrong_driver.c, which ./dev gpu-check compiles for Vulkan.
    let Ok(driver) = std::env::var("STRIXHALO_TEST_WRONG_DRIVER") else {
        println!("skipped: STRIXHALO_TEST_WRONG_DRIVER is not set");
        return;
    };
    let mut manager = Manager::new();
    let preload = format!("LD_PRELOAD={driver}");
    let mut service = tested_gpu(&[&manager.variable(), &preload]).spawn();
    let start = Instant::now();
    while service.is_running() {
        assert!(start.elapsed() < TIME, "{}", service.log());
        manager.next(Duration::from_secs(1));
    }
    assert!(manager.heard().iter().all(|message| !message.has("READY")), "{:?}", manager.heard());
    assert_eq!(service.wait().code(), Some(70), "{}", service.log());
    service.wait_for_log("comparisons of Vulkan0 with the CPU do not agree");
    let log = service.log();
    let table: Vec<&str> = log.lines().filter(|line| line.contains("ERROR self-test: ")).collect();
    assert!(table.iter().any(|line| line.contains("same top (min)")), "{log}");
    assert!(table.iter().any(|line| line.contains("hybrid")), "{log}");
}
