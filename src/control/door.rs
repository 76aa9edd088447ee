//! The admin API's listener: few connections, none of them for nothing.
//!
//! Enters: connections. Leaves: streams that hold a place until they are dropped, and that fail
//! when their request is not whole in time, or their answer not taken. So callers who forget their
//! connections, send half a request or read byte by byte cost neither the data plane its
//! descriptors nor the next caller a place for long.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Connections at once: dashboards, scrapers and probes of one process. The cores leave it as many
/// descriptors.
const PLACES: usize = 128;

/// For a request to begin, from the connection's beginning or the last answer on; for a whole one,
/// from its first byte; and for each part of an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(5);

/// For a whole answer to be taken: tens of megabytes over a slow link, and several times what a
/// scraper waits.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// How long a failed accept waits: what it lacks (descriptors) others must give back first.
const PAUSE: Duration = Duration::from_millis(200);

/// See the file.
#[derive(Debug)]
pub(super) struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    patience: Duration,
    answer_max: Duration,
}

/// A connection in its place.
#[derive(Debug)]
pub(super) struct Caller {
    stream: TcpStream,
    patience: Duration,
    answer_max: Duration,
    due: Pin<Box<Sleep>>,
    turn: Turn,
    work: Work,
    _place: OwnedSemaphorePermit,
}

/// Who is waited for.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// The caller has to send a request.
    Request,
    /// The caller has to take an answer until then; or has taken it, and nothing has come since.
    Answer(Instant),
}

/// Whether an answer is being worked at: then it is not the caller who is waited for.
#[derive(Clone, Debug, Default)]
pub(super) struct Work(Arc<AtomicBool>);

/// Work under way; over when dropped.
#[derive(Debug)]
pub(super) struct Working<'a>(&'a Work);

impl Work {
    /// From now on, until the returned value is dropped, an answer is being worked at. Whoever does
    /// so sees to it that it ends.
    pub(super) fn begin(&self) -> Working<'_> {
        self.0.store(true, Ordering::Relaxed);
        Working(self)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Relaxed);
    }
}

impl Connected<IncomingStream<'_, Door>> for Work {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.io().work.clone()
    }
}

impl Door {
    /// Binds `address`.
    pub(super) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let places = Arc::new(Semaphore::new(PLACES));
        Ok(Self { listener, places, patience: PATIENCE, answer_max: ANSWER_MAX })
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
                    let Self { patience, answer_max, .. } = *self;
                    let due = Box::pin(tokio::time::sleep(patience));
                    let (turn, work) = (Turn::Request, Work::default());
                    let caller =
                        Caller { stream, patience, answer_max, due, turn, work, _place: place };
                    return (caller, peer);
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
    /// Passes on what a read or write came to; one that waits too long fails. What is read buys no
    /// time, but for the first byte behind an answer: a request may come byte by byte. What is
    /// written does, as far as an answer may take: it has been taken.
    fn watched<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            return poll;
        }
        while self.due.as_mut().poll(cx).is_ready() {
            if !self.work.0.load(Ordering::Relaxed) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.due.as_mut().reset(Instant::now() + self.patience);
        }
        Poll::Pending
    }

    fn has_read(&mut self) {
        if let Turn::Answer(_) = self.turn {
            self.turn = Turn::Request;
            self.due.as_mut().reset(Instant::now() + self.patience);
        }
    }

    fn has_written(&mut self) {
        let now = Instant::now();
        let until = match self.turn {
            Turn::Request => now + self.answer_max,
            Turn::Answer(until) => until,
        };
        self.turn = Turn::Answer(until);
        self.due.as_mut().reset(until.min(now + self.patience));
    }
}

impl AsyncRead for Caller {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.has_read();
        }
        self.watched(cx, poll)
    }
}

impl AsyncWrite for Caller {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        if poll.is_ready() {
            self.has_written();
        }
        self.watched(cx, poll)
    }

    /// So a long answer is written from where it is, and not copied behind its head first.
    fn is_write_vectored(&self) -> bool {
        true
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn with_door(test: impl AsyncFnOnce(Door)) {
        super::super::runtime().unwrap().block_on(async {
            test(Door::bind("127.0.0.1:0".parse().unwrap()).await.unwrap()).await;
        });
    }

    #[test]
    fn a_caller_too_many_waits_until_another_has_gone() {
        with_door(async |mut door| {
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

    #[test]
    fn a_request_that_trickles_in_is_given_up_and_an_answer_in_the_making_is_not() {
        with_door(async |mut door| {
            door.patience = Duration::from_millis(200);
            let mut theirs = TcpStream::connect(door.address().unwrap()).await.unwrap();
            let (mut ours, _) = door.accept().await;
            let began = Instant::now();
            let trickle = async {
                while theirs.write_all(b"x").await.is_ok() && began.elapsed().as_secs() < 10 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let reading = async { while ours.read(&mut [0; 8]).await.is_ok() {} };
            let given_up = futures_util::future::select(Box::pin(trickle), Box::pin(reading)).await;
            assert!(matches!(given_up, futures_util::future::Either::Right(_)));
            assert!(began.elapsed() >= Duration::from_millis(200));

            let _theirs = TcpStream::connect(door.address().unwrap()).await.unwrap();
            let (mut ours, _) = door.accept().await;
            let work = ours.work.clone();
            let working = work.begin();
            let waited =
                tokio::time::timeout(Duration::from_millis(500), ours.read(&mut [0; 8])).await;
            assert!(waited.is_err(), "it is our turn");
            drop(working);
            assert!(ours.read(&mut [0; 8]).await.is_err());
        });
    }

    #[test]
    fn a_request_behind_an_answer_has_its_whole_time() {
        with_door(async |mut door| {
            door.patience = Duration::from_millis(400);
            let mut theirs = TcpStream::connect(door.address().unwrap()).await.unwrap();
            let (mut ours, _) = door.accept().await;
            theirs.write_all(b"a").await.unwrap();
            ours.read_exact(&mut [0; 1]).await.unwrap();
            ours.write_all(b"answer").await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
            theirs.write_all(b"b").await.unwrap();
            ours.read_exact(&mut [0; 1]).await.unwrap();
            // While its answer is made, the end of the connection is waited for.
            let began = Instant::now();
            let given_up = ours.read(&mut [0; 8]).await;
            assert_eq!(given_up.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert!(began.elapsed() >= Duration::from_millis(390), "{:?}", began.elapsed());
        });
    }

    #[test]
    fn an_answer_that_is_taken_bit_by_bit_ends() {
        with_door(async |mut door| {
            door.patience = Duration::from_secs(5);
            door.answer_max = Duration::from_millis(500);
            let mut theirs = TcpStream::connect(door.address().unwrap()).await.unwrap();
            let (mut ours, _) = door.accept().await;
            let began = Instant::now();
            let slowly = async {
                let mut bytes = vec![0; 1 << 20];
                while theirs.read(&mut bytes).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let answering = async {
                loop {
                    if let Err(error) = ours.write_all(&[0; 1 << 16]).await {
                        return error.kind();
                    }
                }
            };
            let within = tokio::time::timeout(
                Duration::from_secs(10),
                futures_util::future::select(Box::pin(slowly), Box::pin(answering)),
            );
            let Ok(futures_util::future::Either::Right((kind, _))) = within.await else {
                panic!("it goes on")
            };
            assert_eq!(kind, io::ErrorKind::TimedOut);
            assert!(began.elapsed() >= Duration::from_millis(500));
        });
    }
}
