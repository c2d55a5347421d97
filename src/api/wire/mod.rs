//! Request bodies as clients send them: serde only, no engine and no HTTP.

pub mod tokens;
