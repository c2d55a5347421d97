//! An LLM appliance for AMD Ryzen AI MAX+ 395: an OpenAI-compatible server on llama.cpp.
//!
//! Dependencies point one way: `cli -> server -> api -> http -> protocol -> chat + engine -> model,
//! host, config`; `service` stands beside. `protocol`, `chat` and `model` never import `engine`; only
//! `engine` names `llama_cpp_2`.

#[cfg(feature = "engine")]
pub mod api;
pub mod chat;
pub mod cli;
pub mod config;
pub mod engine;
pub mod host;
#[cfg(feature = "engine")]
pub mod http;
pub mod model;
pub mod protocol;
pub mod server;
pub mod service;
