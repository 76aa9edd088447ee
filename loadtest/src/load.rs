//! One load on one address: its plan, its threads, and what came of it.
//!
//! Enters: a [`Load`]. Leaves: an [`Outcome`], and while it runs a [`Point`] per interval. Owns the
//! generator's threads. A plan is open by default: requests start when they are planned, whether
//! or not earlier ones have been answered, and their latency counts from that moment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::client;
use crate::clock::{self, MILLI, Nanos};
use crate::cores;
use crate::expect::Expect;
use crate::own::Own;
use crate::point::Point;
use crate::tally::{Failure, Tally};

/// A send that is later than planned by more than this, by the generator's own fault, is late.
pub(crate) const LATE: Nanos = MILLI;

/// When the requests start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// So many each second, evenly, whatever becomes of them.
    Open(f64),
    /// So many each second on average, at random moments, as those of many clients are.
    Random(f64),
    /// Each connection asks again when it has been answered.
    Closed,
}

/// What the connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connections {
    /// So many, kept.
    Kept(usize),
    /// A new one for each request, at most so many at once.
    Fresh(usize),
}

impl Connections {
    pub(crate) const fn count(self) -> usize {
        match self {
            Self::Kept(count) | Self::Fresh(count) => count,
        }
    }
}

/// A request, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Where in them twenty digits of the time of sending go.
    pub(crate) stamp: Option<usize>,
}

/// A plan.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) request: Request,
    pub(crate) expect: Expect,
    pub(crate) pace: Pace,
    pub(crate) connections: Connections,
    /// Requests under way at once on one connection.
    pub(crate) depth: usize,
    /// Not counted, before `duration`.
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    /// An answer that takes longer has failed.
    pub(crate) timeout: Duration,
    /// Threads, and the processors they are bound to in turn.
    pub(crate) threads: usize,
    pub(crate) cores: Vec<usize>,
    pub(crate) trace: Trace,
}

/// Whether every single request is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trace {
    Forget,
    Remember,
}

/// One request, as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) planned: Nanos,
    pub(crate) sent: Nanos,
    pub(crate) done: Nanos,
    /// 0 without an answer.
    pub(crate) status: u16,
}

/// What came of a load.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// When counting began.
    pub(crate) began: Nanos,
    pub(crate) duration: Duration,
    pub(crate) total: Tally,
    pub(crate) series: Vec<Point>,
    /// In the order of their ends, if they were to be remembered.
    pub(crate) seen: Vec<Seen>,
    pub(crate) own: Own,
}

/// A load under way.
pub(crate) struct Running {
    began: Nanos,
    duration: Duration,
    threads: Vec<JoinHandle<Result<client::Ended, String>>>,
    samples: Receiver<Sample>,
    stop: Arc<AtomicBool>,
}

/// What one thread has counted in one interval.
pub(crate) struct Sample {
    pub(crate) interval: u64,
    pub(crate) tally: Tally,
}

/// What a thread needs beside its plan.
pub(crate) struct Start {
    pub(crate) nth: usize,
    pub(crate) interval: Nanos,
    pub(crate) samples: Sender<Sample>,
    pub(crate) stop: Arc<AtomicBool>,
    /// Met twice: when all connections stand, and when `began` is written.
    pub(crate) ready: Arc<Barrier>,
    /// When counting begins.
    pub(crate) began: Arc<AtomicU64>,
}

impl Request {
    /// A `GET` of `path`.
    pub(crate) fn get(host: SocketAddr, path: &str) -> Self {
        Self::new("GET", &host.to_string(), path, &[], "")
    }

    /// A request with `body`, and with more fields, each ended by a line end.
    pub(crate) fn new(method: &str, host: &str, path: &str, body: &[u8], fields: &str) -> Self {
        let length = if body.is_empty() && matches!(method, "GET" | "HEAD") {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}{length}\r\n");
        Self { bytes: [head.as_bytes(), body].concat(), stamp: None }
    }

    /// The same request, told when it was sent: the origin remembers it.
    pub(crate) fn stamped(host: SocketAddr, path: &str) -> Self {
        let fields = format!("X-Sent: {:020}\r\n", 0);
        let plain = Self::new("GET", &host.to_string(), path, &[], &fields);
        let text = String::from_utf8_lossy(&plain.bytes);
        let stamp = text.find("X-Sent: ").map(|at| at + "X-Sent: ".len());
        Self { stamp, ..plain }
    }
}

impl Load {
    /// A plan that asks for `path`: 64 connections, open, without warm-up, on one thread.
    pub(crate) fn get(address: SocketAddr, path: &str, pace: Pace, duration: Duration) -> Self {
        Self {
            address,
            request: Request::get(address, path),
            expect: Expect::status(200),
            pace,
            connections: Connections::Kept(64),
            depth: 1,
            warm_up: Duration::ZERO,
            duration,
            timeout: Duration::from_secs(30),
            threads: 1,
            cores: Vec::new(),
            trace: Trace::Forget,
        }
    }

