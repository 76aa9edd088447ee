//! Opens connections, with a deadline.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::LeaseError;
use crate::clock;
use crate::rt::deadline::Wheel;
use crate::rt::stream::{ConnectError, Stream};

/// Connects to the first address that answers, trying them in turn from the one at `first`. All
/// attempts together have `limit`: one that is silent ends the search, those that refuse do not.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    first: usize,
    limit: Option<Duration>,
    wheel: &Rc<Wheel>,
) -> Result<(Stream, SocketAddr), LeaseError> {
    let due = limit.map(|limit| clock::now().after(limit));
    let (after, before) = addresses.split_at(first.min(addresses.len()));
    let mut failed = LeaseError::Unreachable;
    for &address in before.iter().chain(after) {
        let left = due.map(|due| due.since(clock::now()));
        match Stream::connect(address, left, wheel).await {
            Ok(stream) => return Ok((stream, address)),
            Err(ConnectError::TimedOut) => return Err(LeaseError::TimedOut),
            Err(ConnectError::Io(error)) => failed = judge(&error),
        }
        if failed == LeaseError::NoRoom {
            break;
        }
    }
    Err(failed)
}

/// Running out of descriptors, ports or memory is our own fault, not the upstream's.
fn judge(error: &io::Error) -> LeaseError {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory => LeaseError::NoRoom,
        io::ErrorKind::TimedOut => LeaseError::TimedOut,
        // ENFILE, EMFILE and ENOBUFS have no kind of their own.
        _ if matches!(error.raw_os_error(), Some(23 | 24 | 105)) => LeaseError::NoRoom,
        _ => LeaseError::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_out_here_is_not_the_upstreams_doing() {
        // ENFILE, EMFILE, ENOBUFS, EADDRNOTAVAIL, ENOMEM.
        for number in [23, 24, 105, 99, 12] {
            assert_eq!(judge(&io::Error::from_raw_os_error(number)), LeaseError::NoRoom);
        }
        assert_eq!(judge(&io::Error::from_raw_os_error(110)), LeaseError::TimedOut);
        // EACCES, ENETUNREACH, ECONNRESET, ECONNREFUSED, EHOSTUNREACH.
        for number in [13, 101, 104, 111, 113] {
            assert_eq!(judge(&io::Error::from_raw_os_error(number)), LeaseError::Unreachable);
        }
    }
}
