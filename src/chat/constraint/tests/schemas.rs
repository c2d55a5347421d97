//! Schemas as agents and MCP servers have them, generated and real: each compiles, and noise fits
//! it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::compile::{format, tool};
use super::engine::{Engine, Tags};
use super::noise::{noise, read};
use crate::chat::constraint::schema::{Mode, rewrite};
use crate::chat::constraint::{ConstraintError, Plan, plan};
use crate::chat::output::Opening;
use crate::chat::tools::{ResponseFormat, Tool, ToolChoice, Tools};

fn required(form: &str, tool: Tool) -> Plan {
    let tools =
        Tools { offered: vec![tool], choice: ToolChoice::Required, allowed: None, single: true };
    plan(Some(format(form)), &tools, &ResponseFormat::Text, Opening::Text, &|_| None)
        .unwrap()
        .unwrap()
}

fn on_a_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(64 << 20)
            .spawn_scoped(scope, work)
            .unwrap()
            .join()
            .unwrap()
    })
}

/// Real ones, and what must be left out of each.
fn nasty() -> Vec<(Value, &'static [&'static str])> {
    let many: Map<String, Value> = (0..80)
        .map(|i| (format!("p{i}"), json!({"type": if i % 2 == 0 { "string" } else { "integer" }})))
        .collect();
    let chain: Map<String, Value> = (0..400)
        .map(|i| {
            (
                format!("d{i}"),
                json!({"type": "array", "items": {"$ref": format!("#/$defs/d{}", i + 1)}}),
            )
        })
        .chain([("d400".to_owned(), json!({"type": "string"}))])
        .collect();
    let with =
        |schema: Value| json!({"type": "object", "properties": {"a": schema}, "required": ["a"]});
    vec![
        (json!({"properties": {}, "type": "object"}), &[]),
        (json!({"type": "object"}), &[]),
        (json!({}), &[]),
        (json!(null), &["schema"]),
        (json!(true), &[]),
        (json!(false), &[]),
        (json!([]), &["schema"]),
        (json!("object"), &["schema"]),
        (json!({"type": "string"}), &["type"]),
        (json!({"type": ["object", "null"], "properties": {"a": {"type": "string"}}}), &[]),
        (json!({"properties": {"a": {"type": "string"}}, "required": ["a", "b"]}), &[]),
        (
            json!({"type": "object", "properties": null, "required": null}),
            &["properties", "required"],
        ),
        (with(json!({"type": "string", "pattern": "^(?!x).*$"})), &["pattern"]),
        (with(json!({"type": "string", "pattern": "\\bword\\b"})), &["pattern"]),
        (with(json!({"type": "string", "pattern": "^[\\w-]+/[^\\s]+$"})), &[]),
        (with(json!({"type": "string", "pattern": "^<.*>$"})), &[]),
        (with(json!({"$ref": "#/nope"})), &["$ref"]),
        (with(json!({"$ref": "https://example.com/x.json"})), &["$ref"]),
        (
            json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}}),
            &["$ref"],
        ),
        (
            json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, {"type": "string"}]}}}),
            &["$ref"],
        ),
        (
            json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": chain}),
            &["nesting"],
        ),
        (
            json!({"type": "object", "properties": {"child": {"$ref": "#"}, "v": {"type": "integer"}}, "required": ["v"]}),
            &[],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"$ref": "#/properties/a"}}}),
            &[],
        ),
        (with(json!({"type": "string", "maxLength": 10000})), &["maxLength"]),
        (with(json!({"type": "string", "maxLength": 2000})), &[]),
        (
            with(json!({"type": "string", "minLength": 1, "maxLength": 2083, "format": "uri"})),
            &["maxLength"],
        ),
        (with(json!({"type": "string", "minLength": 1, "format": "uri"})), &[]),
        (with(json!({"not": {"type": "null"}})), &["not"]),
        (
            with(
                json!({"type": "object", "propertyNames": {"pattern": "^a"}, "additionalProperties": {"type": "string"}}),
            ),
            &["propertyNames"],
        ),
        (
            with(
                json!({"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {}}),
            ),
            &[],
        ),
        (with(json!({"type": "array", "items": {"type": "integer"}, "uniqueItems": false})), &[]),
        (
            with(json!({"type": "array", "items": {"type": "integer"}, "uniqueItems": true})),
            &["uniqueItems"],
        ),
        (
            with(
                json!({"type": "object", "properties": {"x": {}, "y": {}, "z": {}}, "minProperties": 2}),
            ),
            &["minProperties"],
        ),
        (
            with(
                json!({"type": "object", "maxProperties": 4, "additionalProperties": {"type": "integer"}}),
            ),
            &[],
        ),
        (with(json!({"type": "string", "format": "uri-reference"})), &["format"]),
        (with(json!({"type": "string", "format": "made-up"})), &["format"]),
        (with(json!({"type": "integer", "format": "int64"})), &[]),
        (with(json!({"type": "string", "format": "date-time"})), &[]),
        (
            json!({"$schema": "http://example.com/own", "type": "object", "properties": {"a": {"type": "integer"}}}),
            &[],
        ),
        (
            with(
                json!({"oneOf": [{"type": "object", "properties": {"x": {"type": "string"}}}, {"type": "object", "properties": {"y": {"type": "string"}}}]}),
            ),
            &["oneOf"],
        ),
        (with(json!({"oneOf": [{"type": "integer"}, {"type": "string"}]})), &[]),
        (
            with(
                json!({"oneOf": [{"type": "object", "properties": {"kind": {"const": "x"}}, "required": ["kind"]}, {"type": "object", "properties": {"kind": {"const": "y"}}, "required": ["kind"]}]}),
            ),
            &[],
        ),
        (
            with(json!({"type": "object", "if": {"required": ["x"]}, "then": {"required": ["y"]}})),
            &["if"],
        ),
        (
            with(
                json!({"type": "object", "patternProperties": {"^x-": {"type": "string"}}, "additionalProperties": false}),
            ),
            &[],
        ),
        (
            with(
                json!({"type": "object", "patternProperties": {"^x-": {"type": "string"}, "^x": {}}, "additionalProperties": {"type": "integer"}}),
            ),
            &["patternProperties"],
        ),
        (
            with(
                json!({"type": "array", "items": [{"type": "string"}, {"type": "integer"}], "additionalItems": false}),
            ),
            &[],
        ),
        (
            with(
                json!({"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "integer"}, "maxItems": 3}),
            ),
            &[],
        ),
        (
            with(
                json!({"type": "integer", "multipleOf": 7919, "minimum": 3, "maximum": 99_999_999}),
            ),
            &["multipleOf"],
        ),
        (with(json!({"type": "integer", "multipleOf": 5})), &[]),
        (
            with(
                json!({"type": "integer", "minimum": -9_007_199_254_740_991_i64, "maximum": 9_007_199_254_740_991_i64}),
            ),
            &[],
        ),
        (
            with(
                json!({"type": "integer", "minimum": 0, "maximum": 9_223_372_036_854_775_807_i64}),
            ),
            &[],
        ),
        (with(json!({"type": "integer", "maximum": 18_446_744_073_709_551_615_u64})), &["maximum"]),
        (
            with(json!({"type": "number", "minimum": 0, "exclusiveMinimum": true, "maximum": 1})),
            &[],
        ),
        (with(json!({"type": "number", "minimum": -0.5, "maximum": 0.5})), &[]),
        (with(json!({"enum": ["a", 1, null, {"x": [1]}, 1.5, true]})), &[]),
        (with(json!({"const": 9_007_199_254_740_993_i64})), &["const"]),
        (with(json!({"type": "integer", "enum": ["1", "2"]})), &["type"]),
        (with(json!({"type": "strin"})), &["type"]),
        (
            with(
                json!({"type": "string", "nullable": true, "deprecated": true, "x-order": 3, "example": "e", "readOnly": true}),
            ),
            &[],
        ),
        (
            with(
                json!({"allOf": [{"type": "object", "properties": {"x": {"type": "string"}}}, {"required": ["x"]}]}),
            ),
            &[],
        ),
        (
            with(
                json!({"allOf": (0..18).map(|i| json!({"anyOf": [{"properties": {format!("a{i}"): {"type": "string"}}}, {"properties": {format!("b{i}"): {"type": "string"}}}]})).collect::<Vec<_>>()}),
            ),
            &["allOf"],
        ),
        (
            with(
                json!({"type": "object", "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "number"}]}}),
            ),
            &[],
        ),
        (json!({"type": "object", "properties": {"a": {}}, "additionalProperties": true}), &[]),
        (
            json!({"type": "object", "properties": {"a\"b": {"type": "string"}, "c>d": {"type": "string"}, "é": {"type": "integer"}, "": {}}}),
            &[],
        ),
        (json!({"type": "object", "properties": many, "required": ["p3", "p70"]}), &[]),
        (
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {"q": {"type": "string", "minLength": 1}, "n": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9_007_199_254_740_991_i64, "default": 10}, "tags": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]}}, "required": ["q"], "additionalProperties": false}),
            &[],
        ),
        (
            json!({"$defs": {"Kind": {"enum": ["a", "b"], "title": "Kind", "type": "string"}, "Item": {"properties": {"kind": {"$ref": "#/$defs/Kind"}, "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": null}, "children": {"items": {"$ref": "#/$defs/Item"}, "type": "array"}}, "required": ["kind"], "title": "Item", "type": "object"}}, "properties": {"item": {"$ref": "#/$defs/Item"}, "kind": {"allOf": [{"$ref": "#/$defs/Kind"}], "default": "a"}}, "required": ["item"], "title": "args", "type": "object"}),
            &[],
        ),
        (
            json!({"type": "object", "properties": {"body": {"anyOf": [{"anyOf": [{"not": {}}, {"type": "string"}]}, {"type": "null"}]}, "labels": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"id": {"type": "number"}, "name": {"type": "string"}}}]}}, "value": {"anyOf": [{"type": "string", "maxLength": 20}, {"type": "array", "items": {"type": "string"}}]}}}),
            &["not"],
        ),
        (
            json!({"anyOf": [{"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}, {"type": "object", "properties": {"y": {"type": "string"}}, "required": ["y"]}]}),
            &[],
        ),
        (
            json!({"$ref": "#/definitions/args", "definitions": {"args": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}}}),
            &[],
        ),
    ]
}

/// Whether there are numbers that the validator rounds.
fn exceeds_f64(json: &str) -> bool {
    json.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 15)
}

