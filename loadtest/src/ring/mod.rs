//! Many sockets on one thread: the only file with its folder that names io_uring or `unsafe`.
//!
//! Enters: addresses to connect to, sockets to listen on, bytes to send. Leaves: [`Event`]s. Owns
//! the sockets, the bytes under way, and the buffers that the kernel fills. A socket's slot is
//! given to another only when the kernel holds nothing of it any more, so no completion can meet a
//! stranger.

#![expect(unsafe_code, reason = "operations name memory that the kernel reads")]

mod completion;
mod pool;
mod slot;
#[cfg(test)]
mod tests;

use std::io;
use std::mem::ManuallyDrop;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};
use socket2::{Domain, Protocol, Socket, Type};

use crate::clock;

pub(crate) use pool::Lent;
use pool::Pool;
use slot::{Bytes, Flight, Kind, Piece, Slot, Step, disconnect, token};

/// Operations handed over in one system call, and completions that may wait.
const SUBMISSIONS: u32 = 2048;
const COMPLETIONS: u32 = 16_384;

/// How long thousands of sockets may take to end.
const ENDING: Duration = Duration::from_secs(5);

/// A socket of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    slot: u32,
    age: u32,
}

impl Id {
    /// Its place in a table; another socket's once this one has ended.
    pub(crate) const fn at(self) -> usize {
        self.slot as usize
    }
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// A listener has a connection.
    Accepted(Id),
    /// The connection stands.
    Connected(Id),
    /// Bytes; read them with [`Ring::take`].
    Received(Id, Lent),
    /// All that was to be sent is with the kernel.
    Sent(Id),
    /// The socket is gone. Not told of one that [`Ring::close`] ended.
    Ended(Id, End),
}

/// How a socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// The peer closed it.
    Closed,
    /// The peer reset it.
    Reset,
    /// Nobody listens there.
    Refused,
    /// Something else.
    Failed,
}

/// One thread's sockets.
pub(crate) struct Ring {
    io: ManuallyDrop<IoUring>,
    pool: ManuallyDrop<Pool>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Sockets whose bytes found no buffer.
    starving: Vec<u32>,
}

