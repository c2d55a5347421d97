//! Measures the energy that computing takes: the GPUs' power, while the engine works.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::api::{AppState, Energy, GpuEnergy};
use crate::host::PowerSensor;

/// Time between two samples of the power.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// Measures for as long as the server runs; ends at once on a machine without a GPU that tells its
/// power. While the engine has nothing to do, this sleeps.
pub(super) async fn measure_energy(state: AppState) {
    let work = || work_of(&state);
    measure(state.energy(), PowerSensor::find_all(Path::new("/")), work, SAMPLE_INTERVAL).await;
}

/// What the engines have done since they were loaded, and whether there is more to do.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    prompt: Duration,
    generation: Duration,
    embedding: Duration,
    is_busy: bool,
}

fn work_of(state: &AppState) -> Work {
    let mut work = Work::default();
    for model in state.models().iter().filter_map(|served| served.now().ok()) {
        let counters = model.engine.counters();
        work.prompt += Duration::from_micros(counters.prompt_us.load(Ordering::Relaxed));
        work.generation += Duration::from_micros(counters.predicted_us.load(Ordering::Relaxed));
        work.is_busy |= model.engine.busy_for().is_some() || model.engine.waiting() > 0;
    }
    for engine in state.models().beside_iter().filter_map(|served| served.now().ok()) {
        let took = engine.counters().compute_us.load(Ordering::Relaxed);
        work.embedding += Duration::from_micros(took);
        work.is_busy |= engine.pending() > 0;
    }
    work
}

/// One GPU that is measured.
struct Gpu {
    energy: GpuEnergy,
    /// The last sample, in watts.
    watts: Option<f64>,
}

async fn measure(
    energy: &Energy,
    sensors: Vec<PowerSensor>,
    work: impl Fn() -> Work,
    every: Duration,
) {
    if sensors.is_empty() {
        return;
    }
    let mut gpus: Vec<Gpu> =
        sensors.iter().map(|sensor| Gpu { energy: energy.of(sensor.gpu()), watts: None }).collect();
    let mut meter = Meter::default();
    loop {
        energy.work_begun().await;
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is now.
        ticks.tick().await;
        let mut since = Instant::now();
        loop {
            ticks.tick().await;
            let sensors = sensors.clone();
            // A sensor can take milliseconds.
            let read = move || sensors.iter().map(PowerSensor::watts).collect::<Vec<_>>();
            let Ok(samples) = tokio::task::spawn_blocking(read).await else { return };
            let now = work();
            let spent = meter.spent(now, since.elapsed());
            since = Instant::now();
            for (gpu, sample) in gpus.iter_mut().zip(samples) {
                gpu.add(spent, sample, now.is_busy);
            }
            if !now.is_busy && spent == Spent::default() {
                gpus.iter_mut().for_each(|gpu| gpu.watts = None);
                meter.unspent = 0.0;
                break;
            }
        }
    }
}

impl Gpu {
    /// `is_busy`: the engine was still at work when the sample was taken. If not, it is of a GPU
    /// that rests, and the one before tells more of what was spent.
    fn add(&mut self, spent: Spent, sample: Option<f64>, is_busy: bool) {
        let watts = if is_busy { sample.or(self.watts) } else { self.watts.or(sample) };
        self.watts = watts;
        // The counter takes nothing negative.
        let watts = watts.unwrap_or(0.0).max(0.0);
        self.energy.prompt.inc_by(watts * spent.prompt);
        self.energy.generation.inc_by(watts * spent.generation);
        self.energy.embedding.inc_by(watts * spent.embedding);
    }
}

/// Seconds of computing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Spent {
    prompt: f64,
    generation: f64,
    embedding: f64,
}

/// Tells how long was computed between two samples.
#[derive(Debug, Default)]
struct Meter {
    last: Work,
    /// Seconds that have passed and were not counted as computing. The engine tells of a step when
    /// it has ended, which may be some samples later.
    unspent: f64,
}

