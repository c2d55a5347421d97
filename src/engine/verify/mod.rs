//! Whether a device computes what the CPU computes, and how fast it is. A published range of llama.cpp
//! answered fluently and wrongly on this GPU while all health checks were green.

mod cases;
mod compare;
mod comparison;
mod ggml;
mod measure;
mod models;
mod side;
mod table;
#[cfg(test)]
mod tests;
mod tiny;

use std::time::{Duration, Instant};

use llama_cpp_2::context::LlamaContext;

use self::cases::{Case, UBATCH};
use self::ggml::DeviceRef;
use self::models::Model;
use self::side::Placement;
use super::backend::{Device, devices};
use crate::config::CacheType;

pub use self::compare::{Tolerance, Verdict, compare};
pub use self::comparison::{Comparison, VerifyError};
pub use self::measure::{Allocation, Bandwidth, MatMul};
pub use self::table::table;

/// Fewest tokens of a long prompt, on however slow a device.
const MIN_LONG: usize = 512;

/// What is tested, and for how long.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The device. One that is no GPU is the CPU against itself, with one thread and other parts of a
    /// batch.
    pub device: &'a Device,
    /// Threads of the CPU.
    pub threads: u32,
    /// Time that a long prompt may take on both sides; it is shortened to fit.
    pub long_prompt: Duration,
    /// Asked now and then; false ends the work with an error.
    pub go_on: &'a dyn Fn() -> bool,
}

/// Compares the logits of a device with those of the CPU: three models, two types of KV cache, and
/// prompts at once, in turn and long. `each` hears of every comparison when it is done. Blocks, on a
/// slow device for minutes.
///
/// # Errors
/// The device is not there, a model cannot be made, or the work was ended. What a device fails to
/// compute is a comparison that does not pass.
pub fn compare_logits(
    subject: Subject<'_>,
    each: &mut dyn FnMut(&Comparison),
) -> Result<Vec<Comparison>, VerifyError> {
    let sides = sides(subject.device, subject.threads)?;
    let mut all = Vec::new();
    for model in Model::ALL {
        let file = model.file().map_err(|error| VerifyError(format!("no memory: {error}")))?;
        let [tested, reference] = sides.map(|side| side::load(file.path(), side));
        for cache_type in [CacheType::F16, CacheType::Q8_0] {
            let [mut tested, mut reference] =
                [(&tested, sides[0]), (&reference, sides[1])].map(|(loaded, side)| {
                    let loaded = loaded.as_ref().map_err(Clone::clone)?;
                    side::context(loaded, side, cache_type, model.context())
                });
            let mut seconds_per_token = 0.0;
            for case in Case::ALL {
                let contexts = [&mut tested, &mut reference];
                let done = compare_case(
                    subject,
                    model,
                    case,
                    cache_type,
                    contexts,
                    &mut seconds_per_token,
                );
                if !(subject.go_on)() {
                    return Err(VerifyError::stopped());
                }
                each(&done);
                all.push(done);
            }
        }
    }
    Ok(all)
}

/// Compares one case. `seconds_per_token` are those of the case before, and then of this one.
fn compare_case(
    subject: Subject<'_>,
    model: Model,
    case: Case,
    cache_type: CacheType,
    contexts: [&mut Result<LlamaContext<'_>, VerifyError>; 2],
    seconds_per_token: &mut f64,
) -> Comparison {
    let whole = model.long_prompt();
    let tokens = fitting(whole, *seconds_per_token, subject.long_prompt);
    let steps = model.steps(case, tokens);
    let start = Instant::now();
    let tolerance = model.tolerance();
    let outcome = || {
        let mut runs = Vec::new();
        for context in contexts {
            let context = context.as_mut().map_err(|error| error.clone())?;
            runs.push(side::run(context, &steps, subject.go_on)?);
        }
        *seconds_per_token = runs.iter().map(side::Run::seconds_per_token).sum();
        Ok(compare(&runs[0].rows, &runs[1].rows, &tolerance))
    };
    Comparison {
        model: model.name(),
        cache_type,
        case: case.name(),
        outcome: outcome(),
        seconds: start.elapsed().as_secs_f64(),
        tokens: cases::tokens(&steps),
        shortened_from: (case == Case::Long && tokens < whole).then_some(whole),
        tolerance,
    }
}

/// As many tokens, in whole tiles of 64, as can be computed in time.
fn fitting(whole: usize, seconds_per_token: f64, time: Duration) -> usize {
    let fit = time.as_secs_f64() / seconds_per_token.max(1e-9);
    whole.min((fit as usize / 64 * 64).max(MIN_LONG))
}

/// The side that is tested, and the one that it is compared with.
fn sides(device: &Device, threads: u32) -> Result<[Placement; 2], VerifyError> {
    let reference = Placement { device: None, threads, ubatch: UBATCH, flash_attn: false };
    let tested = if device.is_gpu {
        Placement { device: Some(place(device)?), flash_attn: true, ..reference }
    } else {
        let threads = if threads == 1 { 2 } else { 1 };
        Placement { device: None, threads, ubatch: UBATCH / 2, flash_attn: true }
    };
    Ok([tested, reference])
}

/// A device's place in ggml's list.
fn place(device: &Device) -> Result<usize, VerifyError> {
    let found = devices().iter().position(|known| known.name == device.name);
    found.ok_or_else(|| VerifyError(format!("there is no device {}", device.name)))
}

fn reference(device: &Device) -> Result<DeviceRef, VerifyError> {
    let gone = || VerifyError(format!("there is no device {}", device.name));
    DeviceRef::at(place(device)?).ok_or_else(gone)
}

/// Takes this many bytes of a device's memory, writes and reads them, and gives them back.
///
/// # Errors
/// The device is not there.
pub fn allocate(device: &Device, bytes: u64) -> Result<Allocation, VerifyError> {
    Ok(measure::allocate(reference(device)?, bytes))
}

/// How fast a device's memory is; `None`: it cannot be measured. `threads` are those of a CPU.
///
/// # Errors
/// The device is not there.
pub fn bandwidth(device: &Device, threads: u32) -> Result<Option<Bandwidth>, VerifyError> {
    Ok(measure::bandwidth(reference(device)?, threads))
}

/// How fast a device multiplies matrices. `threads` are those of a CPU.
///
/// # Errors
/// The device is not there.
pub fn matmul(device: &Device, threads: u32) -> Result<Vec<MatMul>, VerifyError> {
    Ok(measure::matmul(reference(device)?, threads))
}

/// Where a device is, such as its address on the PCI bus; not all backends tell.
pub fn device_id(device: &Device) -> Option<String> {
    reference(device).ok()?.id()
}

/// The version of ggml, and the commit that it was made of.
pub fn ggml_version() -> (String, String) {
    ggml::version()
}
