//! What is known of sequences beyond the requests that made them: saved states in memory and on
//! disk, and the choice of the one that saves a prompt the most work. Decisions are pure.

#[cfg(feature = "engine")]
mod checkpoints;
#[cfg(feature = "engine")]
mod cost;
#[cfg(feature = "engine")]
mod disk;
mod files;
#[cfg(feature = "engine")]
mod memory;
#[cfg(feature = "engine")]
mod params;
#[cfg(feature = "engine")]
mod prefix;
#[cfg(feature = "engine")]
mod snapshot;

pub use self::files::{SavedPrompt, clear_saved_prompts, saved_prompts};
#[cfg(feature = "engine")]
pub use self::params::{CacheParams, DiskParams};
#[cfg(feature = "engine")]
pub(crate) use self::{
    checkpoints::{marks, thin},
    cost::CopyCost,
    disk::{Disk, DiskEntry, DiskEvent, STATE_FORMAT},
    memory::{MemoryStore, Saved},
    prefix::{Candidate, Match, best, common_prefix, matching},
    snapshot::{Checkpoint, Proof, Snapshot},
};
