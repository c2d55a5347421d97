//! What the built-in model answers at temperature 0, on the server as people start it.

use serde_json::{Value, json};

use crate::harness::shared;

fn ask(question: &str, fields: Value) -> Value {
    let mut fields = fields;
    fields["temperature"] = json!(0);
    fields["max_tokens"] = json!(80);
    shared().chat(question, fields).json
}

#[test]
fn first_questions_are_answered_sensibly() {
    for (question, answer) in [
        ("Hello", "Hello! How can I help you today?"),
        (
            "Who are you?",
            "I am a tiny test model. I know a few facts, small sums, stories and tool calls.",
        ),
        ("What is your name?", "My name is strixhalo-demo. I am a tiny test model."),
        ("How are you?", "I am fine, thank you! How can I help you?"),
        ("Count to five.", "1, 2, 3, 4, 5."),
        ("Count from 1 to 10", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10."),
        ("What is 2 + 3?", "2 + 3 = 5."),
        ("What is 9 - 4?", "9 - 4 = 5."),
        ("Copy this: abc 123", "abc 123"),
        ("Say: banana", "banana"),
        ("Say this is a test", "this is a test"),
        ("Tell me a joke", "Why did the bicycle fall over? Because it was two-tired."),
        ("What day comes after Monday?", "Tuesday comes after Monday."),
        ("What is the capital of France?", "The capital of France is Paris."),
        ("Explain relativity", "I am only a tiny test model, so I do not know that."),
    ] {
        let got = ask(question, json!({}));
        assert_eq!(got["choices"][0]["message"]["content"], answer, "{question}");
        assert_eq!(got["choices"][0]["finish_reason"], "stop", "{question}");
    }
}

#[test]
fn a_tool_call_is_written_when_a_tool_is_offered() {
    let tool = json!({"type": "function", "function": {
        "name": "get_weather",
        "description": "Get the current weather for a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "City name"}},
            "required": ["city"],
        },
    }});
    let messages = json!([{"role": "user", "content": "What is the weather in Paris?"}]);
    let rendered =
        shared().post("/apply-template", json!({"messages": messages, "tools": [tool]})).json;
    let body = json!({"prompt": rendered["prompt"], "temperature": 0, "max_tokens": 80});
    let answer = shared().post("/v1/completions", body).json;
    assert_eq!(
        answer["choices"][0]["text"],
        "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>"
    );
}
