//! Connections beside the load that cost a server something and ask for nothing.
//!
//! Enters: where, and how many. Leaves: connections at rest, each with one answer behind it, and
//! connections that send a head one byte a second. One thread feeds them all; no server should
//! notice either kind.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::connection::Connection;

/// How often each slow head goes on by a byte.
const PACE: Duration = Duration::from_secs(1);

/// Bystanders that stand by until they leave.
pub(crate) struct Bystanders {
    stop: Arc<AtomicBool>,
    feeder: JoinHandle<u64>,
    _resting: Vec<Connection>,
}

impl Bystanders {
    /// Opens `rest` connections at rest and `slow` slow heads.
    pub(crate) fn gather(
        address: SocketAddr,
        request: &[u8],
        rest: usize,
        slow: usize,
    ) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("a bystander: {error} (see ulimit -n)");
        let rested = |_| Ok(Connection::open(address)?.exchange(request)?.next);
        let resting: Result<Vec<_>, _> = (0..rest).map(rested).collect();
        let resting = resting.map_err(failed)?.into_iter().flatten().collect();
        let open = |_| TcpStream::connect(address);
        let slow: Result<Vec<_>, _> = (0..slow).map(open).collect();
        let (slow, stop) = (slow.map_err(failed)?, Arc::new(AtomicBool::new(false)));
        let stops = Arc::clone(&stop);
        let feeder = thread::spawn(move || feed(address, slow, &stops));
        Ok(Self { stop, feeder, _resting: resting })
    }

    /// Closes them all; returns how many slow heads the server cut meanwhile.
    pub(crate) fn leave(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.feeder.join().unwrap_or(0)
    }
}

/// Feeds the slow heads, spread over each second; one that was cut is begun anew.
fn feed(address: SocketAddr, mut slow: Vec<TcpStream>, stop: &AtomicBool) -> u64 {
    const HEAD: &[u8] = b"GET /slow HTTP/1.1\r\nX-Slow: ";
    let (mut cut, mut sent) = (0, 0);
    let count = u32::try_from(slow.len().max(1)).unwrap_or(u32::MAX);
    while !stop.load(Ordering::Relaxed) {
        let byte = HEAD.get(sent).copied().unwrap_or(b'x');
        for stream in &mut slow {
            if stream.write_all(&[byte]).is_err() {
                cut += 1;
                // The next bytes are those of another head's middle: as slow, and as bad.
                if let Ok(fresh) = TcpStream::connect(address) {
                    *stream = fresh;
                }
            }
            super::sleep(PACE / count);
        }
        if slow.is_empty() {
            super::sleep(PACE);
        }
        sent += 1;
    }
    cut
}
