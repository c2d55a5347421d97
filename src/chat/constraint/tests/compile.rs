use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::engine::{Engine, Tags};
use crate::chat::constraint::plan;
use crate::chat::output::{FORMATS, Format, Opening};
use crate::chat::tools::{ResponseFormat, Tool, ToolChoice, Tools};

pub(super) fn tool(name: &str, parameters: Value) -> Tool {
    Tool {
        name: name.to_owned(),
        parameters,
        strict: false,
        path: "tools[0].function".to_owned(),
        schema_field: "parameters",
    }
}

pub(super) fn tools() -> Vec<Tool> {
    vec![
        tool(
            "get_weather",
            json!({"type": "object", "properties": {
                "city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 14},
                "units": {"type": "string", "enum": ["celsius", "fahrenheit"]}, "detailed": {"type": "boolean"}},
                "required": ["city", "units"]}),
        ),
        tool(
            "edit_file",
            json!({"type": "object", "properties": {
                "path": {"type": "string", "minLength": 1, "maxLength": 200}, "old": {"type": "string"},
                "new": {"type": "string"}, "mode": {"type": "string", "pattern": "^0[0-7]{3}$"},
                "note": {"type": ["string", "null"]}},
                "required": ["path", "old", "new"]}),
        ),
        tool(
            "plan",
            json!({"type": "object", "properties": {
                "todos": {"type": "array", "minItems": 1, "maxItems": 20, "items": {"$ref": "#/$defs/todo"}},
                "level": {"type": "number", "exclusiveMinimum": 0}},
                "required": ["todos"],
                "$defs": {"todo": {"type": "object", "properties": {"text": {"type": "string"},
                    "state": {"enum": ["open", "done"]}, "parts": {"type": "array", "items": {"$ref": "#/$defs/todo"}}},
                    "required": ["text", "state"], "additionalProperties": false}}}),
        ),
        tool("ping", json!({"properties": {}, "type": "object"})),
    ]
}

pub(super) fn format(id: &str) -> &'static Format {
    FORMATS.iter().find(|f| f.id == id).unwrap()
}

pub(super) fn grammar(
    engine: &Engine,
    format: Option<&'static Format>,
    tools: &Tools,
    response: &ResponseFormat,
    opening: Opening,
) -> String {
    let special = |tag: &str| engine.special(tag);
    plan(format, tools, response, opening, &special).unwrap().unwrap().grammar(&BTreeSet::new())
}

