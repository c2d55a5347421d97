//! The tools of a request in Anthropic's form, and which of them the model may call.

use serde_json::{Map, Value, json};

use crate::chat::{Tool, ToolChoice, Tools};
use crate::protocol::body::BodyError;

/// Longest part of a name that an error repeats.
const MAX_NAME_CHARS: usize = 80;

/// Tools, checked.
#[derive(Debug, Default)]
pub(super) struct CheckedTools {
    /// Their definitions in OpenAI's form, which the template shows.
    pub(super) definitions: Vec<Value>,
    pub(super) tools: Tools,
    /// Those left out, as `name (type)`: of a type that Anthropic's servers run or that its models
    /// alone know, such as `web_search_20250305`. Clients send them to any server.
    pub(super) skipped: Vec<String>,
}

/// Checks `tools` and `tool_choice`. Of several tools with one name the first counts: the model
/// cannot tell them apart.
pub(super) fn check(
    list: Option<Vec<Value>>,
    choice: Option<Value>,
) -> Result<CheckedTools, BodyError> {
    let mut checked = CheckedTools::default();
    for (i, sent) in list.unwrap_or_default().into_iter().enumerate() {
        checked.add(format!("tools[{i}]"), sent)?;
    }
    match choice {
        None | Some(Value::Null) => {}
        Some(Value::Object(choice)) => checked.choose(&choice)?,
        Some(_) => {
            let message = "`tool_choice` must be an object such as {\"type\": \"auto\"}";
            return Err(BodyError::wrong_type("tool_choice", message));
        }
    }
    Ok(checked)
}

impl CheckedTools {
    fn add(&mut self, path: String, sent: Value) -> Result<(), BodyError> {
        let Value::Object(mut sent) = sent else {
            let message = format!("`{path}` must be an object");
            return Err(BodyError::wrong_type(path, message));
        };
        let kind = text(&path, &sent, "type")?;
        let name = text(&path, &sent, "name")?.filter(|name| !name.trim().is_empty());
        if let Some(kind) = kind.filter(|kind| !matches!(kind.as_str(), "custom" | "function")) {
            let short = |text: &str| text.chars().take(MAX_NAME_CHARS).collect::<String>();
            let name = name.as_deref().map_or_else(|| path.clone(), short);
            self.skipped.push(format!("{name} ({})", short(&kind)));
            return Ok(());
        }
        let name = name.ok_or_else(|| BodyError::missing(format!("{path}.name")))?;
        let description = text(&path, &sent, "description")?;
        let parameters = match sent.shift_remove("input_schema") {
            Some(schema @ Value::Object(_)) => schema,
            None | Some(Value::Null) => json!({"type": "object", "properties": {}}),
            Some(_) => {
                let path = format!("{path}.input_schema");
                let message = format!("`{path}` must be a JSON schema, an object");
                return Err(BodyError::wrong_type(path, message));
            }
        };
        if self.tools.offered.iter().any(|known| known.name == name) {
            return Ok(());
        }
        let mut function = Map::new();
        function.insert("name".to_owned(), name.as_str().into());
        if let Some(description) = description {
            function.insert("description".to_owned(), description.into());
        }
        function.insert("parameters".to_owned(), parameters.clone());
        self.definitions.push(json!({"type": "function", "function": function}));
        let strict = sent.get("strict") == Some(&Value::Bool(true));
        self.tools.offered.push(Tool {
            name,
            parameters,
            strict,
            path,
            schema_field: "input_schema",
        });
        Ok(())
    }

    fn choose(&mut self, choice: &Map<String, Value>) -> Result<(), BodyError> {
        self.tools.single = match choice.get("disable_parallel_tool_use") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(single)) => *single,
            Some(_) => {
                let path = "tool_choice.disable_parallel_tool_use";
                return Err(BodyError::wrong_type(path, format!("`{path}` must be true or false")));
            }
        };
        let kind = text("tool_choice", choice, "type")?;
        match kind.as_deref() {
            Some("auto") => self.tools.choice = ToolChoice::Auto,
            Some("any") if self.tools.offered.is_empty() => {
                let message = "`tool_choice.type` is \"any\", but there are no tools";
                return Err(BodyError::value("tool_choice.type", message));
            }
            Some("any") => self.tools.choice = ToolChoice::Required,
            Some("tool") => {
                let name = text("tool_choice", choice, "name")?
                    .ok_or_else(|| BodyError::missing("tool_choice.name"))?;
                let tool = self.tools.offered.iter().position(|tool| tool.name == name);
                let tool = tool.ok_or_else(|| self.not_offered(&name))?;
                self.tools.choice = ToolChoice::Required;
                self.tools.allowed = Some(vec![tool]);
            }
            Some("none") => {
                self.tools.choice = ToolChoice::None;
                self.tools.offered.clear();
                self.definitions.clear();
            }
            None => return Err(BodyError::missing("tool_choice.type")),
            Some(_) => {
                let message = "`tool_choice.type` must be \"auto\", \"any\", \"tool\" or \"none\"";
                return Err(BodyError::value("tool_choice.type", message));
            }
        }
        Ok(())
    }

    fn not_offered(&self, name: &str) -> BodyError {
        let name: String = name.chars().take(MAX_NAME_CHARS).collect();
        let skipped = self.skipped.iter().find(|tool| tool.starts_with(&format!("{name} (")));
        let message = match skipped {
            Some(tool) => format!("`tool_choice.name` names {tool}, which this server cannot run"),
            None => {
                format!("`tool_choice.name` names `{name}`, which is no tool of the request")
            }
        };
        BodyError::value("tool_choice.name", message)
    }
}

