//! Section `cache`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// systemd's variable for the directory of `CacheDirectory=`.
pub const CACHE_DIRECTORY: &str = "CACHE_DIRECTORY";

/// What is kept of conversations that no slot computes, so that their next turn is not read anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheSettings {
    /// MiB of memory for the states of conversations that lost their slot; 0: none are kept, -1: all
    /// that is free once the model is planned. The default, 8192, holds some long conversations; it
    /// is cut to an eighth of the free memory and to what the model and its context leave, a value
    /// that is set is not.
    #[schemars(range(min = -1, max = 16_777_216))]
    pub ram_mib: i64,
    /// MiB of memory for the recurrent states of the conversations in slots, which models with
    /// recurrent layers (such as Qwen3-Next) need to go back to an earlier message; 0: none are
    /// kept. 2048 holds some 25 states of an 80B model. Like `ram_mib`, the default is cut to what
    /// the memory allows. Other models take none.
    #[schemars(range(max = 16_777_216))]
    pub checkpoint_mib: u64,
    /// Tokens of a long prompt after which a recurrent state is kept, beside those at the borders
    /// of messages. 2048 bounds what is read again after a change within a long message.
    #[schemars(range(min = 64, max = 16_777_216))]
    pub checkpoint_every: u32,
    /// Directory in which conversations outlive the server. Their prompts and answers lie there, for
    /// the server's user alone. Unset: `prompts` in the directory that systemd names with
    /// `CacheDirectory=`, which is `/var/cache/strixhalo` on NixOS; without systemd nothing is
    /// written.
    pub disk_dir: Option<PathBuf>,
    /// MiB of all files in `disk_dir`; the ones that were not used for the longest time go first. 0:
    /// nothing is kept on disk. 32768 is a small part of any disk that holds such models.
    #[schemars(range(max = 1_073_741_824_u64))]
    pub disk_mib: u64,
    /// Most MiB written to `disk_dir` in an hour, because SSDs wear; 0: nothing is written, what is
    /// there is read. 16384 all the time would be 150 TB a year; real use is far below that.
    #[schemars(range(max = 1_073_741_824_u64))]
    pub disk_write_mib_per_hour: u64,
    /// MiB that stay free on the file system of `disk_dir`. 10240 leave room for logs and the next
    /// system generation.
    #[schemars(range(max = 1_073_741_824_u64))]
    pub disk_min_free_mib: u64,
    /// Keep the conversations of each API key apart, in memory and on disk: no prompt then goes on
    /// from what another key's request computed, and nobody can tell from its speed what others
    /// asked. Off by default: a system prompt that all clients share is then read once.
    pub isolate_keys: bool,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            ram_mib: 8192,
            checkpoint_mib: 2048,
            checkpoint_every: 2048,
            disk_dir: None,
            disk_mib: 32_768,
            disk_write_mib_per_hour: 16_384,
            disk_min_free_mib: 10_240,
            isolate_keys: false,
        }
    }
}

impl CacheSettings {
    /// Where files are kept: `disk_dir`, else `prompts` in the first directory of systemd's variable
    /// [`CACHE_DIRECTORY`], which is given here; `None`: nowhere.
    pub fn directory(&self, cache_directory: Option<&OsStr>) -> Option<PathBuf> {
        let systemds = || {
            let first = cache_directory?.as_bytes().split(|byte| *byte == b':').next()?;
            (!first.is_empty()).then(|| Path::new(OsStr::from_bytes(first)).join("prompts"))
        };
        self.disk_dir.clone().or_else(systemds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_kept_where_it_is_said_else_in_systemds_cache_directory() {
        let unset = CacheSettings::default();
        let set = CacheSettings { disk_dir: Some("/srv/prompts".into()), ..unset.clone() };
        let systemd = Some(OsStr::new("/var/cache/strixhalo:/var/cache/other"));
        assert_eq!(unset.directory(systemd), Some("/var/cache/strixhalo/prompts".into()));
        assert_eq!(set.directory(systemd), Some("/srv/prompts".into()));
        assert_eq!(unset.directory(None), None);
        assert_eq!(unset.directory(Some(OsStr::new(""))), None);
    }
}
