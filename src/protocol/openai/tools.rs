//! The tools of a chat request, and which of them the model may call.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::chat::{Tool, ToolChoice, Tools};
use crate::protocol::body::BodyError;

/// Longest part of a name that an error repeats.
const MAX_NAME_CHARS: usize = 80;

/// `tool_choice` as sent.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected \"auto\", \"none\", \"required\" or an object")]
pub(in crate::protocol) enum ToolChoiceField {
    Mode(String),
    Object(Map<String, Value>),
}

/// The fields about tools as sent.
#[derive(Debug, Default)]
pub(in crate::protocol) struct ToolFields {
    pub(in crate::protocol) tools: Option<Vec<Value>>,
    pub(in crate::protocol) tool_choice: Option<ToolChoiceField>,
    pub(in crate::protocol) parallel_tool_calls: Option<bool>,
    /// OpenAI's old form of `tools`.
    pub(in crate::protocol) functions: Option<Vec<Value>>,
    /// OpenAI's old form of `tool_choice`.
    pub(in crate::protocol) function_call: Option<ToolChoiceField>,
}

/// Tools, checked.
#[derive(Debug, Default)]
pub(in crate::protocol) struct CheckedTools {
    /// Their definitions, which the template shows.
    pub(in crate::protocol) definitions: Vec<Value>,
    pub(in crate::protocol) tools: Tools,
    /// The request has `functions`, so the answer has `function_call`.
    pub(in crate::protocol) legacy: bool,
}

impl ToolFields {
    /// Checks the fields. Under `none` all tools are left out.
    pub(in crate::protocol) fn check(self) -> Result<CheckedTools, BodyError> {
        let given = |list: &Option<Vec<Value>>| list.as_ref().is_some_and(|l| !l.is_empty());
        let legacy = !given(&self.tools) && given(&self.functions);
        let (param, choice_param, list, choice) = if legacy {
            ("functions", "function_call", self.functions, self.function_call)
        } else {
            ("tools", "tool_choice", self.tools, self.tool_choice)
        };
        let mut definitions = Vec::new();
        let mut tools = Tools {
            single: legacy || self.parallel_tool_calls == Some(false),
            ..Default::default()
        };
        for (i, sent) in list.unwrap_or_default().into_iter().enumerate() {
            let (definition, tool) = tool(sent, legacy, || format!("{param}[{i}]"))?;
            // The first of a name counts: the model cannot tell them apart.
            if tools.offered.iter().all(|known| known.name != tool.name) {
                definitions.push(definition);
                tools.offered.push(tool);
            }
        }
        if let Some(choice) = choice {
            choice.check(choice_param, &mut tools)?;
        }
        if tools.choice == ToolChoice::None {
            definitions.clear();
            tools.offered.clear();
        }
        Ok(CheckedTools { definitions, tools, legacy })
    }
}

/// A tool's definition in the form that templates know, and what the server needs of it.
pub(super) fn tool(
    sent: Value,
    legacy: bool,
    path: impl Fn() -> String,
) -> Result<(Value, Tool), BodyError> {
    let Value::Object(sent) = sent else {
        return Err(BodyError::wrong_type(path(), format!("`{}` must be an object", path())));
    };
    if !legacy {
        match sent.get("type") {
            None => {}
            Some(Value::String(kind)) if kind == "function" => {}
            Some(Value::String(kind)) => {
                let path = format!("{}.type", path());
                let kind: String = kind.chars().take(MAX_NAME_CHARS).collect();
                let message = format!(
                    "`{path}`: this server has no tools of type `{kind}`; only a \"function\" can be \
                     called"
                );
                return Err(BodyError::unsupported(path, message));
            }
            Some(_) => {
                let path = format!("{}.type", path());
                return Err(BodyError::wrong_type(&path, format!("`{path}` must be a string")));
            }
        }
    }
    let (function, path) = match sent.get("function") {
        Some(Value::Object(function)) if !legacy => (function, format!("{}.function", path())),
        Some(_) if !legacy => {
            let path = format!("{}.function", path());
            return Err(BodyError::wrong_type(&path, format!("`{path}` must be an object")));
        }
        // The function's fields beside the type, as in OpenAI's other API.
        _ => (&sent, path()),
    };
    let name = match function.get("name") {
        Some(Value::String(name)) if !name.trim().is_empty() => name.clone(),
        None | Some(Value::Null) => return Err(BodyError::missing(format!("{path}.name"))),
        Some(_) => {
            let path = format!("{path}.name");
            return Err(BodyError::wrong_type(&path, format!("`{path}` must be a name")));
        }
    };
    // Some clients leave the schema out, or send `null`, for a function without parameters.
    let sent_as = |field| function.get(field).map(|schema| (field, schema));
    let (schema_field, schema) = sent_as("parameters")
        .or_else(|| sent_as("input_schema"))
        .map_or(("parameters", None), |(field, schema)| (field, Some(schema)));
    let parameters = match schema {
        Some(schema @ Value::Object(_)) => schema.clone(),
        None | Some(Value::Null | Value::Bool(_)) => json!({"type": "object", "properties": {}}),
        Some(_) => {
            let path = format!("{path}.{schema_field}");
            let message = format!("`{path}` must be a JSON schema, an object");
            return Err(BodyError::wrong_type(&path, message));
        }
    };
    let strict = function.get("strict") == Some(&Value::Bool(true));
    let mut shown = function.clone();
    for key in ["type", "input_schema"] {
        shown.shift_remove(key);
    }
    shown.insert("parameters".to_owned(), parameters.clone());
    let definition = json!({"type": "function", "function": shown});
    Ok((definition, Tool { name, parameters, strict, path, schema_field }))
}