/// A field that is a text or not there.
fn text(path: &str, fields: &Map<String, Value>, name: &str) -> Result<Option<String>, BodyError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => {
            let path = format!("{path}.{name}");
            let message = format!("`{path}` must be a string");
            Err(BodyError::wrong_type(path, message))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn checked(tools: Value, choice: Value) -> Result<CheckedTools, BodyError> {
        check(serde_json::from_value(tools).unwrap(), Some(choice))
    }

    fn tool(name: &str) -> Value {
        json!({"name": name, "description": "D", "input_schema": {"type": "object"},
            "cache_control": {"type": "ephemeral"}})
    }

    #[test]
    fn a_tool_is_shown_in_openais_form() {
        let mut sent = tool("f");
        (sent["type"], sent["strict"]) = (json!("custom"), json!(true));
        let checked = checked(json!([sent, tool("f"), {"name": "g"}]), Value::Null).unwrap();
        let function = |name: &str| {
            json!({"name": name, "description": "D", "parameters":
            {"type": "object"}})
        };
        assert_eq!(checked.definitions[0], json!({"type": "function", "function": function("f")}));
        let offered = &checked.tools.offered;
        assert_eq!((offered.len(), offered[0].strict, offered[1].strict), (2, true, false));
        assert_eq!(offered[1].parameters, json!({"type": "object", "properties": {}}));
        assert_eq!(offered[1].path, "tools[2]");
        assert_eq!(offered[1].schema_path(), "tools[2].input_schema");
        assert!(checked.skipped.is_empty());
    }

    #[test]
    fn tools_that_other_servers_run_are_left_out_and_named() {
        let search = json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 8});
        let tools = json!([search, tool("f"), {"type": "bash_20250124"}]);
        let all = checked(tools.clone(), json!({"type": "auto"})).unwrap();
        assert_eq!(all.tools.offered.len(), 1);
        let skipped = ["web_search (web_search_20250305)", "tools[2] (bash_20250124)"];
        assert_eq!(all.skipped, skipped);
        let error = checked(tools, json!({"type": "tool", "name": "web_search"})).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("tool_choice.name"));
        assert!(error.message.contains("web_search_20250305"), "{error}");
    }

    #[test]
    fn the_choice_is_auto_any_a_tool_or_none() {
        let choose = |choice: Value| checked(json!([tool("f"), tool("g")]), choice);
        let chosen = |choice: Value| {
            let tools = choose(choice).unwrap().tools;
            let names: Vec<String> = tools.callable().map(|tool| tool.name.clone()).collect();
            (tools.choice, names.join(" "), tools.single)
        };
        use ToolChoice::{Auto, None, Required};
        let both = || "f g".to_owned();
        assert_eq!(chosen(json!({"type": "auto"})), (Auto, both(), false));
        let single = json!({"type": "any", "disable_parallel_tool_use": true});
        assert_eq!(chosen(single), (Required, both(), true));
        let named = json!({"type": "tool", "name": "g"});
        assert_eq!(chosen(named), (Required, "g".to_owned(), false));
        assert_eq!(chosen(json!({"type": "none"})), (None, String::new(), false));
        assert!(choose(json!({"type": "none"})).unwrap().definitions.is_empty());
        for (choice, param) in [
            (json!("auto"), "tool_choice"),
            (json!({}), "tool_choice.type"),
            (json!({"type": "required"}), "tool_choice.type"),
            (json!({"type": "tool"}), "tool_choice.name"),
            (json!({"type": "tool", "name": "x"}), "tool_choice.name"),
            (
                json!({"type": "auto", "disable_parallel_tool_use": 1}),
                "tool_choice.disable_parallel_tool_use",
            ),
        ] {
            assert_eq!(choose(choice.clone()).unwrap_err().param.as_deref(), Some(param));
        }
        let error = checked(json!([]), json!({"type": "any"})).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("tool_choice.type"));
    }

    #[test]
    fn wrong_tools_name_the_path_of_the_fault() {
        for (tools, param) in [
            (json!([5]), "tools[0]"),
            (json!([tool("f"), {"type": 5}]), "tools[1].type"),
            (json!([{}]), "tools[0].name"),
            (json!([{"name": " "}]), "tools[0].name"),
            (json!([{"name": "f", "description": []}]), "tools[0].description"),
            (json!([{"name": "f", "input_schema": "{}"}]), "tools[0].input_schema"),
        ] {
            let error = checked(tools, Value::Null).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param));
        }
    }
}
