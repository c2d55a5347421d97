//! Settings: one set of structs, four layers (defaults, TOML file, environment, flags).
//!
//! [`load`] merges the layers and checks the result; it opens the settings file and the
//! environment file it is given and nothing else: no device, no model, no secret.

mod assignment;
mod catalogue;
mod env_file;
mod environment;
mod error;
mod example;
mod file;
mod flags;
mod interpolation;
mod layers;
mod loaded;
mod names;
mod nearest;
mod origin;
mod reference;
mod schema;
mod settings;
mod syntax;
mod unsupported;
mod validate;

pub use error::{ConfigError, ErrorKind};
pub use example::example;
pub use flags::{FlagValue, Translated, arguments, from_matches, translate};
#[cfg(feature = "engine")]
pub(crate) use layers::is_pipe;
pub use layers::{Sources, check_file, check_text, load};
pub use loaded::{Entry, Loaded, Recommendation};
pub use origin::{Origin, Origins};
pub use reference::reference;
pub use schema::schema_json;
pub use settings::*;
#[cfg(feature = "engine")]
pub(crate) use validate::CHATML;
