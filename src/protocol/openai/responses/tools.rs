//! The tools of a request: functions, custom tools and namespaces, all as functions for the model.

use serde_json::{Map, Value, json};

use super::items::{short, wrong_type};
use super::names::{ToolName, ToolNames, joined};
use super::{custom_input, grammar};
use crate::chat::{Tool, ToolChoice, Tools};
use crate::protocol::body::BodyError;
use crate::protocol::openai::tools::{choice, tool as function};

/// Tools, checked.
#[derive(Debug, Default)]
pub(super) struct CheckedTools {
    /// Their definitions, which the template shows.
    pub(super) definitions: Vec<Value>,
    pub(super) tools: Tools,
    pub(super) names: ToolNames,
    /// Types of tools that are left out, as only other servers run them.
    pub(super) skipped: Vec<String>,
}

/// Checks the fields about tools.
pub(super) fn check(
    list: Option<&[Value]>,
    tool_choice: Option<&Value>,
    parallel: Option<bool>,
) -> Result<CheckedTools, BodyError> {
    let mut checked = CheckedTools {
        tools: Tools { single: parallel == Some(false), ..Tools::default() },
        ..CheckedTools::default()
    };
    for (i, tool) in list.unwrap_or_default().iter().enumerate() {
        let path = format!("tools[{i}]");
        let Value::Object(fields) = tool else { return Err(wrong_type(&path, "an object")) };
        if kind(fields, &path)? == Some("namespace") {
            checked.namespace(fields, &path)?;
        } else {
            checked.tool(fields, None, &path)?;
        }
    }
    if let Some(chosen) = tool_choice.filter(|chosen| !chosen.is_null()) {
        checked.choose(chosen)?;
    }
    if checked.tools.choice == ToolChoice::None {
        checked.definitions.clear();
        checked.tools.offered.clear();
    }
    Ok(checked)
}

fn kind<'a>(fields: &'a Map<String, Value>, path: &str) -> Result<Option<&'a str>, BodyError> {
    match fields.get("type").filter(|kind| !kind.is_null()) {
        None => Ok(None),
        Some(Value::String(kind)) => Ok(Some(kind)),
        Some(_) => Err(wrong_type(&format!("{path}.type"), "a string")),
    }
}

fn name<'a>(fields: &'a Map<String, Value>, path: &str) -> Result<&'a str, BodyError> {
    match fields.get("name") {
        Some(Value::String(name)) if !name.trim().is_empty() => Ok(name),
        None | Some(Value::Null) => Err(BodyError::missing(format!("{path}.name"))),
        Some(_) => Err(wrong_type(&format!("{path}.name"), "a name")),
    }
}

impl CheckedTools {
    /// Adds the tools of a namespace. Its description, which says little beyond theirs, is not shown.
    fn namespace(&mut self, fields: &Map<String, Value>, path: &str) -> Result<(), BodyError> {
        let namespace = name(fields, path)?;
        let list = match fields.get("tools") {
            Some(Value::Array(list)) => list,
            None | Some(Value::Null) => return Err(BodyError::missing(format!("{path}.tools"))),
            Some(_) => return Err(wrong_type(&format!("{path}.tools"), "an array")),
        };
        for (i, tool) in list.iter().enumerate() {
            let path = format!("{path}.tools[{i}]");
            let Value::Object(fields) = tool else { return Err(wrong_type(&path, "an object")) };
            self.tool(fields, Some(namespace), &path)?;
        }
        Ok(())
    }

    fn tool(
        &mut self,
        fields: &Map<String, Value>,
        namespace: Option<&str>,
        path: &str,
    ) -> Result<(), BodyError> {
        let is_custom = match kind(fields, path)? {
            None | Some("function") => false,
            Some("custom") => true,
            Some(kind) => {
                self.skipped.push(short(kind));
                return Ok(());
            }
        };
        let (mut definition, mut tool) = match is_custom {
            true => custom(fields, path)?,
            false => function(Value::Object(fields.clone()), false, || path.to_owned())?,
        };
        let original = ToolName {
            namespace: namespace.map(str::to_owned),
            name: tool.name.clone(),
            is_custom,
        };
        // The first of a name counts: the client cannot tell them apart.
        if self.names.has(&original) {
            return Ok(());
        }
        let wanted = joined(namespace, &tool.name);
        let is_free = |name: &String| self.names.is_free(name);
        let mut numbered = (2..).map(|n: usize| format!("{wanted}_{n}"));
        let shown = Some(wanted.clone()).filter(is_free).or_else(|| numbered.find(is_free));
        tool.name = shown.unwrap_or(wanted);
        if let Some(shown) = definition["function"].as_object_mut() {
            shown.insert("name".to_owned(), tool.name.clone().into());
            // Whether it is strict or loaded later is no business of the model.
            shown.retain(|key, value| match key.as_str() {
                "strict" => *value == Value::Bool(true),
                "defer_loading" | "allowed_callers" => false,
                _ => true,
            });
        }
        self.names.add(tool.name.clone(), original);
        self.definitions.push(definition);
        self.tools.offered.push(tool);
        Ok(())
    }

