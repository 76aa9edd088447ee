//! Connections that are held: idle after an answer, or with half a head sent.
//!
//! Enters: how many, what each sends, and how fast. Leaves: how many stand, and how many the proxy
//! has ended. Owns a thread with a ring; dropping the crowd closes them all.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, mem};

use crate::clock::{self, MILLI, Nanos};
use crate::cores;
use crate::ring::{Event, Id, Ring};

/// How long all of them may take to stand.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connections that are opened at once: fewer than wait in a listener's queue.
const OPENING_MAX: usize = 256;

/// The pause after a refusal, and the longest one between two looks.
const NAP: Nanos = 10 * MILLI;

/// What a connection of a crowd waits for before it counts as standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Its bytes are sent.
    Sent,
    /// An answer has begun to arrive.
    Answered,
}

/// How those of a crowd come, and what each of them says.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// All of them come evenly within this; one that is ended is opened again, no faster.
    pub(crate) spread: Duration,
    /// What is sent first.
    pub(crate) bytes: Vec<u8>,
    /// How often one byte more is sent, if at all.
    pub(crate) trickle: Option<Duration>,
    pub(crate) until: Until,
}

/// Connections that are held.
#[derive(Debug)]
pub(crate) struct Crowd {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    standing: AtomicU64,
    ended: AtomicU64,
    trickled: AtomicU64,
    stop: AtomicBool,
}

impl Crowd {
    /// Opens `count` connections to `address`, in their `manner`.
    pub(crate) fn gather(
        address: SocketAddr,
        count: usize,
        manner: Manner,
        cores: &[usize],
    ) -> Result<Self, String> {
        let shared = Arc::new(Shared::default());
        let (ready, gathered) = mpsc::channel();
        let (theirs, cores) = (Arc::clone(&shared), cores.to_vec());
        let thread = std::thread::spawn(move || {
            cores::pin_in_turn(&cores, 0);
            cores::give_way();
            hold(address, count, &manner, &theirs, &ready)
        });
        let crowd = Self { shared, thread: Some(thread) };
        match gathered.recv_timeout(PATIENCE) {
            Ok(()) => Ok(crowd),
            Err(_) => Err(format!("only {} of {count} connections stand", crowd.standing())),
        }
    }

    /// How many stand.
    pub(crate) fn standing(&self) -> u64 {
        self.shared.standing.load(Ordering::Relaxed)
    }

    /// How many bytes those that stand have sent since.
    pub(crate) fn trickled(&self) -> u64 {
        self.shared.trickled.load(Ordering::Relaxed)
    }

    /// How many the proxy has ended.
    pub(crate) fn ended(&self) -> u64 {
        self.shared.ended.load(Ordering::Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(Err(error)) = mem::take(&mut self.thread).and_then(|it| it.join().ok()) {
            eprintln!("loadtest: the crowd broke up: {error}");
        }
    }
}

fn hold(
    address: SocketAddr,
    count: usize,
    manner: &Manner,
    shared: &Shared,
    ready: &mpsc::Sender<()>,
) -> io::Result<()> {
    let mut ring = Ring::new()?;
    let &Manner { spread, ref bytes, trickle, until } = manner;
    let trickle = trickle.map(clock::nanos);
    // When whose next byte is due: in that order, as all wait for as long.
    let mut due: VecDeque<(Nanos, Id)> = VecDeque::new();
    let more: Rc<[u8]> = Rc::from(&b"x"[..]);
    // By slot: whether it stands.
    let mut stands: Vec<bool> = Vec::new();
    let (mut open, mut opening, mut standing, mut resting) = (0, 0, 0, Nanos::MIN);
    let gap = clock::nanos(spread) / Nanos::try_from(count.max(1)).unwrap_or(Nanos::MAX);
    // One by one rather than some at a time: the load runs on the same cores.
    let nap = Duration::from_nanos(if gap == 0 { NAP } else { gap.clamp(MILLI, NAP) });
    while !shared.stop.load(Ordering::Relaxed) {
        while open < count && opening < OPENING_MAX && clock::now() >= resting {
            let id = ring.connect(address)?;
            stands.resize(stands.len().max(id.at() + 1), false);
            (open, opening) = (open + 1, opening + 1);
            resting = resting.max(clock::now().saturating_sub(NAP)) + gap;
        }
        let now = clock::now();
        while let Some((_, id)) = due.pop_front_if(|(when, _)| *when <= now) {
            ring.send(id, Rc::clone(&more))?; // nothing, once it has ended
        }
        ring.wait(nap)?;
        while let Some(event) = ring.next()? {
            let (id, has_come) = match event {
                Event::Connected(id) => {
                    ring.send(id, bytes.as_slice().into())?;
                    continue;
                }
                Event::Sent(id) => {
                    due.extend(trickle.map(|trickle| (clock::now() + trickle, id)));
                    let more = stands.get(id.at()) == Some(&true);
                    shared.trickled.fetch_add(u64::from(more), Ordering::Relaxed);
                    (id, until == Until::Sent)
                }
                Event::Received(id, lent) => {
                    ring.take(lent, |_| ());
                    (id, until == Until::Answered)
                }
                Event::Ended(id, _) => {
                    open -= 1;
                    if stands.get_mut(id.at()).is_some_and(mem::take) {
                        standing -= 1;
                        shared.ended.fetch_add(1, Ordering::Relaxed);
                    } else {
                        opening -= 1;
                        resting = clock::now() + NAP;
                    }
                    continue;
                }
                Event::Accepted(_) => continue,
            };
            if has_come && let Some(stands @ false) = stands.get_mut(id.at()) {
                *stands = true;
                (opening, standing) = (opening - 1, standing + 1);
            }
        }
        shared.standing.store(standing, Ordering::Relaxed);
        if standing == u64::try_from(count).unwrap_or(u64::MAX) {
            ready.send(()).unwrap_or_default(); // heard once
        }
    }
    Ok(())
}
