//! Listening sockets: bound cold, accepted from on every core.
//!
//! Enters: an address. Leaves: one `SO_REUSEPORT` socket per core, and on the core its connections.
//! Accepting stops by cancelling, never by dropping: a dropped accept leaks the connection that the
//! kernel has already handed over, and its client hangs.

#![allow(clippy::disallowed_types, clippy::disallowed_macros, reason = "cold: per connection")]

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use monoio::io::Canceller;
use monoio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

use super::deadline::{Cut, Wheel};
use super::stream::Stream;
use crate::clock::{self, Now};

/// Connections the kernel holds for us while a core is busy.
const BACKLOG: i32 = 4096;

/// Accepts under way at once: each loop of the runtime finishes one per accept.
const ACCEPTS: usize = 4;

/// How long accepting pauses when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(10);

/// How often such pauses are told of.
const COMPLAIN: Duration = Duration::from_secs(10);

/// Binds `count` sockets to one address; port 0 picks a free one, the same for all. `ours` are the
/// addresses that this process listens on.
pub fn bind(
    address: SocketAddr,
    count: usize,
    ours: &[SocketAddr],
) -> io::Result<Vec<TcpListener>> {
    let mut bound: Vec<TcpListener> = Vec::with_capacity(count);
    // A first socket without the option finds out whether another process has the port: with it,
    // the kernel would quietly split the connections between the two. Where we have the port it
    // would find ourselves.
    if address.port() != 0 && !ours.iter().any(|ours| overlap(*ours, address)) {
        drop(socket(address, Sharing::Alone)?);
    }
    for _ in 0..count {
        let address = match bound.first() {
            Some(first) => first.local_addr()?,
            None => address,
        };
        let socket = socket(address, Sharing::Ours)?;
        socket.listen(BACKLOG)?;
        bound.push(socket.into());
    }
    Ok(bound)
}

/// Whether a connection may be for both.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    // A socket for every address of IPv6 takes IPv4 too.
    let covers = |wide: SocketAddr, other: SocketAddr| {
        wide.ip().is_unspecified() && (wide.is_ipv6() || other.is_ipv4())
    };
    one.port() == other.port()
        && (one.ip() == other.ip() || covers(one, other) || covers(other, one))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    Ours,
}

fn socket(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if sharing == Sharing::Ours {
        socket.set_reuse_port(true)?;
    }
    // Accepted sockets inherit it, which saves a system call for each.
    socket.set_tcp_nodelay(true)?;
    // epoll needs it; a ring does not mind.
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// One core's end of a listening socket.
pub struct Listener {
    canceller: Canceller,
    stopping: Rc<Cell<bool>>,
    /// The same socket, to take what has queued up on it when accepting stops.
    socket: TcpListener,
    take: Rc<dyn Fn(Stream, SocketAddr)>,
    wheel: Rc<Wheel>,
}

impl Listener {
    /// Accepts on `socket` until [`Listener::stop`]; each connection goes to `take`.
    pub fn start(
        socket: TcpListener,
        wheel: &Rc<Wheel>,
        take: impl Fn(Stream, SocketAddr) + 'static,
    ) -> io::Result<Self> {
        let stopping = Rc::new(Cell::new(false));
        let canceller = Canceller::new();
        let take: Rc<dyn Fn(Stream, SocketAddr)> = Rc::new(take);
        let listener = Rc::new(monoio::net::TcpListener::from_std(socket.try_clone()?)?);
        let complained = Rc::new(Cell::new(None::<Now>));
        for _ in 0..ACCEPTS {
            let (listener, wheel, take) =
                (Rc::clone(&listener), Rc::clone(wheel), Rc::clone(&take));
            let (handle, stopping) = (canceller.handle(), Rc::clone(&stopping));
            let complained = Rc::clone(&complained);
            monoio::spawn(async move {
                loop {
                    match listener.cancelable_accept(handle.clone()).await {
                        Ok((tcp, peer)) => take(Stream::new(tcp, &wheel), peer),
                        Err(_) if stopping.get() => return,
                        Err(error) if is_passing(&error) => {}
                        Err(error) => {
                            let now = clock::now();
                            if is_shortage(&error) {
                                // What it lacks, a connection at rest has.
                                let _ = wheel.evict(now);
                            }
                            if complained.get().is_none_or(|it| now.since(it) >= COMPLAIN) {
                                complained.set(Some(now));
                                log::warn!("accepting pauses: {error}");
                            }
                            monoio::time::sleep(PAUSE).await;
                        }
                    }
                }
            });
        }
        Ok(Self { canceller, stopping, socket, take, wheel: Rc::clone(wheel) })
    }

    /// Stops accepting. What has connected by then is still served: it is taken off the queue
    /// before the socket goes.
    pub fn stop(self) {
        self.stopping.set(true);
        self.canceller.cancel();
        // The socket does not block, so this ends with the queue; and in a flood with the length
        // that the queue may have.
        for _ in 0..BACKLOG {
            let Ok((tcp, peer)) = self.socket.accept() else { break };
            let adopted = tcp.set_nonblocking(true).and_then(|()| TcpStream::from_std(tcp));
            if let Ok(tcp) = adopted {
                (self.take)(Stream::new(tcp, &self.wheel), peer);
            }
        }
        // On epoll a cancelled accept is only noticed when something happens on its socket.
        super::socket::cut(self.socket.as_raw_fd(), Cut::Read);
    }
}

/// Errors of the one connection that was to be accepted, not of accepting.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
    )
}

/// Errors for want of descriptors or memory.
fn is_shortage(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    matches!(number, Some(libc::ENFILE | libc::EMFILE | libc::ENOBUFS | libc::ENOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_an_error_although_ports_are_shared_among_our_cores() {
        let ours = bind("127.0.0.1:0".parse().unwrap(), 3, &[]).unwrap();
        let address = ours[0].local_addr().unwrap();
        assert!(ours.iter().all(|socket| socket.local_addr().unwrap() == address));
        let error = bind(address, 1, &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn our_own_port_is_not_taken_by_another() {
        let wide = |text: &str, port| SocketAddr::new(text.parse().unwrap(), port);
        let ours = bind(wide("0.0.0.0", 0), 2, &[]).unwrap();
        let address = ours[0].local_addr().unwrap();
        for narrow in ["127.0.0.1", "::"] {
            assert!(bind(wide(narrow, address.port()), 2, &[address]).is_ok(), "{narrow}");
        }
        let elsewhere = bind(wide("127.0.0.2", 0), 1, &[]).unwrap();
        let theirs = elsewhere[0].local_addr().unwrap();
        let beside = wide("127.0.0.1", theirs.port());
        assert!(bind(theirs, 1, &[beside]).is_err(), "another address with our port");
    }

    #[test]
    fn addresses_overlap_where_a_connection_may_be_for_both() {
        for (one, other, expected) in [
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("[::]:1", "127.0.0.1:1", true),
            ("[::]:1", "0.0.0.0:1", true),
            ("0.0.0.0:1", "[::1]:1", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("0.0.0.0:1", "127.0.0.1:2", false),
        ] {
            let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!((overlap(one, other), overlap(other, one)), (expected, expected));
        }
    }
}
