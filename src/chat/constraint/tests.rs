//! The grammars under the engine that compiles them: random choices must give valid calls.

mod compile;
mod engine;
