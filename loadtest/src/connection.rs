//! One keep-alive connection: asks, and reads an answer to its last byte.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A server that is silent for so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest line of a head.
const LINE_MAX: u64 = 64 * 1024;

/// An open connection with no request under way.
pub(crate) struct Connection(BufReader<TcpStream>);

/// What a complete answer said.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The connection, if the server goes on with it.
    pub(crate) next: Option<Connection>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends `request` and reads the whole answer.
    pub(crate) fn exchange(mut self, request: &[u8]) -> io::Result<Answer> {
        self.0.get_mut().write_all(request)?;
        let first = self.line()?;
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.and_then(|text| text.parse().ok()).ok_or_else(malformed)?;
        let (mut head, mut line) = (String::new(), self.line()?);
        while !line.is_empty() {
            head = head + &line.to_ascii_lowercase() + "\n";
            line = self.line()?;
        }
        let value = |name| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if matches!(status, 204 | 304) {
        } else if value("transfer-encoding:").is_some() {
            self.skip_chunks()?;
        } else if let Some(length) = value("content-length:") {
            self.skip(length.parse().map_err(|_| malformed())?)?;
        } else {
            io::copy(&mut self.0, &mut io::sink())?;
            return Ok(Answer { status, next: None });
        }
        let keeps = value("connection:") != Some("close");
        Ok(Answer { status, next: keeps.then_some(self) })
    }

    fn skip_chunks(&mut self) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let size = u64::from_str_radix(&line, 16).map_err(|_| malformed())?;
            self.skip(size)?;
            if !self.line()?.is_empty() {
                return Err(malformed());
            }
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        let read = io::copy(&mut self.0.by_ref().take(length), &mut io::sink())?;
        if read == length { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.by_ref().take(LINE_MAX).read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(text) => Ok(text.to_owned()),
            None if line.is_empty() => Err(ErrorKind::UnexpectedEof.into()),
            None => Err(malformed()),
        }
    }
}

fn malformed() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "malformed answer")
}
