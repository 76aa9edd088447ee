//! An event → a POST, and another where the first was not taken.
//!
//! Enters: JSON. Leaves: the request to the webhook's URL; or, once no attempt is left, why it was
//! not taken. Owns the connections there. The one file that knows the HTTP client.
//!
//! A 2xx is taken. Nothing heard, 408, 429 and 5xx are tried again, after 0.2 s, 0.4 s and so on;
//! any other answer will not be another one a second later. A receiver that took an event and whose
//! answer was lost is told twice: breaker, event and time are the same then.

use std::error::Error;
use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, USER_AGENT};
use axum::http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{sleep, timeout};

use super::VERSION;
use crate::config::units::shown;

/// The pause before the second attempt, doubled before each later one.
const PAUSE: Duration = Duration::from_millis(200);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What of an answer is read, so that its connection can be used again.
const ANSWER_MAX: usize = 64 * 1024;

/// See the file.
pub(super) struct Webhook {
    client: Client<HttpConnector, Full<axum::body::Bytes>>,
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
    pub(super) fn new(url: &str, timeout: Duration, retries: u32) -> Self {
        let mut connector = HttpConnector::new();
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

/// What is below all that was wrapped around it.
fn root_of(error: &dyn Error) -> String {
    let mut root = error;
    while let Some(below) = root.source() {
        root = below;
    }
    root.to_string()
}
