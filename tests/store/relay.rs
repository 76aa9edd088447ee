//! A relay between a client and a server that holds answers back, or cuts them.
//!
//! What is sent to the server passes at once; what comes back waits, or never arrives.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A relay; dropping it closes everything.
#[derive(Debug)]
pub(crate) struct Relay {
    port: u16,
    knobs: Arc<Knobs>,
}

#[derive(Debug, Default)]
struct Knobs {
    /// Milliseconds that an answer waits.
    delay: AtomicU64,
    /// Bytes of answers that still pass before the connection is cut; zero: no end.
    cut: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
    accepted: AtomicUsize,
}

impl Relay {
    /// A relay to `port` of this machine.
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let knobs = Arc::new(Knobs::default());
        let theirs = Arc::downgrade(&knobs);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let Some(knobs) = theirs.upgrade() else { return };
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                knobs.accepted.fetch_add(1, Ordering::SeqCst);
                let mut open = knobs.open.lock().unwrap();
                for end in [&stream, &server] {
                    drop(end.set_nodelay(true));
                    open.push(end.try_clone().unwrap());
                }
                let (forth, back) = (stream.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || pass(forth, server, &Knobs::default()));
                let knobs = Arc::clone(&knobs);
                thread::spawn(move || pass(back, stream, &knobs));
            }
        });
        Self { port: own, knobs }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Answers wait so long from now on.
    pub(crate) fn delay(&self, span: Duration) {
        let millis = u64::try_from(span.as_millis()).unwrap();
        self.knobs.delay.store(millis, Ordering::SeqCst);
    }

    /// Cuts the connection in the middle of an answer, after so many bytes.
    #[allow(dead_code, reason = "not every test that has relays asks")]
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.knobs.cut.store(bytes, Ordering::SeqCst);
    }

    /// How many connections it has taken.
    #[allow(dead_code, reason = "not every test that has relays asks")]
    pub(crate) fn accepted(&self) -> usize {
        self.knobs.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for stream in self.knobs.open.lock().unwrap().drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
        drop(TcpStream::connect(("127.0.0.1", self.port))); // wakes the accept loop
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, knobs: &Knobs) {
    let mut block = [0; 16 * 1024];
    while let Ok(count) = from.read(&mut block) {
        if count == 0 {
            break;
        }
        thread::sleep(Duration::from_millis(knobs.delay.load(Ordering::SeqCst)));
        let left = knobs.cut.load(Ordering::SeqCst);
        let count = if left == 0 { count } else { count.min(left) };
        if to.write_all(&block[..count]).is_err() {
            break;
        }
        if left > 0 {
            knobs.cut.store(left - count, Ordering::SeqCst);
            if left == count {
                break;
            }
        }
    }
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}
