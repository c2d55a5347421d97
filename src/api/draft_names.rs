//! Why speculation is off, in the words of `/slots` and `/metrics`.

use crate::engine::NoDraft;

pub(super) fn reason(reason: NoDraft) -> &'static str {
    match reason {
        NoDraft::Disabled => "disabled",
        NoDraft::Memory => "memory",
        NoDraft::NoMatch => "no_match",
        NoDraft::Cost => "cost",
        NoDraft::Streams => "streams",
    }
}
