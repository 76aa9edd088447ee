//! The least that a program between two sockets can do: copy bytes without reading them.
//!
//! Runs as a process of its own (`loadtest relay PORT ORIGIN`), so that its processor time is
//! counted like that of the others.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use crate::interrupt;
use crate::ring::{Event, Id, Ring};

/// Relays what arrives on `port` to `origin` until it is told to end.
pub(crate) fn run(port: u16, origin: SocketAddr) -> Result<(), String> {
    serve(port, origin).map_err(|error| format!("relay: {error}"))
}

fn serve(port: u16, origin: SocketAddr) -> std::io::Result<()> {
    let mut ring = Ring::new()?;
    ring.listen(TcpListener::bind(("127.0.0.1", port))?)?;
    // By slot: the other side.
    let mut peers: Vec<Option<Id>> = Vec::new();
    while !interrupt::is_raised() {
        ring.wait(Duration::from_millis(100))?;
        while let Some(event) = ring.next()? {
            match event {
                Event::Accepted(client) => {
                    let server = ring.connect(origin)?;
                    peers.resize(peers.len().max(client.at().max(server.at()) + 1), None);
                    for (id, peer) in [(client, server), (server, client)] {
                        if let Some(place) = peers.get_mut(id.at()) {
                            *place = Some(peer);
                        }
                    }
                }
                Event::Received(id, lent) => match peers.get(id.at()) {
                    Some(Some(peer)) => ring.forward(*peer, lent)?,
                    _ => ring.take(lent, |_| ()),
                },
                Event::Ended(id, _) => {
                    if let Some(peer) = peers.get_mut(id.at()).and_then(Option::take) {
                        ring.close(peer);
                    }
                }
                Event::Connected(_) | Event::Sent(_) => {}
            }
        }
    }
    Ok(())
}
