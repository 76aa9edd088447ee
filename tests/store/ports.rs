//! Loopback ports that belong to a test before anyone listens there.
//!
//! A port that only was free a moment ago may be the next that the system gives to somebody else:
//! to another test's origin or proxy, which then answers in place of nobody, or of the server that
//! was to come. So each port is held by a socket of ours until this process ends.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;

use socket2::{Domain, Socket, Type};

/// What holds the ports: bound, and never listening.
static HELD: Mutex<Vec<Socket>> = Mutex::new(Vec::new());

/// An address that refuses whoever connects, and that nobody is given who asks for any port. Who
/// names it may listen there and allow its reuse, as servers do: on Linux `SO_REUSEADDR` lets
/// a socket in wherever every other one has it too and none of them listens.
pub(crate) fn hold() -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    HELD.lock().unwrap().push(socket);
    address
}

#[test]
fn a_held_port_refuses_until_somebody_names_it_and_again_after_that() {
    let address = hold();
    for _ in 0..2 {
        let refused = TcpStream::connect(address).map_err(|error| error.kind());
        assert_eq!(refused.err(), Some(ErrorKind::ConnectionRefused));
        let listener = TcpListener::bind(address).unwrap();
        drop(TcpStream::connect(address).unwrap());
        drop(listener);
    }
}
