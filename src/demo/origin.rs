//! A small origin: answers every `GET` on loopback, and is ill on schedule.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::clock::{self, Now};

const WELL: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n";
const ILL: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\nill\n";

/// The largest head that is read; the proxy's are far smaller.
const HEAD_MAX: usize = 4096;

/// When an origin is ill: between two seconds of every period.
#[derive(Clone, Copy, Debug)]
pub(super) struct Health {
    pub(super) period: Duration,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// A running origin; it lives as long as the process.
#[derive(Debug)]
pub(super) struct Origin {
    address: SocketAddr,
}

impl Health {
    /// Whether it is ill so long after the demo began.
    pub(super) fn is_ill(self, since: Duration) -> bool {
        let second = since.as_secs() % self.period.as_secs().max(1);
        (self.from..self.to).contains(&second)
    }
}

impl Origin {
    /// Serves on a port the system picks.
    pub(super) async fn start(health: Health, began: Now) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, health, began));
            }
        });
        Ok(Self { address })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Answers until the connection ends or says something that is no small head.
async fn serve(mut stream: TcpStream, health: Health, began: Now) -> io::Result<()> {
    let mut head = [0; HEAD_MAX];
    let mut filled = 0;
    loop {
        let read = stream.read(head.get_mut(filled..).unwrap_or_default()).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        if head.get(..filled).is_some_and(|head| head.ends_with(b"\r\n\r\n")) {
            filled = 0;
            let is_ill = health.is_ill(clock::now().since(began));
            stream.write_all(if is_ill { ILL } else { WELL }).await?;
        }
    }
}
