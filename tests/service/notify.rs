//! sd_notify(3): readiness, reloading, stopping and the watchdog.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{ENDLESS, Start, begin_stream, chat};
use crate::manager::{Manager, Message};

const DEMO: &str = "serving strixhalo-demo at http://127.0.0.1:";

fn start(manager: &Manager, words: &[&str]) -> Start {
    let variable = manager.variable();
    Start::with(&[&["--port", "0", &variable], words].concat())
}

#[test]
fn the_manager_hears_loading_ready_reloading_ready_and_stopping_in_this_order() {
    let mut manager = Manager::new();
    let mut service = start(&manager, &[]).spawn();
    let ready = manager.wait_for_name("READY");
    assert!(ready.get("STATUS").unwrap().starts_with(DEMO), "{ready:?}");
    // Which of the layers a GPU computes.
    assert!(ready.get("STATUS").unwrap().contains(" layers on "), "{ready:?}");
    assert_eq!(crate::harness::get(&format!("{}/health", service.base())).0, 200);

    service.signal(Signal::HUP);
    let reloading = manager.wait_for_name("RELOADING");
    let after = sd_notify::NotifyState::monotonic_usec_now().unwrap().to_string();
    let after: u64 = after.strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
    let at: u64 = reloading.get("MONOTONIC_USEC").unwrap().parse().unwrap();
    assert!((after - 60_000_000..=after).contains(&at), "{at} {after}");
    manager.wait_for_name("READY");

    service.signal(Signal::TERM);
    let stopping = manager.wait_for_name("STOPPING");
    assert_eq!(stopping.get("STATUS"), Some("stopping: running requests get up to 30 s to finish"));
    assert_eq!(service.wait().code(), Some(0));
    manager.skip_waiting();

    let heard = manager.heard();
    assert!(heard[0].get("STATUS").unwrap().starts_with("loading 0 %, 0/"), "{heard:#?}");
    let loading = heard.iter().take_while(|m| !m.has("READY")).count();
    assert!(loading >= 1);
    let names = |messages: &[Message]| -> Vec<String> {
        messages.iter().flat_map(Message::names).map(str::to_owned).collect()
    };
    assert!(names(&heard[..loading]).iter().all(|name| name == "EXTEND_TIMEOUT_USEC"));
    assert_eq!(
        names(&heard[loading..]),
        ["READY", "RELOADING", "MONOTONIC_USEC", "READY", "STOPPING", "EXTEND_TIMEOUT_USEC"]
    );
}

#[test]
fn hangups_while_the_model_loads_neither_end_the_server_nor_announce_it_early() {
    let mut manager = Manager::new();
    let service = start(&manager, &[]).spawn();
    manager.wait_for_name("EXTEND_TIMEOUT_USEC");
    for _ in 0..20 {
        service.signal(Signal::HUP);
        std::thread::sleep(Duration::from_millis(1));
    }
    manager.wait_for_name("READY");
    let before: Vec<_> = manager.heard().iter().take_while(|m| !m.has("READY")).collect();
    assert!(before.iter().all(|m| !m.has("RELOADING")), "{before:#?}");
    chat(&service.base());
}

#[test]
fn a_start_that_fails_says_why_in_the_status() {
    let mut manager = Manager::new();
    let (code, log) = start(&manager, &["--model", "/nowhere.gguf"]).fail();
    assert_eq!(code, 66, "{log}");
    let status = manager.wait_for_name("STATUS");
    assert!(status.get("STATUS").unwrap().starts_with("failed: "), "{status:?}");
    assert!(status.get("STATUS").unwrap().contains("/nowhere.gguf"), "{status:?}");
}

#[test]
fn a_manager_at_an_abstract_address_hears_the_same() {
    let mut manager = Manager::abstract_address();
    let mut service = start(&manager, &[]).spawn();
    manager.wait_for_name("READY");
    service.signal(Signal::TERM);
    manager.wait_for_name("STOPPING");
    assert_eq!(service.wait().code(), Some(0));
}

