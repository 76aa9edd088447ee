//! System calls on a socket that the runtime has no words for.
//!
//! Enters: a descriptor. Leaves: a socket shut down, or what the kernel knows of it. Owns nothing:
//! the callers own the descriptor and see to it that it is still theirs.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]
#![expect(unsafe_code, reason = "direct system calls")]

use std::os::fd::RawFd;

/// What is shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Reading: a pending read returns as at end of file; a response can still be sent.
    Read,
    /// Both ways.
    Both,
}

/// Bytes sent that the peer has not acknowledged.
pub(super) fn queued(fd: RawFd) -> u32 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one `int`.
    unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) };
    u32::try_from(bytes).unwrap_or(0)
}

/// Whether the peer has reset the connection. Bytes that wait to be read, and an end of sending,
/// are no reset.
pub(super) fn is_reset(fd: RawFd) -> bool {
    let mut poll = libc::pollfd { fd, events: 0, revents: 0 };
    // SAFETY: the kernel writes to one live `pollfd`.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    ready > 0 && poll.revents & (libc::POLLERR | libc::POLLHUP) != 0
}

/// Shuts a socket down; a descriptor that is none (`-1`) is left alone.
pub(super) fn cut(fd: RawFd, how: Cut) {
    let how = match how {
        Cut::Read => libc::SHUT_RD,
        Cut::Both => libc::SHUT_RDWR,
    };
    if fd >= 0 {
        // SAFETY: a system call; a slot that names `fd` leaves the wheel before `fd` is closed.
        unsafe { libc::shutdown(fd, how) };
    }
}
