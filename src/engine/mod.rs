//! The engine: one thread per loaded model owns the llama.cpp context and schedules all
//! sequences on it. The only part of the crate that names `llama_cpp_2`.

mod event;
#[cfg(feature = "engine")]
mod handle;
mod request;
#[cfg(feature = "engine")]
mod stream;
#[cfg(feature = "engine")]
mod vocabulary;

pub use event::*;
pub use request::*;

#[cfg(feature = "engine")]
pub use self::{
    handle::{Engine, EngineCounters, ModelFacts, SlotSnapshot, SubmitError},
    stream::GenerationStream,
    vocabulary::Vocabulary,
};