#[test]
fn a_notify_socket_that_does_not_exist_is_one_warning() {
    let mut service =
        Start::with(&["--port", "0", "NOTIFY_SOCKET=/nowhere/notify", "WATCHDOG_USEC=20000"])
            .spawn();
    chat(&service.base());
    service.signal(Signal::HUP);
    service.wait_for_log("the settings were read again");
    service.signal(Signal::TERM);
    assert_eq!(service.wait().code(), Some(0));
    let log = service.log();
    assert_eq!(log.matches("NOTIFY_SOCKET is /nowhere/notify").count(), 1, "{log}");
}

#[test]
fn an_idle_server_keeps_the_heartbeat_and_a_stopped_process_does_not() {
    let mut manager = Manager::new();
    let service = start(&manager, &["WATCHDOG_USEC=100000"]).spawn();
    manager.wait_for_name("READY");
    for _ in 0..20 {
        manager.wait_for_name("WATCHDOG");
    }
    service.signal(Signal::STOP);
    // What was sent before it stopped.
    while manager.next(Duration::from_millis(200)).is_some() {}
    assert_eq!(manager.next(Duration::from_secs(1)), None);
    service.signal(Signal::CONT);
    manager.wait_for_name("WATCHDOG");
    chat(&service.base());
}

#[test]
fn a_watchdog_that_is_for_another_process_gets_no_heartbeat() {
    let mut manager = Manager::new();
    let service = start(&manager, &["WATCHDOG_USEC=10000", "WATCHDOG_PID=1"]).spawn();
    manager.wait_for_name("READY");
    chat(&service.base());
    manager.skip_waiting();
    assert!(manager.heard().iter().all(|message| !message.has("WATCHDOG")));
}

/// Stops one thread of a process, and lets it go when its standard input closes.
const FREEZE: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
ATTACH, DETACH, WALL = 16, 17, 0x40000000
pid = int(sys.argv[1])
for thread in os.listdir(f"/proc/{pid}/task"):
    if open(f"/proc/{pid}/task/{thread}/comm").read().strip() == "engine":
        break
else:
    sys.exit("no thread called engine")
if libc.ptrace(ATTACH, int(thread), None, None):
    sys.exit(f"ptrace: {os.strerror(ctypes.get_errno())}")
os.waitpid(int(thread), WALL)
print("frozen", flush=True)
sys.stdin.read()
libc.ptrace(DETACH, int(thread), None, None)
"#;

#[test]
fn a_step_that_hangs_stops_the_heartbeat_and_no_more_than_that() {
    use std::io::{BufRead, BufReader};
    let mut manager = Manager::new();
    let words = ["WATCHDOG_USEC=100000", "STRIXHALO_LIMITS__STALL_TIMEOUT=1"];
    let service = start(&manager, &words).spawn();
    let base = service.base();
    let _stream = begin_stream(&base, ENDLESS);
    let mut freezer = Command::new("python3")
        .args(["-c", FREEZE, &service.id().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut answer = String::new();
    BufReader::new(freezer.stdout.take().unwrap()).read_line(&mut answer).unwrap();
    if answer != "frozen\n" {
        eprintln!("not tested: this machine does not let a process trace another one");
        freezer.wait().unwrap();
        return;
    }
    manager.skip_waiting();
    let frozen = Instant::now();
    service.wait_for_log("the engine has not moved on for 1 s");
    assert!(frozen.elapsed() > Duration::from_millis(700), "{:?}", frozen.elapsed());
    // The HTTP side is well, and yet there is no heartbeat.
    while manager.next(Duration::from_millis(200)).is_some() {}
    assert_eq!(crate::harness::get(&format!("{base}/health")).0, 200);
    assert_eq!(manager.next(Duration::from_secs(1)), None);
    drop(freezer.stdin.take());
    freezer.wait().unwrap();
    manager.wait_for_name("WATCHDOG");
    service.wait_for_log("the engine moves on again");
}
