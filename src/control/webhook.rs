//! An event → a POST, and another where the first was not taken.
//!
//! Enters: JSON. Leaves: the request to the webhook's URL; or, once no attempt is left, why it was
//! not taken. Owns the connections there. The one file that knows the HTTP client.
//!
//! A 2xx is taken. Nothing heard, 408, 429 and 5xx are tried again, after 0.2 s, 0.4 s and so on;
//! any other answer will not be another one a second later. A receiver that took an event and whose
//! answer was lost is told twice: breaker, event and time are the same then.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, USER_AGENT};
use axum::http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tower_service::Service;

use super::VERSION;
use super::names::Names;
use crate::config::units::shown;

/// The pause before the second attempt, doubled before each later one.
const PAUSE: Duration = Duration::from_millis(200);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What of an answer is read, so that its connection can be used again.
const ANSWER_MAX: usize = 64 * 1024;

/// See the file.
pub(super) struct Webhook {
    client: Client<HttpConnector<Resolver>, Full<axum::body::Bytes>>,
    url: Result<Uri, String>,
    timeout: Duration,
    retries: u32,
}

/// Why an attempt was in vain.
enum Miss {
    /// The next one may not be.
    Passing(String),
    /// Every other one would be too.
    Final(String),
}

impl Webhook {
    /// A webhook at `url`, each attempt of which takes at most `timeout`.
    pub(super) fn new(url: &str, timeout: Duration, retries: u32, names: &Arc<Names>) -> Self {
        let resolver = Resolver { names: Arc::clone(names), turn: Arc::new(Semaphore::new(1)) };
        let mut connector = HttpConnector::new_with_resolver(resolver);
        connector.set_connect_timeout(Some(timeout));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(10))
            .pool_max_idle_per_host(1)
            .build(connector);
        let url = url.parse().map_err(|error| format!("{url} cannot be called: {error}"));
        Self { client, url, timeout, retries }
    }

    /// Posts `payload` until it is taken.
    pub(super) async fn post(&self, payload: &str) -> Result<(), String> {
        let url = self.url.as_ref().map_err(Clone::clone)?;
        let mut pause = PAUSE;
        let mut left = self.retries;
        loop {
            match self.attempt(url, payload).await {
                Ok(()) => return Ok(()),
                Err(Miss::Passing(_)) if left > 0 => {}
                Err(Miss::Passing(why) | Miss::Final(why)) => return Err(why),
            }
            left -= 1;
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn attempt(&self, url: &Uri, payload: &str) -> Result<(), Miss> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, format!("fusebox/{VERSION}"))
            .body(Full::from(payload.to_owned()))
            .map_err(|error| Miss::Final(error.to_string()))?;
        let answered = timeout(self.timeout, async {
            let response = self.client.request(request).await?;
            let status = response.status();
            // Whatever it says, and if it says too much: its status counts.
            let _ = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
            Ok::<_, hyper_util::client::legacy::Error>(status)
        });
        let status = match answered.await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => return Err(Miss::Passing(root_of(&error))),
            Err(_) => {
                let limit = shown(self.timeout);
                return Err(Miss::Passing(format!("no whole answer within {limit}")));
            }
        };
        let said = || format!("the answer was {}", status.as_u16());
        match status {
            _ if status.is_success() => Ok(()),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Err(Miss::Passing(said()))
            }
            _ if status.is_server_error() => Err(Miss::Passing(said())),
            _ => Err(Miss::Final(said())),
        }
    }
}

/// Looks up the webhook's host as every other name is: the client's own resolver would leave a
/// thread behind for each attempt that a hanging name server times out.
#[derive(Clone)]
struct Resolver {
    names: Arc<Names>,
    /// One look-up at a time: the places of all names are not for one webhook.
    turn: Arc<Semaphore>,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let turn = Arc::clone(&self.turn).acquire_owned();
        let asked = self.names.ask(name.as_str().to_owned());
        Box::pin(async move {
            let turn = turn.await;
            let found = tokio::spawn(async move {
                let found = asked.await;
                drop(turn);
                found
            });
            let found = found.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
            // The port is the client's to say.
            let found: Vec<_> = found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            Ok(found.into_iter())
        })
    }
}

/// What is below all that was wrapped around it.
fn root_of(error: &dyn Error) -> String {
    let mut root = error;
    while let Some(below) = root.source() {
        root = below;
    }
    root.to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_resolver_that_hangs_is_asked_by_one_attempt_at_a_time() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let names = Names::new(Duration::from_secs(1), move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            Box::pin(std::future::pending())
        });
        super::super::runtime().unwrap().block_on(async {
            let webhook = Webhook::new("http://hook.test/", Duration::from_millis(20), 0, &names);
            for _ in 0..5 {
                assert!(webhook.post("{}").await.unwrap_err().contains("no whole answer"));
            }
        });
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_name_that_is_not_found_is_said() {
        let names = Names::new(Duration::from_secs(1), |host| {
            Box::pin(async move { Err(format!("{host} is nowhere")) })
        });
        super::super::runtime().unwrap().block_on(async {
            let webhook = Webhook::new("http://hook.test/", Duration::from_secs(9), 0, &names);
            assert_eq!(webhook.post("{}").await.unwrap_err(), "hook.test is nowhere");
        });
    }
}
