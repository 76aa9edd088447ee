//! A socket to Redis, plain or inside TLS, that reads no more than it is allowed.
//!
//! Enters: a [`Node`]. Leaves: a [`Stream`] for the client library. Owns the verification of
//! certificates: by the system's authorities, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`; there
//! is no way to leave it out.
//!
//! The library reads a reply of any length. A stream counts what is read against an allowance that
//! its owner renews before each exchange: a server that goes on for ever costs its connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::failure::{ENDLESS, Failure, Kind};
use crate::config::{Node, Wire};

/// How many more bytes may be read.
#[derive(Clone, Debug)]
pub(super) struct Allowance(Arc<AtomicUsize>);

/// A socket to Redis.
pub(super) struct Stream {
    socket: Box<dyn Socket>,
    allowance: Allowance,
}

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

impl Allowance {
    pub(super) fn of(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// From now on so many more.
    pub(super) fn renew(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) -> io::Result<()> {
        // The connection's task is the only one that takes.
        match self.0.load(Ordering::Relaxed).checked_sub(bytes) {
            Some(left) => {
                self.0.store(left, Ordering::Relaxed);
                Ok(())
            }
            None => Err(io::Error::other(ENDLESS)),
        }
    }
}

/// The authorities that certificates are verified by.
pub(super) fn authorities() -> Result<Arc<ClientConfig>, Failure> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (good, _) = roots.add_parsable_certificates(found.certs);
    if good == 0 {
        let why = found.errors.first().map_or_else(
            || "this system has no certificate authorities (ca-certificates)".to_owned(),
            |error| format!("the certificate authorities cannot be read: {error}"),
        );
        return Err(Failure::new(Kind::Tls, why));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::new(Kind::Tls, error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

impl Stream {
    /// Connects to `node`. Takes as long as the system and the server take.
    pub(super) async fn connect(
        node: &Node,
        authorities: Option<&Arc<ClientConfig>>,
        allowance: Allowance,
    ) -> Result<Self, Failure> {
        let (host, port, wire) = match node {
            Node::Unix(path) => {
                let socket = Box::new(UnixStream::connect(path).await?);
                return Ok(Self { socket, allowance });
            }
            Node::Tcp { host, port, wire } => (host, *port, *wire),
        };
        let socket = TcpStream::connect((host.as_str(), port)).await?;
        socket.set_nodelay(true)?;
        let socket: Box<dyn Socket> = match (wire, authorities) {
            (Wire::Plain, _) => Box::new(socket),
            (Wire::Tls, Some(authorities)) => {
                let bad = |why: String| Failure::new(Kind::Tls, why);
                let name = ServerName::try_from(host.clone()).map_err(|e| bad(e.to_string()))?;
                let connector = TlsConnector::from(Arc::clone(authorities));
                let session = connector.connect(name, socket).await;
                Box::new(session.map_err(|error| bad(error.to_string()))?)
            }
            (Wire::Tls, None) => return Err(Failure::new(Kind::Tls, "no authorities")),
        };
        Ok(Self { socket, allowance })
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.socket).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {
                Poll::Ready(self.allowance.take(buffer.filled().len().saturating_sub(before)))
            }
            other => other,
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
