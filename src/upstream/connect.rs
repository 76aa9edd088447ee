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
/// attempts together have `limit`, and each an equal share of what is left of it, so that one that
/// is silent does not use up the time of those behind it; but at least a quarter, lest of many
/// addresses none has the time to answer.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    first: usize,
    limit: Option<Duration>,
    wheel: &Rc<Wheel>,
) -> Result<(Stream, SocketAddr), LeaseError> {
    let due = limit.map(|limit| clock::now().after(limit));
    let (after, before) = addresses.split_at(first.min(addresses.len()));
    let mut failed = LeaseError::Unreachable;
    for (nth, &address) in before.iter().chain(after).enumerate() {
        let left = due.map(|due| due.since(clock::now()));
        if left.is_some_and(|left| left.is_zero()) && nth > 0 {
            break;
        }
        let share = left.zip(limit).map(|(left, limit)| share(left, limit, addresses.len() - nth));
        failed = match Stream::connect(address, share, wheel).await {
            Ok(stream) => return Ok((stream, address)),
            Err(ConnectError::TimedOut) => LeaseError::TimedOut,
            Err(ConnectError::Io(error)) => judge(&error),
        };
        if failed == LeaseError::NoRoom {
            break;
        }
    }
    Err(failed)
}

/// What of `left` the first of `count` addresses is given, where all had `limit`.
fn share(left: Duration, limit: Duration, count: usize) -> Duration {
    let equal = left / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    equal.max(limit / 4).min(left)
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
    fn addresses_share_the_time_and_many_have_a_quarter_each() {
        let millis = Duration::from_millis;
        let shares = |mut left: Duration, count: usize| {
            let take = |nth| {
                let share = share(left, millis(2000), count - nth);
                left -= share;
                share
            };
            (0..count).map(take).collect::<Vec<_>>()
        };
        assert_eq!(shares(millis(2000), 1), [millis(2000)]);
        assert_eq!(shares(millis(2000), 2), [millis(1000); 2]);
        assert_eq!(shares(millis(2000), 6), [500, 500, 500, 500, 0, 0].map(millis));
        assert_eq!(shares(millis(300), 3), [300, 0, 0].map(millis));
    }

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
