//! The self-test: whether the GPU computes what the CPU computes, before a model is loaded on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::engine::Device;
use crate::engine::verify::{Comparison, Subject, VerifyError, compare_logits, table};

/// Time for each long prompt; it is shortened to fit.
const LONG_PROMPT: Duration = Duration::from_secs(5);
/// Time after which the test of a GPU is taken to hang. It is far above what the slowest one takes to
/// compile its kernels.
const LIMIT: Duration = Duration::from_secs(600);

/// Tests the GPU; it ends early when its argument becomes true.
pub(super) type SelfTest = Box<dyn FnOnce(Arc<AtomicBool>) -> Result<(), SelfTestError> + Send>;

/// Why the server does not start on this GPU.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum SelfTestError {
    /// It computes something else than the CPU.
    #[error(
        "the self-test failed: {wrong} of {all} comparisons of {device} with the CPU do not agree, see the table in the log; `strixhalo verify-gpu` repeats it, model.selftest = \"off\" starts without it"
    )]
    Wrong {
        /// ggml's name of the GPU.
        device: String,
        /// Comparisons that do not agree.
        wrong: usize,
        /// Comparisons.
        all: usize,
    },
    /// It could not be tested.
    #[error("the self-test of {device} could not be run: {cause}")]
    NotRun {
        /// ggml's name of the GPU.
        device: String,
        /// What went wrong.
        cause: String,
    },
    /// It does not answer.
    #[error("the self-test of {device} did not end within {} s: the GPU hangs", .limit.as_secs())]
    Hangs {
        /// ggml's name of the GPU.
        device: String,
        /// The time that it had.
        limit: Duration,
    },
}

/// What these GPUs must pass; `None`: nothing is to be tested.
pub(super) fn of(devices: Vec<Device>, threads: u32) -> Option<SelfTest> {
    (!devices.is_empty())
        .then(|| -> SelfTest { Box::new(move |give_up| selftest(devices, threads, give_up)) })
}

/// Compares what each of these GPUs computes with the CPU. Blocks; ends early when `give_up` becomes
/// true.
fn selftest(
    devices: Vec<Device>,
    threads: u32,
    give_up: Arc<AtomicBool>,
) -> Result<(), SelfTestError> {
    for device in devices {
        let name = device.name.clone();
        let give_up = give_up.clone();
        let test = move || {
            let go_on = || !give_up.load(Ordering::Relaxed);
            let subject =
                Subject { device: &device, threads, long_prompt: LONG_PROMPT, go_on: &go_on };
            compare_logits(subject, &mut |_| ())
        };
        watched(&name, LIMIT, test)?;
    }
    Ok(())
}

/// Runs a test on a thread of its own, which is left behind if it does not end in time: no call of a
/// GPU's driver can be interrupted.
fn watched(
    device: &str,
    limit: Duration,
    test: impl FnOnce() -> Result<Vec<Comparison>, VerifyError> + Send + 'static,
) -> Result<(), SelfTestError> {
    let start = Instant::now();
    tracing::info!("self-test: comparing what {device} computes with the CPU");
    let not_run = |cause: String| SelfTestError::NotRun { device: device.to_owned(), cause };
    let (done, result) = mpsc::channel();
    thread::Builder::new()
        .name("selftest".to_owned())
        .spawn(move || drop(done.send(test())))
        .map_err(|error| not_run(error.to_string()))?;
    let comparisons = match result.recv_timeout(limit) {
        Ok(result) => result.map_err(|error| not_run(error.to_string()))?,
        Err(RecvTimeoutError::Timeout) => {
            return Err(SelfTestError::Hangs { device: device.to_owned(), limit });
        }
        Err(RecvTimeoutError::Disconnected) => return Err(not_run("a defect".to_owned())),
    };
    let all = comparisons.len();
    let wrong = comparisons.iter().filter(|comparison| !comparison.passed()).count();
    let text = table(&comparisons);
    if wrong > 0 || all == 0 {
        text.lines().for_each(|line| tracing::error!("self-test: {line}"));
        return Err(SelfTestError::Wrong { device: device.to_owned(), wrong, all });
    }
    text.lines().for_each(|line| tracing::debug!("self-test: {line}"));
    let shortened = comparisons.iter().any(|comparison| comparison.shortened_from.is_some());
    tracing::info!(
        "self-test: {device} computes what the CPU computes ({all} comparisons in {:.1} s{})",
        start.elapsed().as_secs_f64(),
        if shortened { ", with shortened prompts" } else { "" }
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CacheType;
    use crate::engine::verify::{Tolerance, compare};
    use crate::server::{Exit, Failure};

    fn comparison(tested: f32) -> Comparison {
        let tolerance = Tolerance { max_abs: 0.5, rms: 0.5, same_top: 0.9 };
        Comparison {
            model: "moe",
            cache_type: CacheType::F16,
            case: "a long prompt",
            tokens: 4224,
            shortened_from: None,
            seconds: 1.0,
            tolerance,
            outcome: Ok(compare(&[vec![tested, 1.0]], &[vec![0.0, 1.0]], &tolerance)),
        }
    }

    #[test]
    fn one_comparison_that_does_not_agree_ends_the_start_with_70() {
        let limit = Duration::from_secs(60);
        assert_eq!(watched("Vulkan0", limit, || Ok(vec![comparison(0.1)])), Ok(()));
        let error = watched("Vulkan0", limit, || Ok(vec![comparison(0.1), comparison(0.9)]));
        let failure = Failure::from(error.unwrap_err());
        assert_eq!(failure.exit, Exit::Internal);
        assert!(failure.message.contains("1 of 2 comparisons of Vulkan0"), "{}", failure.message);
        assert!(matches!(watched("a", limit, || Ok(vec![])), Err(SelfTestError::Wrong { .. })));
    }

    #[test]
    fn a_gpu_that_does_not_answer_is_given_up() {
        let (_hold, released) = mpsc::channel::<()>();
        let hang = move || {
            let _ = released.recv();
            Ok(vec![comparison(0.0)])
        };
        let error = watched("ROCm0", Duration::from_millis(20), hang).unwrap_err();
        assert!(matches!(error, SelfTestError::Hangs { .. }), "{error}");
        let error = watched("ROCm0", Duration::from_secs(60), || panic!("a defect")).unwrap_err();
        assert!(matches!(error, SelfTestError::NotRun { .. }), "{error}");
    }
}
