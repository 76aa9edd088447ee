//! The ring against plain sockets of the standard library.

#![allow(clippy::disallowed_methods, reason = "a slow reader is slow")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::*;

/// Runs the ring until `pick` has found what it looks for.
#[track_caller]
fn until<T>(ring: &mut Ring, mut pick: impl FnMut(&mut Ring, Event) -> Option<T>) -> T {
    for _ in 0..10_000 {
        while let Some(event) = ring.next().unwrap() {
            if let Some(found) = pick(ring, event) {
                return found;
            }
        }
        ring.wait(Duration::from_millis(10)).unwrap();
    }
    panic!("waited in vain");
}

fn connected(ring: &mut Ring) -> (Id, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let id = ring.connect(listener.local_addr().unwrap()).unwrap();
    until(ring, |_, event| matches!(event, Event::Connected(_)).then_some(()));
    (id, listener.accept().unwrap().0)
}

#[test]
fn megabytes_go_both_ways_unchanged() {
    let mut ring = Ring::new().unwrap();
    let (id, peer) = connected(&mut ring);
    let mut echo = peer.try_clone().unwrap();
    let mut source = peer;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|nth| nth.to_le_bytes()[1]).collect();
    let echoing = std::thread::spawn(move || {
        let mut chunk = vec![0; 100_000];
        while let Ok(count @ 1..) = source.read(&mut chunk) {
            echo.write_all(&chunk[..count]).unwrap();
        }
    });
    ring.send(id, sent.as_slice().into()).unwrap();
    let mut back = Vec::new();
    until(&mut ring, |ring, event| {
        if let Event::Received(_, lent) = event {
            ring.take(lent, |bytes| back.extend_from_slice(bytes));
        }
        (back.len() >= sent.len()).then_some(())
    });
    assert!(back == sent, "{} bytes came back changed", back.len());
    ring.close(id);
    echoing.join().unwrap();
}

#[test]
fn ends_are_told_by_their_kind_and_slots_are_used_again() {
    let mut ring = Ring::new().unwrap();
    let end = |ring: &mut Ring| {
        until(ring, |_, event| match event {
            Event::Ended(id, end) => Some((id.at(), end)),
            _ => None,
        })
    };
    let (_, peer) = connected(&mut ring);
    drop(peer);
    assert_eq!(end(&mut ring), (0, End::Closed));
    let (id, peer) = connected(&mut ring);
    assert_eq!(id.at(), 0);
    Socket::from(peer).set_linger(Some(Duration::ZERO)).unwrap();
    assert_eq!(end(&mut ring), (0, End::Reset));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    ring.connect(nobody).unwrap();
    assert_eq!(end(&mut ring), (0, End::Refused));
}

#[test]
fn a_listener_accepts_many_and_a_reset_arrives_as_one() {
    let mut ring = Ring::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    ring.listen(listener).unwrap();
    let peers: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut ids = Vec::new();
    until(&mut ring, |_, event| {
        if let Event::Accepted(id) = event {
            ids.push(id);
        }
        (ids.len() == peers.len()).then_some(())
    });
    ring.reset(ids[0]);
    ring.close(ids[1]);
    let mut ends: Vec<_> = peers
        .iter()
        .take(2)
        .map(|mut peer| peer.read(&mut [0; 8]).map_err(|error| error.kind()))
        .collect();
    ends.sort();
    assert_eq!(ends, [Ok(0), Err(io::ErrorKind::ConnectionReset)]);
}

#[test]
fn thousands_of_sockets_end_with_their_ring() {
    let files = crate::cores::raise_file_limit() / 4;
    let mut ring = Ring::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    ring.listen(listener).unwrap();
    let mut peers = Vec::new();
    while peers.len() < files.min(4_000) {
        // No more at once than may wait to be accepted.
        let mut more = 100;
        peers.extend((0..more).map(|_| TcpStream::connect(address).unwrap()));
        until(&mut ring, |_, event| {
            more -= usize::from(matches!(event, Event::Accepted(_)));
            (more == 0).then_some(())
        });
    }
    ring.end_all();
    let held = ring.slots.iter().filter(|slot| !slot.is_quiet()).count();
    assert_eq!(held, 0, "of {} the kernel still holds so many, which would leak", peers.len());
    assert!(peers.iter_mut().all(|peer| peer.read(&mut [0; 8]).is_ok_and(|read| read == 0)));
}

#[test]
fn more_than_all_buffers_is_forwarded_to_a_slow_reader_without_loss() {
    const LENGTH: usize = 20_000_000;
    let mut ring = Ring::new().unwrap();
    let (from, mut source) = connected(&mut ring);
    let (to, mut sink) = connected(&mut ring);
    let byte = |nth: usize| (nth / 7).to_le_bytes()[0];
    let sending = std::thread::spawn(move || {
        source.write_all(&(0..LENGTH).map(byte).collect::<Vec<_>>()).unwrap();
        source
    });
    let receiving = std::thread::spawn(move || {
        // The sockets and all buffers are full by then.
        std::thread::sleep(Duration::from_millis(200));
        let mut all = vec![0; LENGTH];
        sink.read_exact(&mut all).unwrap();
        all.iter().enumerate().all(|(nth, found)| *found == byte(nth))
    });
    let mut passed = 0;
    until(&mut ring, |ring, event| match event {
        Event::Received(id, lent) => {
            assert_eq!(id, from);
            passed += ring.pool.bytes(&lent).len();
            ring.forward(to, lent).unwrap();
            None
        }
        Event::Sent(id) if id == to && passed == LENGTH => Some(()),
        _ => None,
    });
    assert_eq!(passed, LENGTH);
    assert!(receiving.join().unwrap(), "the bytes arrived changed");
    drop(sending.join().unwrap());
}
