//! The body of `POST /api/show`.

use serde::Deserialize;

use crate::protocol::body::{BodyError, FromJson, parse};

/// Asks for what is known of a model.
#[derive(Debug, Deserialize)]
pub struct ShowBody {
    model: Option<String>,
    /// What older clients call it.
    name: Option<String>,
}

impl FromJson for ShowBody {
    fn from_json(body: &[u8]) -> Result<Self, BodyError> {
        parse(body)
    }
}

impl ShowBody {
    /// The model asked for.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref().or(self.name.as_deref())
    }
}
