//! Which driver a core runs on: the best ring the kernel gives, or epoll.
//!
//! Enters: what the config asks for. Leaves: a running core, and one line that says which tier it
//! is and, where a better one was refused, the cause and the remedy. The ring is built on the
//! thread that runs it and never torn down: dropping it would free buffers the kernel may still
//! write into.

#![allow(clippy::disallowed_types, clippy::disallowed_macros, reason = "cold: runs at start")]
#![expect(unsafe_code, reason = "affinity is set by a system call")]

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use io_uring::{IoUring, opcode};
use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, Runtime, RuntimeBuilder};

use super::cache::Fetched;

/// A way to run a core, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Completions are handled where the core waits for them (Linux 6.1).
    Defer,
    /// The kernel does not interrupt the core to hand over completions (Linux 6.0).
    Coop,
    /// A ring without flags.
    Plain,
    /// The smallest ring, for a low memlock limit.
    Small,
    /// No ring.
    Epoll,
}

impl Tier {
    const LADDER: [Self; 5] = [Self::Defer, Self::Coop, Self::Plain, Self::Small, Self::Epoll];

    /// Its name in the start line and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Defer => "io_uring",
            Self::Coop => "io_uring (coop)",
            Self::Plain => "io_uring (plain)",
            Self::Small => "io_uring (small)",
            Self::Epoll => "epoll",
        }
    }

    /// Submission and completion entries.
    ///
    /// A busy core submits some tens of operations per turn, and writes to its entries in a circle:
    /// few of them stay in the cache. When all are taken the runtime hands them to the kernel
    /// before it takes the next, at the price of one system call. Completions may come from every
    /// connection at once, and those that find no place are kept by the kernel, but slowly.
    const fn entries(self) -> (u32, u32) {
        match self {
            Self::Defer | Self::Coop => (256, 4096),
            Self::Plain => (256, 2048),
            Self::Small | Self::Epoll => (256, 512),
        }
    }

    fn flags(self) -> io_uring::Builder {
        let mut builder = IoUring::builder();
        builder.dontfork();
        match self {
            Self::Defer => {
                builder.setup_single_issuer().setup_defer_taskrun().setup_clamp();
            }
            Self::Coop => {
                builder.setup_single_issuer().setup_coop_taskrun().setup_clamp();
            }
            Self::Plain | Self::Small | Self::Epoll => {}
        }
        builder
    }
}

/// How far down the ladder a core may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Down to epoll.
    Any,
    /// A ring of some kind.
    Ring,
    /// epoll at once.
    Epoll,
}

/// A core's event loop.
pub struct Loop {
    runtime: Either,
    /// The tier it runs on.
    pub tier: Tier,
    /// Why it is not a better one.
    pub refused: Option<Refused>,
}

enum Either {
    Ring(Runtime<TimeDriver<IoUringDriver>>),
    Epoll(Runtime<TimeDriver<LegacyDriver>>),
}

/// The first tier that was refused, and why.
#[derive(Clone, Debug)]
pub struct Refused {
    error: String,
    remedy: &'static str,
}

impl Loop {
    /// Builds the best loop that `choice` allows, not better than `from`: what one core was refused
    /// the next need not try. Call it on the thread that will run it.
    pub fn build(choice: Choice, from: Tier) -> Result<Self, Refused> {
        let mut refused: Option<Refused> = None;
        let from = if choice == Choice::Epoll { Tier::Epoll } else { from };
        for tier in Tier::LADDER.into_iter().filter(|tier| *tier >= from) {
            if tier == Tier::Epoll && choice == Choice::Ring {
                break;
            }
            match build(tier) {
                Ok(runtime) => return Ok(Self { runtime, tier, refused }),
                Err(error) => {
                    refused.get_or_insert_with(|| Refused::new(&error));
                }
            }
        }
        Err(refused.unwrap_or_else(|| Refused::new(&io::ErrorKind::Unsupported.into())))
    }

    /// Runs `future` to its end on this thread.
    pub fn run<F: Future>(self, future: F) -> F::Output {
        // Never dropped, see the head of this file.
        let mut this = std::mem::ManuallyDrop::new(self);
        match &mut this.runtime {
            Either::Ring(runtime) => runtime.block_on(future),
            Either::Epoll(runtime) => runtime.block_on(future),
        }
    }
}

impl Refused {
    fn new(error: &io::Error) -> Self {
        let remedy = match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => {
                "allow io_uring_setup, io_uring_enter and io_uring_register in the container's \
                 seccomp profile, or set sysctl kernel.io_uring_disabled=0"
            }
            Some(libc::ENOSYS | libc::EOPNOTSUPP) => {
                "run a kernel with CONFIG_IO_URING (Linux 5.11 or later)"
            }
            Some(libc::ENOMEM) => {
                "raise the locked-memory limit (LimitMEMLOCK=infinity, ulimit -l)"
            }
            Some(libc::EMFILE | libc::ENFILE) => {
                "raise the open-file limit (LimitNOFILE, ulimit -n)"
            }
            _ => "see dmesg, and the kernel's io_uring settings",
        };
        Self { error: name(error), remedy }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "io_uring refused ({}); remedy: {}", self.error, self.remedy)
    }
}