impl Meter {
    /// What was computed up to `now`; never more than time has passed, though several engines may
    /// have computed at once.
    fn spent(&mut self, now: Work, elapsed: Duration) -> Spent {
        let since =
            |of: fn(&Work) -> Duration| of(&now).saturating_sub(of(&self.last)).as_secs_f64();
        let prompt = since(|work| work.prompt);
        let generation = since(|work| work.generation);
        let embedding = since(|work| work.embedding);
        self.last = now;
        self.unspent += elapsed.as_secs_f64();
        let total = prompt + generation + embedding;
        if total == 0.0 {
            return Spent::default();
        }
        let share = (self.unspent / total).min(1.0);
        self.unspent = (self.unspent - total).max(0.0);
        Spent {
            prompt: prompt * share,
            generation: generation * share,
            embedding: embedding * share,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use prometheus::Registry;

    use super::*;

    const TICK: Duration = Duration::from_millis(5);

    fn work(prompt_ms: u64, generation_ms: u64, is_busy: bool) -> Work {
        Work {
            prompt: Duration::from_millis(prompt_ms),
            generation: Duration::from_millis(generation_ms),
            embedding: Duration::ZERO,
            is_busy,
        }
    }

    fn rounded(spent: Spent) -> (u64, u64) {
        let ms = |seconds: f64| (seconds * 1e3).round() as u64;
        (ms(spent.prompt), ms(spent.generation))
    }

    #[test]
    fn a_step_counts_whole_when_it_has_ended_samples_later() {
        let mut meter = Meter::default();
        let second = Duration::from_secs(1);
        for (now, expected) in [
            (work(0, 0, true), (0, 0)),
            (work(700, 0, true), (700, 0)),
            (work(2800, 0, true), (2100, 0)),
            (work(3000, 700, true), (200, 700)),
            (work(3000, 900, false), (0, 200)),
        ] {
            assert_eq!(rounded(meter.spent(now, second)), expected, "{now:?}");
        }
    }

    #[test]
    fn several_engines_at_once_compute_no_longer_than_time_passes() {
        let mut meter = Meter::default();
        let spent = meter.spent(work(1500, 500, true), Duration::from_secs(1));
        assert_eq!(rounded(spent), (750, 250));
        // A model that embeds beside it has its share.
        let embedding = Duration::from_millis(500);
        let beside = Work { embedding, ..work(1500, 1000, true) };
        let shared = meter.spent(beside, Duration::from_millis(500));
        assert_eq!((rounded(shared), shared.embedding), ((0, 250), 0.25));
        // A model that was unloaded takes its counters along.
        assert_eq!(meter.spent(work(0, 0, true), Duration::from_secs(1)), Spent::default());
        assert_eq!(rounded(meter.spent(work(0, 600, true), Duration::from_secs(1))), (0, 600));
    }

    #[tokio::test]
    async fn power_is_read_while_there_is_work_and_never_while_there_is_none() {
        let root = tempfile::tempdir().unwrap();
        let device = root.path().join("sys/class/drm/card1/device");
        fs::create_dir_all(device.join("hwmon/hwmon4")).unwrap();
        fs::write(device.join("mem_info_vram_total"), "536870912\n").unwrap();
        fs::write(device.join("hwmon/hwmon4/power1_average"), "50000000\n").unwrap();

        let energy = Arc::new(Energy::new(&Registry::new()));
        let asked = Arc::new(AtomicUsize::new(0));
        let (energy_of_task, asked_of_task) = (energy.clone(), asked.clone());
        let sensors = PowerSensor::find_all(root.path());
        let task = tokio::spawn(async move {
            let work = || {
                // Two steps have ended before the first sample; then there is no more to do.
                asked_of_task.fetch_add(1, Ordering::Relaxed);
                work(1, 3, false)
            };
            measure(&energy_of_task, sensors, work, TICK).await;
        });
        tokio::time::sleep(5 * TICK).await;
        assert_eq!(asked.load(Ordering::Relaxed), 0);
        let joules = energy.of("card1");
        assert_eq!((joules.prompt.get(), joules.generation.get()), (0.0, 0.0));

        energy.work_begins();
        while asked.load(Ordering::Relaxed) < 2 {
            tokio::time::sleep(TICK).await;
        }
        tokio::time::sleep(5 * TICK).await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        // 50 W for 1 ms and for 3 ms.
        assert!((joules.prompt.get() - 0.05).abs() < 1e-9, "{}", joules.prompt.get());
        assert!((joules.generation.get() - 0.15).abs() < 1e-9, "{}", joules.generation.get());
        assert!(!task.is_finished());
        task.abort();
    }

    #[test]
    fn a_sample_of_a_gpu_that_rests_does_not_stand_for_its_work() {
        let energy = Energy::new(&Registry::new()).of("card0");
        let mut gpu = Gpu { energy, watts: None };
        let spent = Spent { generation: 0.5, ..Spent::default() };
        gpu.add(spent, Some(100.0), true);
        gpu.add(spent, Some(10.0), false);
        assert_eq!(gpu.energy.generation.get(), 100.0);
        // A GPU that does not answer has the power that it had, one that never did has none.
        gpu.add(spent, None, true);
        assert_eq!(gpu.energy.generation.get(), 150.0);
        gpu.watts = None;
        gpu.add(spent, None, true);
        assert_eq!(gpu.energy.generation.get(), 150.0);
    }

    #[tokio::test]
    async fn without_a_gpu_that_tells_its_power_there_is_no_task_and_no_metric() {
        let registry = Registry::new();
        let energy = Energy::new(&registry);
        let work = || unreachable!();
        measure(&energy, Vec::new(), work, TICK).await;
        assert!(registry.gather().iter().all(|family| family.get_metric().is_empty()));
    }
}
