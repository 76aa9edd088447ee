//! A listener that reads nothing: it holds connections, and cuts each in its time.
//!
//! Enters: connections. Leaves: their ends. Owns a thread; dropping the sink cuts them all. It is
//! what a crowd stands before to show what the crowd alone costs everybody else.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, mem};

use crate::clock::{self, Nanos};
use crate::{cores, origin};

/// The pause between two looks.
const NAP: Duration = Duration::from_millis(10);

/// A running sink.
#[derive(Debug)]
pub(crate) struct Sink {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Sink {
    /// Holds each connection for `hold`, on `cores`.
    pub(crate) fn start(hold: Duration, cores: &[usize]) -> Result<Self, String> {
        let failed = |error: io::Error| format!("a sink: {error}");
        let listener = origin::listen(([127, 0, 0, 1], 0).into()).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, cores) = (Arc::clone(&stop), cores.to_vec());
        let thread = std::thread::spawn(move || {
            cores::pin_in_turn(&cores, 0);
            cores::give_way();
            keep(&listener, hold, &theirs)
        });
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(error)) = mem::take(&mut self.thread).and_then(|it| it.join().ok()) {
            eprintln!("loadtest: the sink is stopped up: {error}");
        }
    }
}

fn keep(listener: &TcpListener, hold: Duration, stop: &AtomicBool) -> io::Result<()> {
    // In the order in which they end, as all are held for as long.
    let hold = clock::nanos(hold);
    let mut held: VecDeque<(Nanos, TcpStream)> = VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        let now = clock::now();
        loop {
            match listener.accept() {
                Ok((stream, _)) => held.push_back((now + hold, stream)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        while held.pop_front_if(|(when, _)| *when <= now).is_some() {}
        clock::pass(NAP);
    }
    Ok(())
}
