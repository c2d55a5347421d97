//! What is kept, and how much of it.

use std::path::PathBuf;

/// What is kept of sequences that no request works on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CacheParams {
    /// Most bytes of states saved in memory; 0: none are.
    pub memory_bytes: u64,
    /// Most bytes of recurrent states kept of the sequences in slots.
    pub checkpoint_bytes: u64,
    /// Tokens of a prompt after which a recurrent state is kept.
    pub checkpoint_every: u32,
    /// Where states outlive the process; `None`: nowhere.
    pub disk: Option<DiskParams>,
}

/// States on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskParams {
    /// The directory of the files. It is made if it is missing.
    pub directory: PathBuf,
    /// Names the model's weights and how their states are computed: states of another key are
    /// never read.
    pub key: [u8; 32],
    /// Most bytes of all files.
    pub max_bytes: u64,
    /// Most bytes written in an hour.
    pub write_bytes_per_hour: u64,
    /// Bytes that stay free on the file system.
    pub min_free_bytes: u64,
}