/// Compiles the tool alone and calls it by noise; what was left out, or what went wrong.
fn try_tool(
    engine: &Engine,
    form: &str,
    schema: &Value,
    runs: usize,
    random: &mut fastrand::Rng,
) -> Result<Vec<String>, String> {
    let tool = tool("t", schema.clone());
    let plan = required(form, tool.clone());
    let notes: Vec<String> = plan.notes.iter().map(|note| note.keyword.clone()).collect();
    let grammar = plan.grammar(&BTreeSet::new());
    let first = engine.matcher(&grammar).map_err(|e| format!("{e}\n{grammar}"))?;
    let loosened = rewrite(schema, Mode::Loosen, "", false).map_or(json!({}), |r| r.schema);
    let checked = if notes.is_empty() { schema } else { &loosened };
    let checked = if checked.is_object() || checked.is_boolean() { checked } else { &json!({}) };
    let validator = jsonschema::validator_for(checked);
    for _ in 0..runs {
        let (text, ended) = noise(engine, &mut first.deep_clone(), 120, random)
            .map_err(|e| format!("{e}\n{grammar}"))?;
        let read = read(format(form), std::slice::from_ref(&tool), Opening::Text, &text, ended);
        if ended && (read.cut || read.calls.len() != 1) {
            return Err(format!("no call in {text:?}: {read:?}\n{grammar}"));
        }
        for (_, arguments) in &read.calls {
            let value: Value = match serde_json::from_str(arguments) {
                // JSON, but more than the validator's numbers hold.
                Err(error) if error.to_string().starts_with("number out of range") => continue,
                value => value.map_err(|e| format!("{e}: {arguments}"))?,
            };
            if let Ok(validator) = &validator
                && let Err(error) = validator.validate(&value)
                && *schema != json!({"type": "string"})
                && *schema != json!(false)
                && !(exceeds_f64(arguments) && error.to_string().contains("not a multiple of"))
            {
                return Err(format!("{error}: {text:?}\n{arguments}\n{grammar}"));
            }
        }
    }
    Ok(notes)
}

