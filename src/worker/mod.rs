//! One thread, one core, everything that core owns.
//!
//! Enters: listening sockets, the place where tables are published, and words from the control
//! plane. Leaves: served connections. Owns the threads; each builds its own event loop, pins itself
//! to a processor, and runs until the process ends.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use crate::access::Rings;
use crate::breaker::Core;
use crate::clock;
use crate::config::Driver;
use crate::downstream;
use crate::exchange::means::{Means, Parts};
use crate::rt::buffer::{self, Trimmed};
use crate::rt::deadline::Wheel;
use crate::rt::driver::{self, Choice, Loop, Refused, Tier};
use crate::rt::listen::{self, Listener};
use crate::rt::mailbox::{self, Mailbox, Post};
use crate::stats::Process;
use crate::table::live::Live;
use crate::table::{Moved, Report};

/// How often what is idle is looked through: upstream connections, waiting reads, spare memory.
const SWEEP: Duration = Duration::from_secs(1);

/// So many reads that one sweep calls off were a burst: their lists lie between what connections
/// keep.
const BURST: u32 = 1024;

/// What the others on a core are given between two slices of a sweep.
const BETWEEN: Duration = Duration::from_millis(1);

/// What the workers are started with.
pub struct Plan {
    /// Addresses to serve; port 0 picks a free one.
    pub listen: Vec<SocketAddr>,
    /// How many threads.
    pub workers: usize,
    /// Which driver.
    pub driver: Driver,
    /// Where tables are published.
    pub live: Arc<Live>,
    /// Process counters.
    pub process: Arc<Process>,
    /// Takes what breakers did.
    pub report: Report,
    /// Takes lines about requests.
    pub access: Arc<Rings>,
}

/// The running workers. Dropping it does not stop them: the process ends them.
pub struct Crew {
    posts: Vec<Post<Word>>,
    addresses: Vec<SocketAddr>,
    process: Arc<Process>,
    tier: Tier,
    refused: Option<Refused>,
    files: u64,
}

impl std::fmt::Debug for Crew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crew").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// Why the workers could not start: what, why and the remedy, in one line.
#[derive(Debug)]
pub struct StartError(pub String);

/// What the control plane tells a worker.
enum Word {
    /// Take the published table over.
    Refresh,
    /// Names lead elsewhere.
    Lead(Arc<[Moved]>),
    /// Serve this address too.
    Listen(SocketAddr, TcpListener),
    /// Serve this address no longer.
    Leave(SocketAddr),
    /// Finish what is running and take nothing new.
    Drain,
}

/// What a worker says once, when it is ready or cannot be.
type Ready = Result<(Tier, Option<Refused>), Refused>;

impl Crew {
    /// Binds every address, then starts the workers; returns once all of them accept.
    pub fn start(plan: &Plan) -> Result<Self, StartError> {
        let mut crew = Self {
            posts: Vec::with_capacity(plan.workers),
            addresses: Vec::new(),
            process: Arc::clone(&plan.process),
            tier: Tier::Defer,
            refused: None,
            files: driver::raise_file_limit(),
        };
        // Bound before any worker runs: a taken port is said before anything is served.
        let bound = bind_all(&plan.listen, plan.workers, &[])?;
        for index in 0..plan.workers {
            crew.hire(index, plan)?;
        }
        crew.hand_out(bound);
        Ok(crew)
    }