impl ToolChoiceField {
    fn check(self, param: &str, tools: &mut Tools) -> Result<(), BodyError> {
        let object = match self {
            Self::Mode(mode) => {
                tools.choice = choice(&mode, param)?;
                if tools.choice == ToolChoice::Required && tools.offered.is_empty() {
                    let message = format!("`{param}` is \"{mode}\", but there are no tools");
                    return Err(BodyError::value(param, message));
                }
                return Ok(());
            }
            Self::Object(object) => object,
        };
        if object.get("type").and_then(Value::as_str) == Some("allowed_tools") {
            // OpenAI's chat API nests it, the other one does not.
            let list = object.get("allowed_tools").and_then(Value::as_object).unwrap_or(&object);
            let mode = list.get("mode").and_then(Value::as_str).unwrap_or("auto");
            tools.choice = choice(mode, &format!("{param}.allowed_tools.mode"))?;
            let path = format!("{param}.allowed_tools.tools");
            let Some(Value::Array(named)) = list.get("tools") else {
                return Err(BodyError::missing(path));
            };
            let mut allowed = Vec::new();
            for (i, named) in named.iter().enumerate() {
                let name = named.as_object().and_then(name_in).unwrap_or_default();
                allowed.push(offered(tools, name, &format!("{path}[{i}]"))?);
            }
            if allowed.is_empty() && tools.choice == ToolChoice::Required {
                let message = format!("`{path}` is empty, so no tool could be called");
                return Err(BodyError::value(path, message));
            }
            tools.allowed = Some(allowed);
            return Ok(());
        }
        let Some(name) = name_in(&object) else {
            let message = format!(
                "`{param}` must be \"auto\", \"none\", \"required\" or name a function: \
                 {{\"type\":\"function\",\"function\":{{\"name\":...}}}}"
            );
            return Err(BodyError::value(param, message));
        };
        tools.allowed = Some(vec![offered(tools, name, param)?]);
        tools.choice = ToolChoice::Required;
        Ok(())
    }
}

pub(super) fn choice(mode: &str, param: &str) -> Result<ToolChoice, BodyError> {
    match mode {
        "none" => Ok(ToolChoice::None),
        "auto" => Ok(ToolChoice::Auto),
        // Anthropic's word, which some clients send here.
        "required" | "any" => Ok(ToolChoice::Required),
        _ => Err(BodyError::value(
            param,
            format!("`{param}` must be \"auto\", \"none\", \"required\" or an object"),
        )),
    }
}

/// The name in `{"function": {"name"}}` or `{"name"}`.
fn name_in(object: &Map<String, Value>) -> Option<&str> {
    let function = object.get("function").and_then(Value::as_object).unwrap_or(object);
    function.get("name").and_then(Value::as_str)
}