#[test]
fn real_schemas_compile_and_what_is_left_out_is_noted() {
    let bad = on_a_large_stack(|| {
        let engine = Engine::new(Tags::Text);
        let mut random = fastrand::Rng::with_seed(11);
        let mut bad = Vec::new();
        for (schema, expected) in nasty() {
            for form in ["hermes", "qwen-xml", "harmony", "lfm2"] {
                match try_tool(&engine, form, &schema, 4, &mut random) {
                    Err(error) => {
                        bad.push(format!("{form} {:.600}\n{error:.3000}", schema.to_string()))
                    }
                    Ok(notes) => {
                        // Where each parameter stands for itself more is left out, and between
                        // tags yet more.
                        let expected = match (form, schema.to_string()) {
                            ("qwen-xml" | "lfm2", text) if text.starts_with("{\"anyOf") => {
                                &["anyOf"][..]
                            }
                            ("qwen-xml", text) if text.contains("^<.*>$") => &["pattern"],
                            _ => expected,
                        };
                        let missing =
                            expected.iter().any(|keyword| !notes.iter().any(|n| n == keyword));
                        if missing || expected.is_empty() != notes.is_empty() {
                            bad.push(format!(
                                "{form} {:.600}\nnotes {notes:?}",
                                schema.to_string()
                            ));
                        }
                    }
                }
            }
        }
        bad
    });
    assert!(bad.is_empty(), "{} bad:\n{}", bad.len(), bad.join("\n\n"));
}

