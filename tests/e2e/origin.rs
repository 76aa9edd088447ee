//! An origin that follows a script: a plain HTTP/1.1 server on threads of its own.
//!
//! Each request is read whole, recorded, and answered by the test's closure with a [`Reply`]:
//! bytes, pauses, gates, and how the connection ends. [`Origin::raw`] hands over bare sockets.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::kernel;
use crate::wait::{self, Gate};

/// A running origin; dropping it frees its port and ends its connections.
#[derive(Debug)]
pub(crate) struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Vec<Request>>,
    open: Mutex<Vec<TcpStream>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Which connection it came on, from 0.
    pub(crate) connection: usize,
    /// Everything before the blank line.
    pub(crate) head: String,
    pub(crate) method: String,
    /// Path and query as sent.
    pub(crate) target: String,
    /// Decoded.
    pub(crate) body: Vec<u8>,
}

/// What an origin does with one request, step by step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    Bytes(Vec<u8>),
    Pause(Duration),
    Hold(Arc<Gate>),
    Close,
    Reset,
}

/// Whether the connection goes on.
enum After {
    Next,
    End,
}

impl Reply {
    /// A response with a body of text.
    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self::typed(status, "text/plain", body.as_bytes())
    }

    /// A response with a body of JSON.
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::typed(status, "application/json", body.to_string().as_bytes())
    }

    /// `200` with this body.
    pub(crate) fn bytes(body: &[u8]) -> Self {
        Self::typed(200, "application/octet-stream", body)
    }

    /// These bytes, whatever they are.
    pub(crate) fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self(vec![Step::Bytes(bytes.as_ref().to_vec())])
    }

    /// `200` with this body in chunks of `size`.
    pub(crate) fn chunks(body: &[u8], size: usize) -> Self {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in body.chunks(size) {
            bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
        Self::raw(bytes)
    }

    /// Nothing at all, yet.
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    /// The same, after `span`.
    pub(crate) fn after(mut self, span: Duration) -> Self {
        self.0.insert(0, Step::Pause(span));
        self
    }

    /// The same, once `gate` is open.
    pub(crate) fn behind(mut self, gate: &Arc<Gate>) -> Self {
        self.0.insert(0, Step::Hold(Arc::clone(gate)));
        self
    }

    /// Then what `next` says.
    pub(crate) fn then(mut self, next: Self) -> Self {
        self.0.extend(next.0);
        self
    }

    /// Then closes.
    pub(crate) fn then_close(mut self) -> Self {
        self.0.push(Step::Close);
        self
    }

    /// Then resets the connection.
    pub(crate) fn then_reset(mut self) -> Self {
        self.0.push(Step::Reset);
        self
    }

    fn typed(status: u16, content_type: &str, body: &[u8]) -> Self {
        let length = body.len();
        let mut bytes = format!(
            "HTTP/1.1 {status} Scripted\r\nContent-Type: {content_type}\r\n\
             Content-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        Self::raw(bytes)
    }

    fn play(self, stream: &mut TcpStream) -> After {
        for step in self.0 {
            match step {
                Step::Bytes(bytes) => {
                    if stream.write_all(&bytes).is_err() {
                        return After::End;
                    }
                }
                Step::Pause(span) => wait::pass(span),
                Step::Hold(gate) => gate.enter(),
                Step::Close => return After::End,
                Step::Reset => {
                    if let Ok(clone) = stream.try_clone() {
                        kernel::reset(clone);
                    }
                    return After::End;
                }
            }
        }
        After::Next
    }
}

impl Origin {
    /// Starts an origin that answers each request with what `script` says of it; the number counts
    /// requests from 0.
    pub(crate) fn start(script: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), script)
    }

    /// The same at this address.
    pub(crate) fn start_at(
        address: SocketAddr,
        script: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let script = Arc::new(script);
        Self::listen(address, move |stream, connection, shared| {
            serve(stream, connection, shared, script.as_ref());
        })
    }

    /// Starts an origin that hands every connection to `script`; it records only their number.
    pub(crate) fn raw(script: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::listen(address, move |stream, connection, _| script(stream, connection))
    }

    /// An origin that answers at once, with `length` bytes that are made as they are taken.
    pub(crate) fn pouring(length: usize) -> Self {
        Self::raw(move |mut stream, _| {
            let _ = stream.read(&mut [0; 4096]);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            let mut sent = stream.write_all(head.as_bytes());
            let piece = [b'x'; 64 * 1024];
            let mut left = length;
            while left > 0 && sent.is_ok() {
                let part = left.min(piece.len());
                sent = stream.write_all(&piece[..part]);
                left -= part;
            }
        })
    }

    /// An origin that always answers `200` with this text.
    pub(crate) fn saying(text: &'static str) -> Self {
        Self::start(move |_, _| Reply::text(200, text))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://…` with this path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Requests seen so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many requests were seen so far.
    pub(crate) fn count(&self) -> usize {
        self.shared.seen.lock().unwrap().len()
    }

    /// The one request seen.
    #[track_caller]
    pub(crate) fn only(&self) -> Request {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "requests seen: {seen:?}");
        seen.remove(0)
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until `count` requests were seen.
    #[track_caller]
    pub(crate) fn await_requests(&self, count: usize) {
        wait::until("requests at the origin", || self.count() >= count);
    }

    /// Closes every connection that is open now.
    pub(crate) fn hang_up(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    fn listen(
        address: SocketAddr,
        handle: impl Fn(TcpStream, usize, &Shared) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (theirs, handle) = (Arc::clone(&shared), Arc::new(handle));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if theirs.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let number = theirs.connections.fetch_add(1, Ordering::SeqCst);
                drop(stream.set_nodelay(true));
                if let Ok(clone) = stream.try_clone() {
                    theirs.open.lock().unwrap().push(clone);
                }
                let (theirs, handle) = (Arc::clone(&theirs), Arc::clone(&handle));
                thread::spawn(move || handle(stream, number, &theirs));
            }
        });
        Self { address, shared }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address)); // wakes the accept loop
        self.hang_up();
    }
}

