//! A client on a raw socket: sends bytes, reads one response at a time, never waits forever.
//!
//! It believes nothing: a response is complete only when its framing says so, and everything that
//! is not a complete response is a [`Broken`].

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::kernel;
use crate::wait::PATIENCE;

/// One connection to the proxy.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    /// Bytes read and not yet part of a response.
    rest: Vec<u8>,
}

/// One response, complete by its own framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) version: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Why there is no complete response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The connection ended, after these bytes of a response.
    Cut(Vec<u8>),
    /// The peer reset after these bytes.
    Reset(Vec<u8>),
    /// Nothing came within the deadline, after these bytes of a response.
    Silence(Vec<u8>),
    /// What came is not HTTP.
    Garbage(String),
}

/// Whether a response has a body at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The request was a `HEAD`: no body follows.
    Head,
    /// Any other method.
    Other,
}

/// Sends `request` on a fresh connection and returns the one response.
#[track_caller]
pub(crate) fn once(address: SocketAddr, request: &str) -> Response {
    let mut client = Client::connect(address);
    client.send(request.as_bytes());
    client.response()
}

/// `GET path` on a fresh connection.
#[track_caller]
pub(crate) fn get(address: SocketAddr, path: &str) -> Response {
    Client::connect(address).get(path)
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("connect");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, rest: Vec::new() }
    }

    /// Sends these bytes as they are.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("send");
    }

    /// Sends what the peer still takes; a peer that has closed is no error here.
    pub(crate) fn offer(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }

    /// One keep-alive `GET`.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
        self.response()
    }

    /// The next response, which must be complete.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        self.try_response(Asked::Other).expect("a complete response")
    }

    /// The next response, if it is complete.
    pub(crate) fn try_response(&mut self, asked: Asked) -> Result<Response, Broken> {
        let end = self.fill_until(|bytes| find(bytes, b"\r\n\r\n").map(|at| at + 4))?;
        let head: Vec<u8> = self.rest.drain(..end).collect();
        let mut response = parse_head(&head)?;
        let bodiless = matches!(response.status, 100..=199 | 204 | 304) || asked == Asked::Head;
        if bodiless {
            return Ok(response);
        }
        response.body = if response.lists("transfer-encoding", "chunked") {
            self.chunked()?
        } else if let Some(length) = response.header("content-length") {
            let length = length.parse().map_err(|_| Broken::Garbage(length.to_owned()))?;
            self.exactly(length)?
        } else {
            self.rest_of_connection()?
        };
        Ok(response)
    }

    /// Whether the peer has closed, without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        let empty = self.rest.is_empty();
        empty && matches!(self.more(), Err(Broken::Cut(_) | Broken::Reset(_)))
    }

    /// Whether nothing comes and the connection stays open for `span`.
    pub(crate) fn is_silent_for(&mut self, span: Duration) -> bool {
        self.stream.set_read_timeout(Some(span)).unwrap();
        let silent = self.rest.is_empty() && matches!(self.more(), Err(Broken::Silence(_)));
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }

    /// Reads the first `count` bytes of what comes, whatever they are.
    #[track_caller]
    pub(crate) fn exactly(&mut self, count: usize) -> Result<Vec<u8>, Broken> {
        self.fill_until(|bytes| (bytes.len() >= count).then_some(count))?;
        Ok(self.rest.drain(..count).collect())
    }

    /// Reads to the end of the connection: the statuses of everything that came, in order; as an
    /// error where it does not end.
    pub(crate) fn statuses(&mut self) -> Result<Vec<u16>, Vec<u16>> {
        self.statuses_until_silent(PATIENCE)
    }

    /// The same, of a connection that may stay open: until nothing has come for `span`.
    pub(crate) fn statuses_until_silent(&mut self, span: Duration) -> Result<Vec<u16>, Vec<u16>> {
        self.stream.set_read_timeout(Some(span)).unwrap();
        let (all, ended) = loop {
            match self.more() {
                Ok(()) => {}
                Err(Broken::Cut(all) | Broken::Reset(all)) => break (all, true),
                Err(_) => break (std::mem::take(&mut self.rest), false),
            }
        };
        self.rest.clear();
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let statuses = statuses_in(&all);
        if ended { Ok(statuses) } else { Err(statuses) }
    }

    /// Leaves with a reset.
    pub(crate) fn abort(self) {
        kernel::reset(self.stream);
    }

    /// Says that no more requests come, and still reads.
    pub(crate) fn finish_sending(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }

    fn rest_of_connection(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            match self.more() {
                Ok(()) => {}
                Err(Broken::Cut(all)) => {
                    self.rest.clear();
                    return Ok(all);
                }
                Err(other) => return Err(other),
            }
        }
    }

    fn chunked(&mut self) -> Result<Vec<u8>, Broken> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| Broken::Garbage(line))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.exactly(size)?);
            let end = self.line()?;
            if !end.is_empty() {
                return Err(Broken::Garbage(end));
            }
        }
    }

    fn line(&mut self) -> Result<String, Broken> {
        let end = self.fill_until(|bytes| find(bytes, b"\r\n"))?;
        let line = self.rest.drain(..end + 2).take(end).collect();
        String::from_utf8(line).map_err(|error| Broken::Garbage(error.to_string()))
    }

    fn fill_until(&mut self, done: impl Fn(&[u8]) -> Option<usize>) -> Result<usize, Broken> {
        loop {
            if let Some(end) = done(&self.rest) {
                return Ok(end);
            }
            self.more()?;
        }
    }

    fn more(&mut self) -> Result<(), Broken> {
        let mut block = [0; 16 * 1024];
        match self.stream.read(&mut block) {
            Ok(0) => Err(Broken::Cut(self.rest.clone())),
            Ok(count) => {
                self.rest.extend_from_slice(&block[..count]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(Broken::Silence(self.rest.clone()))
            }
            Err(_) => Err(Broken::Reset(self.rest.clone())),
        }
    }
}

impl Response {
    /// The value of the one header `name`, if it is there; twice is a failure.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let first = values.next();
        assert!(values.next().is_none(), "header {name} twice in {self:?}");
        first.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Whether header `name` lists `token`.
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        let listed =
            |value: &str| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(token));
        self.headers.iter().any(|(key, value)| key.eq_ignore_ascii_case(name) && listed(value))
    }
}

fn parse_head(head: &[u8]) -> Result<Response, Broken> {
    let text = String::from_utf8_lossy(head).into_owned();
    let garbage = || Broken::Garbage(text.clone());
    let mut lines = text.split("\r\n").take_while(|line| !line.is_empty());
    let mut first = lines.next().ok_or_else(garbage)?.splitn(3, ' ');
    let version = first.next().filter(|v| v.starts_with("HTTP/1.")).ok_or_else(garbage)?;
    let status = first.next().and_then(|s| s.parse().ok()).ok_or_else(garbage)?;
    let headers = lines
        .map(|line| line.split_once(':').map(|(k, v)| (k.to_owned(), v.trim().to_owned())))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(garbage)?;
    Ok(Response { status, version: version.to_owned(), headers, body: Vec::new() })
}

/// The statuses of all the responses in `bytes`; no body of ours looks like a status line.
fn statuses_in(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split("HTTP/1.").skip(1);
    lines.filter_map(|line| line.get(2..5).and_then(|status| status.parse().ok())).collect()
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}
