//! A TCP stream with a deadline.
//!
//! Enters: buffers to fill or to send. Leaves: the same buffers, and what happened. Owns the socket
//! and its place on the wheel. Reading and writing take turns or run side by side; each operation
//! is awaited to its end, and what must not wait for ever is cut by the wheel.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]
#![expect(unsafe_code, reason = "direct system calls on the socket, and two directions at once")]

use std::cell::{Cell, UnsafeCell};
use std::future::Future;
use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use monoio::buf::IoBuf;
use monoio::io::{AsyncReadRent, AsyncWriteRent, CancelHandle, CancelableAsyncReadRent, Canceller};
use monoio::net::TcpStream;

use super::buffer::Buf;
use super::deadline::{Cut, Deadline, Watched, Wheel};
use super::socket;

/// A connected socket.
pub struct Stream {
    tcp: ManuallyDrop<UnsafeCell<TcpStream>>,
    fd: RawFd,
    /// Operations handed to the kernel that have not come back. One whose future was dropped (a
    /// panic unwound) never counts as back: the runtime then closes the socket when it is.
    in_flight: Cell<u32>,
    /// By [`Stream::cut`]; what the wheel cuts is told by the deadline.
    is_cut: Cell<bool>,
    /// When the socket has to be cut.
    pub deadline: Deadline,
}

/// What a look at an idle socket finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// Nothing: the peer is quiet and connected.
    Quiet,
    /// Bytes nobody asked for, the end, or an error.
    Stale,
}

/// What a read that may be called off came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Bytes.
    Bytes,
    /// Nothing for one to two seconds. Nothing is lost: what comes now is still to be read.
    Quiet,
    /// The end, or a cut.
    End,
    /// An error: a reset, most likely.
    Broken,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// It took too long.
    TimedOut,
    /// The system said no.
    Io(io::Error),
}

impl Stream {
    /// Takes over a connected socket.
    #[must_use]
    pub fn new(tcp: TcpStream, wheel: &Rc<Wheel>) -> Self {
        let fd = tcp.as_raw_fd();
        Self {
            tcp: ManuallyDrop::new(UnsafeCell::new(tcp)),
            fd,
            in_flight: Cell::new(0),
            is_cut: Cell::new(false),
            deadline: wheel.enter(fd),
        }
    }

    /// Connects to `address`, giving up after `limit`.
    pub async fn connect(
        address: SocketAddr,
        limit: Option<Duration>,
        wheel: &Rc<Wheel>,
    ) -> Result<Self, ConnectError> {
        let connecting = TcpStream::connect_addr(address);
        // The one operation that may be dropped in flight: it owns its socket, and it is rare.
        let connected = match limit {
            Some(limit) => monoio::time::timeout(limit, connecting)
                .await
                .map_err(|_elapsed| ConnectError::TimedOut)?,
            None => connecting.await,
        };
        let tcp = connected.map_err(ConnectError::Io)?;
        // Without it a request sent in two parts waits for the peer's delayed acknowledgement.
        let _ = tcp.set_nodelay(true);
        Ok(Self::new(tcp, wheel))
    }

    /// Appends what arrives next to `buf`; `Ok(0)` is the end, or a cut, or a buffer without room.
    pub fn read(&self, buf: Buf) -> impl Future<Output = (io::Result<usize>, Buf)> {
        self.in_flight.set(self.in_flight.get() + 1);
        // SAFETY: `read` clones the shared descriptor and changes nothing of the stream, so that a
        // write may be under way at the same time; the stream is not `Sync`.
        let tcp = unsafe { &mut *self.tcp.get() };
        Flight { doing: tcp.read(buf), stream: self }
    }

    /// As [`Stream::read`], and tells what came of it: for as long as the deadline lets it.
    pub fn read_steadily(&self, buf: Buf) -> impl Future<Output = (Heard, Buf)> {
        Hearing { reading: self.read(buf), _place: () }
    }

