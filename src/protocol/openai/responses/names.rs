//! The names of tools: the client's, which stand in namespaces, and those that the model knows.

use std::collections::BTreeMap;

/// How the client names a tool that the model knows by one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ToolName {
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    /// It takes a text instead of arguments.
    pub(super) is_custom: bool,
}

/// The names of all tools of a request.
#[derive(Debug, Clone, Default)]
pub struct ToolNames {
    /// By what the model calls them.
    originals: BTreeMap<String, ToolName>,
    /// By namespace and name.
    shown: BTreeMap<(Option<String>, String), String>,
    /// The first of each name, whatever its namespace.
    first: BTreeMap<String, String>,
}

impl ToolNames {
    /// Adds a tool that the model calls `shown`.
    pub(super) fn add(&mut self, shown: String, original: ToolName) {
        let ToolName { namespace, name, .. } = original.clone();
        self.first.entry(name.clone()).or_insert_with(|| shown.clone());
        self.shown.insert((namespace, name), shown.clone());
        self.originals.insert(shown, original);
    }

    /// Whether the model calls no tool by this name yet.
    pub(super) fn is_free(&self, shown: &str) -> bool {
        !self.originals.contains_key(shown)
    }

    /// Whether the client has a tool of this name already, of whatever kind.
    pub(super) fn has(&self, original: &ToolName) -> bool {
        self.shown.contains_key(&(original.namespace.clone(), original.name.clone()))
    }

    /// What the model calls a tool.
    pub(super) fn shown(&self, namespace: Option<&str>, name: &str) -> String {
        let known = self.shown.get(&(namespace.map(str::to_owned), name.to_owned()));
        let known = known.or_else(|| self.first.get(name).filter(|_| namespace.is_none()));
        // Else it is a tool that is no longer offered.
        known.cloned().unwrap_or_else(|| joined(namespace, name))
    }

    /// What the client calls the tool that the model calls `shown`.
    pub(super) fn original(&self, shown: &str) -> ToolName {
        self.originals.get(shown).cloned().unwrap_or_else(|| ToolName {
            namespace: None,
            name: shown.to_owned(),
            is_custom: false,
        })
    }
}

/// `namespace__name`. Namespaces of MCP servers may end with the line already.
pub(super) fn joined(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        None => name.to_owned(),
        Some(namespace) if namespace.ends_with("__") => format!("{namespace}{name}"),
        Some(namespace) => format!("{namespace}__{name}"),
    }
}
