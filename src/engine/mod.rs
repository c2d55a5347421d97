//! The engine: one thread per loaded model owns the llama.cpp context and schedules all
//! sequences on it. The only part of the crate that names `llama_cpp_2`.

#[cfg(feature = "engine")]
mod allocations;
#[cfg(feature = "engine")]
mod allocator;
#[cfg(feature = "engine")]
mod backend;
mod cache;
#[cfg(feature = "engine")]
mod devices;
#[cfg(feature = "engine")]
mod embed;
mod event;
mod grammar;
#[cfg(feature = "engine")]
mod handle;
#[cfg(feature = "engine")]
mod heartbeat;
#[cfg(feature = "engine")]
mod load;
#[cfg(feature = "engine")]
mod rehearse;
mod request;
#[cfg(feature = "engine")]
mod sample;
#[cfg(feature = "engine")]
mod schedule;
#[cfg(feature = "engine")]
mod speculate;
#[cfg(feature = "engine")]
mod stream;
mod text;
#[cfg(feature = "engine")]
mod thinking;
#[cfg(feature = "engine")]
pub mod verify;
#[cfg(feature = "engine")]
mod vocabulary;
#[cfg(feature = "engine")]
mod worker;

pub use cache::{SavedPrompt, clear_saved_prompts, saved_prompts};
pub use event::*;
pub use grammar::{Grammar, GrammarError};
pub use request::*;
pub use text::{Assembled, TextAssembler};

pub use crate::model::Pooling;

/// A token id of a loaded model's vocabulary.
pub type Token = i32;

#[cfg(feature = "engine")]
pub use self::{
    allocations::{Allocations, Buffer, BufferUse, Placement},
    allocator::give_memory_back,
    backend::{Device, backends, devices, system_info},
    cache::{CacheParams, DiskParams},
    devices::{NO_DEVICE, NoSuchDevice, choose_gpus, is_unified, seen_twice},
    embed::{EmbeddingCounters, EmbeddingEngine, EmbeddingError, EmbeddingParams},
    handle::{
        CacheCounters, Engine, EngineCounters, EngineLimits, ModelFacts, SlotSnapshot,
        SpeculationCounters, SubmitError,
    },
    load::{LoadError, LoadParams, load},
    rehearse::{rehearse, rehearse_embedding},
    stream::GenerationStream,
    vocabulary::{FimTokens, Vocabulary},
};
#[cfg(feature = "engine")]
pub(crate) use cache::STATE_FORMAT;