    /// As [`Stream::read_steadily`], but ends when nothing comes for a while, see
    /// [`Wheel::call_off_quiet`].
    pub fn read_unless_quiet(&self, buf: Buf) -> impl Future<Output = (Heard, Buf)> {
        let (waiting, handle) = self.deadline.quiet().begin();
        self.in_flight.set(self.in_flight.get() + 1);
        // SAFETY: as in `read`.
        let tcp = unsafe { &mut *self.tcp.get() };
        let doing = tcp.cancelable_read(buf, handle);
        Hearing { reading: Flight { doing, stream: self }, _place: waiting }
    }

    /// Whether one more connection of this core may wait by [`Stream::read_busy`].
    #[must_use]
    pub fn may_be_busy(&self) -> bool {
        self.deadline.quiet().has_place()
    }

    /// As [`Stream::read_steadily`], for a connection that is likely to hear more at once: a read
    /// that may be called off costs the runtime two looks in a table.
    pub fn read_busy(&self, buf: Buf) -> impl Future<Output = (Heard, Buf)> {
        Hearing { _place: self.deadline.quiet().busy(), reading: self.read(buf) }
    }

    /// Waits, without a buffer, until a read would not wait: for bytes, the end, a cut or an error.
    pub async fn readable(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
        // SAFETY: as in `read`. Whatever ends the wait, the next read tells what it was.
        let _ = unsafe { &*self.tcp.get() }.readable(false).await;
        self.in_flight.set(self.in_flight.get() - 1);
    }

    /// As [`Stream::read`], but gives up when `stop` is given, with an error and nothing lost.
    pub async fn read_until(&self, buf: Buf, stop: &Stop) -> (io::Result<usize>, Buf) {
        self.in_flight.set(self.in_flight.get() + 1);
        // SAFETY: as in `read`.
        let tcp = unsafe { &mut *self.tcp.get() };
        let back = tcp.cancelable_read(buf, stop.handle.clone()).await;
        self.in_flight.set(self.in_flight.get() - 1);
        back
    }

    /// Sends the filled part of `buf` whole. The buffer comes back as it went, to be sent again.
    pub fn write(&self, buf: Buf) -> impl Future<Output = (io::Result<()>, Buf)> {
        self.write_watched(buf, || {})
    }

    /// As [`Stream::write`]; `progress` is called whenever the peer has taken a part.
    pub async fn write_watched(&self, buf: Buf, progress: impl Fn()) -> (io::Result<()>, Buf) {
        let mut sending = Sending { buf, sent: 0 };
        loop {
            self.in_flight.set(self.in_flight.get() + 1);
            // SAFETY: as in `read`.
            let tcp = unsafe { &mut *self.tcp.get() };
            let (sent, back) = tcp.write(sending).await;
            self.in_flight.set(self.in_flight.get() - 1);
            sending = back;
            match sent {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), sending.buf),
                Ok(sent) => sending.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (Err(error), sending.buf),
            }
            if sending.sent >= sending.buf.len() {
                return (Ok(()), sending.buf);
            }
            progress();
        }
    }

    /// The number of its descriptor: the lowest that was free when it was opened.
    #[must_use]
    pub const fn number(&self) -> RawFd {
        self.fd
    }

    /// Sends no more: the peer reads the end.
    pub fn finish(&self) {
        // SAFETY: a system call on a descriptor we own.
        unsafe { libc::shutdown(self.fd, libc::SHUT_WR) };
    }

    /// Ends a pending read, and a pending write too with [`Cut::Both`].
    pub fn cut(&self, how: Cut) {
        self.is_cut.set(true);
        socket::cut(self.fd, how);
    }

    /// Whether it has been cut, by whomever: then it is of no use to anybody else.
    #[must_use]
    pub fn was_cut(&self) -> bool {
        self.is_cut.get() || self.deadline.fired().is_some()
    }

    /// Makes the coming close a reset: the peer must not take what it has for a whole message.
    pub fn reset_on_close(&self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let len = libc::socklen_t::try_from(size_of::<libc::linger>()).unwrap_or(0);
        // SAFETY: the kernel reads `len` bytes of a live `linger`.
        unsafe {
            let value = std::ptr::from_ref(&linger).cast();
            libc::setsockopt(self.fd, libc::SOL_SOCKET, libc::SO_LINGER, value, len);
        }
    }

    /// This socket, to be looked at by [`Deadline::arm_for`] of another.
    #[must_use]
    pub const fn watched(&self) -> Watched {
        Watched(self.fd)
    }

    /// Whether the peer has reset the connection. One that only closed its sending side is still
    /// there: it may be waiting for what we send.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        socket::is_reset(self.fd)
    }

    /// Looks whether an idle socket is still quiet, without waiting.
    #[must_use]
    pub fn peek(&self) -> Peek {
        let mut byte = 0u8;
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        // SAFETY: the kernel writes at most one byte into `byte`.
        let got = unsafe { libc::recv(self.fd, std::ptr::from_mut(&mut byte).cast(), 1, flags) };
        let blocked = io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock;
        if got < 0 && blocked { Peek::Quiet } else { Peek::Stale }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.deadline.leave();
        // SAFETY: `tcp` is taken once, here, and not touched again.
        let tcp = unsafe { ManuallyDrop::take(&mut self.tcp) }.into_inner();
        // The runtime would close through the ring, at the price of two operations more. With
        // nothing in flight the socket is ours alone, and a plain close does.
        if self.in_flight.get() == 0 {
            // SAFETY: `into_raw_fd` gave up its ownership.
            drop(unsafe { OwnedFd::from_raw_fd(tcp.into_raw_fd()) });
        } else {
            // What is still in the kernel comes back at once, and the runtime closes the socket.
            self.cut(Cut::Both);
        }
    }
}

