//! Model files: GGUF facts, split files, memory plan. No llama.cpp.

pub mod builtin;