    /// The addresses that are served, with the ports that were picked.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The driver the workers run on: for the start line.
    #[must_use]
    pub const fn driver(&self) -> &'static str {
        self.tier.as_str()
    }

    /// The cause and the remedy, when `io_uring` was wanted and refused.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let refused = self.refused.as_ref()?;
        Some(format!("running on {}: {refused}", self.driver()))
    }

    /// Wakes every worker, so that an idle one takes the published table over too.
    pub fn refresh(&self) {
        for post in &self.posts {
            post.send(Word::Refresh);
        }
    }

    /// Tells every worker which names lead elsewhere now.
    pub fn lead(&self, moved: &Arc<[Moved]>) {
        for post in &self.posts {
            post.send(Word::Lead(Arc::clone(moved)));
        }
    }

    /// Changes the addresses served. All new ones are bound before anything else happens; an
    /// address that cannot be bound leaves everything as it was.
    pub fn listen(&mut self, addresses: &[SocketAddr]) -> Result<(), StartError> {
        let serves = |address: &SocketAddr| self.addresses.contains(address);
        let new: Vec<SocketAddr> = addresses.iter().copied().filter(|a| !serves(a)).collect();
        let bound = bind_all(&new, self.posts.len(), &self.addresses)?;
        let (kept, left): (Vec<_>, Vec<_>) =
            self.addresses.iter().partition(|address| addresses.contains(address));
        self.addresses = kept;
        for post in &self.posts {
            for address in &left {
                post.send(Word::Leave(*address));
            }
        }
        self.hand_out(bound);
        Ok(())
    }

    /// Stops accepting, closes connections at rest, lets running exchanges finish and closes their
    /// connections after them.
    pub fn drain(&self) {
        for post in &self.posts {
            post.send(Word::Drain);
        }
    }

    /// How many downstream connections are open.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.process.open()
    }

    fn hire(&mut self, index: usize, plan: &Plan) -> Result<(), StartError> {
        let failed = |error: io::Error| StartError(format!("cannot start a worker: {error}"));
        let (post, mailbox) = mailbox::mailbox().map_err(failed)?;
        let (says, hears): (Sender<Ready>, Receiver<Ready>) = mpsc::channel();
        let choice = match plan.driver {
            Driver::Auto => Choice::Any,
            Driver::Uring => Choice::Ring,
            Driver::Epoll => Choice::Epoll,
        };
        let hire = Hire {
            index,
            cores: plan.workers,
            choice,
            from: self.tier,
            live: Arc::clone(&plan.live),
            process: Arc::clone(&plan.process),
            report: Arc::clone(&plan.report),
            access: Arc::clone(&plan.access),
            files: self.files,
        };
        let thread = thread::Builder::new().name(format!("worker-{index}"));
        thread.spawn(move || hire.work(mailbox, &says)).map_err(failed)?;
        match hears.recv() {
            Ok(Ok((tier, refused))) => {
                self.tier = self.tier.max(tier);
                self.refused = self.refused.take().or(refused);
                self.posts.push(post);
                Ok(())
            }
            Ok(Err(refused)) => Err(StartError(refused.to_string())),
            Err(_) => Err(StartError(format!("worker {index} ended before it was ready"))),
        }
    }

    fn hand_out(&mut self, bound: Vec<(SocketAddr, Vec<TcpListener>)>) {
        for (address, sockets) in bound {
            for (post, socket) in self.posts.iter().zip(sockets) {
                post.send(Word::Listen(address, socket));
            }
            self.addresses.push(address);
        }
    }
}

/// Each downstream connection may need one upstream; the rest is for listeners, the ring, files.
const fn connections_max(files: u64) -> u64 {
    const MOST: u64 = 65_536;
    let reserve = if files < 512 { files / 2 } else { 256 };
    let half = (files - reserve) / 2;
    if half < 1 {
        1
    } else if half > MOST {
        MOST
    } else {
        half
    }
}

/// The last descriptors are the control plane's: cores that have filled all others must not keep
/// an operator out.
fn files_max(files: u64) -> RawFd {
    const MOST: u64 = 160;
    let control = if files / 8 < MOST { files / 8 } else { MOST };
    RawFd::try_from(files - control).unwrap_or(RawFd::MAX)
}

fn bind_all(
    addresses: &[SocketAddr],
    count: usize,
    served: &[SocketAddr],
) -> Result<Vec<(SocketAddr, Vec<TcpListener>)>, StartError> {
    let mut ours = served.to_vec();
    let bind = |&address: &SocketAddr| {
        let sockets = listen::bind(address, count, &ours).map_err(|error| {
            StartError(format!("cannot listen on {address}: {error}; {}", remedy(&error)))
        })?;
        let bound = sockets.first().and_then(|socket| socket.local_addr().ok()).unwrap_or(address);
        ours.push(bound);
        Ok((bound, sockets))
    };
    addresses.iter().map(bind).collect()
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "stop the process that has the port, or set `listen` to another"
        }
        io::ErrorKind::PermissionDenied => "use a port above 1023, or grant CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "set `listen` to an address of this host",
        _ => "set `listen` to an address that can be bound",
    }
}

