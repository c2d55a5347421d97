//! What this binary is.

use std::sync::LazyLock;

/// The version and the backends that are built in.
pub(crate) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let features: Vec<&str> = [
        ("engine", cfg!(feature = "engine")),
        ("hip", cfg!(feature = "hip")),
        ("vulkan", cfg!(feature = "vulkan")),
        ("cuda", cfg!(feature = "cuda")),
    ]
    .into_iter()
    .filter_map(|(name, built_in)| built_in.then_some(name))
    .collect();
    let features = if features.is_empty() { "none".to_owned() } else { features.join(", ") };
    format!("{} (features: {features})", env!("CARGO_PKG_VERSION"))
});
