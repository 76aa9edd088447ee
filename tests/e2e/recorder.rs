//! An origin that writes down every byte: what reached it, as it reached it.
//!
//! Each connection is read to its end. Whole requests are answered `200`; what they were is told
//! afterwards from the bytes, with everything in them that a careful sender would not have sent.

use std::io::{Read as _, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::wait::{self, PATIENCE};

/// A running recorder. It listens until its test's process ends.
#[derive(Debug)]
pub(crate) struct Recorder {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Arc<Mutex<Connection>>>>>,
}

/// What came on one connection.
#[derive(Debug, Default)]
struct Connection {
    peer: Option<SocketAddr>,
    stream: Option<TcpStream>,
    bytes: Vec<u8>,
    is_over: bool,
}

impl Connection {
    fn end(&self) {
        if let Some(stream) = &self.stream {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

impl Recorder {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&connections);
        thread::spawn(move || {
            while let Ok((stream, peer)) = listener.accept() {
                let connection = Arc::new(Mutex::new(Connection {
                    peer: Some(peer),
                    stream: stream.try_clone().ok(),
                    ..Connection::default()
                }));
                theirs.lock().unwrap().push(Arc::clone(&connection));
                thread::spawn(move || record(stream, &connection));
            }
        });
        Self { address, connections }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until every connection has ended and takes what they brought: what [`told`] tells of
    /// each, parted by ` + `; empty when nothing came.
    #[track_caller]
    pub(crate) fn take(&self) -> String {
        self.take_within(PATIENCE)
    }

    /// The same; connections that have not ended within `span` are ended here: not every proxy
    /// gives up what it began for a client that has left.
    #[track_caller]
    pub(crate) fn take_within(&self, span: Duration) -> String {
        // Connections are accepted in order: behind this one none is missing.
        let last = TcpStream::connect(self.address).and_then(|stream| stream.local_addr()).unwrap();
        let came = |one: &Arc<Mutex<Connection>>| one.lock().unwrap().peer == Some(last);
        let came = || self.connections.lock().unwrap().iter().any(came);
        wait::until("the last connection at the origin", came);
        let ended = |one: &Arc<Mutex<Connection>>| one.lock().unwrap().is_over;
        let over = || self.connections.lock().unwrap().iter().all(ended);
        let began = Instant::now();
        wait::until("the end of every connection at the origin", || {
            if began.elapsed() > span {
                self.connections.lock().unwrap().iter().for_each(|one| one.lock().unwrap().end());
            }
            over()
        });
        let all = std::mem::take(&mut *self.connections.lock().unwrap());
        let told = all.iter().map(|one| told(&one.lock().unwrap().bytes));
        told.filter(|told| !told.is_empty()).collect::<Vec<_>>().join(" + ")
    }
}

fn record(mut stream: TcpStream, connection: &Mutex<Connection>) {
    drop(stream.set_nodelay(true));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut block, mut answered, mut invited) = ([0; 16 * 1024], 0, false);
    while let Ok(count @ 1..) = stream.read(&mut block) {
        let mut connection = connection.lock().unwrap();
        connection.bytes.extend_from_slice(&block[..count]);
        let mut rest = &connection.bytes[answered..];
        loop {
            match request(rest) {
                Read::Whole { len, .. } => {
                    (answered, rest, invited) = (answered + len, &rest[len..], false);
                    drop(stream.write_all(ANSWER));
                }
                Read::Waits if !invited => {
                    invited = true;
                    drop(stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n"));
                }
                Read::Waits | Read::Part => break,
            }
        }
    }
    drop(stream.shutdown(Shutdown::Both));
    connection.lock().unwrap().is_over = true;
}

/// What bytes begin with.
enum Read {
    /// A request.
    Whole { shape: String, len: usize },
    /// One whose sender waits to be told to go on.
    Waits,
    /// Less than one.
    Part,
}

/// Every request in `bytes`, as `POST /x 3:abc`, `POST /x chunked:abc` or `GET /x -`, with
/// `(trailers)` where it has some and its oddities in braces; what is left over is `part`.
pub(crate) fn told(mut bytes: &[u8]) -> String {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let Read::Whole { shape, len } = request(bytes) else {
            all.push("part".to_owned());
            break;
        };
        all.push(shape);
        bytes = &bytes[len..];
    }
    all.join(" + ")
}

fn request(bytes: &[u8]) -> Read {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Read::Part };
    let (head, rest) = (&bytes[..end + 2], &bytes[end + 4..]);
    let mut odd = Vec::new();
    let mut lines: Vec<&[u8]> = Vec::new();
    let mut left = head;
    while let Some(end) = find(left, b"\r\n") {
        lines.push(&left[..end]);
        left = &left[end + 2..];
    }
    let control = |byte: &u8| matches!(byte, 0..=8 | 10..=31 | 127);
    if lines.iter().any(|line| line.iter().any(control)) {
        odd.push("control");
    }
    if lines.iter().skip(1).any(|line| line.starts_with(b" ") || line.starts_with(b"\t")) {
        odd.push("fold");
    }
    let values = |name: &str| -> Vec<&[u8]> {
        let fields = lines.iter().skip(1).filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((&line[..colon], line[colon + 1..].trim_ascii()))
        });
        let named = |key: &[u8]| key.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        fields.filter(|(key, _)| named(key)).map(|(_, value)| value).collect()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    if lengths.len() + codings.len() > 1 {
        odd.push("two lengths");
    }
    if !values("transfer_encoding").is_empty() || !values("content_length").is_empty() {
        odd.push("twin");
    }
    let body = if let Some(coding) = codings.first() {
        if !coding.eq_ignore_ascii_case(b"chunked") {
            odd.push("coding");
        }
        chunks(rest, &mut odd)
    } else if let Some(length) = lengths.first() {
        let digits = std::str::from_utf8(length).unwrap_or_default();
        if digits.is_empty() || digits.bytes().any(|byte| !byte.is_ascii_digit()) {
            odd.push("length");
        }
        if digits.len() > 1 && digits.starts_with('0') {
            odd.push("zeros");
        }
        // One that means more than there can be takes everything.
        let length = digits.parse::<usize>().unwrap_or(usize::MAX);
        let body = rest.get(..length).filter(|_| length < usize::MAX);
        let shape =
            |body| if length == 0 { "-".into() } else { format!("{length}:{}", text(body)) };
        body.map(|body| (shape(body), length))
    } else {
        Some(("-".to_owned(), 0))
    };
    let Some((body, len)) = body else {
        let waits = values("expect").iter().any(|v| v.eq_ignore_ascii_case(b"100-continue"));
        return if waits && rest.is_empty() { Read::Waits } else { Read::Part };
    };
    let line = lines[0];
    let blank = line.iter().rposition(|byte| *byte == b' ').unwrap_or(line.len());
    let (start, version) = line.split_at(blank);
    if !matches!(version, b" HTTP/1.1" | b" HTTP/1.0") {
        odd.push("version");
    }
    odd.sort_unstable();
    odd.dedup();
    let odd = if odd.is_empty() { String::new() } else { format!(" {{{}}}", odd.join(", ")) };
    Read::Whole { shape: format!("{} {body}{odd}", text(start)), len: end + 4 + len }
}

