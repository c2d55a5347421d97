//! What connections and layers share: the settings, the keys, the counters, and whether the server
//! is shutting down.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use prometheus::Registry;
use serde_json::Value;
use tokio::sync::watch;

use super::{Counts, Keys, Problem};
use crate::config::Settings;

/// What tells the APIs of routes apart.
#[derive(Debug, Clone, Copy)]
pub struct Dialects {
    /// The name of a route's API, for labels; `None`: no route is known.
    pub name: fn(route: Option<&str>) -> &'static str,
    /// Writes an error in the form of the API of a route, or of a path that has none.
    pub write_error: fn(path: Option<&str>, problem: &Problem) -> Value,
}

/// Shared by all connections and layers; cheap to clone.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

impl fmt::Debug for Context {
    /// Without the settings, which may hold API keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

struct Inner {
    settings: ArcSwap<Settings>,
    keys: ArcSwap<Keys>,
    draining: watch::Sender<bool>,
    loopback_only: AtomicBool,
    counts: Arc<Counts>,
    dialects: Dialects,
}

impl Context {
    /// Counts in metrics of `registry`, which must not have them yet.
    pub fn new(settings: Settings, keys: Keys, registry: &Registry, dialects: Dialects) -> Self {
        Self {
            inner: Arc::new(Inner {
                settings: ArcSwap::from_pointee(settings),
                keys: ArcSwap::from_pointee(keys),
                draining: watch::Sender::new(false),
                loopback_only: AtomicBool::new(false),
                counts: Arc::new(Counts::new(registry, dialects.name)),
                dialects,
            }),
        }
    }

    /// The effective settings, now.
    pub fn settings(&self) -> Arc<Settings> {
        self.inner.settings.load_full()
    }

    /// The keys that clients must present, now.
    pub fn keys(&self) -> Arc<Keys> {
        self.inner.keys.load_full()
    }

    /// New requests see these; those that run go on with what they began with.
    pub fn replace(&self, settings: Settings, keys: Keys) {
        self.inner.settings.store(Arc::new(settings));
        self.inner.keys.store(Arc::new(keys));
    }

    /// What requests and connections are counted in.
    pub(crate) fn counts(&self) -> &Arc<Counts> {
        &self.inner.counts
    }

    /// Notes whether all TCP addresses that are listened on are loopback addresses.
    pub(crate) fn set_loopback_only(&self, loopback_only: bool) {
        self.inner.loopback_only.store(loopback_only, Ordering::Relaxed);
    }

    /// Whether nothing but the address keeps others out: no key is asked for, and only this machine
    /// can connect. What the browsers on it are made to send is then looked at more closely.
    pub(super) fn trusts_this_machine(&self) -> bool {
        self.inner.loopback_only.load(Ordering::Relaxed) && self.keys().is_empty()
    }

    /// From now on new work is refused with 503 and `Connection: close`.
    pub fn start_draining(&self) {
        self.inner.draining.send_replace(true);
    }

    /// Whether the server is shutting down.
    pub fn is_draining(&self) -> bool {
        *self.inner.draining.borrow()
    }

    /// Waits until the server shuts down.
    pub(crate) async fn drain_begun(&self) {
        // The sender lives as long as this does.
        let _ = self.inner.draining.subscribe().wait_for(|draining| *draining).await;
    }

    /// The body of an error answer to a request of a route, or of a path without one.
    pub(crate) fn error_body(&self, path: Option<&str>, problem: &Problem) -> Value {
        (self.inner.dialects.write_error)(path, problem)
    }
}
