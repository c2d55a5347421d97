//! The formats in which models write tool calls.

use super::named;

/// How a family of models writes thoughts and tool calls: one row of the table.
#[derive(Debug)]
pub struct Format {
    /// Its name.
    pub id: &'static str,
    /// The thinking block.
    pub think: (&'static str, &'static str),
    /// Around all calls of a turn.
    pub section: Option<(&'static str, &'static str)>,
    /// Opens one call.
    pub open: &'static str,
    /// Opens one call too where a model forgets `open`; counts only with a known name behind it.
    pub open_short: Option<&'static str>,
    /// What stands between them.
    pub call: Call,
    /// Closes one call.
    pub close: &'static str,
    /// Calls are items of a list: `open` begins with its bracket, and commas stand between them.
    pub list: bool,
}

/// The form of one call.
#[derive(Debug)]
pub enum Call {
    /// A JSON object that holds the name and the arguments.
    #[allow(missing_docs)]
    Object { name: &'static str, arguments: &'static [&'static str] },
    /// The name up to a mark, then the arguments as JSON.
    #[allow(missing_docs)]
    Json { prefix: &'static str, until: &'static str, index: bool },
    /// The name, then each argument between tags.
    Tagged(Tagged),
    /// The name, then the arguments as another language's literals.
    Literal(Literal),
    /// Messages with headers, of which calls are some.
    Harmony,
    /// None: the model thinks, and calls no tools that we know of.
    None,
}

/// How literals are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Literal {
    /// A call in Python: `name(key='value', other=[1, True])`.
    Python,
    /// `prefix`, the name and an object whose keys are bare and whose strings stand between two
    /// `quote`s: `name{key:<quote>value<quote>,other:[1,true]}`.
    #[allow(missing_docs)]
    Quoted { prefix: &'static str, quote: &'static str },
}

/// Tags around a name and its arguments.
#[derive(Debug)]
pub struct Tagged {
    /// Before the name.
    pub head: &'static str,
    /// Ends the name and is no part of what follows.
    pub head_end: &'static str,
    /// Around an argument's name.
    pub key: (&'static str, &'static str),
    /// Around its value.
    pub value: (&'static str, &'static str),
    /// Behind the last argument; may be empty.
    pub end: &'static str,
    /// A line break after `value.0` and before `value.1` belongs to the tags.
    pub broken: bool,
}

impl Format {
    /// Its tags, which may be control tokens: the parser needs their text, so the engine has to
    /// spell them out. Each once; parts of one where a tag is put together of several.
    pub fn tags(&self) -> Vec<&'static str> {
        let mut all = vec![self.think.0, self.think.1, self.open, self.close];
        all.extend(self.section.into_iter().flat_map(|(open, close)| [open, close]));
        all.extend(self.open_short);
        match &self.call {
            Call::Object { .. } | Call::None | Call::Literal(Literal::Python) => {}
            Call::Literal(Literal::Quoted { quote, .. }) => all.push(quote),
            Call::Harmony => all.extend(["<|start|>", "<|constrain|>"]),
            Call::Json { prefix, until, .. } => all.extend([prefix, until, named::id_mark(until)]),
            Call::Tagged(tagged) => {
                let (key, value) = (tagged.key, tagged.value);
                all.extend([tagged.head, tagged.end, key.0, key.1, value.0, value.1]);
            }
        }
        let mut tags: Vec<&str> = all.into_iter().flat_map(brackets).collect();
        tags.sort_unstable();
        tags.dedup();
        tags
    }
}

/// The parts of a text that are in angle or square brackets, as names of control tokens are.
fn brackets(text: &'static str) -> impl Iterator<Item = &'static str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let begin = rest.find(['<', '['])?;
        let end = begin + rest[begin..].find(['>', ']'])? + 1;
        let tag = &rest[begin..end];
        rest = &rest[end..];
        Some(tag)
    })
}

const THINK: (&str, &str) = ("<think>", "</think>");

/// The arguments of DeepSeek's later forms.
const DSML: Tagged = Tagged {
    head: "",
    head_end: "\">",
    // Behind the name stands whether the value is a string, which the schema says as well.
    key: ("<｜DSML｜parameter name=\"", ">"),
    value: ("", "</｜DSML｜parameter>"),
    end: "",
    broken: false,
};

/// Of a model that thinks between these tags, and in whose template no calls were found.
pub(super) static PLAIN: Format = Format {
    id: "plain",
    think: THINK,
    section: None,
    open: "",
    open_short: None,
    call: Call::None,
    close: "",
    list: false,
};

