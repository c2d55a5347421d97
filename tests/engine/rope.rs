//! Rotary positions that settings change reach llama.cpp.

use strixhalo::config::{Rope, RopeScaling};

use super::*;

/// Log-probabilities of what follows a prompt, under these rotary positions.
fn logprobs(rope: Rope) -> Vec<f32> {
    let engine = load(LoadParams { rope, ..params(1, 1024) });
    let mut request = chat(&engine, "What is the capital of France?");
    request.top_logprobs = Some(1);
    request.max_tokens = Some(4);
    let answer = collect(submit(&engine, request));
    answer.tokens.iter().map(|token| token.logprobs.as_ref().unwrap().logprob).collect()
}

#[test]
fn each_setting_of_rope_and_yarn_changes_what_is_computed() {
    let own = Rope::default();
    let plain = logprobs(own);
    assert_eq!(logprobs(Rope { scaling: RopeScaling::None, ..own }), plain);
    let yarn = Rope { scaling: RopeScaling::Yarn, freq_scale: 0.25, yarn_orig_ctx: 256, ..own };
    let stretched = logprobs(yarn);
    assert_ne!(stretched, plain);
    for other in [
        Rope { scaling: RopeScaling::Linear, ..yarn },
        Rope { freq_base: 5000.0, ..yarn },
        Rope { freq_scale: 0.125, ..yarn },
        Rope { yarn_orig_ctx: 64, ..yarn },
        Rope { yarn_ext_factor: 0.5, ..yarn },
        Rope { yarn_ext_factor: 0.0, yarn_attn_factor: 1.5, ..yarn },
        Rope { yarn_beta_slow: 8.0, ..yarn },
        Rope { yarn_beta_fast: 4.0, ..yarn },
    ] {
        assert_ne!(logprobs(other), stretched, "{other:?}");
    }
    // Without extrapolation llama.cpp takes the factor as it is.
    let interpolated = Rope { yarn_ext_factor: 0.0, ..yarn };
    assert_ne!(logprobs(Rope { yarn_attn_factor: 1.5, ..interpolated }), logprobs(interpolated));
}