/// What a worker thread is started with.
struct Hire {
    index: usize,
    cores: usize,
    choice: Choice,
    from: Tier,
    live: Arc<Live>,
    process: Arc<Process>,
    report: Report,
    access: Arc<Rings>,
    files: u64,
}

impl Hire {
    fn work(self, mailbox: Mailbox<Word>, says: &Sender<Ready>) {
        driver::pin(self.index);
        let core = match Loop::build(self.choice, self.from) {
            Ok(core) => core,
            Err(refused) => {
                let _ = says.send(Err(refused));
                return;
            }
        };
        let _last = Last(self.index);
        let ready = (core.tier, core.refused.clone());
        let wheel = Wheel::new(clock::now());
        let means = Rc::new(Means::new(Parts {
            core: Core::claim(self.index),
            cores: self.cores,
            wheel: Rc::clone(&wheel),
            process: self.process,
            reader: self.live.reader(self.index),
            report: self.report,
            connections_max: connections_max(self.files),
            files_max: files_max(self.files),
            access: self.access,
        }));
        core.run(async move {
            driver::keep("the wheel", move || Rc::clone(&wheel).run());
            let swept = Rc::clone(&means);
            driver::keep("the sweep", move || sweep(Rc::clone(&swept)));
            let _ = says.send(Ok(ready));
            let listeners = RefCell::new(BTreeMap::new());
            let ended = mailbox.serve(|word| hear(word, &means, &listeners)).await;
            if let Err(error) = ended {
                log::error!("worker {}: its mailbox broke: {error}", self.index);
            }
            std::future::pending::<()>().await;
        });
    }
}

/// A core runs until the process ends. If it ends before, by a panic outside of all that is begun
/// anew, its sockets would go on to take connections that nobody serves: so the process ends too,
/// and whoever supervises it starts another.
struct Last(usize);

impl Drop for Last {
    fn drop(&mut self) {
        log::error!("worker {} has ended, and the process with it", self.0);
        crate::log::flush();
        std::process::abort();
    }
}

fn hear(word: Word, means: &Rc<Means>, listeners: &RefCell<BTreeMap<SocketAddr, Listener>>) {
    match word {
        Word::Refresh => means.renew(),
        Word::Lead(moved) => means.lead(&moved),
        Word::Listen(address, socket) => {
            let take = {
                let means = Rc::clone(means);
                move |stream, peer| {
                    driver::spawn(downstream::serve(stream, peer, Rc::clone(&means)));
                }
            };
            match Listener::start(socket, &means.wheel, take) {
                Ok(listener) => drop(listeners.borrow_mut().insert(address, listener)),
                Err(error) => log::error!("cannot accept on {address}: {error}"),
            }
        }
        Word::Leave(address) => {
            if let Some(listener) = listeners.borrow_mut().remove(&address) {
                listener.stop();
            }
        }
        Word::Drain => {
            for listener in std::mem::take(&mut *listeners.borrow_mut()).into_values() {
                listener.stop();
            }
            means.drain();
        }
    }
}

async fn sweep(means: Rc<Means>) {
    let mut burst = false;
    loop {
        driver::sleep(SWEEP).await;
        means.sweep(clock::now());
        if std::mem::replace(&mut burst, means.wheel.call_off_quiet() > BURST) {
            // Those of the last sweep are at rest by now. Without a thread it is left undone.
            let _ = thread::Builder::new().name("trim".to_owned()).spawn(buffer::trim_heap);
        }
        while buffer::trim() == Trimmed::Partly {
            driver::sleep(BETWEEN).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    /// Played by a process of its own: this test, told to.
    #[test]
    fn a_core_that_ends_takes_the_process_with_it() {
        const PLAYED: &str = "FUSEBOX_TEST_CORE_ENDS";
        if std::env::var_os(PLAYED).is_some() {
            let core = thread::spawn(|| {
                let _last = Last(0);
                panic!("as the runtime would");
            });
            drop(core.join());
            return;
        }
        let name = "worker::tests::a_core_that_ends_takes_the_process_with_it";
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let played = command.args(["--exact", name]).env(PLAYED, "1").output().unwrap();
        assert_eq!(played.status.signal(), Some(libc::SIGABRT), "{played:?}");
    }
}
