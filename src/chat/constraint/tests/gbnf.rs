use std::collections::BTreeSet;

use super::engine::{Engine, Tags};
use crate::chat::constraint::plan;
use crate::chat::output::Opening;
use crate::chat::tools::{ResponseFormat, Tools};

#[test]
fn grammars_of_llama_cpp_take_what_they_took() {
    let engine = Engine::new(Tags::Spelled);
    let json = r#"
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws

array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws

string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws

number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws

# Optional space: by convention, applied in this grammar after literal chars when allowed
ws ::= | " " | "\n" [ \t]{0,20}
"#;
    for (grammar, yes, no) in [
        (json, "{\"a\": [1, 2.5, \"x\\n\", true]}", "{\"a\": }"),
        (json, "{}", "[]"),
        ("root ::= \"yes\" | \"no\"", "no", "maybe"),
        ("root ::= [a-c\\]-]+ .", "a-]bx", "xx"),
        ("root ::= \"\\x41\\u00e9\\U0001F980\" [^\\n]{2,3}", "Aé🦀ab", "Aé🦀a"),
        (
            "root ::= item{2} tail?\nitem ::= \"- \" [^\\n]+ \"\\n\"\n\ntail ::= \"end\"\n  | \"stop\"",
            "- a\n- b\nstop",
            "- a\n",
        ),
        ("root ::= (\"a\" | \"b\")* \"\" \"c\" \"d\"{0}", "abac", "abd"),
        ("root ::= \"/\" \"#\" \"\\\"\"", "/#\"", "/"),
        ("root ::= (\"a\"+)? \"b\"", "aab", "a"),
    ] {
        let response = ResponseFormat::Grammar(grammar.to_owned());
        let plan =
            plan(None, &Tools::default(), &response, Opening::Text, &|_| None).unwrap().unwrap();
        let lark = plan.grammar(&BTreeSet::new());
        if let Err(error) = engine.takes(&lark, yes) {
            panic!("{yes:?}: {error}\n{lark}");
        }
        assert!(engine.takes(&lark, no).is_err(), "{no:?}\n{lark}");
    }
    let response = ResponseFormat::Grammar("root ::= !<[3]> <[66]>".to_owned());
    let plan = plan(None, &Tools::default(), &response, Opening::Text, &|_| None).unwrap().unwrap();
    engine.matcher(&plan.grammar(&BTreeSet::new())).unwrap();
}
