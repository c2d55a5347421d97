//! llama.cpp's compute buffers: the tensors of its graph for the largest ubatch that are alive at
//! once. `ggml-alloc.c` lays them out; this counts what is alive where most is, with a little more
//! for the holes that it leaves.

use super::super::facts::{GgufFacts, Layer};
use super::embedding_shape::{EMBEDDING_SEQUENCES, EmbeddingShape};
use super::shape::{CELL_STEP, CacheShape};

/// Bytes of an f32.
const F32: u64 = 4;
/// Numbers of tokens, positions, cells and outputs of one token.
const INDICES: u64 = 40;

/// Bytes of the compute buffers and of the buffer for logits, with `cells` of the KV cache for each
/// sequence.
pub(super) fn compute_buffers(facts: &GgufFacts, shape: &CacheShape, cells: u64) -> u64 {
    let slots = u64::from(shape.parallel.max(1));
    // As many tokens as fit, the same number of each sequence.
    let tokens = u64::from(shape.ubatch).min(cells.saturating_mul(slots));
    let tokens = tokens.div_ceil(slots).saturating_mul(slots);
    let cells = if facts.has_kv() { cells } else { 0 };
    // The one before, and all that are kept.
    let states = 2 + u64::from(shape.rollback_tokens);
    let graph = Graph { facts, flash_attn: shape.flash_attn, cells, tokens, slots, states };
    let logits = F32.saturating_mul(facts.n_vocab.into()).saturating_mul(slots);
    graph.bytes(shape.on_gpu).saturating_add(logits)
}

/// Bytes of the compute buffers of a model that makes vectors of texts, and of the buffer for logits,
/// which llama.cpp makes though nobody reads it.
pub(super) fn embedding_buffers(facts: &GgufFacts, shape: &EmbeddingShape) -> u64 {
    let sequences = u64::from(EMBEDDING_SEQUENCES);
    let tokens = u64::from(shape.ubatch).next_multiple_of(sequences);
    let cells = match facts.has_kv() {
        true => u64::from(shape.context).next_multiple_of(CELL_STEP),
        // Each token sees those of its batch.
        false => tokens,
    };
    let graph = Graph { facts, flash_attn: shape.flash_attn, cells, tokens, slots: 1, states: 2 };
    let bytes = match facts.has_kv() {
        true => graph.bytes(shape.on_gpu),
        false => graph.encoder_bytes(shape.on_gpu),
    };
    // What share each token has in the mean of each text.
    let shares = F32.saturating_mul(tokens).saturating_mul(sequences);
    let logits = F32.saturating_mul(facts.n_vocab.into()).saturating_mul(sequences);
    bytes.saturating_add(shares).saturating_add(logits)
}

struct Graph<'a> {
    facts: &'a GgufFacts,
    flash_attn: bool,
    cells: u64,
    tokens: u64,
    slots: u64,
    /// Recurrent states of a sequence that are alive at once.
    states: u64,
}

impl Graph<'_> {
    /// Inputs live as long as the graph; of the rest, the place where most is alive counts.
    fn bytes(&self, on_gpu: bool) -> u64 {
        let inputs = self.inputs();
        // Logits come last, when the mask is no longer needed: they fit into its place, or lie
        // behind four to six tensors of the residual stream.
        let logits = self.values(self.facts.n_vocab.into());
        let before = 5 * self.n_embd();
        let last = if logits > inputs { logits.saturating_add(self.values(before)) } else { 0 };
        let widest =
            [self.attention(), self.feed_forward(), self.experts(), self.recurrent(), last]
                .into_iter()
                .fold(0, u64::max);
        inputs.saturating_add(widest).saturating_add(self.host(on_gpu))
    }

    /// The embeddings are looked up on the CPU, which has the inputs of its own.
    fn host(&self, on_gpu: bool) -> u64 {
        if on_gpu { self.inputs().saturating_add(self.values(4 * self.n_embd())) } else { 0 }
    }

    /// Of a graph without a KV cache and without logits.
    fn encoder_bytes(&self, on_gpu: bool) -> u64 {
        let scores = self.scores().saturating_add(7 * self.n_embd());
        // BERT's layers have no gate.
        let wide = if self.facts.architecture == "bert" { 2 } else { 3 };
        let feed_forward = self.facts.graph.n_ff.saturating_mul(wide).saturating_add(self.n_embd());
        let widest = self.values(scores.max(feed_forward)).max(self.experts());
        self.inputs().saturating_add(widest).saturating_add(self.host(on_gpu))
    }

    /// Values of the scores of one token.
    fn scores(&self) -> u64 {
        if self.flash_attn { 0 } else { self.cells.saturating_mul(self.facts.n_head.into()) }
    }

    /// Bytes of an f32 tensor with `width` values for each token.
    fn values(&self, width: u64) -> u64 {
        width.saturating_mul(F32).saturating_mul(self.tokens)
    }

    fn n_embd(&self) -> u64 {
        self.facts.n_embd.into()
    }

    /// The mask of attention, and what says where tokens go. A window has a mask of its own.
    fn inputs(&self) -> u64 {
        let masks = if self.facts.has_window { 2 } else { 1 };
        let values = self.facts.layers.iter().map(Layer::values).max().unwrap_or(0);
        // Without flash attention each value is put into its transposed place by itself.
        let (mask, places) = if self.flash_attn { (2, 0) } else { (F32, values.saturating_mul(8)) };
        let one = self.cells.saturating_mul(mask).saturating_add(places);
        one.saturating_mul(masks).saturating_add(INDICES).saturating_mul(self.tokens)
    }

    fn attention(&self) -> u64 {
        let graph = &self.facts.graph;
        let queries = graph.queries.saturating_mul(if graph.gated { 4 } else { 3 });
        self.values(self.scores().saturating_add(queries).saturating_add(3 * self.n_embd()))
    }

    fn feed_forward(&self) -> u64 {
        self.values(self.facts.graph.n_ff.saturating_mul(3).saturating_add(5 * self.n_embd()))
    }

    fn experts(&self) -> u64 {
        let graph = &self.facts.graph;
        let inside = graph.n_ff_exp.saturating_mul(3);
        let outside = graph.n_ff_exp.saturating_add(self.n_embd());
        let used = graph.experts_used.saturating_mul(inside.max(outside));
        self.values(used.saturating_add(graph.experts).saturating_add(3 * self.n_embd()))
    }

    /// What a recurrent layer mixes, and its state before and behind it.
    fn recurrent(&self) -> u64 {
        if self.facts.recurrent_layers() == 0 {
            return 0;
        }
        let graph = &self.facts.graph;
        let mixed = graph.channels.saturating_add(graph.inner).saturating_mul(2);
        let states =
            self.facts.state_values.saturating_mul(self.states * F32).saturating_mul(self.slots);
        self.values(mixed.saturating_add(4 * self.n_embd())).saturating_add(states)
    }
}
