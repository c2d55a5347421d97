//! The engine: one thread per loaded model owns the llama.cpp context and schedules all
//! sequences on it. The only part of the crate that names `llama_cpp_2`.

#[cfg(feature = "engine")]
mod allocator;
#[cfg(feature = "engine")]
mod backend;
mod cache;
mod event;
mod grammar;
#[cfg(feature = "engine")]
mod handle;
#[cfg(feature = "engine")]
mod heartbeat;
#[cfg(feature = "engine")]
mod load;
mod request;
#[cfg(feature = "engine")]
mod sample;
#[cfg(feature = "engine")]
mod schedule;
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

#[cfg(feature = "engine")]
pub use self::{
    allocator::give_memory_back,
    backend::{Device, devices, gpus_in_use, system_info},
    cache::{CacheParams, DiskParams},
    handle::{
        CacheCounters, Engine, EngineCounters, EngineLimits, ModelFacts, SlotSnapshot, SubmitError,
    },
    load::{LoadError, LoadParams, load},
    stream::GenerationStream,
    vocabulary::Vocabulary,
};
#[cfg(feature = "engine")]
pub(crate) use cache::STATE_FORMAT;
