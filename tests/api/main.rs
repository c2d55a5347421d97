//! The HTTP API of the real binary, on the built-in model.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test fails by panicking
#![allow(unreachable_pub)] // the harness is the modules' interface

mod answers;
mod cache;
mod cancel;
mod chat;
mod chat_cases;
mod completions;
mod connections;
mod conversations;
mod demo;
mod dialects;
mod embeddings;
mod full_precision;
mod gpu;
mod harness;
mod hostile;
mod inspection;
mod kinds;
mod limits;
mod listening;
mod log;
mod messages;
mod metrics;
mod native;
#[path = "../decoders/native.rs"]
mod native_decoder;
mod ollama;
#[path = "../decoders/ollama.rs"]
mod ollama_decoder;
mod refusals;
mod responses;
mod scripted;
mod streams;
mod structured;
mod tiny;
mod tools;
