//! Opens connections, with a deadline.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::LeaseError;
use crate::rt::deadline::Wheel;
use crate::rt::stream::{ConnectError, Stream};

/// Connects to the first address that answers, trying them in order. The limit holds for each
/// attempt that is refused at once, and ends the search where one stays silent.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    limit: Option<Duration>,
    wheel: &Rc<Wheel>,
) -> Result<Stream, LeaseError> {
    let mut failed = LeaseError::Unreachable;
    for &address in addresses {
        match Stream::connect(address, limit, wheel).await {
            Ok(stream) => return Ok(stream),
            Err(ConnectError::TimedOut) => return Err(LeaseError::TimedOut),
            Err(ConnectError::Io(error)) => failed = judge(&error),
        }
    }
    Err(failed)
}

/// Running out of descriptors, ports or memory is our own fault, not the upstream's.
fn judge(error: &io::Error) -> LeaseError {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory => LeaseError::NoRoom,
        io::ErrorKind::TimedOut => LeaseError::TimedOut,
        // EMFILE and ENFILE have no kind of their own.
        _ if matches!(error.raw_os_error(), Some(23 | 24)) => LeaseError::NoRoom,
        _ => LeaseError::Unreachable,
    }
}
