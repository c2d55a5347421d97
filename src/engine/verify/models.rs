//! The models whose logits are compared, and how far apart the logits may be.

use std::io;

use super::cases::{self, CONTEXT, Case, SHORT_CONTEXT, Step};
use super::compare::Tolerance;
use super::tiny::TinyModel;
use crate::model::MemoryFile;
use crate::model::builtin::BUILTIN;

/// A model that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Model {
    /// The trained one of 1.4 million parameters that is part of the binary.
    BuiltIn,
    /// A mixture of experts with random weights.
    Moe,
    /// Recurrent layers and attention, with random weights.
    Hybrid,
}

impl Model {
    pub(super) const ALL: [Self; 3] = [Self::BuiltIn, Self::Moe, Self::Hybrid];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::Moe => "moe",
            Self::Hybrid => "hybrid",
        }
    }

    /// The file that llama.cpp opens.
    pub(super) fn file(self) -> io::Result<MemoryFile> {
        let name = format!("strixhalo-verify-{}.gguf", self.name());
        match self {
            Self::BuiltIn => MemoryFile::new(&name, BUILTIN),
            Self::Moe => MemoryFile::new(&name, &TinyModel::moe().bytes()),
            Self::Hybrid => MemoryFile::new(&name, &TinyModel::hybrid().bytes()),
        }
    }

    /// Tokens of each sequence's context: what the built-in model was trained for, else more.
    pub(super) fn context(self) -> u32 {
        if self == Self::BuiltIn { SHORT_CONTEXT } else { CONTEXT }
    }

    /// Tokens of the long prompt: with the random models more than 4096, past which some faults began.
    pub(super) fn long_prompt(self) -> usize {
        if self == Self::BuiltIn { 4032 } else { 4224 }
    }

    /// What both sides do. `tokens` are those of the long prompt.
    pub(super) fn steps(self, case: Case, tokens: usize) -> Vec<Step> {
        match case {
            Case::Parallel => cases::parallel(),
            Case::Alternating => cases::alternating(self != Self::Hybrid),
            Case::Long => cases::long(tokens),
        }
    }

    /// How far apart the logits may be: 2.3 to 3 times what Vulkan's kernels differ by from the
    /// CPU's, which round what they multiply with 8-bit weights to 8 bits. The logits have a standard
    /// deviation of 4.3 (built-in) and 2.8.
    pub(super) fn tolerance(self) -> Tolerance {
        match self {
            Self::BuiltIn => Tolerance { max_abs: 4.0, rms: 1.0, same_top: 0.8 },
            Self::Moe => Tolerance { max_abs: 1.0, rms: 0.3, same_top: 0.85 },
            Self::Hybrid => Tolerance { max_abs: 1.6, rms: 0.45, same_top: 0.75 },
        }
    }
}
