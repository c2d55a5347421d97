//! The whole HTTP surface while the model loads, without a model. Answers of a loaded one are tested
//! on the binary.

#![allow(clippy::unwrap_used)]

mod access;
mod connections;
mod harness;
mod loading;
mod ollama;
mod routes;
