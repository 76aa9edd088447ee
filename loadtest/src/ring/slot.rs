//! A socket's place in a ring, and how its operations are named.

#![expect(unsafe_code, reason = "descriptors that the kernel gives, and an address it reads")]

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;

use socket2::{SockAddr, Socket};

use super::{End, Lent};

#[derive(Default)]
pub(super) struct Slot {
    pub(super) age: u32,
    pub(super) socket: Option<Socket>,
    pub(super) kind: Kind,
    /// Operations that have not come back: the standing one, and a send.
    pub(super) standing: Flight,
    pub(super) sending: Flight,
    pub(super) closing: bool,
    pub(super) queue: VecDeque<Piece>,
    /// Read by the kernel while a connect is under way.
    pub(super) address: Option<Box<SockAddr>>,
}

/// Whether the kernel has an operation.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Flight {
    #[default]
    Landed,
    UnderWay,
}

impl Slot {
    /// Whether the kernel holds nothing of it.
    pub(super) fn is_quiet(&self) -> bool {
        self.standing == Flight::Landed && self.sending == Flight::Landed
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Stream,
    Listener,
}

pub(super) struct Piece {
    pub(super) bytes: Bytes,
    pub(super) sent: usize,
}

/// What is sent.
pub(super) enum Bytes {
    Shared(Rc<[u8]>),
    /// A buffer of the pool, as it was received.
    Lent(Lent),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Accept,
    Connect,
    Receive,
    Send,
}

pub(super) const fn token(step: Step, at: u32) -> u64 {
    (step as u64) << 32 | at as u64
}

pub(super) const fn read_token(token: u64) -> (Step, u32) {
    let step = match token >> 32 {
        0 => Step::Accept,
        1 => Step::Connect,
        2 => Step::Receive,
        _ => Step::Send,
    };
    (step, (token & 0xffff_ffff) as u32)
}

pub(super) fn adopt_fd(fd: u32) -> Socket {
    // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd.cast_signed()) }.into()
}

/// Leaves a connected socket without a peer, at once and by a reset.
pub(super) fn disconnect(socket: &Socket) {
    let address = libc::sockaddr {
        sa_family: libc::sa_family_t::try_from(libc::AF_UNSPEC).unwrap_or(0),
        sa_data: [0; 14],
    };
    let len = libc::socklen_t::try_from(size_of::<libc::sockaddr>()).unwrap_or(0);
    // SAFETY: the kernel reads `len` bytes of a live address.
    unsafe { libc::connect(socket.as_raw_fd(), &raw const address, len) };
}

pub(super) fn end_of(result: i32) -> End {
    match -result {
        libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED => End::Reset,
        libc::ECONNREFUSED => End::Refused,
        _ => End::Failed,
    }
}