/// A chunked body in words, and its length, if it is whole.
fn chunks(bytes: &[u8], odd: &mut Vec<&'static str>) -> Option<(String, usize)> {
    let (mut payload, mut at) = (Vec::new(), 0);
    loop {
        let end = find(&bytes[at..], b"\r\n")?;
        let line = std::str::from_utf8(&bytes[at..at + end]).ok()?;
        let size = line.split(';').next().unwrap_or_default();
        if size.len() != line.len() {
            odd.push("extension");
        }
        if size.len() > 1 && size.starts_with('0') {
            odd.push("zeros");
        }
        let size = usize::from_str_radix(size, 16).ok().filter(|_| !size.starts_with('+'))?;
        at += end + 2;
        if size == 0 {
            break;
        }
        payload.extend_from_slice(bytes.get(at..at.checked_add(size)?)?);
        at += size;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    let mut trailers = "";
    loop {
        let end = find(&bytes[at..], b"\r\n")?;
        at += end + 2;
        if end == 0 {
            return Some((format!("chunked:{}{trailers}", text(&payload)), at));
        }
        trailers = " (trailers)";
    }
}

/// Bytes as text: escaped, and cut where they are many.
pub(crate) fn text(bytes: &[u8]) -> String {
    match bytes.get(..60) {
        None => bytes.escape_ascii().to_string(),
        Some(first) => format!("{}… ({} bytes)", first.escape_ascii(), bytes.len()),
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}
