//! The service's side: a leased connection, returned by drop.
//!
//! Enters: a target. Leaves: a [`Leased`] connection to it, from this core's pool or fresh; parked
//! again by whoever knows that it is clean, closed otherwise. Owns the idle connections of this
//! core. Knows nothing of the client or of breakers.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

mod connect;
pub mod pool;

use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

use crate::breaker::Core;
use crate::clock::{self, Now};
use crate::rt::deadline::Wheel;
use crate::rt::stream::{Peek, Stream};
use crate::stats::{Count, Process};
use crate::table::Target;
use pool::Pool;

/// A connection in use.
pub struct Leased {
    pool: Rc<Pool>,
    /// Boxed, so that handing it on moves a word.
    stream: Option<Box<Stream>>,
    /// Where it came from.
    pub from: From,
}

/// Where a connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// It was parked: the upstream may have closed it in the meantime.
    Pool,
    /// It was opened for this exchange.
    Dial,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseError {
    /// The upstream refused, or its name has no address.
    Unreachable,
    /// It took too long.
    TimedOut,
    /// As many are in use as may be.
    Full,
    /// We have no descriptor, port or memory for it.
    NoRoom,
}

/// What a lease needs beside its target.
pub struct Dialling<'a> {
    /// This core.
    pub core: &'a Core,
    /// This core's deadlines.
    pub wheel: &'a Rc<Wheel>,
    /// Counts connections.
    pub process: &'a Process,
    /// Time for one attempt to connect.
    pub connect: Option<Duration>,
    /// Descriptors from this number on are the control plane's.
    pub files_max: RawFd,
}

/// A connection parked no longer ago than this is used as it is: a busy core comes round about as
/// often, and looked at it when it read the response to its end. Any other is looked at before use:
/// bytes that nobody asked for would be taken for the answer to the next request.
const JUST_NOW: Duration = Duration::from_millis(2);

/// A parked connection to the target, if there is one and no more than allowed are in use.
pub fn reuse(pool: &Rc<Pool>, now: Now, means: &Dialling<'_>) -> Option<Leased> {
    if pool.is_full() {
        return None;
    }
    loop {
        let (stream, since) = pool.take()?;
        let age = now.since(since);
        if pool.is_aged(age) || age > JUST_NOW && stream.peek() == Peek::Stale {
            continue;
        }
        means.process.count(means.core, Count::Reused);
        pool.begin();
        return Some(Leased { pool: Rc::clone(pool), stream: Some(stream), from: From::Pool });
    }
}

/// A fresh connection to the target.
pub async fn dial(
    pool: &Rc<Pool>,
    target: &Target,
    means: &Dialling<'_>,
) -> Result<Leased, LeaseError> {
    if pool.is_full() {
        return Err(LeaseError::Full);
    }
    // The place is taken before the wait: connections being opened count.
    pool.begin();
    let mut leased = Leased { pool: Rc::clone(pool), stream: None, from: From::Dial };
    let connected = connect::connect(&target.addresses, means.connect, means.wheel).await;
    let stream = connected.and_then(|stream| match stream.number() {
        number if number < means.files_max => Ok(stream),
        _ => Err(LeaseError::NoRoom),
    });
    let stream = stream.inspect_err(|error| {
        // A client at rest gives its descriptor to the next one who needs one.
        if *error == LeaseError::NoRoom {
            let _ = means.wheel.evict(clock::now());
        }
    })?;
    leased.stream = Some(Box::new(stream));
    means.process.count(means.core, Count::Connected);
    Ok(leased)
}

impl Leased {
    /// The connection; `None` only while it is being opened or after it was parked.
    #[must_use]
    pub fn stream(&self) -> Option<&Stream> {
        self.stream.as_deref()
    }

    /// Puts the connection back for the next exchange. The caller knows that nothing is left of
    /// this one: the response was framed and read to its end, the request was sent whole, and
    /// neither side asked to close.
    pub fn park(mut self, now: Now) {
        // One that was cut in the same moment is no good.
        if let Some(stream) = self.stream.take().filter(|it| it.deadline.fired().is_none()) {
            stream.deadline.disarm();
            self.pool.park(stream, now);
        }
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        self.pool.end();
    }
}
