#![allow(clippy::unwrap_used, clippy::panic)]

use tokio::sync::watch;

use super::engine::Totals;
use super::*;
use crate::api::{LoadState, Models, ServedModel};
use crate::config::Settings;
use crate::http::Keys;

const DOCS: &str = include_str!("../../../docs/metrics.md");

fn loading() -> AppState {
    let load = watch::channel(LoadState::Loading { progress: 0.25 }).1;
    let models = Models::new(vec![ServedModel::new(vec!["tiny".to_owned()], load)]);
    AppState::new(Settings::default(), Keys::default(), models, 1_700_000_000)
}

#[test]
fn rates_are_means_since_the_start_so_that_scrapers_do_not_disturb_each_other() {
    let totals = Totals {
        prompt_tokens: 300,
        prompt_us: 1_500_000,
        predicted_tokens: 50,
        predicted_us: 2_000_000,
        decodes: 4,
        busy_slots: 6,
        ..Totals::default()
    };
    let scrape = || {
        let mut families = Families::default();
        totals.add_to(&mut families);
        text(&families.0).unwrap()
    };
    let text = scrape();
    for line in [
        "llamacpp:prompt_tokens_total 300",
        "llamacpp:prompt_seconds_total 1.5",
        "llamacpp:prompt_tokens_seconds 200",
        "llamacpp:predicted_tokens_seconds 25",
        "llamacpp:n_busy_slots_per_decode 1.5",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert_eq!(text, scrape());
}

#[test]
fn every_family_has_its_help_and_type_once_and_numbers_for_values() {
    let text = text(&collect(&loading(), Path::new("/"))).unwrap();
    let mut seen = std::collections::HashSet::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().unwrap_or_default().to_owned();
            assert!(seen.insert(family.clone()), "{family} comes twice");
            assert!(rest.len() > family.len() + 5, "{line} says nothing");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let kind = rest.strip_prefix(&family).unwrap_or_else(|| panic!("{line} is misplaced"));
            assert!([" counter", " gauge", " histogram"].contains(&kind), "{line}");
            // llama-server's one exception.
            let total = family.ends_with("_total") || family == "llamacpp:n_tokens_max";
            assert_eq!(kind == " counter", total, "{line}");
        } else {
            assert!(line.starts_with(&family), "{line}");
            let value = line.rsplit(' ').next().unwrap_or_default();
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    assert!(text.contains("\nstrixhalo_model_load_progress 0.25\n"), "{text}");
    assert!(text.contains("\nprocess_start_time_seconds 1700000000\n"), "{text}");
    assert!(text.ends_with('\n') && !text.contains("_total_total"));
}

#[test]
fn a_gpu_is_shown_where_there_is_one_under_the_documented_names() {
    let root = tempfile::tempdir().unwrap();
    let device = root.path().join("sys/class/drm/card0/device");
    std::fs::create_dir_all(device.join("hwmon/hwmon3")).unwrap();
    for (file, value) in [
        ("mem_info_vram_total", "536870912"),
        ("mem_info_vram_used", "1048576"),
        ("mem_info_gtt_total", "128849018880"),
        ("mem_info_gtt_used", "91268055040"),
        ("gpu_busy_percent", "50"),
        ("hwmon/hwmon3/power1_average", "84000000"),
        ("hwmon/hwmon3/temp1_input", "61500"),
        ("hwmon/hwmon3/freq1_input", "2745000000"),
        ("pp_dpm_mclk", "0: 400Mhz \n1: 1000Mhz *"),
    ] {
        std::fs::write(device.join(file), format!("{value}\n")).unwrap();
    }
    let state = loading();
    state.energy().of("card0").prompt.inc_by(30.0);
    state.energy().of("card0").generation.inc_by(84.5);
    state.energy().of("card0").embedding.inc_by(7.0);
    let text = text(&collect(&state, root.path())).unwrap();
    let energy = "strixhalo_gpu_energy_joules_total";
    for (phase, value) in [("prompt", "30"), ("generation", "84.5"), ("embedding", "7")] {
        let line = format!("{energy}{{gpu=\"card0\",phase=\"{phase}\"}} {value}");
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    let help = text.lines().find_map(|l| l.strip_prefix(&format!("# HELP {energy} "))).unwrap();
    assert!(DOCS.contains(&format!("| `{energy}` | counter | `gpu`, `phase` | {help} |")));
    for (name, value) in [
        ("strixhalo_gpu_vram_bytes", "536870912"),
        ("strixhalo_gpu_vram_used_bytes", "1048576"),
        ("strixhalo_gpu_gtt_bytes", "128849018880"),
        ("strixhalo_gpu_gtt_used_bytes", "91268055040"),
        ("strixhalo_gpu_busy_ratio", "0.5"),
        ("strixhalo_gpu_power_watts", "84"),
        ("strixhalo_gpu_temperature_celsius", "61.5"),
        ("strixhalo_gpu_shader_clock_hertz", "2745000000"),
        ("strixhalo_gpu_memory_clock_hertz", "1000000000"),
    ] {
        let line = format!("{name}{{gpu=\"card0\"}} {value}");
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        let help = text.lines().find_map(|l| l.strip_prefix(&format!("# HELP {name} "))).unwrap();
        let row = format!("| `{name}` | gauge | `gpu` | {help} |");
        assert!(DOCS.contains(&row), "docs/metrics.md lacks the row\n{row}");
    }
}
