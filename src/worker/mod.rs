//! One thread, one core, everything that core owns.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::Driver;
use crate::stats::Process;
use crate::table::Report;
use crate::table::live::Live;

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
}

/// The running workers. Dropping it does not stop them: the process ends them.
#[derive(Debug)]
pub struct Crew {}

/// Why the workers could not start: what, why and the remedy, in one line.
#[derive(Debug)]
pub struct StartError(pub String);

impl Crew {
    /// Binds every address, then starts the workers; returns once all of them accept.
    pub fn start(plan: Plan) -> Result<Self, StartError> {
        let _ = plan;
        Err(StartError("not built".to_owned()))
    }

    /// The addresses that are served, with the ports that were picked.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &[]
    }

    /// The driver the workers run on, and why it is not a better one: for the start line.
    #[must_use]
    pub fn driver(&self) -> &str {
        ""
    }

    /// The cause and the remedy, when `io_uring` was wanted and refused.
    #[must_use]
    pub fn warning(&self) -> Option<&str> {
        None
    }

    /// Wakes every worker, so that an idle one takes the published table over too.
    pub fn refresh(&self) {}

    /// Changes the addresses served. All new ones are bound before anything else happens; an
    /// address that cannot be bound leaves everything as it was.
    pub fn listen(&mut self, addresses: &[SocketAddr]) -> Result<(), StartError> {
        let _ = addresses;
        Ok(())
    }

    /// Stops accepting, closes connections at rest, lets running exchanges finish and closes their
    /// connections after them.
    pub fn drain(&self) {}

    /// How many downstream connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        0
    }
}