    /// Opens the connections, and then begins.
    pub(crate) fn start(self) -> Result<Running, String> {
        let (sender, samples) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let threads = self.threads.clamp(1, self.connections.count().max(1));
        let ready = Arc::new(Barrier::new(threads + 1));
        let began = Arc::new(AtomicU64::new(0));
        let interval = interval(self.duration);
        let (duration, warm_up) = (self.duration, self.warm_up);
        let load = Arc::new(Self { threads, ..self });
        let spawn = |nth: usize| {
            let load = Arc::clone(&load);
            let (stop, ready) = (Arc::clone(&stop), Arc::clone(&ready));
            let (samples, began) = (sender.clone(), Arc::clone(&began));
            let start = Start { nth, interval, samples, stop, ready, began };
            thread::Builder::new().name(format!("load-{nth}")).spawn(move || {
                cores::pin_in_turn(&load.cores, nth);
                client::run(&load, start)
            })
        };
        let threads: Result<Vec<_>, _> = (0..threads).map(spawn).collect();
        let threads = threads.map_err(|error| format!("no thread: {error}"))?;
        drop(sender);
        ready.wait();
        began.store(clock::now() + clock::nanos(warm_up), Ordering::SeqCst);
        ready.wait();
        let began = began.load(Ordering::SeqCst);
        Ok(Running { began, duration, threads, samples, stop })
    }

    /// Runs to the end without being watched.
    pub(crate) fn run(self) -> Result<Outcome, String> {
        self.start()?.finish(|_| {})
    }
}

impl Running {
    /// When counting begins.
    pub(crate) fn began(&self) -> Nanos {
        self.began
    }

    /// Waits until it does.
    pub(crate) fn warm_up(&self) {
        clock::pass(Duration::from_nanos(self.began.saturating_sub(clock::now())));
    }

    /// A flag that ends it early: what is under way is still waited for.
    pub(crate) fn stopper(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Waits for the end; `each` is given every interval as soon as it is complete.
    pub(crate) fn finish(self, mut each: impl FnMut(&Point)) -> Result<Outcome, String> {
        let threads = self.threads.len();
        let span = interval(self.duration);
        let (mut total, mut series) = (Tally::new(), Vec::new());
        let mut waiting: BTreeMap<u64, (usize, Tally)> = BTreeMap::new();
        // Ends when the last thread has dropped its end.
        for sample in &self.samples {
            total.add(&sample.tally);
            let entry = waiting.entry(sample.interval).or_insert_with(|| (0, Tally::new()));
            entry.0 += 1;
            entry.1.add(&sample.tally);
            if entry.0 == threads
                && let Some((_, tally)) = waiting.remove(&sample.interval)
            {
                let at = sample.interval * span;
                // What ends after the end is counted, but is no full interval.
                if at + span <= clock::nanos(self.duration) {
                    let point = Point::of(&tally, at, span);
                    each(&point);
                    series.push(point);
                }
            }
        }
        series.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        let mut ends = Vec::new();
        for thread in self.threads {
            ends.push(thread.join().map_err(|_| "a thread of the generator panicked")??);
        }
        let mut seen: Vec<Seen> = ends.iter().flat_map(|end| &end.seen).copied().collect();
        seen.sort_by_key(|seen| seen.done);
        let own = Own::of(&ends, &total);
        let end = ends.iter().map(|end| end.at).max().unwrap_or(self.began);
        let (began, span) = (self.began, Duration::from_nanos(end.saturating_sub(self.began)));
        let duration = self.duration.min(span);
        // Neither is one in which the load was ended before its time.
        let whole = duration.as_secs_f64() - interval(self.duration) as f64 / 1e9;
        series.retain(|point| point.at_s <= whole);
        Ok(Outcome { began, duration, total, series, seen, own })
    }
}

impl Outcome {
    /// Answers each second, of those that came before the end.
    #[expect(clippy::cast_precision_loss, reason = "numbers for people")]
    pub(crate) fn rate(&self) -> f64 {
        self.total.in_time as f64 / self.duration.as_secs_f64().max(1e-9)
    }

    /// Requests without an answer, or with one that had the right status and the wrong content.
    pub(crate) fn failures(&self) -> u64 {
        Failure::ALL.into_iter().map(|(failure, _)| self.total.failed(failure)).sum()
    }
}

/// How long one point of a series lasts: a tenth of a second, or more where there would be more
/// than 600.
pub(crate) fn interval(duration: Duration) -> Nanos {
    (clock::nanos(duration) / 600).max(100 * MILLI).next_multiple_of(100 * MILLI)
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
