//! What the parts of the control plane share.
//!
//! Enters: the published table, counters and the words "drain" and "reloaded". Leaves: the same, to
//! whoever reports them. Owns no table and no counter: it knows where they are.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use tokio::sync::{Notify, Semaphore, broadcast, mpsc, oneshot};

use super::events::Event;
use super::handlers::Handlers;
use super::journal::Journal;
use super::names::Names;
use super::reload::Verdict;
use super::series::Series;
use super::sharing::Sharing;
use crate::access::Writer;
use crate::breaker::registry::Registry;
use crate::stats::Process;
use crate::table::live::Live;
use crate::table::{Moved, Report};

/// Transitions that a slow subscriber may lag behind before it loses the oldest.
const EVENTS_MAX: usize = 256;

/// Long answers of the admin API at once: each may take tens of megabytes until it has been sent,
/// and a second of a processor.
const LONG_ANSWERS_MAX: usize = 4;

/// What the parts of the control plane share.
pub struct Plane {
    /// Where tables are published.
    pub live: Arc<Live>,
    /// Breaker memories.
    pub registry: Registry,
    /// Where host names lead.
    pub names: Arc<Names>,
    /// Process counters.
    pub process: Arc<Process>,
    /// The driver the workers run on.
    pub driver: String,
    /// Takes orders for the main task. Unbounded: a caller of the admin API gives one and waits,
    /// and pending signals of one kind are one.
    pub orders: mpsc::UnboundedSender<Order>,
    /// Writes the access log.
    pub access: Writer,
    /// Sends every transition to whoever subscribed.
    pub events: broadcast::Sender<Arc<Event>>,
    /// What is told of breakers beside their counts.
    pub journal: Journal,
    /// How often breakers moved and refused, over time.
    pub series: Series,
    /// A permit for each long answer of the admin API, until it has been sent.
    pub long_answers: Arc<Semaphore>,
    /// Takes the moves that an operator's order made.
    pub report: Report,
    /// How this process stands to others; `None`: state is in memory.
    pub sharing: Option<Arc<Sharing>>,
    events_dropped: Arc<AtomicU64>,
    handlers: Mutex<Arc<Handlers>>,
    draining: AtomicBool,
    stopped: Notify,
    stale: AtomicBool,
}

/// What the main task is asked to do.
#[derive(Debug)]
pub enum Order {
    /// Reload, and tell the verdict to whoever waits for it.
    Reload(Option<oneshot::Sender<Verdict>>),
    /// Tell the cores that names lead elsewhere.
    Lead(Arc<[Moved]>),
    /// Drain and end.
    Stop,
}

/// What a plane is made of.
pub struct Parts {
    /// See [`Plane::live`].
    pub live: Arc<Live>,
    /// See [`Plane::registry`].
    pub registry: Registry,
    /// See [`Plane::names`].
    pub names: Arc<Names>,
    /// See [`Plane::process`].
    pub process: Arc<Process>,
    /// See [`Plane::driver`].
    pub driver: String,
    /// See [`Plane::orders`].
    pub orders: mpsc::UnboundedSender<Order>,
    /// Counts the notices of the cores that find the queue full.
    pub events_dropped: Arc<AtomicU64>,
    /// See [`Plane::report`].
    pub report: Report,
    /// The handlers of the first table.
    pub handlers: Handlers,
    /// See [`Plane::access`].
    pub access: Writer,
    /// See [`Plane::sharing`].
    pub sharing: Option<Arc<Sharing>>,
}

impl std::fmt::Debug for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plane").field("journal", &self.journal).finish_non_exhaustive()
    }
}

impl Plane {
    /// A plane that serves its first table.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            live: parts.live,
            registry: parts.registry,
            names: parts.names,
            process: parts.process,
            driver: parts.driver,
            orders: parts.orders,
            access: parts.access,
            events: broadcast::Sender::new(EVENTS_MAX),
            journal: Journal::default(),
            series: Series::default(),
            long_answers: Arc::new(Semaphore::new(LONG_ANSWERS_MAX)),
            report: parts.report,
            sharing: parts.sharing,
            events_dropped: parts.events_dropped,
            handlers: Mutex::new(Arc::new(parts.handlers)),
            draining: AtomicBool::new(false),
            stopped: Notify::new(),
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
            self.stopped.notify_one();
        }
        first
    }

    /// Does `work` unless a stop is wished before it is done; then it is dropped. For the main task
    /// alone: the wish wakes one waiter.
    pub async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut stopped = pin!(self.stopped.notified());
        poll_fn(|cx| {
            if self.is_draining() || stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            work.as_mut().poll(cx).map(Some)
        })
        .await
    }

    /// Whether the last reload was refused: the file is not what is served.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Notes whether the last reload was refused. One that is late is published all the same.
    pub fn reloaded(&self, verdict: &Verdict) {
        self.stale.store(matches!(verdict, Verdict::Refused(_)), Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::super::reload::Refused;
    use super::super::view::tests::plane;
    use super::*;
    use crate::table::sample;

    #[test]
    fn a_stop_does_not_wait_for_what_is_under_way() {
        let (plane, _orders) = plane(&sample::config(Vec::new()));
        super::super::runtime().unwrap().block_on(async {
            assert_eq!(plane.unless_stopped(ready(7)).await, Some(7));
            let stopper = Arc::clone(&plane);
            tokio::spawn(async move { stopper.stop() });
            assert_eq!(plane.unless_stopped(pending::<()>()).await, None);
            assert_eq!(plane.unless_stopped(ready(7)).await, None, "it has been wished");
        });
    }

    #[test]
    fn only_a_refused_reload_leaves_another_table_than_the_file_says() {
        let (plane, _orders) = plane(&sample::config(Vec::new()));
        let (error, report, log) = (String::new(), String::new(), String::new());
        let refused = Refused { error, complaints: serde_json::Value::Null, report, log };
        plane.reloaded(&Verdict::Refused(refused));
        assert!(plane.is_stale());
        plane.reloaded(&Verdict::Late { generation: 2 });
        assert!(!plane.is_stale());
    }
}