#[test]
fn every_format_compiles_in_every_way() {
    for tags in [Tags::Text, Tags::Control] {
        let engine = Engine::new(tags);
        for format in FORMATS.iter().map(Some).chain([None]) {
            for choice in [ToolChoice::Auto, ToolChoice::Required] {
                for single in [false, true] {
                    for opening in [Opening::Text, Opening::Thinking] {
                        for response in [
                            ResponseFormat::Text,
                            ResponseFormat::JsonSchema {
                                schema: json!({"type": "integer"}),
                                path: "response_format.json_schema.schema",
                            },
                        ] {
                            let tools = Tools { offered: tools(), choice, allowed: None, single };
                            let special = |tag: &str| engine.special(tag);
                            let Some(plan) =
                                plan(format, &tools, &response, opening, &special).unwrap()
                            else {
                                continue;
                            };
                            let all: BTreeSet<usize> = plan.tools().collect();
                            for loosened in [&BTreeSet::new(), &all] {
                                let grammar = plan.grammar(loosened);
                                if let Err(error) = engine.matcher(&grammar) {
                                    panic!(
                                        "{tags:?} {:?} {choice:?} {single}: {error}\n{grammar}",
                                        format.map(|f| f.id)
                                    );
                                }
                            }
                            for i in plan.tools() {
                                engine.matcher(&plan.tool_grammar(i).unwrap()).unwrap();
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn under_auto_what_models_say_is_taken() {
    for tags in [Tags::Spelled, Tags::Text] {
        let engine = Engine::new(tags);
        for (id, opening, text) in [
            ("hermes", Opening::Text, "Hello."),
            ("hermes", Opening::Text, ""),
            ("hermes", Opening::Text, "The tag `<tool_call>` opens a call."),
            (
                "hermes",
                Opening::Text,
                "A.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"P\", \"units\": \"celsius\"}}\n</tool_call>\nB",
            ),
            (
                "hermes",
                Opening::Text,
                "<tool_call>{\"name\":\"get_weather\",\"parameters\":{\"city\":\"P\",\"units\":\"celsius\"}}</tool_call><tool_call>{\"name\":\"ping\"}</tool_call>",
            ),
            (
                "hermes",
                Opening::Text,
                "<think>\nhm <tool_call>{\n</think>\n\n<tool_call>\n\n  { \"name\" : \"ping\" ,\n \"arguments\" : { } }  \n\n</tool_call>",
            ),
            ("hermes", Opening::Thinking, "hm\n</think>\n\nYes."),
            (
                "hermes",
                Opening::Text,
                "<tool_call>{\"name\": \"edit_file\", \"arguments\": {\"path\": \"a\\u00e9\", \"old\": \"\\ud83e\\udd80\", \"new\": \"\"}}</tool_call>",
            ),
            ("qwen-xml", Opening::Text, "Write <function=main> in your file."),
            (
                "qwen-xml",
                Opening::Text,
                "I look around.\n\n<function=ping>\n</function>\n</tool_call>",
            ),
            (
                "qwen-xml",
                Opening::Text,
                "A\n<tool_call>\n<function=ping>\n</function>\n</tool_call>\n<tool_call>\n<function=get_weather>\n<parameter=units>\ncelsius\n</parameter>\n<parameter=city>\n  <b>\n\n</parameter>\n<parameter=detailed>\nTrue\n</parameter>\n</function>\n</tool_call>\nB",
            ),
            (
                "qwen-xml",
                Opening::Text,
                "<tool_call>\n<function=edit_file>\n<parameter=path>\na\n</parameter>\n<parameter=old>\nEND = \"</parameter>\"\n</parameter>\n<parameter=new>\n</parameter>\n<parameter=note>\nnull\n</parameter>\n</function>\n</tool_call>",
            ),
            (
                "qwen-xml",
                Opening::Text,
                "<tool_call>\n<function=plan>\n<parameter=todos>\n[{\"text\": \"</parameter>\\n</function>\", \"state\": \"open\"}]\n</parameter>\n</function>\n</tool_call>",
            ),
            (
                "qwen-xml",
                Opening::Text,
                "<tool_call>\n<function=get_weather>\n<parameter=city>Paris</parameter><parameter=units>celsius</parameter></function></tool_call>",
            ),
            (
                "glm",
                Opening::Text,
                "<think>Paris it is.</think>\nLooking.\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n<arg_key>units</arg_key>\n<arg_value>celsius</arg_value>\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
            ),
            (
                "minimax",
                Opening::Text,
                "Ok.\n<minimax:tool_call>\n<invoke name=\"get_weather\">\n<parameter name=\"city\">Paris</parameter>\n<parameter name=\"units\">celsius</parameter>\n</invoke>\n<invoke name=\"ping\">\n</invoke>\n</minimax:tool_call>",
            ),
            (
                "kimi",
                Opening::Text,
                "<think>hm</think>Ok.<|tool_calls_section_begin|><|tool_call_begin|>functions.ping:0<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
            ),
            (
                "deepseek31",
                Opening::Thinking,
                "hm</think>Ok.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>ping<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            ),
            (
                "harmony",
                Opening::Text,
                "<|channel|>analysis<|message|>Hm <b>.<|end|><|start|>assistant<|channel|>final<|message|>Write to=functions.x.",
            ),
            (
                "harmony",
                Opening::Text,
                "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{\"city\": \"P\", \"units\": \"celsius\"}",
            ),
            (
                "harmony",
                Opening::Text,
                " to=functions.ping<|channel|>commentary json<|message|>{}<|start|>assistant to=functions.ping<|channel|>analysis <|constrain|>json<|message|>{}",
            ),
            (
                "harmony",
                Opening::Text,
                "<|channel|>analysis to=browser.search code<|message|>{\"query\": 1}",
            ),
            (
                "harmony",
                Opening::Thinking,
                "Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.ping<|message|>{}",
            ),
            ("harmony", Opening::Text, "the end of an answer that is continued."),
            (
                "mistral-list",
                Opening::Text,
                "Ok. [TOOL_CALLS] [{\"name\": \"ping\", \"arguments\": {}, \"id\": \"aB3\"}, {\"name\": \"get_weather\", \"arguments\": {\"city\": \"P\", \"units\": \"celsius\"}}]",
            ),
            (
                "llama",
                Opening::Text,
                "{\"type\": \"function\", \"name\": \"get_weather\", \"parameters\": {\"city\": \"P\", \"units\": \"celsius\"}}",
            ),
            (
                "llama",
                Opening::Text,
                "A:\n{\"type\": \"object\", \"name\": 1}\n{\"name\": \"Ann\"}\n{\"name\": \"ping\"}; B",
            ),
            ("mistral-list", Opening::Text, "The tag [TOOL_CALLS] opens [1, {}]."),
            ("granite", Opening::Text, "<think>Hm.</think><|tool_call|>[{\"name\": \"ping\"}]"),
            (
                "lfm2",
                Opening::Text,
                "<|tool_call_start|>[get_weather(city='P \\'é\\'', units=\"celsius\", detailed=True), ping()]<|tool_call_end|>Done.",
            ),
            (
                "lfm2",
                Opening::Text,
                "<|tool_call_start|>[plan(todos=[{\"text\": \")\", \"state\": \"open\"}], level=0.5)]<|tool_call_end|>",
            ),
            ("pythonic", Opening::Text, "[a](b) and\n[ping] and\n[1, 2]\n[ping( )\n]"),
            (
                "pythonic",
                Opening::Thinking,
                "Hm.\n[1]\n[get_weather(city = \"P\", units=\"celsius\")]",
            ),
        ] {
            let tools = Tools { offered: tools(), ..Tools::default() };
            let grammar =
                grammar(&engine, Some(format(id)), &tools, &ResponseFormat::Text, opening);
            if let Err(error) = engine.takes(&grammar, text) {
                panic!("{tags:?} {id} {text:?}: {error}\n{grammar}");
            }
        }
    }
}

#[test]
fn under_auto_what_would_be_no_valid_call_is_refused() {
    let engine = Engine::new(Tags::Text);
    for (id, text) in [
        ("hermes", "<tool_call>\n{\"name\": \"other\"}\n</tool_call>"),
        (
            "hermes",
            "A <tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\": 1}}</tool_call>",
        ),
        ("hermes", "A <tool_call>{\"name\": \"get_weather\"}</tool_call>"),
        ("qwen-xml", "<tool_call>\n<function=other>\n</function>\n</tool_call>"),
        ("qwen-xml", "<function=get_weather>\n</function>\n</tool_call>"),
        ("qwen-xml", "<function=ping>\n<parameter=x>\n1\n</parameter>\n</function>"),
        (
            "qwen-xml",
            "<think>\n</think>\n<function=get_weather>\n<parameter=days>\n99\n</parameter>",
        ),
        ("llama", "{\"name\": \"get_weather\", \"parameters\": {\"city\": 1"),
        ("llama", "a\n{\"type\": \"function\", \"name\": \"get_weather\", \"x\""),
        ("mistral-list", "[TOOL_CALLS][{\"name\": \"other\", \"arguments\": {}}]"),
        ("mistral-list", "a [TOOL_CALLS] [{\"name\": \"ping\"}, {\"name\": \"get_weather\"}]"),
        ("granite", "<|tool_call|>[{\"name\": \"plan\", \"arguments\": {}}]"),
        ("lfm2", "<|tool_call_start|>[other()]"),
        ("lfm2", "<|tool_call_start|>[get_weather(units=\"celsius\")]"),
        ("lfm2", "<|tool_call_start|>[get_weather(city=\"P\", units=\"kelvin\")]"),
        ("pythonic", "[get_weather(city=1"),
        ("pythonic", "a\n[ping(), other()]"),
        ("harmony", "<|channel|>commentary to=functions.other<|message|>{}"),
        ("harmony", "<|channel|>final to=functions.ping<|message|>{\"a\":1}"),
        ("harmony", "<|channel|>analysis<|message|>Hm.<|start|>assistant to=functions.rm"),
        ("harmony", "a<|channel|>commentary to=functions.get_weather json<|message|>{\"city\":1"),
        ("harmony", " to=functions.pings<|channel|>commentary"),
        ("harmony", "assistant to=functions.get_weather<|message|>{}"),
    ] {
        let tools = Tools { offered: tools(), ..Tools::default() };
        let grammar =
            grammar(&engine, Some(format(id)), &tools, &ResponseFormat::Text, Opening::Text);
        assert!(engine.takes(&grammar, text).is_err(), "{id} {text:?}");
    }
}

/// Thoughts come first, and then what is asked for in the model's own form.
#[test]
fn a_required_call_or_a_form_is_said_as_the_model_says_it() {
    let engine = Engine::new(Tags::Text);
    let thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant";
    let call = "<|channel|>commentary to=functions.ping <|constrain|>json<|message|>{}";
    let answer = "<|channel|>final <|constrain|>json<|message|>{\"a\": \"<|end|>\"}";
    let form = ResponseFormat::JsonObject;
    for (id, choice, response, text, is_taken) in [
        ("harmony", ToolChoice::Required, None, format!("{thought}{call}"), true),
        ("harmony", ToolChoice::Required, None, format!("{thought}{thought}{call}"), true),
        ("harmony", ToolChoice::Required, None, format!("{thought} to=functions.ping"), false),
        ("harmony", ToolChoice::Required, None, format!("{thought}{answer}"), false),
        ("harmony", ToolChoice::Required, None, "Hello".to_owned(), false),
        ("harmony", ToolChoice::Auto, Some(&form), format!("{thought}{call}"), true),
        ("harmony", ToolChoice::Auto, Some(&form), format!("{thought}{answer}"), true),
        ("harmony", ToolChoice::None, Some(&form), answer.to_owned(), true),
        ("harmony", ToolChoice::None, Some(&form), format!("{thought}{call}"), false),
        (
            "mistral-list",
            ToolChoice::Required,
            None,
            "[TOOL_CALLS] [{\"name\": \"ping\"}]".into(),
            true,
        ),
        (
            "lfm2",
            ToolChoice::Required,
            None,
            "<|tool_call_start|>[ping()]<|tool_call_end|>".into(),
            true,
        ),
        ("pythonic", ToolChoice::Required, None, "[ping()]".into(), true),
        ("pythonic", ToolChoice::Required, None, "[1]".into(), false),
    ] {
        let tools = Tools { offered: tools(), choice, ..Tools::default() };
        let response = response.unwrap_or(&ResponseFormat::Text);
        let grammar = grammar(&engine, Some(format(id)), &tools, response, Opening::Text);
        let taken = engine.takes(&grammar, &text);
        assert_eq!(taken.is_ok(), is_taken, "{id} {choice:?} {text:?}: {taken:?}\n{grammar}");
    }
}
