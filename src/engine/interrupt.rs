//! Ends a step before it is computed, on a CPU.
//!
//! Prompts are read fastest in large pieces, and on a CPU such a piece may take many seconds. There
//! ggml asks between any two operations of a graph whether it should go on. If not, llama.cpp removes
//! from the context's memory what the step had put there and `llama_decode` returns 2. GPUs do
//! not ask.
//!
//! The thread that calls `llama_decode` is the one that asks (of several, OpenMP's master and the
//! first of ggml's own), so what ends its current step lies in a variable of that thread.

use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use llama_cpp_2::context::params::LlamaContextParams;
use tracing::subscriber::{DefaultGuard, NoSubscriber};

use super::handle::Shared;
use super::pace::LONGEST_STEP;
use super::stream::Cancel;

/// What ends a step early.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) shared: Arc<Shared>,
    /// Of the only request of the step.
    pub(super) cancel: Cancel,
    /// Of that request, or of a drain.
    pub(super) deadline: Option<Instant>,
    /// A request that arrives now could start.
    pub(super) has_room: bool,
    /// The engine knows of the drain that may have been asked for.
    pub(super) drains: bool,
    pub(super) began: Instant,
    /// Operations of the step; 0: not known.
    pub(super) operations: u64,
}

/// Why a step ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interruption {
    /// Nobody waits for its request any more.
    Cancelled,
    /// Its time is up.
    Deadline,
    /// Something has arrived that should not have to wait for so long.
    Arrival,
}

/// How far a watched step came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Operations that were computed.
    pub(super) operations: u64,
    /// Why there were no more.
    pub(super) interruption: Option<Interruption>,
}

impl Watch {
    /// Whether the step should end, of which `done` operations are computed.
    fn interruption(&self, now: Instant, done: u64) -> Option<Interruption> {
        if self.cancel.is_cancelled() {
            return Some(Interruption::Cancelled);
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            return Some(Interruption::Deadline);
        }
        let request = self.has_room && self.shared.pending.load(Ordering::Relaxed) > 0;
        let drain = !self.drains && self.shared.drain_asked.load(Ordering::Relaxed);
        if !request && !drain {
            return None;
        }
        // The layers of a model take equally long.
        let each = now.saturating_duration_since(self.began).as_secs_f64() / done.max(1) as f64;
        let left = each * self.operations.saturating_sub(done) as f64;
        (left > LONGEST_STEP).then_some(Interruption::Arrival)
    }
}

struct Step {
    watch: Watch,
    /// Operations.
    done: u64,
    /// Why it ended early. From then on llama.cpp's words are not logged: it tells an error.
    ended: Option<(Interruption, DefaultGuard)>,
}

thread_local! {
    static STEP: RefCell<Option<Step>> = const { RefCell::new(None) };
}

/// Runs `compute`, which calls `llama_decode`, and says how far that came.
pub(super) fn watched<T>(watch: Option<Watch>, compute: impl FnOnce() -> T) -> (T, Progress) {
    STEP.set(watch.map(|watch| Step { watch, done: 0, ended: None }));
    let computed = compute();
    let progress = |Step { done, ended, .. }: Step| Progress {
        operations: done,
        interruption: ended.map(|(interruption, _)| interruption),
    };
    (computed, STEP.take().map(progress).unwrap_or_default())
}

/// Lets the context that is made with `params` be interrupted.
pub(super) fn let_interrupt(mut params: LlamaContextParams) -> LlamaContextParams {
    const {
        assert!(
            size_of::<LlamaContextParams>() == size_of::<llama_cpp_sys_2::llama_context_params>()
        );
    }
    // SAFETY: a `LlamaContextParams` has one field, a `llama_context_params`, which is not public.
    // (The version is pinned.) They are of one size, so the field begins where the value does.
    #[allow(unsafe_code)]
    let inner = unsafe {
        &mut *std::ptr::from_mut(&mut params).cast::<llama_cpp_sys_2::llama_context_params>()
    };
    inner.abort_callback = Some(ends);
    params
}

/// ggml's question, between two operations.
#[allow(unsafe_code)]
unsafe extern "C" fn ends(_: *mut c_void) -> bool {
    let ends = |step: &RefCell<Option<Step>>| {
        let Ok(mut step) = step.try_borrow_mut() else { return false };
        let Some(Step { watch, done, ended }) = step.as_mut() else { return false };
        watch.shared.pulse.step();
        *done += 1;
        if let Some(interruption) = watch.interruption(Instant::now(), *done) {
            let silence = tracing::subscriber::set_default(NoSubscriber::new());
            *ended = Some((interruption, silence));
        }
        ended.is_some()
    };
    STEP.try_with(ends).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::stream::{self, EventSender};

    const SECOND: Duration = Duration::from_secs(1);

    fn watch(events: &EventSender) -> Watch {
        Watch {
            shared: Arc::default(),
            cancel: events.cancel(),
            deadline: None,
            has_room: true,
            drains: false,
            began: Instant::now(),
            operations: 100,
        }
    }

    #[test]
    fn a_step_ends_when_its_client_has_left_or_its_time_is_up() {
        let (events, stream) = stream::channel(100);
        let mut watch = watch(&events);
        let now = watch.began;
        assert_eq!(watch.interruption(now, 1), None);
        watch.deadline = Some(now + SECOND);
        assert_eq!(watch.interruption(now, 1), None);
        assert_eq!(watch.interruption(now + SECOND, 1), Some(Interruption::Deadline));
        drop(stream);
        assert_eq!(watch.interruption(now, 1), Some(Interruption::Cancelled));
    }

    #[test]
    fn a_step_ends_for_a_request_that_could_start_and_would_wait_for_more_than_a_second() {
        let (events, _stream) = stream::channel(100);
        let mut watch = watch(&events);
        let now = watch.began;
        let after_a_second = |watch: &Watch, done| watch.interruption(now + SECOND, done);
        assert_eq!(after_a_second(&watch, 10), None);
        watch.shared.pending.store(1, Ordering::Relaxed);
        assert_eq!(after_a_second(&watch, 10), Some(Interruption::Arrival), "9 seconds are left");
        assert_eq!(after_a_second(&watch, 60), None, "0.7 seconds are left");
        assert_eq!(after_a_second(&watch, 110), None, "there is more to do than was known");
        watch.has_room = false;
        assert_eq!(after_a_second(&watch, 10), None, "the request must wait anyway");
        watch.shared.drain_asked.store(true, Ordering::Relaxed);
        assert_eq!(after_a_second(&watch, 10), Some(Interruption::Arrival));
        watch.drains = true;
        assert_eq!(after_a_second(&watch, 10), None, "the engine knows of the drain");
    }

    #[test]
    #[allow(unsafe_code)]
    fn only_the_thread_of_the_step_can_end_it_and_only_while_it_runs() {
        let (events, stream) = stream::channel(100);
        drop(stream);
        // SAFETY: the pointer is not used.
        let ask = || unsafe { ends(std::ptr::null_mut()) };
        assert!(!ask());
        let (answers, progress) =
            watched(Some(watch(&events)), || [std::thread::spawn(ask).join().unwrap(), ask()]);
        assert_eq!(answers, [false, true]);
        let interruption = Some(Interruption::Cancelled);
        assert_eq!(progress, Progress { operations: 1, interruption });
        assert!(!ask());
    }
}