    fn choose(&mut self, chosen: &Value) -> Result<(), BodyError> {
        const PARAM: &str = "tool_choice";
        let fields = match chosen {
            Value::String(mode) => {
                self.tools.choice = choice(mode, PARAM)?;
                if self.tools.choice == ToolChoice::Required && self.tools.offered.is_empty() {
                    let message = "`tool_choice` is \"required\", but there are no tools";
                    return Err(BodyError::value(PARAM, message));
                }
                return Ok(());
            }
            Value::Object(fields) => fields,
            _ => return Err(wrong_type(PARAM, "\"auto\", \"none\", \"required\" or an object")),
        };
        if kind(fields, PARAM)? != Some("allowed_tools") {
            self.tools.allowed = Some(self.offered(fields, PARAM)?);
            self.tools.choice = ToolChoice::Required;
            return Ok(());
        }
        let path = format!("{PARAM}.tools");
        let mode = match fields.get("mode") {
            None | Some(Value::Null) => "auto",
            Some(Value::String(mode)) => mode,
            Some(_) => return Err(wrong_type("tool_choice.mode", "a string")),
        };
        self.tools.choice = choice(mode, "tool_choice.mode")?;
        let Some(Value::Array(list)) = fields.get("tools") else {
            return Err(BodyError::missing(path));
        };
        let mut allowed = Vec::new();
        for (i, named) in list.iter().enumerate() {
            let path = format!("{path}[{i}]");
            let Value::Object(fields) = named else { return Err(wrong_type(&path, "an object")) };
            // Those that are left out of the tools are here too.
            let known =
                matches!(kind(fields, &path)?, None | Some("function" | "custom" | "namespace"));
            if known {
                allowed.extend(self.offered(fields, &path)?);
            }
        }
        if allowed.is_empty() && self.tools.choice == ToolChoice::Required {
            let message = format!("`{path}` has no tool that could be called");
            return Err(BodyError::value(path, message));
        }
        self.tools.allowed = Some(allowed);
        Ok(())
    }

    /// The indices of the offered tools that `{"type", "name", "namespace"}` names.
    fn offered(&self, fields: &Map<String, Value>, path: &str) -> Result<Vec<usize>, BodyError> {
        let kind = kind(fields, path)?;
        if !matches!(kind, None | Some("function" | "custom" | "namespace")) {
            let kind = short(kind.unwrap_or_default());
            let message = format!("`{path}`: there are no tools of type `{kind}` here");
            return Err(BodyError::unsupported(format!("{path}.type"), message));
        }
        let wanted = name(fields, path)?;
        let within = fields.get("namespace").and_then(Value::as_str);
        let is_meant = |tool: &Tool| {
            let known = self.names.original(&tool.name);
            let namespace = known.namespace.as_deref();
            match kind {
                Some("namespace") => namespace == Some(wanted),
                _ => known.name == wanted && within.is_none_or(|within| namespace == Some(within)),
            }
        };
        let tools = self.tools.offered.iter().enumerate();
        let found: Vec<usize> = tools.filter(|(_, tool)| is_meant(tool)).map(|(i, _)| i).collect();
        if found.is_empty() {
            let message =
                format!("`{path}` names `{}`, which is no tool of the request", short(wanted));
            return Err(BodyError::value(path, message));
        }
        Ok(found)
    }
}

/// A custom tool as a function that takes its text.
fn custom(fields: &Map<String, Value>, path: &str) -> Result<(Value, Tool), BodyError> {
    let name = name(fields, path)?.to_owned();
    let mut description = match fields.get("description") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(_) => return Err(wrong_type(&format!("{path}.description"), "a string")),
    };
    // Text in which a tag's `<` may stand, whatever the grammar.
    let mut input = json!({"type": "string", "contentMediaType": "text/plain"});
    if let Some(format) = fields.get("format").filter(|format| !format.is_null()) {
        let path = format!("{path}.format");
        let Value::Object(format) = format else { return Err(wrong_type(&path, "an object")) };
        match kind(format, &path)? {
            None => return Err(BodyError::missing(format!("{path}.type"))),
            Some("text") => {}
            Some("grammar") => {
                let (syntax, definition, pattern) = grammar_of(format, &path)?;
                input["pattern"] = pattern.into();
                description =
                    format!("{description}\n\nThe input fits this {syntax}:\n{definition}");
            }
            Some(_) => {
                let path = format!("{path}.type");
                let message = format!("`{path}` must be \"text\" or \"grammar\"");
                return Err(BodyError::value(path, message));
            }
        }
    }
    let parameters = |input: Value| {
        json!({"type": "object", "properties": {custom_input::PARAMETER: input},
            "required": [custom_input::PARAMETER], "additionalProperties": false})
    };
    let shown = json!({"name": name, "description": description.trim(),
        "parameters": parameters(json!({"type": "string"}))});
    let definition = json!({"type": "function", "function": shown});
    let parameters = parameters(input);
    let path = path.to_owned();
    Ok((definition, Tool { name, parameters, strict: false, path, schema_field: "format" }))
}

/// The grammar's syntax, its text, and the regular expression that it is.
fn grammar_of<'a>(
    format: &'a Map<String, Value>,
    path: &str,
) -> Result<(&'static str, &'a str, String), BodyError> {
    let text = |name: &str| match format.get(name) {
        Some(Value::String(text)) => Ok(text.as_str()),
        None | Some(Value::Null) => Err(BodyError::missing(format!("{path}.{name}"))),
        Some(_) => Err(wrong_type(&format!("{path}.{name}"), "a string")),
    };
    let definition = text("definition")?;
    let (syntax, pattern) = match text("syntax")? {
        "lark" => ("Lark grammar", grammar::of_lark(definition)),
        "regex" => ("regular expression", grammar::of_regex(definition)),
        _ => {
            let path = format!("{path}.syntax");
            let message = format!("`{path}` must be \"lark\" or \"regex\"");
            return Err(BodyError::value(path, message));
        }
    };
    let pattern = pattern.map_err(|why| {
        let path = format!("{path}.definition");
        let message = format!("`{path}` cannot be enforced: {why}");
        BodyError::unsupported(path, message)
    })?;
    Ok((syntax, definition, pattern))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