/// A schema as an agent might have it.
fn generated(random: &mut fastrand::Rng, depth: usize) -> Value {
    let names =
        ["path", "query", "limit", "items", "filter", "kind", "note", "x-y", "a b", "options"];
    let mut schema = match random.usize(..if depth == 0 { 8 } else { 14 }) {
        0 => json!({"type": "string"}),
        1 => json!({"type": "string", "enum": ["open", "done", "a b", "<x>"]}),
        2 => {
            json!({"type": "integer", "minimum": random.i64(-5..5), "maximum": random.i64(5..500)})
        }
        3 => json!({"type": "number", "exclusiveMinimum": random.i64(-3..3)}),
        4 => json!({"type": "boolean"}),
        5 => json!({"type": ["string", "null"]}),
        6 => match random.usize(..9) {
            0 => json!({"type": "string", "minLength": 1, "maxLength": random.u32(1..60)}),
            1 => json!({"type": "string", "pattern": "^[a-z]+-\\d{2,4}$"}),
            2 => json!({"type": "string", "pattern": "[A-Z]|^\\w{3}"}),
            3 => json!({"type": "string", "format": "date-time"}),
            4 => json!({"type": "string", "format": "uuid"}),
            5 => json!({"type": "string", "pattern": "^(?=.*x)y"}),
            6 => json!({"const": "fixed"}),
            7 => json!({"enum": [1, 2, "x", null]}),
            _ => json!({"type": "null"}),
        },
        7 => json!({}),
        8 | 9 => {
            let mut properties = Map::new();
            let mut required = Vec::new();
            for _ in 0..random.usize(..5) {
                let name = names[random.usize(..names.len())];
                properties.insert(name.into(), generated(random, depth - 1));
                if random.bool() {
                    required.push(name);
                }
            }
            required.dedup();
            let mut schema = json!({"type": "object", "properties": properties});
            if random.bool() {
                schema["required"] = json!(required);
            }
            match random.usize(..4) {
                0 => schema["additionalProperties"] = false.into(),
                1 => schema["additionalProperties"] = generated(random, 0),
                2 => schema["minProperties"] = random.u32(..3).into(),
                _ => {}
            }
            schema
        }
        10 => {
            let mut schema = json!({"type": "array", "items": generated(random, depth - 1)});
            match random.usize(..4) {
                0 => schema["minItems"] = random.u32(..3).into(),
                1 => schema["maxItems"] = random.u32(3..9).into(),
                2 => schema["uniqueItems"] = random.bool().into(),
                _ => {}
            }
            schema
        }
        11 => json!({"anyOf": [generated(random, depth - 1), generated(random, depth - 1)]}),
        12 => json!({"oneOf": [generated(random, depth - 1), {"type": "null"}]}),
        _ => match random.usize(..4) {
            0 => json!({"$ref": "#/$defs/shared"}),
            1 => json!({"allOf": [{"$ref": "#/$defs/shared"}], "default": null}),
            2 => json!({"$ref": "#/$defs/tree"}),
            _ => json!({"not": {"type": "string"}}),
        },
    };
    if let (Some(map), true) = (schema.as_object_mut(), random.bool()) {
        map.insert("description".into(), "What it is for.".into());
        map.insert("title".into(), "T".into());
    }
    schema
}

