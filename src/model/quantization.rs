//! The tensor types of ggml and the file types of llama.cpp, with their sizes.

/// How a tensor's values are stored: `values` of them in a block of `bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorType {
    /// ggml's name.
    pub name: &'static str,
    /// Values in a block; a row is a whole number of blocks.
    pub values: u64,
    /// Bytes of a block.
    pub bytes: u64,
}

/// Indexed by ggml's type number. `None`: removed from the format, or not known to the
/// llama.cpp that this server is built with.
const TYPES: [Option<TensorType>; 43] = [
    block("f32", 1, 4),
    block("f16", 1, 2),
    block("q4_0", 32, 18),
    block("q4_1", 32, 20),
    None,
    None,
    block("q5_0", 32, 22),
    block("q5_1", 32, 24),
    block("q8_0", 32, 34),
    block("q8_1", 32, 36),
    block("q2_K", 256, 84),
    block("q3_K", 256, 110),
    block("q4_K", 256, 144),
    block("q5_K", 256, 176),
    block("q6_K", 256, 210),
    block("q8_K", 256, 292),
    block("iq2_xxs", 256, 66),
    block("iq2_xs", 256, 74),
    block("iq3_xxs", 256, 98),
    block("iq1_s", 256, 50),
    block("iq4_nl", 32, 18),
    block("iq3_s", 256, 110),
    block("iq2_s", 256, 82),
    block("iq4_xs", 256, 136),
    block("i8", 1, 1),
    block("i16", 1, 2),
    block("i32", 1, 4),
    block("i64", 1, 8),
    block("f64", 1, 8),
    block("iq1_m", 256, 56),
    block("bf16", 1, 2),
    None,
    None,
    None,
    block("tq1_0", 256, 54),
    block("tq2_0", 256, 66),
    None,
    None,
    None,
    block("mxfp4", 32, 17),
    block("nvfp4", 64, 36),
    block("q1_0", 128, 18),
    block("q2_0", 64, 18),
];

const fn block(name: &'static str, values: u64, bytes: u64) -> Option<TensorType> {
    Some(TensorType { name, values, bytes })
}

impl TensorType {
    /// The type with ggml's number `id`, if this llama.cpp knows it.
    pub fn from_id(id: u32) -> Option<Self> {
        TYPES.get(usize::try_from(id).ok()?).copied().flatten()
    }
}

/// The name of a `general.file_type` value, such as `Q4_K_M`.
pub fn file_type_name(id: u64) -> Option<&'static str> {
    Some(match id {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4_MOE",
        39 => "NVFP4",
        40 => "Q1_0",
        41 => "Q2_0",
        _ => return None,
    })
}
