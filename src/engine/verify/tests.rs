//! Errors that a broken kernel, a wrong file or a forgotten removal would make, made on purpose: each
//! must be caught, and what is as it should be must pass. On the CPU, with the real models and limits.

#![allow(clippy::unwrap_used)]

use std::io::Cursor;

use super::cases::{Entry, Step};
use super::*;
use crate::model::{Gguf, MemoryFile};

const TESTED: Placement = Placement { device: None, threads: 1, ubatch: 64, flash_attn: true };
const REFERENCE: Placement =
    Placement { device: None, threads: 2, ubatch: UBATCH, flash_attn: false };

/// The GGUF file of a model.
fn file(model: Model) -> Vec<u8> {
    std::fs::read(model.file().unwrap().path()).unwrap()
}

fn logits(
    file: &[u8],
    placement: Placement,
    cache_type: CacheType,
    steps: &[Step],
    context: u32,
) -> Vec<Vec<f32>> {
    let file = MemoryFile::new("test.gguf", file).unwrap();
    let loaded = side::load(file.path(), placement).unwrap();
    let mut context = side::context(&loaded, placement, cache_type, context).unwrap();
    side::run(&mut context, steps, &|| true).unwrap().rows
}

/// The bytes of a tensor's data, of a row, and of a block with one scale.
fn data<'a>(file: &'a mut [u8], name: &str) -> (&'a mut [u8], usize, usize) {
    let gguf = Gguf::parse(Cursor::new(&*file)).unwrap();
    let tensor = gguf.tensors.iter().find(|tensor| tensor.name == name).unwrap();
    let start = (gguf.data_start + tensor.offset) as usize;
    let rows: u64 = tensor.dims[1..].iter().product();
    let (row, block) = ((tensor.bytes / rows) as usize, tensor.kind.bytes as usize);
    (&mut file[start..start + tensor.bytes as usize], row, block)
}

/// A tensor whose blocks have the opposite scale: the sign of the number that each begins with.
fn with_flipped_scales(mut file: Vec<u8>, tensor: &str) -> Vec<u8> {
    let (data, _, block) = data(&mut file, tensor);
    data.chunks_exact_mut(block).for_each(|block| block[1] ^= 0x80);
    file
}

/// A matrix two of whose rows have changed places.
fn with_swapped_rows(mut file: Vec<u8>, tensor: &str) -> Vec<u8> {
    let (data, row, _) = data(&mut file, tensor);
    let first = data.len() / row / 2 + 20;
    let (a, b) = data[first * row..(first + 2) * row].split_at_mut(row);
    assert_ne!(a, b);
    a.swap_with_slice(b);
    file
}

/// The steps of a server that keeps one cell too many at the removal of this number: the first of
/// those that it has to remove, whose token it then does not read.
fn with_stale_cell(steps: &[Step], removal: usize) -> Vec<Step> {
    let (mut removals, mut stale) = (0, None);
    let mut wrong = Vec::new();
    for step in steps {
        match step {
            Step::Remove { sequence, from } => {
                stale = (removals == removal).then_some(*from as i32);
                removals += 1;
                let from = from + u32::from(stale.is_some());
                wrong.push(Step::Remove { sequence: *sequence, from });
            }
            Step::Decode(entries) => {
                let is_read = |entry: &&Entry| Some(entry.position) != stale;
                wrong.push(Step::Decode(entries.iter().filter(is_read).copied().collect()));
            }
        }
    }
    wrong
}

/// Compares what the CPU computes of a file and of steps with what the reference does of the model as
/// it is.
struct Trial {
    model: Model,
    cache_type: CacheType,
    steps: Vec<Step>,
    expected: Vec<Vec<f32>>,
}

impl Trial {
    fn new(model: Model, cache_type: CacheType, case: Case) -> Self {
        let steps = model.steps(case, MIN_LONG);
        let expected = logits(&file(model), REFERENCE, cache_type, &steps, model.context());
        let trial = Self { model, cache_type, steps, expected };
        let verdict = trial.verdict(&file(model), &trial.steps);
        assert!(verdict.passed, "{model:?} as it is: {verdict:?}");
        trial
    }

    fn verdict(&self, file: &[u8], steps: &[Step]) -> Verdict {
        let found = logits(file, TESTED, self.cache_type, steps, self.model.context());
        compare(&found, &self.expected, &self.model.tolerance())
    }

    fn catches(&self, what: &str, file: &[u8], steps: &[Step]) {
        let verdict = self.verdict(file, steps);
        // Not for want of rows.
        assert!(verdict.max_abs.is_finite(), "{:?}, {what}: {verdict:?}", self.model);
        assert!(!verdict.passed, "{:?}, {what}: {verdict:?}", self.model);
    }
}

#[test]
fn flipped_scales_and_swapped_rows_are_caught() {
    let wrong: [(Model, &[&str], &[&str]); 3] = [
        (Model::BuiltIn, &["blk.1.attn_q.weight", "blk.4.ffn_up.weight"], &["token_embd.weight"]),
        (
            Model::Moe,
            &["blk.0.attn_k.weight", "blk.1.ffn_up_exps.weight"],
            &["blk.1.ffn_down_exps.weight", "blk.0.ffn_up_exps.weight"],
        ),
        (
            Model::Hybrid,
            &["blk.1.ssm_ba.weight", "blk.3.ffn_gate_shexp.weight"],
            &["blk.0.attn_qkv.weight", "output.weight"],
        ),
    ];
    for (model, flipped, swapped) in wrong {
        let trial = Trial::new(model, CacheType::F16, Case::Parallel);
        for tensor in flipped {
            trial.catches(tensor, &with_flipped_scales(file(model), tensor), &trial.steps);
        }
        for tensor in swapped {
            trial.catches(tensor, &with_swapped_rows(file(model), tensor), &trial.steps);
        }
    }
}

#[test]
fn a_stale_cell_of_the_cache_is_caught() {
    for (model, cache_type) in [(Model::BuiltIn, CacheType::F16), (Model::Moe, CacheType::Q8_0)] {
        let trial = Trial::new(model, cache_type, Case::Alternating);
        // The first cell of another prompt; a cell amid a prompt that shares its beginning.
        for removal in [1, 3] {
            let steps = with_stale_cell(&trial.steps, removal);
            assert_ne!(steps, trial.steps);
            trial.catches(&format!("removal {removal}"), &file(model), &steps);
        }
    }
}

#[test]
fn a_long_prompt_is_shortened_to_what_can_be_computed_in_time() {
    let minute = Duration::from_secs(60);
    assert_eq!(fitting(4224, 0.001, minute), 4224);
    assert_eq!(fitting(4224, 0.0, minute), 4224);
    assert_eq!(fitting(4224, 0.03, minute), 1984);
    assert_eq!(fitting(4224, 10.0, minute), MIN_LONG);
}

#[test]
fn the_models_made_in_memory_are_the_same_each_time_and_fit_their_cases() {
    for model in [Model::Moe, Model::Hybrid] {
        let bytes = file(model);
        assert_eq!(bytes, file(model));
        assert!(bytes.len() < 4 << 20, "{}", bytes.len());
        crate::model::ModelFile::parse(Cursor::new(bytes)).unwrap();
    }
    for model in Model::ALL {
        assert!(model.long_prompt() < model.context() as usize);
    }
}