fn generated_tool(random: &mut fastrand::Rng) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for i in 0..random.usize(..6) {
        let name = format!("p{i}");
        properties.insert(name.clone(), generated(random, 3));
        if random.bool() {
            required.push(name);
        }
    }
    json!({"type": "object", "properties": properties, "required": required, "$defs": {
        "shared": {"type": "object", "properties": {"id": {"type": "integer"}, "name": {"type": "string"}}, "required": ["id"]},
        "tree": {"type": "object", "properties": {"v": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}}}})
}

fn generated_schemas(n: usize, seed: u64) -> Vec<String> {
    on_a_large_stack(|| {
        let engine = Engine::new(Tags::Text);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bad = Vec::new();
        for i in 0..n {
            let schema = generated_tool(&mut random);
            for form in [["hermes", "qwen-xml"], ["kimi", "glm"], ["harmony", "lfm2"]][i % 3] {
                if let Err(error) = try_tool(&engine, form, &schema, 2, &mut random) {
                    bad.push(format!("{form} {schema}\n{error:.2500}"));
                }
            }
        }
        bad
    })
}

#[test]
fn generated_schemas_compile_and_noise_fits_them() {
    let bad = generated_schemas(60, 5);
    assert!(bad.is_empty(), "{} bad:\n{}", bad.len(), bad[..bad.len().min(4)].join("\n\n"));
}

#[test]
#[ignore = "minutes: a thousand schemas"]
fn a_thousand_generated_schemas_compile_and_noise_fits_them() {
    let bad = generated_schemas(1000, 6);
    assert!(bad.is_empty(), "{} bad:\n{}", bad.len(), bad[..bad.len().min(4)].join("\n\n"));
}

#[test]
fn what_must_be_exact_is_refused_by_keyword_and_path() {
    let no_tools = Tools::default();
    let with = |schema: Value| json!({"type": "object", "properties": {"a": schema}});
    for (schema, path, keyword) in [
        (with(json!({"not": {}})), "response_format.json_schema.schema.properties.a.not", "not"),
        (
            with(json!({"anyOf": [{"type": "string", "format": "regex"}]})),
            "response_format.json_schema.schema.properties.a.anyOf[0].format",
            "format",
        ),
        (
            json!({"$ref": "#/$defs/x", "$defs": {"x": {"uniqueItems": true}}}),
            "response_format.json_schema.schema.$defs.x.uniqueItems",
            "uniqueItems",
        ),
        (
            with(json!({"$ref": "#/nope"})),
            "response_format.json_schema.schema.properties.a.$ref",
            "$ref",
        ),
    ] {
        let response =
            ResponseFormat::JsonSchema { schema, path: "response_format.json_schema.schema" };
        let error = plan(None, &no_tools, &response, Opening::Text, &|_| None).unwrap_err();
        assert_eq!(error, ConstraintError::Keyword { keyword: keyword.into(), path: path.into() });
        assert_eq!(error.parameter(), path);
    }
    let strict =
        Tool { strict: true, ..tool("t", with(json!({"type": "string", "pattern": "(?=x)"}))) };
    let tools = Tools { offered: vec![strict], ..Tools::default() };
    let error =
        plan(Some(format("hermes")), &tools, &ResponseFormat::Text, Opening::Text, &|_| None)
            .unwrap_err();
    assert_eq!(
        error.to_string(),
        "tools[0].function.parameters.properties.a.pattern: `pattern` cannot be enforced as it is; change or leave it out"
    );
    for (fault, advice) in [
        (json!({"not": {"type": "string"}}), "the keyword `not` cannot be enforced; leave it out"),
        (json!({"type": "strng"}), "`type` must name a type"),
        (json!({"$ref": "#/nope"}), "the reference must lead to a schema within this one"),
        (json!({"type": "string", "minLength": "5"}), "`minLength` cannot be enforced as it is"),
        (json!(5), "a schema must be an object or a boolean"),
    ] {
        let response = ResponseFormat::JsonSchema { schema: with(fault), path: "format" };
        let error = plan(None, &no_tools, &response, Opening::Text, &|_| None).unwrap_err();
        assert!(error.to_string().contains(advice), "{error}");
    }
    let none = Tools { choice: ToolChoice::Required, ..Tools::default() };
    let error = plan(None, &none, &ResponseFormat::Text, Opening::Text, &|_| None).unwrap_err();
    assert_eq!(error, ConstraintError::NoTools);
}

