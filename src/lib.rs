//! An LLM appliance for AMD Ryzen AI MAX+ 395: an OpenAI-compatible server on llama.cpp.
//!
//! Dependencies point one way: `cli -> server -> api -> chat + engine -> model, host, config`;
//! `service` stands beside. `chat` and `model` never import `engine`; only `engine` names `llama_cpp_2`.

#[cfg(feature = "engine")]
pub mod api;
/// Without the engine, what is left of the HTTP surface: the bodies that clients send.
#[cfg(not(feature = "engine"))]
pub mod api {
    pub mod wire;
}
pub mod chat;
pub mod cli;
pub mod config;
pub mod engine;
pub mod host;
pub mod model;
pub mod server;
pub mod service;
