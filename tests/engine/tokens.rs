//! Tokens with a meaning of their own: looked up, spelled out, and written for the model.

use strixhalo::engine::ThinkingBudget;

use super::*;

#[test]
fn special_tokens_are_found_by_their_text() {
    let engine = load(params(1, 512));
    let vocabulary = engine.vocabulary();
    let start = vocabulary.special("<|im_start|>").expect("a token of the model");
    assert_eq!(vocabulary.tokenize("<|im_start|>", false, true), [start]);
    assert!(vocabulary.specials().any(|text| text == "<|im_start|>"));
    assert_eq!(vocabulary.special("<|im_start"), None);
    assert_eq!(vocabulary.special("a"), None);
    let end = vocabulary.special("<|im_end|>").expect("a token of the model");
    assert!(vocabulary.end_tokens().contains(&end) && !vocabulary.end_tokens().contains(&start));
}

#[test]
fn control_tokens_are_spelled_out_if_the_request_says_so() {
    let engine = load(params(1, 512));
    let vocabulary = engine.vocabulary();
    let [start, end] = ["<|im_start|>", "<|im_end|>"].map(|t| vocabulary.special(t).unwrap());
    let write = |lark: &str, visible: &[i32]| {
        let grammar = Some(engine.compile(lark).expect("it compiles"));
        let visible = visible.into();
        let request = GenerationRequest { grammar, visible, ..request(&engine, "x") };
        collect(submit(&engine, request)).text
    };
    let by_id = format!("start: <[{start}]> \"ok\"");
    assert_eq!(write(&by_id, &[start]), "<|im_start|>ok");
    assert_eq!(write("start: <|im_start|> \"ok\"", &[start]), "<|im_start|>ok");
    assert_eq!(write(&by_id, &[]), "ok");
    // Text that looks like the token is not the token.
    let literal = "start: \"<|im_start|>\" \"ok\"";
    assert_eq!(write(literal, &[]), "<|im_start|>ok");

    let mut ended = GenerationRequest { visible: [end].into(), ..request(&engine, "x") };
    ended.sampling.logit_bias = [(end, 1000.0)].into();
    let answer = collect(submit(&engine, ended));
    assert_eq!((answer.text.as_str(), answer.end.finish), ("", FinishReason::EndOfGeneration));
}

#[test]
fn thoughts_are_closed_when_their_budget_is_spent() {
    let engine = load(params(1, 1024));
    let close = engine.vocabulary().tokenize("\n</think>\n\n", false, true);
    let n = close.len();
    let budget = |tokens| ThinkingBudget {
        tokens,
        close: close.clone().into(),
        begins: "<think>".to_owned(),
        ends: "</think>".to_owned(),
        open: true,
    };
    let think = |tokens, grammar: Option<&str>| {
        let mut request = chat(&engine, "Count to 20.");
        request.sampling.ignore_eos = true;
        request.thinking = Some(budget(tokens));
        request.grammar = grammar.map(|lark| engine.compile(lark).expect("it compiles"));
        request.top_logprobs = Some(0);
        collect(submit(&engine, request))
    };
    for tokens in [0, 5] {
        let answer = think(tokens, None);
        let ids: Vec<_> = answer.tokens.iter().map(|t| t.id).collect();
        assert_eq!(ids[tokens as usize..][..n], close);
        assert_eq!(answer.tokens.len(), 40, "forced tokens count");
        assert!(answer.text.contains("\n</think>\n\n"), "{}", answer.text);
        assert_eq!(answer.text.matches("</think>").count(), 1);
    }
    let lark = r#"start: /(?s:[^<]*)<\/think>\n\n/ "yes""#;
    let answer = think(4, Some(lark));
    assert!(answer.text.ends_with("\n</think>\n\nyes"), "{}", answer.text);
    assert_eq!(answer.end.finish, FinishReason::EndOfGeneration);
    // A model that thinks less is left alone.
    let mut short = chat(&engine, "Hello!");
    let plain = collect(submit(&engine, short.clone())).text;
    short.thinking = Some(ThinkingBudget { open: false, ..budget(0) });
    assert_eq!(collect(submit(&engine, short)).text, plain);
}