/// The symbol of a system error where operators know it by that.
fn name(error: &io::Error) -> String {
    let symbol = match error.raw_os_error() {
        Some(libc::EPERM) => "EPERM",
        Some(libc::EACCES) => "EACCES",
        Some(libc::ENOSYS) => "ENOSYS",
        Some(libc::ENOMEM) => "ENOMEM",
        Some(libc::EINVAL) => "EINVAL",
        Some(libc::EMFILE) => "EMFILE",
        Some(libc::EOPNOTSUPP) => "EOPNOTSUPP",
        _ => return error.to_string(),
    };
    symbol.to_owned()
}

fn build(tier: Tier) -> io::Result<Either> {
    let (entries, completions) = tier.entries();
    if tier == Tier::Epoll {
        let builder = RuntimeBuilder::<LegacyDriver>::new().with_entries(1024);
        return builder.enable_timer().build().map(Either::Epoll);
    }
    probe(tier)?;
    let attempt = || {
        let mut flags = tier.flags();
        flags.setup_cqsize(completions);
        let builder = RuntimeBuilder::<IoUringDriver>::new().with_entries(entries);
        builder.uring_builder(flags).enable_timer().build().map(Either::Ring)
    };
    // The memory of a ring that just ended is given back late: a restart may find none for a
    // moment.
    for _ in 0..4 {
        match attempt() {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => pause(),
            outcome => return outcome,
        }
    }
    attempt()
}

#[expect(clippy::disallowed_methods, reason = "before the core serves anything")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

/// Runs `task` beside everything else on this core.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    monoio::spawn(Fetched(task));
}

/// Runs a chore of the core for as long as the core lives: one that panics is begun anew, where the
/// runtime would let the panic end the core.
pub fn keep<F: Future<Output = ()> + 'static>(what: &'static str, begin: impl Fn() -> F + 'static) {
    spawn(async move {
        while AssertUnwindSafe(begin()).catch_unwind().await.is_err() {
            log::error!("{what} panicked, and is begun anew");
            sleep(Duration::from_millis(100)).await;
        }
    });
}

/// Waits on a core. For the core's own chores: a connection's deadlines are on the wheel.
pub async fn sleep(span: Duration) {
    monoio::time::sleep(span).await;
}

/// Sends a no-op round a small ring with this tier's flags: a filter may allow the set-up of a ring
/// and refuse its use, which the runtime would answer by spinning.
fn probe(tier: Tier) -> io::Result<()> {
    let mut ring: IoUring = tier.flags().build(2)?;
    let entry = opcode::Nop::new().build();
    // SAFETY: a no-op names no memory.
    unsafe { ring.submission().push(&entry) }.map_err(|_full| io::ErrorKind::OutOfMemory)?;
    ring.submit_and_wait(1)?;
    match ring.completion().next() {
        Some(done) if done.result() >= 0 => Ok(()),
        Some(done) => Err(io::Error::from_raw_os_error(-done.result())),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Binds the calling thread to the `index`-th processor it may run on, in turn. Without the right
/// to do so the thread stays where the scheduler puts it.
pub fn pin(index: usize) {
    let cpus = allowed_cpus();
    if let Some(&cpu) = cpus.get(index % cpus.len().max(1)) {
        // SAFETY: `set` is a plain bit set, valid when zeroed, read by the call within its size.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cpu, &mut set);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
        }
    }
}

/// Raises the limit on open files as far as this process may, and returns it.
#[must_use]
pub fn raise_file_limit() -> u64 {
    // SAFETY: both calls read or write one live `rlimit`.
    unsafe {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return 1024;
        }
        let soft = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0 {
            limit.rlim_max
        } else {
            soft
        }
    }
}

/// The processors this process may run on.
#[must_use]
pub fn allowed_cpus() -> Vec<usize> {
    // SAFETY: as in `pin`; the call writes at most the size it is given.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return vec![0];
        }
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_that_this_kernel_allows_runs_a_future() {
        for tier in Tier::LADDER {
            let ran = std::thread::spawn(move || {
                let choice = if tier == Tier::Epoll { Choice::Epoll } else { Choice::Any };
                let built = Loop::build(choice, tier);
                built.map(|core| core.run(async { 7 }))
            });
            assert_eq!(ran.join().unwrap().unwrap(), 7, "{tier:?}");
        }
    }

    #[test]
    fn a_refusal_names_its_cause_and_a_remedy_in_one_line() {
        for code in [libc::EPERM, libc::ENOSYS, libc::ENOMEM, libc::EINVAL, libc::EMFILE, 0] {
            let text = Refused::new(&io::Error::from_raw_os_error(code)).to_string();
            assert!(text.contains("remedy: ") && !text.contains('\n'), "{text}");
        }
    }
}
