//! What is kept of sequences that no request works on, and under which name it lies on disk.

use std::ffi::OsStr;

use sha2::{Digest, Sha256};

use crate::config::CacheSettings;
use crate::engine::{self, CacheParams, Device, DiskParams, LoadParams, STATE_FORMAT};
use crate::model::{CacheShape, Source, identity};

/// The crate that holds llama.cpp: another version may lay states out in another way.
const LLAMA_CPP: &str = "llama-cpp-sys-2 0.1.161";

/// The caches of the model that `params` load on `gpus` (none: on the CPU), in the memory that the
/// plan gives them. `cache_directory` is systemd's variable CACHE_DIRECTORY. With one line that says
/// what is kept where; an error, one line, leaves the disk out.
pub(super) fn cache_params(
    settings: &CacheSettings,
    cache_directory: Option<&OsStr>,
    source: &Source,
    shape: &CacheShape,
    params: &LoadParams,
    gpus: &[&Device],
) -> (CacheParams, String, Option<String>) {
    let mut error = None;
    let directory = settings.directory(cache_directory).filter(|_| settings.disk_mib > 0);
    let disk = directory.and_then(|directory| match identity(&source.parts) {
        Ok(identity) => Some(DiskParams {
            directory,
            key: key(&identity, params, gpus),
            max_bytes: settings.disk_mib << 20,
            write_bytes_per_hour: settings.disk_write_mib_per_hour << 20,
            min_free_bytes: settings.disk_min_free_mib << 20,
        }),
        Err(cause) => {
            error = Some(format!(
                "states are not kept on disk: the model's file cannot be named by its content: {cause}"
            ));
            None
        }
    });
    let cache = CacheParams {
        memory_bytes: shape.host_cache,
        checkpoint_bytes: shape.checkpoints,
        checkpoint_every: settings.checkpoint_every,
        disk,
    };
    let line = kept(&cache);
    (cache, line, error)
}

/// What is kept where.
fn kept(cache: &CacheParams) -> String {
    let size = |bytes: u64| match bytes {
        0 => "none".to_owned(),
        u64::MAX => "without a limit".to_owned(),
        bytes => format!("up to {:.1} GiB", bytes as f64 / (1_u64 << 30) as f64),
    };
    let mut line = format!("saved states: {} in memory", size(cache.memory_bytes));
    if cache.checkpoint_bytes > 0 {
        line += &format!(", {} of recurrent states", size(cache.checkpoint_bytes));
    }
    line + &match &cache.disk {
        Some(disk) => format!(", {} in {}", size(disk.max_bytes), disk.directory.display()),
        None => ", none on disk (the disk cache is off)".to_owned(),
    }
}

/// Names the weights and all that changes a state of theirs: builds, types of the KV cache, the kind
/// of attention, rotary positions, and what computes it. The context's size does not,
/// the number of slots does: a state says how many there are.
fn key(identity: &[u8; 32], params: &LoadParams, gpus: &[&Device]) -> [u8; 32] {
    let gpus = gpus.iter().map(|gpu| format!("{} {} {}", gpu.backend, gpu.name, gpu.description));
    let parts = [
        format!("{} {STATE_FORMAT} {LLAMA_CPP}", env!("CARGO_PKG_VERSION")),
        // The instruction sets, which round differently.
        engine::system_info(),
        format!("{:?} {:?}", params.cache_type_k, params.cache_type_v),
        format!("{} {:?} {}", params.flash_attn, params.n_gpu_layers, params.slots),
        format!("{:?}", params.rope),
    ];
    let mut hash = Sha256::new_with_prefix(identity);
    for part in parts.into_iter().chain(gpus) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_llama_cpp_is_the_pinned_one() {
        let (name, version) = LLAMA_CPP.split_once(' ').unwrap();
        let pin = format!("\n{name} = {{ version = \"={version}\"");
        assert!(include_str!("../../Cargo.toml").contains(&pin), "{pin}");
    }

    #[test]
    fn the_line_says_what_is_kept_where() {
        let mut cache = CacheParams { memory_bytes: 8 << 30, ..CacheParams::default() };
        assert_eq!(
            kept(&cache),
            "saved states: up to 8.0 GiB in memory, none on disk (the disk cache is off)"
        );
        cache.checkpoint_bytes = 1 << 30;
        cache.memory_bytes = 0;
        cache.disk = Some(DiskParams {
            directory: "/var/cache/strixhalo/prompts".into(),
            key: [0; 32],
            max_bytes: 32 << 30,
            write_bytes_per_hour: 0,
            min_free_bytes: 0,
        });
        assert_eq!(
            kept(&cache),
            "saved states: none in memory, up to 1.0 GiB of recurrent states, up to 32.0 GiB in /var/cache/strixhalo/prompts"
        );
    }
}