#[test]
fn bombs_are_refused_or_loosened_at_once() {
    let nested =
        (0..120).fold(json!({"type": "string"}), |s, _| json!({"type": "array", "items": s}));
    let wide: Map<String, Value> =
        (0..20_000).map(|i| (format!("p{i}"), json!({"type": "string"}))).collect();
    let chain: Map<String, Value> = (0..5000)
        .map(|i| (format!("d{i}"), json!({"items": {"$ref": format!("#/$defs/d{}", i + 1)}})))
        .collect();
    let mut doubling = Map::new();
    for i in 0..40 {
        let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
        doubling.insert(
            format!("d{i}"),
            json!({"anyOf": [{"properties": {"a": next, "b": next}}, next], "allOf": [next, next]}),
        );
    }
    doubling.insert("d40".into(), json!({"type": "string"}));
    let long = "k".repeat(1 << 20);
    on_a_large_stack(move || {
        let engine = Engine::new(Tags::Spelled);
        for schema in [
            nested,
            json!({"type": "object", "properties": wide}),
            json!({"$ref": "#/$defs/d0", "$defs": chain}),
            json!({"$ref": "#/$defs/d0", "$defs": doubling}),
            json!({"properties": {"a": {"type": "string", "pattern": "^(a{1000}){1000}$"}}}),
            json!({"properties": {"a": {"type": "string", "pattern": "^(((a|b)*c){0,500}d){0,500}$"}}}),
            json!({"properties": {"a": {"type": "string", "minLength": 1_000_000}}}),
            json!({"properties": {"a": {"type": "array", "minItems": 100_000}}}),
            json!({"properties": {"a": {"enum": (0..50_000).collect::<Vec<i32>>()}}}),
            json!({"properties": {long: {"properties": {"b": {"not": {}}}}}}),
        ] {
            for form in ["lfm2", "hermes"] {
                let start = Instant::now();
                let plan = required(form, tool("t", schema.clone()));
                let response = ResponseFormat::JsonSchema {
                    schema: schema.clone(),
                    path: "response_format.json_schema.schema",
                };
                let _ = crate::chat::constraint::plan(
                    None,
                    &Tools::default(),
                    &response,
                    Opening::Text,
                    &|_| None,
                );
                let compiled = engine
                    .matcher(&plan.grammar(&BTreeSet::new()))
                    .or_else(|_| engine.matcher(&plan.grammar(&BTreeSet::from([0]))));
                assert!(
                    start.elapsed() < Duration::from_secs(5),
                    "{:?} {:?}",
                    start.elapsed(),
                    plan.notes
                );
                assert!(compiled.is_ok(), "{:?} {:?}", compiled.err(), plan.notes);
            }
        }
    });
}

#[test]
#[ignore = "a measurement"]
fn time_to_compile() {
    let engine = Engine::new(Tags::Text);
    for form in ["hermes", "qwen-xml", "harmony", "mistral-list", "pythonic"] {
        for n in [3, 24, 60] {
            let mut offered = super::compile::tools();
            offered = (0..n)
                .map(|i| Tool {
                    name: format!("{}_{i}", offered[i % 3].name),
                    ..offered[i % 3].clone()
                })
                .collect();
            let tools = Tools { offered, ..Tools::default() };
            let start = Instant::now();
            let plan =
                plan(Some(format(form)), &tools, &ResponseFormat::Text, Opening::Text, &|_| None)
                    .unwrap()
                    .unwrap();
            let grammar = plan.grammar(&BTreeSet::new());
            let planned = start.elapsed();
            let start = Instant::now();
            engine.matcher(&grammar).unwrap();
            println!(
                "{form} {n} tools: planned in {planned:?}, compiled in {:?}, {} bytes",
                start.elapsed(),
                grammar.len()
            );
        }
    }
}
