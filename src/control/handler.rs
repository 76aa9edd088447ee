//! One event handler: its queue, and the task that calls it.
//!
//! Enters: events with the options of who calls it. Leaves: a log line, a request, a program that
//! runs. Each handler has a queue and a task of its own: one that hangs delays its own events, in
//! their order, and nobody else's. What finds its queue full is dropped and counted; refusals, of
//! which there may be one event per breaker and second, find it full when it is half full.
//!
//! A handler that fails is told in the log once, and again when it fails otherwise or works again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::events::{Event, REJECT};
use super::names::Names;
use super::program::Program;
use super::webhook::Webhook;
use crate::config::{self, HandlerKind};

/// Events that wait for one handler: each is about a kilobyte.
const QUEUE_MAX: usize = 512;

/// Places that refusals leave free: what they crowd out is told again a second later, a move is
/// not.
const KEPT_FOR_MOVES: usize = QUEUE_MAX / 2;

/// The log target of transitions and handlers.
pub(super) const TARGET: &str = "fusebox::breaker";

/// See the file.
#[derive(Debug)]
pub(super) struct Handler {
    name: String,
    kind: HandlerKind,
    /// Where its task takes events from; one that logs has none.
    queue: Option<mpsc::Sender<Told>>,
    tally: Arc<Tally>,
}

/// What a handler is told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) event: Arc<Event>,
    /// The event with the options of the call, as JSON.
    pub(super) payload: String,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Called {
    /// It was taken.
    Done,
    /// It was not, as often as it was tried.
    Failed,
    /// The queue was full.
    Dropped,
}

/// What became of all calls of a handler since the process began.
#[derive(Debug, Default)]
pub struct Tally([AtomicU64; 3]);

impl Tally {
    pub(super) fn note(&self, called: Called) {
        if let Some(count) = self.0.get(called as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every result, with how often it came about.
    pub(super) fn results(&self) -> [(&'static str, u64); 3] {
        let of = |called: Called| {
            self.0.get(called as usize).map_or(0, |count| count.load(Ordering::Relaxed))
        };
        [("ok", of(Called::Done)), ("failed", of(Called::Failed)), ("dropped", of(Called::Dropped))]
    }
}

impl Handler {
    /// The handler of `config`, on the runtime of the control plane. One of the same kind before it
    /// goes on; of any other of its name the counters do, and what it has queued is still told.
    pub(super) fn new(
        config: &config::Handler,
        before: Option<&Arc<Self>>,
        names: &Arc<Names>,
    ) -> Arc<Self> {
        if let Some(same) = before.filter(|before| before.kind == config.kind) {
            return Arc::clone(same);
        }
        let tally = before.map(|before| Arc::clone(&before.tally)).unwrap_or_default();
        let kind = config.kind.clone();
        let worker = match &kind {
            HandlerKind::Log(_) => None,
            HandlerKind::Webhook { url, timeout, retries } => {
                Some(Worker::Webhook(Box::new(Webhook::new(url, *timeout, *retries, names))))
            }
            HandlerKind::Exec { command, timeout } => {
                Some(Worker::Exec(Program::new(command, *timeout)))
            }
        };
        let name = config.name.clone();
        let queue = worker.map(|worker| {
            let (sender, told) = mpsc::channel(QUEUE_MAX);
            tokio::spawn(work(name.clone(), worker, told, Arc::clone(&tally)));
            sender
        });
        Arc::new(Self { name, kind, queue, tally })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Tells it; never waits.
    pub(super) fn call(&self, told: Told) {
        match (&self.kind, &self.queue) {
            (HandlerKind::Log(level), _) => {
                let Self { name, .. } = self;
                log::log!(target: TARGET, *level, "handler {name}: {}", told.payload);
                self.tally.note(Called::Done);
            }
            (_, Some(queue)) if has_room(queue, &told) && queue.try_send(told).is_ok() => {}
            _ => self.tally.note(Called::Dropped),
        }
    }
}

fn has_room(queue: &mpsc::Sender<Told>, told: &Told) -> bool {
    told.event.event != REJECT || queue.capacity() > KEPT_FOR_MOVES
}

/// What a task does with an event.
enum Worker {
    Webhook(Box<Webhook>),
    Exec(Program),
}

/// Calls one handler for as long as a configuration names it, and then for what is queued.
async fn work(name: String, worker: Worker, mut queue: mpsc::Receiver<Told>, tally: Arc<Tally>) {
    let mut said: Option<String> = None;
    while let Some(told) = queue.recv().await {
        let done = match &worker {
            Worker::Webhook(webhook) => webhook.post(&told.payload).await,
            Worker::Exec(program) => program.run(&told).await,
        };
        match done {
            Ok(()) => {
                tally.note(Called::Done);
                if said.take().is_some() {
                    log::info!(target: TARGET, "handler {name} works again");
                }
            }
            Err(why) => {
                tally.note(Called::Failed);
                if said.as_ref() != Some(&why) {
                    log::warn!(target: TARGET, "handler {name} failed: {why}");
                    said = Some(why);
                }
            }
        }
    }
}
