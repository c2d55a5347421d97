//! Ends a step before all of it is computed, on a CPU.
//!
//! Prompts are read fastest in large pieces, and on a CPU such a piece may take many seconds. There
//! ggml asks between any two operations of a graph whether it should go on. If not, llama.cpp removes
//! from the context's memory what the step had put there and `llama_decode` returns 2. GPUs do
//! not ask.
//!
//! Of all threads that compute it is thread 0 that asks, which is the caller of `llama_decode` (both
//! under OpenMP and in ggml's own pool), so what ends a step lies in a variable of that thread.

use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use llama_cpp_2::context::params::LlamaContextParams;
use tracing::dispatcher::{self, DefaultGuard, Dispatch};

use super::handle::Shared;
use super::pace::LONGEST_STEP;
use super::stream::EventSender;

/// What ends a step early.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) shared: Arc<Shared>,
    /// Of the only request of the step.
    pub(super) events: EventSender,
    /// Of that request, or of a drain.
    pub(super) deadline: Option<Instant>,
    /// A request that arrives now could start. (One that wants a slot which is busy could not, but
    /// that is rare.)
    pub(super) has_room: bool,
    /// The engine knows of the drain that may have been asked for.
    pub(super) drains: bool,
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
    /// Whether the step should end: `done` operations are computed, the first of them at `began`.
    fn interruption(&self, began: Instant, now: Instant, done: u64) -> Option<Interruption> {
        if self.events.is_cancelled() {
            return Some(Interruption::Cancelled);
        }
        let drain = self.shared.drain_asked.get().filter(|_| !self.drains);
        if self.deadline.iter().chain(drain).any(|deadline| *deadline <= now) {
            return Some(Interruption::Deadline);
        }
        let request = self.has_room && self.shared.pending.load(Ordering::Relaxed) > 0;
        if !request && drain.is_none() {
            return None;
        }
        // The layers of a model take equally long, but their operations do not: some must be done.
        if done < self.operations / 16 || done < 2 {
            return None;
        }
        let each = now.saturating_duration_since(began).as_secs_f64() / (done - 1) as f64;
        let left = each * self.operations.saturating_sub(done) as f64;
        (left > LONGEST_STEP).then_some(Interruption::Arrival)
    }
}

/// What a slot's prompt lost to arrivals. Until it has been read for as long again, its steps are
/// short and are not ended for others: whatever arrives, half of the time is of use.
#[derive(Debug, Default)]
pub(super) struct Lost(Option<(usize, Duration)>);

impl Lost {
    /// A step of `slot` was given up after `took`.
    pub(super) fn add(&mut self, slot: usize, took: Duration) {
        self.0 = Some((slot, took));
    }

    /// A step read prompts of `slots` and was not given up.
    pub(super) fn make_up(&mut self, slots: &[usize], took: Duration) {
        if let Some((slot, lost)) = self.0
            && slots.contains(&slot)
        {
            self.0 = lost.checked_sub(took).map(|left| (slot, left));
        }
    }

    /// The request of `slot` has ended.
    pub(super) fn forget(&mut self, slot: usize) {
        self.0 = self.0.filter(|(of, _)| *of != slot);
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

struct Step {
    watch: Watch,
    /// When its first operation was computed.
    began: Option<Instant>,
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
    STEP.set(watch.map(|watch| Step { watch, began: None, done: 0, ended: None }));
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
        let Some(Step { watch, began, done, ended }) = step.as_mut() else { return false };
        watch.shared.pulse.step();
        *done += 1;
        let now = Instant::now();
        let began = *began.get_or_insert(now);
        if ended.is_none() {
            let interruption = watch.interruption(began, now, *done);
            *ended = interruption.map(|why| (why, dispatcher::set_default(&Dispatch::none())));
        }
        ended.is_some()
    };
    STEP.try_with(ends).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::stream;

    const SECOND: Duration = Duration::from_secs(1);

    fn watch(events: EventSender) -> Watch {
        Watch {
            shared: Arc::default(),
            events,
            deadline: None,
            has_room: true,
            drains: false,
            operations: 100,
        }
    }

    #[test]
    fn a_step_ends_when_its_client_has_left_or_its_time_is_up() {
        let (events, stream) = stream::channel(100);
        let mut watch = watch(events);
        let now = Instant::now();
        assert_eq!(watch.interruption(now, now, 1), None);
        watch.deadline = Some(now + SECOND);
        assert_eq!(watch.interruption(now, now, 1), None);
        assert_eq!(watch.interruption(now, now + SECOND, 1), Some(Interruption::Deadline));
        drop(stream);
        assert_eq!(watch.interruption(now, now, 1), Some(Interruption::Cancelled));
    }

    #[test]
    fn a_step_ends_for_a_request_that_could_start_and_would_wait_for_more_than_a_second() {
        let (events, _stream) = stream::channel(100);
        let mut watch = watch(events);
        let now = Instant::now();
        let after_a_second = |watch: &Watch, done| watch.interruption(now, now + SECOND, done);
        assert_eq!(after_a_second(&watch, 10), None);
        watch.shared.pending.store(1, Ordering::Relaxed);
        assert_eq!(after_a_second(&watch, 10), Some(Interruption::Arrival), "9 seconds are left");
        assert_eq!(after_a_second(&watch, 3), None, "too few to tell");
        assert_eq!(after_a_second(&watch, 60), None, "0.7 seconds are left");
        assert_eq!(after_a_second(&watch, 110), None, "there is more to do than was known");
        watch.has_room = false;
        assert_eq!(after_a_second(&watch, 10), None, "the request must wait anyway");
        watch.shared.drain_asked.set(now + 9 * SECOND).unwrap();
        assert_eq!(after_a_second(&watch, 10), Some(Interruption::Arrival));
        assert_eq!(after_a_second(&watch, 60), None, "0.7 seconds are left");
        let over = watch.interruption(now, now + 9 * SECOND, 99);
        assert_eq!(over, Some(Interruption::Deadline), "the drain has no time for the rest");
        watch.drains = true;
        assert_eq!(after_a_second(&watch, 10), None, "the engine knows of the drain");
    }

    #[test]
    fn what_a_prompt_lost_is_made_up_by_its_own_steps_alone() {
        let mut lost = Lost::default();
        lost.add(1, 3 * SECOND);
        lost.make_up(&[0, 2], 9 * SECOND);
        assert!(!lost.is_none());
        lost.make_up(&[0, 1], 2 * SECOND);
        assert!(!lost.is_none());
        lost.make_up(&[1], 2 * SECOND);
        assert!(lost.is_none());
        lost.add(1, SECOND);
        lost.forget(0);
        assert!(!lost.is_none());
        lost.forget(1);
        assert!(lost.is_none());
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
            watched(Some(watch(events)), || [std::thread::spawn(ask).join().unwrap(), ask()]);
        assert_eq!(answers, [false, true]);
        let interruption = Some(Interruption::Cancelled);
        assert_eq!(progress, Progress { operations: 1, interruption });
        assert!(!ask());
    }
}
