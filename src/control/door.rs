//! The admin API's listener: few connections, none of them silent for long.
//!
//! Enters: connections. Leaves: streams that hold a place until they are dropped, and that fail
//! when nothing moves on them for a minute. So callers who forget their connections cost neither
//! the data plane its descriptors nor the next caller a place for long.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Connections at once: dashboards, scrapers and probes of one process.
const PLACES: usize = 128;

/// Longer than any answer of ours takes; a reload waits for names and cores, together ten seconds.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How long a failed accept waits: what it lacks (descriptors) others must give back first.
const PAUSE: Duration = Duration::from_millis(200);

/// See the file.
#[derive(Debug)]
pub(super) struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

/// A connection in its place.
#[derive(Debug)]
pub(super) struct Caller {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Door {
    /// Binds `address`.
    pub(super) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, places: Arc::new(Semaphore::new(PLACES)) })
    }

    /// The address, with the port that was picked.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl axum::serve::Listener for Door {
    type Io = Caller;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Caller, SocketAddr) {
        loop {
            let accepted = match Arc::clone(&self.places).acquire_owned().await {
                Ok(place) => self.listener.accept().await.map(|accepted| (accepted, place)),
                Err(closed) => Err(io::Error::other(closed)),
            };
            match accepted {
                Ok(((stream, peer), place)) => {
                    let silence = Box::pin(tokio::time::sleep(SILENCE_MAX));
                    return (Caller { stream, silence, _place: place }, peer);
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address()
    }
}

impl Caller {
    /// Passes on what a read or write came to; one that waits too long fails.
    fn watched<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.silence.as_mut().reset(Instant::now() + SILENCE_MAX);
            return poll;
        }
        match self.silence.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Caller {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.watched(cx, poll)
    }
}

impl AsyncWrite for Caller {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watched(cx, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::serve::Listener;

    use super::*;

    #[test]
    fn a_caller_too_many_waits_until_another_has_gone() {
        super::super::runtime().unwrap().block_on(async {
            let mut door = Door::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
            door.places = Arc::new(Semaphore::new(1));
            let address = door.address().unwrap();
            let _callers = [
                TcpStream::connect(address).await.unwrap(),
                TcpStream::connect(address).await.unwrap(),
            ];
            let (first, _) = door.accept().await;
            let early = tokio::time::timeout(Duration::from_millis(1), door.accept()).await;
            assert!(early.is_err(), "there is one place");
            drop(first);
            let second = tokio::time::timeout(Duration::from_secs(10), door.accept()).await;
            assert!(second.is_ok(), "the place is free again");
        });
    }
}
