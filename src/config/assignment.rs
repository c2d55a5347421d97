//! What a layer yields.

use serde_json::Value;

use super::catalogue::Key;
use super::origin::Origin;

/// A value for a key, from one layer.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    pub(crate) key: &'static Key,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}
