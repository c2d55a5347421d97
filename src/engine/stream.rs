//! The channel from the engine to one request: bounded in bytes, and the request's cancel.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::{GenerationError, GenerationEvent};

/// The receiving end of one sequence. Dropping it cancels the sequence within one step.
#[derive(Debug)]
pub struct GenerationStream {
    events: mpsc::UnboundedReceiver<GenerationEvent>,
    buffered: Arc<AtomicUsize>,
}

/// The engine's end. The engine asks `is_full` before it computes more for the sequence, so the
/// buffer exceeds its limit by one step's output at most.
#[derive(Debug, Clone)]
pub(crate) struct EventSender {
    events: mpsc::UnboundedSender<GenerationEvent>,
    buffered: Arc<AtomicUsize>,
    limit: usize,
}

/// A channel whose `is_full` turns true at `limit` buffered bytes.
pub(crate) fn channel(limit: usize) -> (EventSender, GenerationStream) {
    let (tx, rx) = mpsc::unbounded_channel();
    let buffered = Arc::new(AtomicUsize::new(0));
    (
        EventSender { events: tx, buffered: buffered.clone(), limit },
        GenerationStream { events: rx, buffered },
    )
}

impl GenerationStream {
    /// The next event; after `Done` or `Failed`, `None`.
    pub async fn next(&mut self) -> Option<GenerationEvent> {
        let event = self.events.recv().await?;
        self.release(&event);
        Some(event)
    }

    /// The next event if one is there already.
    pub fn try_next(&mut self) -> Option<GenerationEvent> {
        let event = self.events.try_recv().ok()?;
        self.release(&event);
        Some(event)
    }

    fn release(&self, event: &GenerationEvent) {
        self.buffered.fetch_sub(weight(event), Ordering::Relaxed);
    }
}

impl EventSender {
    pub(crate) fn send(&self, event: GenerationEvent) {
        self.buffered.fetch_add(weight(&event), Ordering::Relaxed);
        // A closed channel is a cancel, which the scheduler looks for by itself.
        let _ = self.events.send(event);
    }

    pub(crate) fn fail(&self, error: GenerationError) {
        self.send(GenerationEvent::Failed(error));
    }

    pub(crate) fn is_full(&self) -> bool {
        self.buffered.load(Ordering::Relaxed) >= self.limit
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.events.is_closed()
    }
}

/// Bytes that an event occupies, roughly: what counts is that they grow with the output.
fn weight(event: &GenerationEvent) -> usize {
    let logprobs =
        |l: &Option<super::TokenLogprobs>| l.as_ref().map_or(0, |l| 16 + 8 * l.top.len());
    64 + match event {
        GenerationEvent::Output { text, tokens, .. } => {
            text.len() + tokens.iter().map(|t| 8 + logprobs(&t.logprobs)).sum::<usize>()
        }
        GenerationEvent::PromptLogprobs(all) => {
            all.iter().map(|(_, l)| 8 + logprobs(l)).sum::<usize>()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Timings;

    fn output(text: &str) -> GenerationEvent {
        GenerationEvent::Output {
            text: text.to_owned(),
            tokens: Vec::new(),
            timings: Timings::default(),
        }
    }

    #[test]
    fn a_stream_is_full_until_its_reader_takes_something() {
        let (tx, mut rx) = channel(200);
        tx.send(output("a"));
        assert!(!tx.is_full());
        tx.send(output(&"b".repeat(200)));
        assert!(tx.is_full());
        assert!(rx.try_next().is_some());
        assert!(rx.try_next().is_some());
        assert!(!tx.is_full());
    }

    #[test]
    fn dropping_the_stream_cancels_the_sequence() {
        let (tx, rx) = channel(200);
        assert!(!tx.is_cancelled());
        drop(rx);
        assert!(tx.is_cancelled());
        tx.send(output("nobody hears this"));
    }
}
