//! The admin API: what operators and their tools ask the process.
//!
//! Enters: HTTP requests on an address of its own. Leaves: JSON, Prometheus text, and orders to
//! reload. Reads never change state. Before anything else every request passes the guard: a
//! browser that was lured here, by a name that points to us or from another site, is refused.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tokio::sync::oneshot;

use super::plane::{Order, Plane};
use super::reload::{Verdict, late};
use super::{VERSION, metrics, view};
use crate::clock;

/// Bytes of a request body: none of ours needs one.
const BODY_MAX: usize = 4096;

/// The version of the text format that Prometheus is told.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a caller must present to change anything; `None`: nothing.
#[derive(Clone)]
pub struct Token(Option<Arc<str>>);

/// The routes of the admin API.
pub fn router(plane: Arc<Plane>, token: Token) -> Router {
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/breakers", get(breakers))
        .route("/breakers/{name}", get(breaker))
        .route("/metrics", get(metrics_text))
        .route("/reload", post(reload))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "no such path") })
        .method_not_allowed_fallback(|| async {
            refusal(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn_with_state(token, guard))
        .with_state(plane)
}

impl Token {
    /// This token, or none.
    #[must_use]
    pub fn new(token: Option<String>) -> Self {
        Self(token.map(Arc::from))
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(expected) = &self.0 else { return true };
        let presented = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        presented.and_then(bearer).is_some_and(|token| same_bytes(token, expected.as_bytes()))
    }
}

/// The token of `Bearer token`; the scheme in any case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token.trim_ascii())
}

/// Compares in a time that depends on the lengths alone.
fn same_bytes(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).fold(0, |bits, (a, b)| bits | (a ^ b));
    one.len() == other.len() && std::hint::black_box(differing) == 0
}

async fn guard(State(token): State<Token>, request: Request, next: Next) -> Response {
    if let Err(why) = from_here(request.headers(), request.uri()) {
        return refusal(StatusCode::FORBIDDEN, why);
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && !token.admits(request.headers()) {
        let mut response = refusal(StatusCode::UNAUTHORIZED, "a token is needed to change this");
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    next.run(request).await
}

/// A name that is not ours may have been pointed at us by whoever owns it (DNS rebinding): the
/// browser then takes us for that site. An address or `localhost` cannot be.
fn from_here(headers: &HeaderMap, uri: &Uri) -> Result<(), &'static str> {
    const FOREIGN_HOST: &str = "the host must be an address or localhost";
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().map(|host| host.to_str().map_err(|_| FOREIGN_HOST)).transpose()?;
    if hosts.next().is_some() {
        return Err("more than one host");
    }
    let named = [host, uri.authority().map(Authority::as_str)];
    if !named.into_iter().flatten().all(is_address) {
        return Err(FOREIGN_HOST);
    }
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default().strip_prefix("http://");
    if origin.is_some() && origin == host { Ok(()) } else { Err("a request of another origin") }
}

fn is_address(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let host = authority.host();
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    literal.parse::<std::net::IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost")
}

async fn live() -> Response {
    Json(json!({"live": true})).into_response()
}

async fn ready(State(plane): State<Arc<Plane>>) -> Response {
    let draining = plane.is_draining();
    let status = if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let generation = plane.live.current().generation;
    let body = json!({
        "ready": !draining, "generation": generation, "last_reload_refused": plane.is_stale(),
    });
    (status, Json(body)).into_response()
}

async fn breakers(State(plane): State<Arc<Plane>>) -> Response {
    off_thread(move || Json(view::listing(&plane.live.current(), clock::now())).into_response())
        .await
}

async fn breaker(State(plane): State<Arc<Plane>>, Path(name): Path<String>) -> Response {
    match view::one(&plane.live.current(), &name, clock::now()) {
        Some(breaker) => Json(breaker).into_response(),
        None => refusal(StatusCode::NOT_FOUND, "no breaker of this name"),
    }
}

async fn metrics_text(State(plane): State<Arc<Plane>>) -> Response {
    off_thread(move || {
        let table = plane.live.current();
        let text = metrics::text(&metrics::Scrape {
            process: &plane.process,
            routes: table.routes.iter().map(|it| (&*it.name, &*it.tally)).collect(),
            breakers: table.breakers.iter().map(|it| (&*it.name, &it.breaker)).collect(),
            generation: table.generation,
            last_reload_success: u64::from(!plane.is_stale()),
            log_lines_dropped: crate::log::dropped(),
            events_dropped: plane.events_dropped(),
            driver: &plane.driver,
            version: VERSION,
            now: clock::now(),
        });
        ([(CONTENT_TYPE, METRICS_TYPE)], text).into_response()
    })
    .await
}

/// Makes a long answer on another thread: thousands of breakers must not delay `/ready`.
async fn off_thread(make: impl FnOnce() -> Response + Send + 'static) -> Response {
    let made = tokio::task::spawn_blocking(make).await;
    made.unwrap_or_else(|_| refusal(StatusCode::INTERNAL_SERVER_ERROR, "the answer failed"))
}

async fn reload(State(plane): State<Arc<Plane>>, _body: Bytes) -> Response {
    let (reply, verdict) = oneshot::channel();
    let ordered = !plane.is_draining() && plane.orders.send(Order::Reload(Some(reply))).is_ok();
    match if ordered { verdict.await.ok() } else { None } {
        Some(Verdict::Active(active)) => Json(active).into_response(),
        Some(Verdict::Refused(refused)) => {
            (StatusCode::UNPROCESSABLE_ENTITY, Json(refused)).into_response()
        }
        Some(Verdict::Late { generation }) => {
            refusal(StatusCode::SERVICE_UNAVAILABLE, &late(generation))
        }
        None => refusal(StatusCode::SERVICE_UNAVAILABLE, "the process is about to end"),
    }
}

fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({"error": error}))).into_response()
}
