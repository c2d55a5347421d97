//! What a request asks of the form of an answer: the tools that the model may call, and the format
//! of its text.

use serde_json::Value;

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The JSON schema of its arguments; an empty object allows any object.
    pub parameters: Value,
    /// The arguments must fit the schema exactly; a schema that cannot be enforced is refused.
    pub strict: bool,
    /// Where the function stands in the request, such as `tools[0].function`: for errors.
    pub path: String,
    /// The field below `path` that holds the schema, such as `parameters`.
    pub schema_field: &'static str,
}

/// Whether the model calls tools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// It never does.
    None,
    /// It decides.
    #[default]
    Auto,
    /// It calls at least one.
    Required,
}

/// The tools of a request and how they may be called.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tools {
    /// All that are offered, in the request's order; the names differ.
    pub offered: Vec<Tool>,
    /// Whether the model calls any.
    pub choice: ToolChoice,
    /// Indices in `offered` of those that it may call, if not all (a named tool, `allowed_tools`).
    pub allowed: Option<Vec<usize>>,
    /// It calls one at most (`parallel_tool_calls: false`).
    pub single: bool,
}

/// The form of the answer's text.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum ResponseFormat {
    /// Any text.
    #[default]
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that fits a schema.
    JsonSchema {
        /// The schema.
        schema: Value,
        /// Where it stands in the request: for errors.
        path: &'static str,
    },
    /// Text of a grammar in llama.cpp's GBNF.
    Grammar(String),
}

impl ResponseFormat {
    /// Where the schema or grammar stands in the request.
    pub fn path(&self) -> &'static str {
        match self {
            Self::JsonSchema { path, .. } => path,
            Self::Grammar(_) => "grammar",
            Self::Text | Self::JsonObject => "response_format",
        }
    }
}

impl Tool {
    /// Where the schema stands in the request, such as `tools[0].function.parameters`: for errors.
    pub fn schema_path(&self) -> String {
        format!("{}.{}", self.path, self.schema_field)
    }
}

impl Tools {
    /// The tools that the model may call.
    pub fn callable(&self) -> impl Iterator<Item = &Tool> {
        let allowed = |i: usize| match &self.allowed {
            _ if self.choice == ToolChoice::None => false,
            None => true,
            Some(allowed) => allowed.contains(&i),
        };
        self.offered.iter().enumerate().filter(move |(i, _)| allowed(*i)).map(|(_, tool)| tool)
    }
}
