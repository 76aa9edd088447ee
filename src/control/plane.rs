//! What the parts of the control plane share.
//!
//! Enters: the published table, counters and the words "drain" and "reloaded". Leaves: the same, to
//! whoever reports them. Owns no table and no counter: it knows where they are.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{broadcast, mpsc, oneshot};

use super::events::{Event, Handlers};
use super::reload::Verdict;
use crate::breaker::registry::Registry;
use crate::stats::Process;
use crate::table::live::Live;

/// Transitions that a slow subscriber may lag behind before it loses the oldest.
const EVENTS_MAX: usize = 256;

/// What the parts of the control plane share.
#[derive(Debug)]
pub struct Plane {
    /// Where tables are published.
    pub live: Arc<Live>,
    /// Breaker memories.
    pub registry: Registry,
    /// Process counters.
    pub process: Arc<Process>,
    /// The driver the workers run on.
    pub driver: String,
    /// Takes orders for the main task. Unbounded: a caller of the admin API gives one and waits,
    /// and pending signals of one kind are one.
    pub orders: mpsc::UnboundedSender<Order>,
    /// Sends every transition to whoever subscribed.
    pub events: broadcast::Sender<Arc<Event>>,
    events_dropped: Arc<AtomicU64>,
    handlers: Mutex<Arc<Handlers>>,
    draining: AtomicBool,
    stale: AtomicBool,
}

/// What the main task is asked to do.
#[derive(Debug)]
pub enum Order {
    /// Reload, and tell the verdict to whoever waits for it.
    Reload(Option<oneshot::Sender<Verdict>>),
    /// Drain and end.
    Stop,
}

/// What a plane is made of.
#[derive(Debug)]
pub struct Parts {
    /// See [`Plane::live`].
    pub live: Arc<Live>,
    /// See [`Plane::registry`].
    pub registry: Registry,
    /// See [`Plane::process`].
    pub process: Arc<Process>,
    /// See [`Plane::driver`].
    pub driver: String,
    /// See [`Plane::orders`].
    pub orders: mpsc::UnboundedSender<Order>,
    /// Counts the notices of the cores that find the queue full.
    pub events_dropped: Arc<AtomicU64>,
    /// The handlers of the first table.
    pub handlers: Handlers,
}

impl Plane {
    /// A plane that serves its first table.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            live: parts.live,
            registry: parts.registry,
            process: parts.process,
            driver: parts.driver,
            orders: parts.orders,
            events: broadcast::Sender::new(EVENTS_MAX),
            events_dropped: parts.events_dropped,
            handlers: Mutex::new(Arc::new(parts.handlers)),
            draining: AtomicBool::new(false),
            stale: AtomicBool::new(false),
        })
    }

    /// Whether the process is on its way out.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// From now on `/ready` says no; the main task drains when it comes to it. Returns whether this
    /// is the first such wish.
    pub fn stop(&self) -> bool {
        let first = !self.draining.swap(true, Ordering::Relaxed);
        if first {
            // Refused only when the main task has ended, and the process with it.
            let _ = self.orders.send(Order::Stop);
        }
        first
    }

    /// Whether the last reload was refused: the file is not what is served.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Notes whether the last reload was refused.
    pub fn reloaded(&self, verdict: &Verdict) {
        self.stale.store(!matches!(verdict, Verdict::Active(_)), Ordering::Relaxed);
    }

    /// How many notices of the cores found the queue full.
    #[must_use]
    pub fn events_dropped(&self) -> u64 {
        self.events_dropped.load(Ordering::Relaxed)
    }

    /// The event handlers of the served configuration.
    #[must_use]
    pub fn handlers(&self) -> Arc<Handlers> {
        Arc::clone(&self.handlers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the event handlers, together with the table.
    pub fn set_handlers(&self, handlers: Handlers) {
        *self.handlers.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(handlers);
    }
}
