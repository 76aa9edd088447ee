//! An origin of our own: fast, and sick on command.
//!
//! Enters: what to answer, and a script of faults. Leaves: an address, and for every request what
//! became of it, on the same clock as the clients'. Owns its threads, each with a listener of the
//! same port.

mod script;
mod thread;

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::{io, mem};

use socket2::{Domain, Protocol, Socket, Type};

use crate::clock::{self, Nanos};
use crate::cores;
use crate::load::Trace;

pub(crate) use script::{Delay, Fate, Fault, Script, Trickle};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// What an origin is.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// Stands in the answers to paths without a reply: `{"name":"/path"}`.
    pub(crate) name: String,
    /// Bodies by path.
    pub(crate) replies: Vec<(String, Vec<u8>)>,
    /// Its faults.
    pub(crate) script: Script,
    /// Threads, and the processors they are bound to in turn.
    pub(crate) threads: usize,
    pub(crate) cores: Vec<usize>,
    /// Whether every request is remembered.
    pub(crate) trace: Trace,
    /// Where it listens; port 0 picks one.
    pub(crate) address: SocketAddr,
}

/// A request, as the origin saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    /// When the client sent it; 0 if it did not say.
    pub(crate) sent: Nanos,
    /// When it arrived here.
    pub(crate) arrived: Nanos,
    /// When its answer leaves.
    pub(crate) answered: Nanos,
    pub(crate) fate: Fate,
}

/// What the threads of an origin share with who started them.
#[derive(Debug)]
struct Shared {
    /// When the script begins; never, at first.
    began: AtomicU64,
    requests: AtomicU64,
    stop: AtomicBool,
}

/// A running origin; dropping it stops it.
#[derive(Debug)]
pub(crate) struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    hits: mpsc::Receiver<Vec<Hit>>,
}

impl Spec {
    /// A healthy origin on one thread.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            replies: Vec::new(),
            script: Script::default(),
            threads: 1,
            cores: Vec::new(),
            trace: Trace::Forget,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }

    /// The body it answers `path` with, where none is given.
    pub(crate) fn echo(name: &str, path: &str) -> String {
        format!("{{\"{name}\":\"{path}\"}}")
    }

    /// The same, to a request with a body of so many bytes with this digest.
    pub(crate) fn echo_to(name: &str, path: &str, length: u64, digest: u64) -> String {
        format!("{{\"{name}\":\"{path}\",\"bytes\":{length},\"digest\":{digest}}}")
    }
}

impl Origin {
    /// Starts it; it listens when this returns.
    pub(crate) fn start(spec: Spec) -> Result<Self, String> {
        let name = spec.name.clone();
        let failed = |error: &io::Error| format!("origin {name}: {error}");
        let shared = Arc::new(Shared {
            began: AtomicU64::new(Nanos::MAX),
            requests: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let (sender, hits) = mpsc::channel();
        let (ready, started) = mpsc::channel();
        let mut address = spec.address;
        let spec = Arc::new(spec);
        let mut threads = Vec::new();
        for nth in 0..spec.threads.max(1) {
            let listener = listen(address).map_err(|error| failed(&error))?;
            address = listener.local_addr().map_err(|error| failed(&error))?;
            let (spec, shared) = (Arc::clone(&spec), Arc::clone(&shared));
            let (sender, ready) = (sender.clone(), ready.clone());
            let thread = std::thread::Builder::new().name(format!("origin-{nth}"));
            let spawned = thread.spawn(move || {
                cores::pin_in_turn(&spec.cores, nth);
                let outcome = thread::run(&spec, nth, &shared, listener, &ready);
                match outcome {
                    Ok(hits) => sender.send(hits).unwrap_or_default(),
                    Err(error) => ready.send(Err(error)).unwrap_or_default(),
                }
            });
            threads.push(spawned.map_err(|error| failed(&error))?);
        }
        drop(ready);
        let origin = Self { address, shared, threads, hits };
        for _ in &origin.threads {
            match started.recv() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(failed(&error)),
                Err(_) => return Err(format!("origin {name} ended at once")),
            }
        }
        Ok(origin)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `path` of it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Begins its script at `at`.
    pub(crate) fn begin(&self, at: Nanos) {
        self.shared.began.store(at, Ordering::Release);
    }

    /// Begins its script now.
    pub(crate) fn begin_now(&self) {
        self.begin(clock::now());
    }

    /// Requests that arrived so far.
    pub(crate) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Stops it, and returns what it remembers, in the order of arrival.
    pub(crate) fn stop(mut self) -> Vec<Hit> {
        self.end();
        let mut hits: Vec<_> = self.hits.try_iter().flatten().collect();
        hits.sort_by_key(|hit| hit.arrived);
        hits
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for thread in mem::take(&mut self.threads) {
            // A thread that panicked has said so.
            thread.join().unwrap_or_default();
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.end();
    }
}

/// A listener that shares its port with those of other threads.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