/// All formats, one row each.
pub static FORMATS: &[Format] = &[
    Format {
        id: "harmony",
        think: ("<|channel|>analysis<|message|>", "<|end|>"),
        section: None,
        open: "<|channel|>",
        open_short: None,
        call: Call::Harmony,
        close: "",
        list: false,
    },
    Format {
        id: "hermes",
        think: THINK,
        section: None,
        open: "<tool_call>",
        open_short: None,
        call: Call::Object { name: "name", arguments: &["arguments", "parameters"] },
        close: "</tool_call>",
        list: false,
    },
    Format {
        id: "qwen-xml",
        think: THINK,
        section: None,
        open: "<tool_call>",
        open_short: Some("<function="),
        call: Call::Tagged(Tagged {
            head: "<function=",
            head_end: ">",
            key: ("<parameter=", ">"),
            value: ("", "</parameter>"),
            end: "</function>",
            broken: true,
        }),
        close: "</tool_call>",
        list: false,
    },
    Format {
        id: "glm",
        think: THINK,
        section: None,
        open: "<tool_call>",
        open_short: None,
        call: Call::Tagged(Tagged {
            head: "",
            head_end: "\n",
            key: ("<arg_key>", "</arg_key>"),
            value: ("<arg_value>", "</arg_value>"),
            end: "",
            broken: false,
        }),
        close: "</tool_call>",
        list: false,
    },
    Format {
        id: "minimax",
        think: THINK,
        section: Some(("<minimax:tool_call>", "</minimax:tool_call>")),
        open: "<invoke name=\"",
        open_short: None,
        call: Call::Tagged(Tagged {
            head: "",
            head_end: "\">",
            key: ("<parameter name=\"", "\">"),
            value: ("", "</parameter>"),
            end: "",
            broken: false,
        }),
        close: "</invoke>",
        list: false,
    },
    Format {
        id: "kimi",
        think: THINK,
        section: Some(("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>")),
        open: "<|tool_call_begin|>",
        open_short: None,
        call: Call::Json {
            prefix: "functions.",
            until: "<|tool_call_argument_begin|>",
            index: true,
        },
        close: "<|tool_call_end|>",
        list: false,
    },
    Format {
        id: "deepseek31",
        think: THINK,
        section: Some(("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")),
        open: "<｜tool▁call▁begin｜>",
        open_short: None,
        call: Call::Json { prefix: "", until: "<｜tool▁sep｜>", index: false },
        close: "<｜tool▁call▁end｜>",
        list: false,
    },
    Format {
        id: "deepseek3",
        think: THINK,
        section: Some(("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")),
        open: "<｜tool▁call▁begin｜>",
        open_short: None,
        call: Call::Json { prefix: "function<｜tool▁sep｜>", until: "```json", index: false },
        close: "```<｜tool▁call▁end｜>",
        list: false,
    },
    Format {
        id: "deepseek32",
        think: THINK,
        section: Some(("<｜DSML｜function_calls>", "</｜DSML｜function_calls>")),
        open: "<｜DSML｜invoke name=\"",
        open_short: None,
        call: Call::Tagged(DSML),
        close: "</｜DSML｜invoke>",
        list: false,
    },
    Format {
        id: "deepseek4",
        think: THINK,
        section: Some(("<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>")),
        open: "<｜DSML｜invoke name=\"",
        open_short: None,
        call: Call::Tagged(DSML),
        close: "</｜DSML｜invoke>",
        list: false,
    },
    Format {
        id: "mistral",
        think: ("[THINK]", "[/THINK]"),
        section: None,
        open: "[TOOL_CALLS]",
        open_short: None,
        call: Call::Json { prefix: "", until: "[ARGS]", index: false },
        close: "",
        list: false,
    },
    Format {
        id: "mistral-list",
        think: ("[THINK]", "[/THINK]"),
        section: Some(("[TOOL_CALLS]", "")),
        open: "[{",
        open_short: None,
        call: Call::Object { name: "name", arguments: &["arguments"] },
        close: "",
        list: true,
    },
    Format {
        id: "granite",
        think: THINK,
        section: Some(("<|tool_call|>", "")),
        open: "[{",
        open_short: None,
        call: Call::Object { name: "name", arguments: &["arguments"] },
        close: "",
        list: true,
    },
    Format {
        id: "lfm2",
        think: THINK,
        section: Some(("<|tool_call_start|>", "<|tool_call_end|>")),
        open: "[",
        open_short: None,
        call: Call::Literal(Literal::Python),
        close: "",
        list: true,
    },
    Format {
        id: "pythonic",
        think: THINK,
        section: None,
        open: "[",
        open_short: Some("["),
        call: Call::Literal(Literal::Python),
        close: "",
        list: true,
    },
    Format {
        id: "gemma",
        think: ("<|channel>thought", "<channel|>"),
        section: None,
        open: "<|tool_call>",
        open_short: None,
        call: Call::Literal(Literal::Quoted { prefix: "call:", quote: "<|\"|>" }),
        close: "<tool_call|>",
        list: false,
    },
    Format {
        id: "functiongemma",
        think: THINK,
        section: None,
        open: "<start_function_call>",
        open_short: None,
        call: Call::Literal(Literal::Quoted { prefix: "call:", quote: "<escape>" }),
        close: "<end_function_call>",
        list: false,
    },
    Format {
        id: "llama",
        think: THINK,
        section: None,
        open: "<|python_tag|>",
        open_short: Some("{"),
        call: Call::Object { name: "name", arguments: &["parameters", "arguments"] },
        close: ";",
        list: false,
    },
];
