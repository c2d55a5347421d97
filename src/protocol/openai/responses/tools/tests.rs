//! Tools of all kinds, and the choice of them.

use super::*;

fn checked(tools: Value, choice: Value) -> Result<CheckedTools, BodyError> {
    check(tools.as_array().map(Vec::as_slice), Some(&choice), None)
}

fn function(name: &str) -> Value {
    json!({"type": "function", "name": name, "description": "D", "strict": false,
        "parameters": {"type": "object", "properties": {}}})
}

fn all() -> Value {
    json!([
        function("f"),
        {"type": "web_search"},
        {"type": "namespace", "name": "mcp__s__", "description": "N", "tools": [function("f"), function("g")]},
        {"type": "namespace", "name": "mcp__s", "tools": [function("f")]},
        {"type": "custom", "name": "patch", "description": "P"},
    ])
}

#[test]
fn tools_of_namespaces_have_names_of_their_own_that_lead_back() {
    let checked = checked(all(), Value::Null).unwrap();
    let shown: Vec<&str> = checked.tools.offered.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(shown, ["f", "mcp__s__f", "mcp__s__g", "mcp__s__f_2", "patch"]);
    assert_eq!(checked.skipped, ["web_search"]);
    assert_eq!(checked.tools.offered[2].path, "tools[2].tools[1]");
    let names = &checked.names;
    for (namespace, name, shown) in [
        (None, "f", "f"),
        (Some("mcp__s__"), "f", "mcp__s__f"),
        (Some("mcp__s"), "f", "mcp__s__f_2"),
        (None, "g", "mcp__s__g"),
        (None, "gone", "gone"),
        (Some("old"), "gone", "old__gone"),
    ] {
        assert_eq!(names.shown(namespace, name), shown);
    }
    let original = names.original("mcp__s__f_2");
    assert_eq!((original.namespace.as_deref(), original.name.as_str()), (Some("mcp__s"), "f"));
    assert!(names.original("patch").is_custom && !names.original("other").is_custom);
    assert_eq!(
        checked.definitions[0],
        json!({"type": "function", "function": {"name": "f", "description": "D",
            "parameters": {"type": "object", "properties": {}}}})
    );
}

#[test]
fn the_choice_is_a_word_a_tool_or_a_list() {
    use ToolChoice::{Auto, None, Required};
    let chosen = |choice: Value| {
        let tools = checked(all(), choice).unwrap().tools;
        let names: Vec<String> = tools.callable().map(|tool| tool.name.clone()).collect();
        (tools.choice, names.join(" "))
    };
    assert_eq!(chosen(json!("none")), (None, String::new()));
    assert_eq!(chosen(json!("auto")).0, Auto);
    assert_eq!(chosen(json!("required")).0, Required);
    let named = json!({"type": "function", "name": "g"});
    assert_eq!(chosen(named), (Required, "mcp__s__g".to_owned()));
    let within = json!({"type": "function", "name": "f", "namespace": "mcp__s"});
    assert_eq!(chosen(within), (Required, "mcp__s__f_2".to_owned()));
    assert_eq!(chosen(json!({"type": "custom", "name": "patch"})), (Required, "patch".to_owned()));
    let list = json!({"type": "allowed_tools", "mode": "auto", "tools": [
        {"type": "custom", "name": "patch"}, {"type": "web_search"},
        {"type": "namespace", "name": "mcp__s__"}]});
    assert_eq!(chosen(list), (Auto, "mcp__s__f mcp__s__g patch".to_owned()));
    for (wrong, param) in [
        (json!(5), "tool_choice"),
        (json!("some"), "tool_choice"),
        (json!({"type": "web_search"}), "tool_choice.type"),
        (json!({"type": "function"}), "tool_choice.name"),
        (json!({"type": "function", "name": "x"}), "tool_choice"),
        (json!({"type": "allowed_tools"}), "tool_choice.tools"),
        (json!({"type": "allowed_tools", "tools": [{"name": "x"}]}), "tool_choice.tools[0]"),
        (json!({"type": "allowed_tools", "mode": "required", "tools": []}), "tool_choice.tools"),
    ] {
        let error = checked(all(), wrong.clone()).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(param), "{wrong}");
    }
    assert!(check(Option::None, Some(&json!("required")), Option::None).is_err());
}

#[test]
fn a_grammar_is_a_pattern_that_the_model_does_not_see() {
    let tool = json!({"type": "custom", "name": "n", "format": {
        "type": "grammar", "syntax": "regex", "definition": "[0-9]+"}});
    let checked = checked(json!([tool]), Value::Null).unwrap();
    let parameters = &checked.tools.offered[0].parameters;
    assert_eq!(parameters["properties"]["input"]["pattern"], "^(?:[0-9]+)$");
    let shown = &checked.definitions[0]["function"];
    assert_eq!(shown["parameters"]["properties"]["input"], json!({"type": "string"}));
    assert!(shown["description"].as_str().unwrap().ends_with("regular expression:\n[0-9]+"));
}

#[test]
fn wrong_tools_name_the_path_of_the_fault() {
    let grammar = |syntax: &str, definition: &str| {
        json!({"type": "custom", "name": "n", "format": {
            "type": "grammar", "syntax": syntax, "definition": definition}})
    };
    for (tool, param) in [
        (json!(5), "tools[0]"),
        (json!({"type": 5}), "tools[0].type"),
        (json!({"type": "function"}), "tools[0].name"),
        (json!({"type": "namespace", "name": "n"}), "tools[0].tools"),
        (json!({"type": "namespace", "tools": []}), "tools[0].name"),
        (json!({"type": "namespace", "name": "n", "tools": [{}]}), "tools[0].tools[0].name"),
        (json!({"type": "custom"}), "tools[0].name"),
        (json!({"type": "custom", "name": "n", "format": 5}), "tools[0].format"),
        (json!({"type": "custom", "name": "n", "format": {}}), "tools[0].format.type"),
        (grammar("ebnf", "x"), "tools[0].format.syntax"),
        (grammar("regex", "("), "tools[0].format.definition"),
        (grammar("lark", "start: start"), "tools[0].format.definition"),
    ] {
        let error = checked(json!([tool]), Value::Null).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(param), "{tool}");
    }
}