impl Request {
    /// The values of header `name`, in order.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim()).collect()
    }
}

fn serve(
    mut stream: TcpStream,
    connection: usize,
    shared: &Shared,
    script: &impl Fn(&Request, usize) -> Reply,
) {
    let mut rest = Vec::new();
    while let Some(request) = read_request(&mut stream, connection, &mut rest) {
        let number = {
            let mut seen = shared.seen.lock().unwrap();
            seen.push(request.clone());
            seen.len() - 1
        };
        let ends = matches!(script(&request, number).play(&mut stream), After::End);
        if ends || request.values("connection").contains(&"close") {
            break;
        }
    }
    drop(stream.shutdown(Shutdown::Both));
}

/// The next whole request; `None` when the peer is gone or speaks garbage.
fn read_request(stream: &mut TcpStream, connection: usize, rest: &mut Vec<u8>) -> Option<Request> {
    let end = loop {
        if let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        more(stream, rest)?;
    };
    let head = String::from_utf8_lossy(&rest[..end]).into_owned();
    rest.drain(..end + 4);
    let mut words = head.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut request = Request { connection, head, method, target, body: Vec::new() };
    if !request.values("expect").is_empty() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    request.body = if request.values("transfer-encoding").is_empty() {
        let length =
            request.values("content-length").first().map_or(Some(0), |v| v.parse().ok())?;
        take(stream, rest, length)?
    } else {
        read_chunks(stream, rest)?
    };
    Some(request)
}

fn read_chunks(stream: &mut TcpStream, rest: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
                break end;
            }
            more(stream, rest)?;
        };
        let size = String::from_utf8(rest[..end].to_vec()).ok()?;
        let size = usize::from_str_radix(&size, 16).ok()?;
        rest.drain(..end + 2);
        body.extend(take(stream, rest, size)?);
        if take(stream, rest, 2)? != b"\r\n" {
            return None;
        }
        if size == 0 {
            return Some(body);
        }
    }
}

fn take(stream: &mut TcpStream, rest: &mut Vec<u8>, count: usize) -> Option<Vec<u8>> {
    while rest.len() < count {
        more(stream, rest)?;
    }
    Some(rest.drain(..count).collect())
}

fn more(stream: &mut TcpStream, rest: &mut Vec<u8>) -> Option<()> {
    let mut block = [0; 16 * 1024];
    let count = stream.read(&mut block).ok().filter(|count| *count > 0)?;
    rest.extend_from_slice(&block[..count]);
    Some(())
}