/// A read by the kernel, counted until it is back. By hand: as an async function it would
/// hold its buffer twice, and every connection of a client holds one of these.
struct Flight<'a, R> {
    doing: R,
    stream: &'a Stream,
}

impl<R: Future<Output = (io::Result<usize>, Buf)>> Future for Flight<'_, R> {
    type Output = R::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R::Output> {
        // SAFETY: `doing` is never moved out of its place; nothing else is pinned.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        let back = ready!(unsafe { Pin::new_unchecked(&mut this.doing) }.poll(cx));
        this.stream.in_flight.set(this.stream.in_flight.get() - 1);
        back.1.fetch();
        this.stream.deadline.fetch();
        Poll::Ready(back)
    }
}

/// A read, and its place among those of its core.
struct Hearing<R, P> {
    reading: R,
    _place: P,
}

impl<R: Future<Output = (io::Result<usize>, Buf)>, P> Future for Hearing<R, P> {
    type Output = (Heard, Buf);

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `reading` is never moved out of its place; nothing else is pinned.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        let (read, buf) = ready!(unsafe { Pin::new_unchecked(&mut this.reading) }.poll(cx));
        let heard = match read {
            Ok(1..) => Heard::Bytes,
            Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => Heard::Quiet,
            Ok(0) => Heard::End,
            Err(_) => Heard::Broken,
        };
        Poll::Ready((heard, buf))
    }
}

/// The word that ends a [`Stream::read_until`]. Costs an allocation: not for the warm path.
pub struct Stop {
    canceller: Cell<Option<Canceller>>,
    handle: CancelHandle,
}

impl Stop {
    /// A word that has not been given.
    #[must_use]
    pub fn new() -> Self {
        let canceller = Canceller::new();
        Self { handle: canceller.handle(), canceller: Cell::new(Some(canceller)) }
    }

    /// Gives it: the read that waits ends, and every later one at once.
    pub fn give(&self) {
        if let Some(canceller) = self.canceller.take() {
            canceller.cancel();
        }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

/// A buffer of which a part is sent.
struct Sending {
    buf: Buf,
    sent: usize,
}

// SAFETY: the address of a `Buf`'s memory survives moves, and the part behind `sent` is part of it.
unsafe impl IoBuf for Sending {
    fn read_ptr(&self) -> *const u8 {
        self.buf.filled().get(self.sent..).unwrap_or_default().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.buf.len().saturating_sub(self.sent)
    }
}