fn offered(tools: &Tools, name: &str, param: &str) -> Result<usize, BodyError> {
    tools.offered.iter().position(|tool| tool.name == name).ok_or_else(|| {
        let name: String = name.chars().take(MAX_NAME_CHARS).collect();
        BodyError::value(
            param,
            format!("`{param}` names `{name}`, which is no tool of the request"),
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check(json: Value) -> Result<CheckedTools, BodyError> {
        let list = |key: &str| serde_json::from_value(json.get(key)?.clone()).ok();
        let choice = |key: &str| serde_json::from_value(json.get(key)?.clone()).ok();
        ToolFields {
            tools: list("tools"),
            tool_choice: choice("tool_choice"),
            parallel_tool_calls: json.get("parallel_tool_calls").and_then(Value::as_bool),
            functions: list("functions"),
            function_call: choice("function_call"),
        }
        .check()
    }

    fn function(name: &str) -> Value {
        json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}})
    }

    #[test]
    fn a_tool_is_a_name_and_a_schema_and_is_shown_as_sent() {
        let sent = json!({"type": "function", "function": {
            "name": "f", "description": "D", "parameters": {"type": "object", "properties": {}},
            "strict": true}});
        let checked = check(json!({"tools": [sent]})).unwrap();
        assert_eq!(checked.definitions, [sent]);
        assert_eq!(checked.tools.offered[0].name, "f");
        assert!(checked.tools.offered[0].strict && !checked.tools.single && !checked.legacy);
        assert_eq!(checked.tools.choice, ToolChoice::Auto);
    }

    #[test]
    fn a_tool_without_a_schema_takes_no_arguments() {
        for sent in [
            json!({"type": "function", "function": {"name": "f"}}),
            json!({"type": "function", "function": {"name": "f", "parameters": null}}),
            json!({"type": "function", "name": "f"}),
            json!({"function": {"name": "f", "parameters": true}}),
        ] {
            let checked = check(json!({"tools": [sent]})).unwrap();
            assert_eq!(
                checked.tools.offered[0].parameters,
                json!({"type": "object", "properties": {}})
            );
            assert_eq!(checked.definitions[0]["function"]["name"], "f");
        }
    }

    #[test]
    fn a_schema_that_is_no_object_is_refused() {
        for schema in [json!("{\"type\": \"object\"}"), json!(5), json!([])] {
            let sent = json!({"type": "function", "function": {"name": "f", "parameters": schema}});
            let error = check(json!({"tools": [sent]})).unwrap_err();
            assert!(error.to_string().contains("tools[0].function.parameters"), "{error}");
        }
    }

    #[test]
    fn types_that_only_other_servers_run_are_refused() {
        for sent in [
            json!({"type": "web_search"}),
            json!({"type": "namespace", "name": "n", "tools": []}),
            json!({"type": "custom", "name": "apply_patch"}),
        ] {
            let error = check(json!({"tools": [function("f"), sent]})).unwrap_err();
            assert_eq!(error.param.as_deref(), Some("tools[1].type"));
            assert_eq!(error.code, "unsupported_value");
            assert!(error.message.contains(sent["type"].as_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn a_schema_is_named_by_the_field_that_holds_it() {
        let named = |field: &str| {
            let sent = json!({"type": "function", "function": {"name": "f", field: {}}});
            check(json!({"tools": [sent]})).unwrap().tools.offered[0].schema_path()
        };
        assert_eq!(named("parameters"), "tools[0].function.parameters");
        assert_eq!(named("input_schema"), "tools[0].function.input_schema");
    }

    #[test]
    fn wrong_tools_name_the_path_of_the_fault() {
        for (tools, param) in [
            (json!([5]), "tools[0]"),
            (json!([function("f"), {"type": 5}]), "tools[1].type"),
            (json!([{"type": "function"}]), "tools[0].name"),
            (json!([{"type": "function", "function": []}]), "tools[0].function"),
            (json!([{"type": "function", "function": {}}]), "tools[0].function.name"),
            (json!([{"type": "function", "function": {"name": 5}}]), "tools[0].function.name"),
        ] {
            let error = check(json!({"tools": tools})).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param));
        }
    }

    #[test]
    fn the_choice_is_a_word_a_name_or_a_list() {
        let tools = json!([function("f"), function("g"), function("h")]);
        let choose = |choice: Value| check(json!({"tools": tools, "tool_choice": choice}));
        let chosen = |choice: Value| {
            let tools = choose(choice).unwrap().tools;
            let names: Vec<String> = tools.callable().map(|tool| tool.name.clone()).collect();
            (tools.choice, names.join(" "))
        };
        use ToolChoice::{Auto, None, Required};
        assert_eq!(chosen(json!("auto")), (Auto, "f g h".to_owned()));
        assert_eq!(chosen(json!("none")), (None, String::new()));
        assert_eq!(chosen(json!("required")), (Required, "f g h".to_owned()));
        let named = json!({"type": "function", "function": {"name": "g"}});
        assert_eq!(chosen(named), (Required, "g".to_owned()));
        assert_eq!(chosen(json!({"type": "function", "name": "h"})), (Required, "h".to_owned()));
        let list = json!([{"type": "function", "function": {"name": "f"}}, {"name": "h"}]);
        let nested = json!({"type": "allowed_tools",
            "allowed_tools": {"mode": "required", "tools": list}});
        assert_eq!(chosen(nested), (Required, "f h".to_owned()));
        let flat = json!({"type": "allowed_tools", "mode": "auto", "tools": list});
        assert_eq!(chosen(flat), (Auto, "f h".to_owned()));
        for wrong in [
            json!("some"),
            json!({"type": "function"}),
            json!({"type": "function", "function": {"name": "x"}}),
            json!({"type": "allowed_tools", "mode": "auto", "tools": [{"name": "x"}]}),
            json!({"type": "allowed_tools", "mode": "required", "tools": []}),
        ] {
            let error = choose(wrong.clone()).unwrap_err();
            assert!(error.param.unwrap().starts_with("tool_choice"), "{wrong}");
        }
        assert!(check(json!({"tool_choice": "required"})).is_err());
        assert!(check(json!({"tool_choice": "auto"})).unwrap().definitions.is_empty());
    }

    #[test]
    fn functions_are_tools_of_which_one_is_called() {
        let checked = check(json!({
            "functions": [{"name": "f", "parameters": {"type": "object"}}],
            "function_call": {"name": "f"}}))
        .unwrap();
        assert!(checked.legacy && checked.tools.single);
        assert_eq!(checked.tools.choice, ToolChoice::Required);
        assert_eq!(checked.definitions[0]["type"], "function");
    }
}
