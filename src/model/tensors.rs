//! Whether a file has the tensors that llama.cpp will ask for: without one it gives up after
//! having read gigabytes, and its message is one line of many. Known for the architectures that
//! the appliance runs (`src/models/qwen3*.cpp` of the pin); others are left to llama.cpp.

use std::collections::HashSet;

use super::facts::{GgufFacts, Layer};
use super::gguf::{Gguf, GgufError};

const ATTENTION: &[&str] = &["attn_q_norm.weight", "attn_k_norm.weight", "attn_output.weight"];
const DELTA_NET: &[&str] = &[
    "ssm_conv1d.weight",
    "ssm_dt.bias",
    "ssm_a",
    "ssm_ba.weight",
    "ssm_norm.weight",
    "ssm_out.weight",
];
const DENSE: &[&str] = &["ffn_norm.weight", "ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"];
const EXPERTS: &[&str] = &["ffn_gate_inp.weight", "ffn_down_exps.weight"];
const SHARED_EXPERT: &[&str] = &[
    "ffn_gate_inp_shexp.weight",
    "ffn_gate_shexp.weight",
    "ffn_up_shexp.weight",
    "ffn_down_shexp.weight",
];
/// One tensor, or several in its place.
const QKV: (&str, &[&str]) =
    ("attn_qkv.weight", &["attn_q.weight", "attn_k.weight", "attn_v.weight"]);
const GATE_UP: (&str, &[&str]) =
    ("ffn_gate_up_exps.weight", &["ffn_gate_exps.weight", "ffn_up_exps.weight"]);

/// Refuses a model that lacks a tensor.
pub(super) fn check(gguf: &Gguf, facts: &GgufFacts) -> Result<(), GgufError> {
    let names: HashSet<&str> = gguf.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let mut missing = Vec::new();
    let mut want = |name: String| {
        if !names.contains(name.as_str()) {
            missing.push(name);
        }
    };
    let arch = facts.architecture.as_str();
    if !matches!(arch, "qwen3" | "qwen3moe" | "qwen3next") {
        return Ok(());
    }
    want("token_embd.weight".to_owned());
    want("output_norm.weight".to_owned());
    for (index, layer) in facts.layers.iter().enumerate() {
        let name = |tensor: &str| format!("blk.{index}.{tensor}");
        let (tensors, choices) = layer_tensors(arch, layer);
        tensors.iter().for_each(|tensor| want(name(tensor)));
        for (one, several) in choices {
            if !names.contains(name(one).as_str()) {
                several.iter().for_each(|tensor| want(name(tensor)));
            }
        }
    }
    match missing.as_slice() {
        [] => Ok(()),
        [first, rest @ ..] => {
            let more = match rest.len() {
                0 => String::new(),
                count => format!(" and {count} more"),
            };
            Err(GgufError(format!(
                "the tensor {first}{more} of a {arch} model is missing: the file is incomplete or was converted wrongly, download it again"
            )))
        }
    }
}

type Choice = (&'static str, &'static [&'static str]);

fn layer_tensors(arch: &str, layer: &Layer) -> (Vec<&'static str>, Vec<Choice>) {
    let mut tensors = vec!["attn_norm.weight"];
    let mut choices = Vec::new();
    if layer.recurrent {
        tensors.extend(DELTA_NET);
        // Older files have all of its input in one tensor.
        choices.push(("ssm_in.weight", &["attn_qkv.weight", "attn_gate.weight"][..]));
    } else {
        tensors.extend(ATTENTION);
        choices.push(QKV);
    }
    match arch {
        "qwen3" => tensors.extend(DENSE),
        "qwen3moe" => {
            tensors.push("ffn_norm.weight");
            tensors.extend(EXPERTS);
            tensors.extend(["ffn_gate_exps.weight", "ffn_up_exps.weight"]);
        }
        _ => {
            tensors.push("post_attention_norm.weight");
            tensors.extend(EXPERTS);
            tensors.extend(SHARED_EXPERT);
            choices.push(GATE_UP);
        }
    }
    (tensors, choices)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use super::super::keys::Purpose;
    use super::*;

    fn read(path: &str) -> (Gguf, GgufFacts) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let gguf = Gguf::parse(File::open(root.join(path)).unwrap()).unwrap();
        let facts = GgufFacts::read(&gguf, Purpose::Generate).unwrap();
        (gguf, facts)
    }

    #[test]
    fn every_tensor_that_llama_cpp_loads_is_asked_for_and_no_other() {
        for path in [
            "assets/tiny-chat-q8_0.gguf",
            "tests/models/tiny-qwen3moe.gguf",
            "tests/models/tiny-qwen3next.gguf",
        ] {
            let (whole, facts) = read(path);
            check(&whole, &facts).unwrap();
            for (index, tensor) in whole.tensors.iter().enumerate() {
                let mut gguf = whole.clone();
                gguf.tensors.remove(index);
                let result = check(&gguf, &facts);
                // A model without it takes the embeddings.
                if tensor.name == "output.weight" {
                    result.unwrap();
                } else {
                    let error = result.unwrap_err().to_string();
                    assert!(error.contains(&tensor.name), "{error}");
                }
            }
        }
    }

    #[test]
    fn other_architectures_are_left_to_llama_cpp() {
        let (mut gguf, mut facts) = read("assets/tiny-chat-q8_0.gguf");
        gguf.tensors.truncate(1);
        facts.architecture = "llama".to_owned();
        check(&gguf, &facts).unwrap();
    }
}
