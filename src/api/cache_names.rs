//! What the caches do, in the words of the log, `/slots` and `/metrics`.

use crate::engine::{CacheMiss, CacheSource};

pub(super) fn source(source: CacheSource) -> &'static str {
    match source {
        CacheSource::Slot => "slot",
        CacheSource::Sequence => "sequence",
        CacheSource::Memory => "memory",
        CacheSource::Disk => "disk",
    }
}

pub(super) fn miss(miss: CacheMiss) -> &'static str {
    match miss {
        CacheMiss::Disabled => "disabled",
        CacheMiss::Logprobs => "logprobs",
        CacheMiss::New => "new",
        CacheMiss::Dropped => "dropped",
        CacheMiss::Changed => "changed",
        CacheMiss::Rejected => "rejected",
    }
}
