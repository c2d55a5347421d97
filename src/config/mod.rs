//! Settings: one set of structs, four layers (defaults, TOML file, environment, flags).

mod settings;

pub use settings::*;
