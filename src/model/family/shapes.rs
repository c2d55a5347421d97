//! The sizes of the published Qwen models, from their configurations.

/// A published model. Sizes are counts of values unless they say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// The name that `--family` takes, such as `qwen3-32b`.
    pub name: &'static str,
    /// llama.cpp's name of its architecture.
    pub architecture: &'static str,
    /// Tokens of context that it was trained for.
    pub n_ctx_train: u32,
    /// Tokens of the vocabulary.
    pub n_vocab: u32,
    /// Width of the residual stream.
    pub n_embd: u32,
    /// Layers.
    pub n_layer: u32,
    /// Attention heads.
    pub n_head: u32,
    /// Heads whose keys and values are cached.
    pub n_head_kv: u32,
    /// Values of one head.
    pub head_dim: u32,
    /// Width of a dense feed-forward layer.
    pub n_ff: u32,
    /// Whether the embeddings serve as the output's weights too.
    pub tied: bool,
    /// Experts in place of dense layers.
    pub experts: Option<Experts>,
    /// Recurrent layers (gated delta net): three of four.
    pub delta_net: Option<DeltaNet>,
}

/// A mixture of experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Experts {
    /// Experts of a layer.
    pub count: u32,
    /// How many of them a token uses.
    pub used: u32,
    /// Width of one.
    pub n_ff: u32,
    /// Width of the one that every token uses; 0: none.
    pub n_ff_shared: u32,
}

/// A recurrent layer; keys and values of 128, a convolution over 4 tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaNet {
    /// Heads of values.
    pub value_heads: u32,
    /// Heads of keys.
    pub key_heads: u32,
}

const fn dense(
    name: &'static str,
    (n_layer, n_embd, n_ff): (u32, u32, u32),
    (n_head, n_head_kv): (u32, u32),
    tied: bool,
) -> Family {
    Family {
        name,
        architecture: "qwen3",
        n_ctx_train: 40_960,
        n_vocab: 151_936,
        n_embd,
        n_layer,
        n_head,
        n_head_kv,
        head_dim: 128,
        n_ff,
        tied,
        experts: None,
        delta_net: None,
    }
}

const fn mixture(shape: Family, count: u32, used: u32, n_ff: u32) -> Family {
    let experts = Some(Experts { count, used, n_ff, n_ff_shared: 0 });
    Family { architecture: "qwen3moe", experts, ..shape }
}

const fn long(name: &'static str, shape: Family) -> Family {
    Family { name, n_ctx_train: 262_144, ..shape }
}

const fn hybrid(shape: Family, architecture: &'static str, value_heads: u32) -> Family {
    let delta_net = Some(DeltaNet { value_heads, key_heads: 16 });
    Family { architecture, head_dim: 256, n_ctx_train: 262_144, delta_net, ..shape }
}

const fn shared(shape: Family, n_ff_shared: u32) -> Family {
    match shape.experts {
        Some(experts) => Family { experts: Some(Experts { n_ff_shared, ..experts }), ..shape },
        None => shape,
    }
}

const QWEN3_4B: Family = dense("qwen3-4b", (36, 2560, 9728), (32, 8), true);
const QWEN3_30B: Family =
    mixture(dense("qwen3-30b-a3b", (48, 2048, 6144), (32, 4), false), 128, 8, 768);
const QWEN3_235B: Family =
    mixture(dense("qwen3-235b-a22b", (94, 4096, 12_288), (64, 4), false), 128, 8, 1536);
const QWEN3_480B: Family =
    mixture(dense("qwen3-coder-480b-a35b", (62, 6144, 8192), (96, 8), false), 160, 8, 2560);
const QWEN3_NEXT: Family = hybrid(
    shared(
        mixture(dense("qwen3-next-80b-a3b", (48, 2048, 5120), (16, 2), false), 512, 10, 512),
        512,
    ),
    "qwen3next",
    32,
);
const QWEN36_35B: Family = Family {
    n_vocab: 248_320,
    ..hybrid(
        shared(
            mixture(dense("qwen3.6-35b-a3b", (40, 2048, 5120), (16, 2), false), 256, 8, 512),
            512,
        ),
        "qwen35moe",
        32,
    )
};
const QWEN36_27B: Family = Family {
    n_vocab: 248_320,
    ..hybrid(dense("qwen3.6-27b", (64, 5120, 17_408), (24, 4), false), "qwen35", 48)
};

/// All that `--family` knows.
pub const FAMILIES: &[Family] = &[
    dense("qwen3-0.6b", (28, 1024, 3072), (16, 8), true),
    dense("qwen3-1.7b", (28, 2048, 6144), (16, 8), true),
    QWEN3_4B,
    long("qwen3-4b-2507", QWEN3_4B),
    dense("qwen3-8b", (36, 4096, 12_288), (32, 8), false),
    dense("qwen3-14b", (40, 5120, 17_408), (40, 8), false),
    dense("qwen3-32b", (64, 5120, 25_600), (64, 8), false),
    QWEN3_30B,
    long("qwen3-30b-a3b-2507", QWEN3_30B),
    long("qwen3-coder-30b-a3b", QWEN3_30B),
    QWEN3_235B,
    long("qwen3-235b-a22b-2507", QWEN3_235B),
    long("qwen3-coder-480b-a35b", QWEN3_480B),
    QWEN3_NEXT,
    long("qwen3-coder-next", QWEN3_NEXT),
    long("qwen3.5-35b-a3b", QWEN36_35B),
    QWEN36_35B,
    long("qwen3.5-27b", QWEN36_27B),
    QWEN36_27B,
];
