//! The thread's loop: take requests, compute a batch of their texts, answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::token::LlamaToken;

use super::batch::{self, Limits};
use super::{Command, EmbeddingCounters, EmbeddingError, Job, Shared};
use crate::engine::Token;
use crate::engine::worker::memory;

/// Owns the context; lives on the thread's stack.
pub(super) struct Worker<'m> {
    pub(super) context: LlamaContext<'m>,
    pub(super) batch: LlamaBatch<'static>,
    pub(super) limits: Limits,
    pub(super) commands: Receiver<Command>,
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: VecDeque<Job>,
    pub(super) draining: Option<Instant>,
}

impl Worker<'_> {
    /// Runs until all handles are gone and answered, or a drain is over.
    pub(super) fn run(mut self) {
        while self.receive() {
            self.shared.heartbeat.step();
            self.jobs.retain(|job| !job.reply.is_closed());
            if self.draining.is_some_and(|deadline| Instant::now() >= deadline) {
                self.jobs.drain(..).for_each(|job| job.answer(Err(EmbeddingError::ShuttingDown)));
            }
            self.step();
            self.shared.heartbeat.idle();
        }
        self.shared.stopped.store(true, Ordering::Release);
    }

    /// Takes what has arrived, and waits if there is nothing to compute. `false`: the end.
    fn receive(&mut self) -> bool {
        if self.jobs.is_empty() {
            if self.draining.is_some() {
                return false;
            }
            match self.commands.recv() {
                Ok(command) => self.take(command),
                Err(_) => return false,
            }
        }
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.take(command),
                // Without a handle nobody waits for the jobs that are left either.
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return true,
            }
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Drain(deadline) => {
                self.draining = Some(self.draining.map_or(deadline, |d| d.min(deadline)));
            }
            Command::Embed(job) if self.draining.is_some() => {
                job.answer(Err(EmbeddingError::ShuttingDown));
            }
            Command::Embed(job) => self.jobs.push_back(job),
        }
    }

    /// Computes the next texts; if they fail together, each alone, so that one that cannot be
    /// computed takes no other with it.
    fn step(&mut self) {
        let waiting: Vec<Vec<usize>> = self.jobs.iter().map(Job::lengths).collect();
        let picked = batch::pick(&waiting, self.limits);
        if picked.is_empty() {
            return;
        }
        let mut next: Vec<usize> = self.jobs.iter().map(|job| job.vectors.len()).collect();
        let texts: Vec<&[Token]> = picked
            .iter()
            .map(|&job| {
                next[job] += 1;
                self.jobs[job].texts[next[job] - 1].as_slice()
            })
            .collect();
        let started = Instant::now();
        let together = compute(&mut self.context, &mut self.batch, &texts);
        let results: Vec<Option<Vec<f32>>> = match together {
            Some(vectors) => vectors.into_iter().map(Some).collect(),
            None if texts.len() == 1 => vec![None],
            None => {
                tracing::warn!(texts = texts.len(), "a batch of texts failed; trying each alone");
                let alone = |text: &&[Token]| {
                    compute(&mut self.context, &mut self.batch, &[text]).and_then(|mut v| v.pop())
                };
                texts.iter().map(alone).collect()
            }
        };
        self.shared.counters.add(&texts, started.elapsed());
        let mut failed = vec![false; self.jobs.len()];
        for (&job, vector) in picked.iter().zip(results) {
            match vector {
                Some(vector) => self.jobs[job].vectors.push(vector),
                None => failed[job] = true,
            }
        }
        let jobs = std::mem::take(&mut self.jobs);
        let mut had_a_turn = Vec::new();
        for (index, job) in jobs.into_iter().enumerate() {
            if failed[index] {
                job.answer(Err(EmbeddingError::Compute));
            } else if job.vectors.len() == job.texts.len() {
                job.finish();
            } else if picked.contains(&index) {
                had_a_turn.push(job);
            } else {
                self.jobs.push_back(job);
            }
        }
        self.jobs.extend(had_a_turn);
    }
}

impl EmbeddingCounters {
    fn add(&self, texts: &[&[Token]], took: Duration) {
        let add = |counter: &AtomicU64, n: usize| counter.fetch_add(n as u64, Ordering::Relaxed);
        add(&self.texts, texts.len());
        add(&self.tokens, texts.iter().map(|text| text.len()).sum());
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.compute_us.fetch_add(took, Ordering::Relaxed);
    }
}

impl Job {
    /// Tokens of the texts that are not computed yet.
    fn lengths(&self) -> Vec<usize> {
        self.texts[self.vectors.len()..].iter().map(Vec::len).collect()
    }

    fn finish(mut self) {
        let vectors = std::mem::take(&mut self.vectors);
        self.answer(Ok(vectors));
    }

    fn answer(self, answer: Result<Vec<Vec<f32>>, EmbeddingError>) {
        let Self { reply, place, .. } = self;
        // Whoever has the answer finds the place free.
        drop(place);
        // Whoever cancelled waits for no answer.
        let _ = reply.send(answer);
    }
}

/// The vectors of texts that fit into one batch, each a sequence of its own. `None`: llama.cpp
/// failed, or a vector is not a number.
pub(super) fn compute(
    context: &mut LlamaContext<'_>,
    batch: &mut LlamaBatch<'_>,
    texts: &[&[Token]],
) -> Option<Vec<Vec<f32>>> {
    memory::clear(context);
    batch.clear();
    for (sequence, text) in (0..).zip(texts) {
        for (position, &token) in (0..).zip(*text) {
            batch
                .add(LlamaToken(token), position, &[sequence], true)
                .inspect_err(|error| tracing::error!(%error, "the batch is too small"))
                .ok()?;
        }
    }
    context
        .decode(batch)
        .inspect_err(|error| tracing::error!(%error, "texts could not be computed"))
        .ok()?;
    let vector = |sequence: usize| -> Option<Vec<f32>> {
        let vector = context.embeddings_seq_ith(i32::try_from(sequence).ok()?).ok()?;
        vector.iter().all(|value| value.is_finite()).then(|| vector.to_vec())
    };
    (0..texts.len()).map(vector).collect()
}
