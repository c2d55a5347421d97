//! The demo model that is part of the binary: what `serve` loads when no model is configured.

/// The GGUF file itself: Qwen3 architecture, 1.4 million parameters in Q8_0, trained for a
/// context of 4096 tokens by `tools/models/train_tiny.py`.
pub const BUILTIN: &[u8] = include_bytes!("../../assets/tiny-chat-q8_0.gguf");

/// The name the demo model is served under when no alias is set.
pub const BUILTIN_NAME: &str = "strixhalo-demo";

/// SHA-256 of [`BUILTIN`], lowercase hexadecimal.
pub const BUILTIN_SHA256: &str = "4a2e7f18c0120e71c22d842079adcff19b9feededde3de30061f629a875afced";

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    /// Retraining gives another file: replacing the committed one is a decision, never an accident.
    #[test]
    fn the_committed_file_is_the_one_its_hash_names() {
        let found: String =
            Sha256::digest(BUILTIN).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, BUILTIN_SHA256);
    }

    #[test]
    fn the_file_is_a_gguf_of_at_most_4_megabytes() {
        assert!(BUILTIN.starts_with(b"GGUF"));
        assert!(BUILTIN.len() <= 4_000_000, "{} bytes", BUILTIN.len());
    }
}