impl Ring {
    /// A ring of this thread.
    pub(crate) fn new() -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_clamp().setup_cqsize(COMPLETIONS);
        builder.setup_single_issuer().setup_defer_taskrun();
        let io = builder.build(SUBMISSIONS).map_err(|error| {
            let remedy = "the load tests need io_uring of Linux 6.1 or later; in a container, \
                          allow it in the seccomp profile, or set kernel.io_uring_disabled=0";
            io::Error::new(error.kind(), format!("io_uring: {error}; {remedy}"))
        })?;
        let pool = Pool::register(&io)?;
        let (io, pool) = (ManuallyDrop::new(io), ManuallyDrop::new(pool));
        Ok(Self { io, pool, slots: Vec::new(), free: Vec::new(), starving: Vec::new() })
    }

    /// Accepts connections on `listener` from now on.
    pub(crate) fn listen(&mut self, listener: TcpListener) -> io::Result<()> {
        let listener = Socket::from(listener);
        // Accepted sockets inherit it; without it a body in two parts waits for 40 milliseconds.
        listener.set_tcp_nodelay(true)?;
        let id = self.adopt(listener, Kind::Listener);
        self.stand(id.slot, Step::Accept)
    }

    /// Connects to `to`.
    pub(crate) fn connect(&mut self, to: SocketAddr) -> io::Result<Id> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        let id = self.adopt(socket, Kind::Stream);
        if let Some(slot) = self.slots.get_mut(id.at()) {
            slot.address = Some(Box::new(to.into()));
        }
        self.stand(id.slot, Step::Connect)?;
        Ok(id)
    }

    /// Sends `bytes` after what is queued already.
    pub(crate) fn send(&mut self, id: Id, bytes: Rc<[u8]>) -> io::Result<()> {
        self.queue(id, Bytes::Shared(bytes))
    }

    /// As [`Ring::send`], of what was received and is not copied.
    pub(crate) fn forward(&mut self, id: Id, lent: Lent) -> io::Result<()> {
        self.queue(id, Bytes::Lent(lent))
    }

    fn queue(&mut self, id: Id, bytes: Bytes) -> io::Result<()> {
        let Some(slot) = self.live(id) else {
            self.give_back(bytes);
            return Ok(());
        };
        slot.queue.push_back(Piece { bytes, sent: 0 });
        if slot.sending == Flight::UnderWay { Ok(()) } else { self.push_send(id.slot) }
    }

    /// Ends a socket; nothing more is told of it.
    pub(crate) fn close(&mut self, id: Id) {
        if self.live(id).is_some() {
            self.end(id.slot);
        }
    }

    /// As [`Ring::close`], but the peer is told by a reset.
    pub(crate) fn reset(&mut self, id: Id) {
        if let Some(slot) = self.live(id) {
            if let Some(socket) = &slot.socket {
                drop(socket.set_linger(Some(Duration::ZERO)));
                // A shutdown would say a proper end first; disconnecting resets at once.
                disconnect(socket);
            }
            self.end(id.slot);
        }
    }

    /// Reads what was received, and gives its buffer back.
    pub(crate) fn take<T>(&mut self, lent: Lent, read: impl FnOnce(&[u8]) -> T) -> T {
        let result = read(self.pool.bytes(&lent));
        self.pool.give_back(lent);
        result
    }

    /// Hands over what is to be done, and waits until something happened or `most` has passed.
    pub(crate) fn wait(&mut self, most: Duration) -> io::Result<()> {
        if self.pool.has_buffers() {
            for at in std::mem::take(&mut self.starving) {
                self.feed(at)?;
            }
        }
        let span = Timespec::new().sec(most.as_secs()).nsec(most.subsec_nanos());
        match self.io.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&span)) {
            Ok(_) => Ok(()),
            // Time is over; a signal came; completions have to be taken first.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The next event, if there is one already.
    pub(crate) fn next(&mut self) -> io::Result<Option<Event>> {
        loop {
            let Some(done) = self.io.completion().next() else { return Ok(None) };
            if let Some(event) = self.settle(&done)? {
                return Ok(Some(event));
            }
        }
    }

    fn give_back(&mut self, bytes: Bytes) {
        if let Bytes::Lent(lent) = bytes {
            self.pool.give_back(lent);
        }
    }

    /// Receives again on a socket that found no buffer.
    fn feed(&mut self, at: u32) -> io::Result<()> {
        let waits = |slot: &Slot| slot.standing == Flight::Landed && !slot.closing;
        if self.slots.get(at as usize).is_some_and(waits) {
            self.stand(at, Step::Receive)?;
        }
        Ok(())
    }

    fn live(&mut self, id: Id) -> Option<&mut Slot> {
        self.slots.get_mut(id.at()).filter(|slot| slot.age == id.age && !slot.closing)
    }

    fn adopt(&mut self, socket: Socket, kind: Kind) -> Id {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let Some(slot) = self.slots.get_mut(at as usize) else { return Id { slot: at, age: 0 } };
        *slot = Slot { age: slot.age + 1, socket: Some(socket), kind, ..Slot::default() };
        Id { slot: at, age: slot.age }
    }

    fn end(&mut self, at: u32) {
        let Some(slot) = self.slots.get_mut(at as usize) else { return };
        slot.closing = true;
        if let (Some(socket), Kind::Stream, false) = (&slot.socket, slot.kind, slot.is_quiet()) {
            drop(socket.shutdown(Shutdown::Both));
        }
        self.release(at);
    }

    /// Gives the slot of a closed socket away, once the kernel holds nothing of it.
    fn release(&mut self, at: u32) {
        let Some(slot) = self.slots.get_mut(at as usize) else { return };
        if slot.closing && slot.is_quiet() && slot.socket.take().is_some() {
            self.free.push(at);
            let queue = std::mem::take(&mut slot.queue);
            queue.into_iter().for_each(|piece| self.give_back(piece.bytes));
        }
    }

    fn stand(&mut self, at: u32, step: Step) -> io::Result<()> {
        let Some(slot) = self.slots.get_mut(at as usize) else { return Ok(()) };
        let Some(socket) = &slot.socket else { return Ok(()) };
        let fd = Fd(socket.as_raw_fd());
        let entry = match (step, &slot.address) {
            (Step::Accept, _) => opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build(),
            (Step::Connect, Some(address)) => {
                opcode::Connect::new(fd, address.as_ptr().cast(), address.len()).build()
            }
            _ => opcode::RecvMulti::new(fd, pool::GROUP).build(),
        };
        slot.standing = Flight::UnderWay;
        self.push(&entry.user_data(token(step, at)))
    }

    fn push_send(&mut self, at: u32) -> io::Result<()> {
        let Some(slot) = self.slots.get_mut(at as usize) else { return Ok(()) };
        let (Some(socket), Some(piece)) = (&slot.socket, slot.queue.front()) else { return Ok(()) };
        let rest = self.pool.of(&piece.bytes).get(piece.sent..).unwrap_or_default();
        let len = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let send = opcode::Send::new(Fd(socket.as_raw_fd()), rest.as_ptr(), len).flags(flags);
        slot.sending = Flight::UnderWay;
        self.push(&send.build().user_data(token(Step::Send, at)))
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: what an entry names lives in its slot (`queue` holds the bytes by count,
            // `address` is boxed) or in the pool, and a slot is released only after its completions
            // have come back; `Drop` waits for them or leaks.
            if unsafe { self.io.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.io.submit()?;
        }
    }

    /// Ends every socket, and waits until the kernel holds nothing of them, or for [`ENDING`].
    fn end_all(&mut self) {
        for at in 0..self.slots.len() {
            if let Some(slot) = self.slots.get_mut(at) {
                slot.kind = Kind::Stream; // a listener too is woken by a shutdown
                self.end(u32::try_from(at).unwrap_or(u32::MAX));
            }
        }
        let until = clock::now() + clock::nanos(ENDING);
        loop {
            while let Ok(Some(_)) = self.next() {}
            if self.is_quiet() || clock::now() >= until {
                return;
            }
            if self.wait(Duration::from_millis(10)).is_err() {
                return;
            }
        }
    }

    fn is_quiet(&self) -> bool {
        self.slots.iter().all(Slot::is_quiet)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.end_all();
        if self.is_quiet() {
            // SAFETY: each is dropped once, here, the ring before the memory that it may use.
            unsafe {
                ManuallyDrop::drop(&mut self.io);
                ManuallyDrop::drop(&mut self.pool);
            }
        } else {
            // The kernel may still read or write: a leak at the end is better than that.
            std::mem::forget(std::mem::take(&mut self.slots));
        }
    }
}
