use serde_json::{Value, json};

use super::Target;

/// Numbers that sampling parameters may be sent as.
const NUMBERS: [&str; 22] = [
    "0",
    "-0.0",
    "1",
    "-1",
    "0.5",
    "2",
    "1e-45",
    "1e-40",
    "1e-30",
    "1e-7",
    "0.00001",
    "99.9",
    "100",
    "1000",
    "2147483647",
    "2147483648",
    "-2147483648",
    "4294967295",
    "1e38",
    "3.5e38",
    "-1e308",
    "1e999",
];

const NUMBER_FIELDS: [&str; 26] = [
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "top_n_sigma",
    "xtc_probability",
    "xtc_threshold",
    "dynatemp_range",
    "dynatemp_exponent",
    "repeat_last_n",
    "repeat_penalty",
    "frequency_penalty",
    "presence_penalty",
    "dry_multiplier",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "min_keep",
    "seed",
    "n_probs",
    "id_slot",
    "t_max_predict_ms",
];

const SAMPLERS: [&str; 9] =
    ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"];

#[test]
fn any_number_in_any_sampling_field_is_answered_or_refused() {
    let target = Target::start(&[]);
    for field in NUMBER_FIELDS {
        for number in NUMBERS {
            target.chat(&format!(r#""{field}":{number}"#));
        }
        for other in ["null", "\"1\"", "[]", "{}", "true", "NaN", "Infinity", "-", "01", "1e"] {
            target.chat(&format!(r#""{field}":{other}"#));
        }
    }
    target.next_answer_is_right();
}

/// A small generator of numbers, the same ones every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.roll(from.len())]
    }
}

#[test]
fn samplers_in_any_order_with_values_at_their_limits_give_an_answer() {
    // Each is within the range of its field.
    let extremes: [(&str, &[&str]); 18] = [
        ("temperature", &["0", "1e-45", "1e-40", "1e-9", "1", "100"]),
        ("top_k", &["0", "1", "2", "2147483647"]),
        ("top_p", &["0", "1e-30", "0.5", "1"]),
        ("min_p", &["0", "1e-30", "0.5", "1"]),
        ("typical_p", &["0", "1e-30", "0.5", "1"]),
        ("top_n_sigma", &["-1", "0", "1e-30", "1", "1000"]),
        ("xtc_probability", &["0", "1"]),
        ("xtc_threshold", &["0", "1e-30", "0.5"]),
        ("dynatemp_range", &["0", "1e-30", "1", "100"]),
        ("dynatemp_exponent", &["0", "1e-30", "100"]),
        ("repeat_last_n", &["-1", "0", "1", "2147483647"]),
        ("repeat_penalty", &["0.01", "1", "100"]),
        ("frequency_penalty", &["-2", "2"]),
        ("presence_penalty", &["-2", "2"]),
        ("dry_multiplier", &["0", "1e-30", "100"]),
        ("dry_base", &["1", "1.0000001", "1000"]),
        ("dry_allowed_length", &["0", "1", "2147483647"]),
        ("min_keep", &["0", "1", "5", "2147483647"]),
    ];
    let target = Target::start(&[]);
    let mut dice = Dice(0x5eed);
    for _ in 0..150 {
        let mut fields: Vec<String> = extremes
            .iter()
            .map(|(field, values)| format!(r#""{field}":{}"#, dice.pick(values)))
            .collect();
        let mut samplers = SAMPLERS.to_vec();
        for i in (1..samplers.len()).rev() {
            samplers.swap(i, dice.roll(i + 1));
        }
        samplers.truncate(dice.roll(SAMPLERS.len()) + 1);
        fields.push(format!(r#""samplers":{}"#, json!(samplers)));
        let mirostat = dice.pick(&["0", "0", "0", "1", "2"]);
        let (tau, eta) =
            (dice.pick(&["0", "1e-30", "5", "1000"]), dice.pick(&["0", "0.1", "1000"]));
        fields.push(format!(
            r#""mirostat":{mirostat},"mirostat_tau":{tau},"mirostat_eta":{eta},"seed":1"#
        ));
        let fields = fields.join(",");
        assert_eq!(target.chat(&fields), 200, "{fields}");
    }
    target.next_answer_is_right();
}

#[test]
fn a_tiny_temperature_takes_the_best_token() {
    let target = Target::start(&[]);
    let ask = |temperature: f64| {
        let fields = json!({"temperature": temperature, "seed": 3, "top_k": 0, "min_p": 0});
        target.server.chat("What is the capital of France?", fields).json["choices"][0].clone()
    };
    for temperature in [1e-45, 1e-40, 1e-20, 1e-6] {
        assert_eq!(ask(temperature), ask(0.0), "{temperature}");
    }
}

#[test]
fn tokens_that_are_all_forbidden_end_nothing() {
    let target = Target::start(&[]);
    let size = target.server.get("/v1/models").json["data"][0]["meta"]["n_vocab"].as_u64().unwrap();
    let all: Vec<Value> = (0..size).map(|id| json!([id, false])).collect();
    let mut biases = vec![json!(all)];
    // Sums of biases, far beyond what a logit is.
    biases.push(json!(vec![json!([5, 100]); 100_000]));
    biases.push(json!([[1, false], [1, 100], [1, -100], ["", false], ["\u{0}", 1]]));
    for bias in biases {
        for more in [
            r#""temperature":0"#,
            r#""temperature":1"#,
            r#""temperature":1,"top_k":0,"top_p":1,"min_p":0"#,
            r#""temperature":1,"top_k":0,"typical_p":0.5"#,
            r#""temperature":1,"top_k":0,"xtc_probability":1"#,
            r#""temperature":1,"dynatemp_range":1,"top_n_sigma":1,"samplers":"st""#,
            r#""mirostat":1"#,
            r#""mirostat":2,"temperature":0"#,
            r#""ignore_eos":true,"n":3,"logprobs":true,"top_logprobs":1000"#,
        ] {
            assert_eq!(target.chat(&format!(r#""logit_bias":{bias},{more}"#)), 200, "{more}");
        }
    }
    for wrong in ["[[-1,1]]", r#"{"-1":1}"#, r#"{"2147483647":1}"#, r#"{"99999999999999999999":1}"#]
    {
        assert_eq!(target.chat(&format!(r#""logit_bias":{wrong}"#)), 400, "{wrong}");
    }
    target.next_answer_is_right();
}

#[test]
fn odd_sequence_breakers_and_stop_strings_are_taken_or_refused() {
    let target = Target::start(&[]);
    let dry = r#""dry_multiplier":1,"dry_penalty_last_n":-1,"#;
    let long = "é".repeat(39);
    for breakers in [
        json!([]),
        json!([""]),
        json!(["\u{0}", "a\u{0}b", "\u{fffd}", "\u{10ffff}"]),
        json!([long, "🦀".repeat(200), "x".repeat(1024)]),
        json!(vec!["<|im_end|>"; 32]),
    ] {
        assert_eq!(target.chat(&format!(r#"{dry}"dry_sequence_breakers":{breakers}"#)), 200);
    }
    for breakers in [json!(vec!["a"; 33]), json!(["x".repeat(1025)]), json!("a"), json!([1])] {
        assert_eq!(target.chat(&format!(r#"{dry}"dry_sequence_breakers":{breakers}"#)), 400);
    }
    for stop in [json!(["\u{0}"]), json!(vec!["🦀".repeat(256); 64]), json!(["", null])] {
        assert_eq!(target.chat(&format!(r#""stop":{stop},"ignore_eos":true"#)), 200);
    }
    target.next_answer_is_right();
}

#[test]
fn many_choices_and_a_full_context_leave_all_slots_free() {
    let target = Target::start(&[]);
    for (fields, status) in [
        (r#""n":128,"max_tokens":1"#, 200),
        (r#""n":129"#, 400),
        (r#""n":0"#, 400),
        (r#""max_tokens":0"#, 200),
        (r#""max_tokens":-1,"ignore_eos":true"#, 200),
        (r#""max_tokens":2147483647,"ignore_eos":true,"n":5"#, 200),
        (r#""max_tokens":1,"id_slot":2147483647"#, 200),
        (r#""max_tokens":1,"id_slot":99999999999999999999"#, 200),
        (r#""max_tokens":1,"id_slot":-2"#, 400),
    ] {
        assert_eq!(target.chat(fields), status, "{fields}");
    }
    target.next_answer_is_right();
}
