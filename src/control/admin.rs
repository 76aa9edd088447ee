//! The admin API: what operators and their tools ask the process.
//!
//! Enters: HTTP requests on an address of its own. Leaves: JSON, Prometheus text, and orders to
//! reload. Reads never change state. Before anything else every request passes the guard: a
//! browser that was lured here, by a name that points to us or from another site, is refused.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Request, State};
use axum::http::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::door::Work;
use super::metrics::Reached;
use super::plane::{Order, Plane};
use super::reload::{Verdict, late};
use super::series::{Unread, Which};
use super::{VERSION, metrics, orders, view};
use crate::clock;
use crate::stats::ServiceTally;
use crate::table::{Service, Table, Target};

/// Bytes of a request body: none of ours needs one.
const BODY_MAX: usize = 4096;

/// How long a long answer waits for its turn: a second or two less than its caller has.
const TURN_MAX: Duration = Duration::from_secs(2);

/// The version of the text format that Prometheus is told.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a caller must present to change anything, if anything; a reload may replace it.
#[derive(Clone)]
pub struct Token(Arc<Mutex<Option<Arc<str>>>>);

/// What a caller has presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presented {
    /// The token.
    Right,
    /// Anything: there is none.
    NoneNeeded,
    /// Not the token.
    Wrong,
}

/// The routes of the admin API.
pub fn router(plane: Arc<Plane>, token: Token) -> Router {
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/breakers", get(breakers))
        .route("/breakers/{name}", get(breaker))
        .route("/breakers/{name}/override", post(orders::force))
        .route("/breakers/{name}/reset", post(orders::reset))
        .route("/metrics", get(metrics_text))
        .route("/status", get(status))
        .route("/stats/circuitbreaker/{series}/{name}", get(stats))
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
        Self(Arc::new(Mutex::new(token.map(Arc::from))))
    }

    /// From now on this token, or none.
    pub(super) fn replace(&self, token: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = token.map(Arc::from);
    }

    fn judge(&self, headers: &HeaderMap) -> Presented {
        let expected = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(expected) = expected else { return Presented::NoneNeeded };
        let presented = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        match presented.and_then(bearer) {
            Some(token) if same_bytes(token, expected.as_bytes()) => Presented::Right,
            _ => Presented::Wrong,
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
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
    let presented = token.judge(request.headers());
    if let Err(why) = from_here(request.headers(), request.uri(), presented) {
        return refusal(StatusCode::FORBIDDEN, why);
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && presented == Presented::Wrong {
        let mut response = refusal(StatusCode::UNAUTHORIZED, "a token is needed to change this");
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    next.run(request).await
}

/// A name that is not ours may have been pointed at us by whoever owns it (DNS rebinding): the
/// browser then takes us for that site. An address or `localhost` cannot be, and no such site knows
/// the token.
fn from_here(headers: &HeaderMap, uri: &Uri, presented: Presented) -> Result<(), &'static str> {
    const FOREIGN_HOST: &str =
        "the host must be an address or localhost, or the request carry the token";
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().map(|host| host.to_str().map_err(|_| FOREIGN_HOST)).transpose()?;
    if hosts.next().is_some() {
        return Err("more than one host");
    }
    let named = [host, uri.authority().map(Authority::as_str)];
    if presented != Presented::Right && !named.into_iter().flatten().all(is_address) {
        return Err(FOREIGN_HOST);
    }
    // A page of another site may load us as its image without an origin, but not without saying so;
    // following a link is a person's own doing.
    let says = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    if !matches!(says("sec-fetch-site"), None | Some(b"same-origin" | b"none"))
        && says("sec-fetch-dest") != Some(b"document")
    {
        return Err("a request of another site");
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
    let served = Arc::clone(&plane);
    off_thread(&plane, move || {
        let table = served.live.current();
        Made::json(&view::listing(&table, &served.journal, clock::now()))
    })
    .await
}

async fn breaker(
    State(plane): State<Arc<Plane>>,
    name: Result<Path<String>, PathRejection>,
) -> Response {
    // A name that is not UTF-8 is nobody's.
    name.map_or_else(|_| unknown(), |Path(name)| shown(&plane, &plane.live.current(), &name))
}

/// The breaker of this name as it stands.
pub(super) fn shown(plane: &Plane, table: &Table, name: &str) -> Response {
    match view::one(table, name, &plane.journal, clock::now()) {
        Some(breaker) => Json(breaker).into_response(),
        None => unknown(),
    }
}

pub(super) fn unknown() -> Response {
    refusal(StatusCode::NOT_FOUND, "no breaker of this name")
}

/// The last buckets of a breaker's events.
async fn stats(
    State(plane): State<Arc<Plane>>,
    names: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
) -> Response {
    // Names that are not UTF-8 are nobody's.
    let Ok(Path((series, name))) = names else { return unknown() };
    let Some(which) = Which::named(&series) else {
        return refusal(StatusCode::NOT_FOUND, "the series are `open`, `close` and `rejected`");
    };
    let mut count = None;
    for part in uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some(("count", value)) if count.is_none() => count = Some(value.to_owned()),
            _ => {
                let says = "the one parameter is `count`, once, as in `?count=24`";
                return refusal(StatusCode::UNPROCESSABLE_ENTITY, says);
            }
        }
    }
    let served = Arc::clone(&plane);
    off_thread(&plane, move || {
        match served.series.read(which, &name, count.as_deref(), clock::wall()) {
            Ok(points) => Made::json(&points),
            Err(Unread::Unknown(why)) => Made::Refusal(StatusCode::NOT_FOUND, why),
            Err(Unread::Bad(why)) => Made::Refusal(StatusCode::UNPROCESSABLE_ENTITY, why),
        }
    })
    .await
}

async fn metrics_text(State(plane): State<Arc<Plane>>) -> Response {
    let served = Arc::clone(&plane);
    off_thread(&served, move || {
        let table = plane.live.current();
        let (addresses, unresolved) = plane.names.report();
        let figures = plane.sharing.as_ref().map(|sharing| sharing.figures());
        let handlers = plane.handlers();
        let text = metrics::text(&metrics::Scrape {
            process: &plane.process,
            routes: table.routes.iter().map(|it| (&*it.name, &*it.tally)).collect(),
            services: services(&table),
            targets: targets(&table, &addresses),
            names: unresolved.iter().map(|(name, count)| (name.as_str(), *count)).collect(),
            breakers: table.breakers.iter().collect(),
            generation: table.generation,
            last_reload_success: u64::from(!plane.is_stale()),
            log_lines_dropped: crate::log::dropped(),
            access_dropped: plane.access.dropped(),
            events_dropped: plane.events_dropped(),
            handlers: handlers.tallies().collect(),
            driver: &plane.driver,
            version: VERSION,
            sharing: figures.as_ref(),
            now: clock::now(),
        });
        Made::Text(METRICS_TYPE, text.into_bytes())
    })
    .await
}

async fn status(State(plane): State<Arc<Plane>>) -> Response {
    let now = clock::now();
    let state = plane.sharing.as_ref().map(|sharing| sharing.figures().shown(now));
    Json(json!({
        "version": VERSION,
        "driver": plane.driver,
        "cores": plane.registry.cores(),
        "generation": plane.live.current().generation,
        "last_reload_refused": plane.is_stale(),
        "draining": plane.is_draining(),
        "state": state.unwrap_or_else(|| json!({"type": "memory"})),
    }))
    .into_response()
}

/// Every service by its name: its route's and its own.
fn services(table: &Table) -> Vec<(String, &ServiceTally)> {
    let services = table.routes.iter().flat_map(|route| {
        let name = move |it: &Service| format!("{}#{}", route.name, it.name);
        table.all_services_of(route).iter().map(move |it| (name(it), &*it.tally))
    });
    services.collect()
}

/// Every target with the number of its addresses: a literal one has one.
fn targets<'t>(table: &'t Table, known: &BTreeMap<String, usize>) -> Vec<Reached<'t>> {
    let target = |it: &'t Target| Reached {
        name: &it.name,
        tally: &it.tally,
        addresses: known.get(&*it.name).copied().unwrap_or(1),
    };
    table.targets.iter().map(target).collect()
}

/// What came of making a long answer.
enum Made {
    /// It, and its type.
    Text(&'static str, Vec<u8>),
    /// There is none, for this reason.
    Refusal(StatusCode, String),
}

impl Made {
    fn json(value: &impl Serialize) -> Self {
        // Strings, numbers and what was JSON before: nothing that cannot be written.
        Self::Text("application/json", serde_json::to_vec(value).unwrap_or_default())
    }
}

/// A long answer, and its permit: given back when the last byte of it has been sent.
struct Held {
    text: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

/// Makes a long answer on another thread: thousands of breakers must not delay `/ready`. Few are
/// made and held at once, whoever asks: reading needs no token.
async fn off_thread(plane: &Plane, make: impl FnOnce() -> Made + Send + 'static) -> Response {
    let permit = Arc::clone(&plane.long_answers).acquire_owned();
    let Ok(Ok(permit)) = tokio::time::timeout(TURN_MAX, permit).await else {
        let says = "others are being answered, and take their time: ask again later";
        let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, says);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        return response;
    };
    // The permit goes along: the work goes on even where its caller is gone.
    let made = tokio::task::spawn_blocking(move || (make(), permit));
    match made.await {
        Ok((Made::Text(kind, text), _permit)) => {
            ([(CONTENT_TYPE, kind)], Bytes::from_owner(Held { text, _permit })).into_response()
        }
        Ok((Made::Refusal(status, why), _)) => refusal(status, &why),
        Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "the answer failed"),
    }
}

async fn reload(
    State(plane): State<Arc<Plane>>,
    caller: Option<Extension<ConnectInfo<Work>>>,
    _body: Bytes,
) -> Response {
    // Names and cores take their time: that is not the caller's doing.
    let _working = caller.as_ref().map(|Extension(ConnectInfo(work))| work.begin());
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

pub(super) fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({"error": error}))).into_response()
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;

    use axum::body::{Body, to_bytes};
    use serde_json::Value;
    use tokio::sync::mpsc::UnboundedReceiver;
    use tower::ServiceExt;

    use super::super::door::Door;
    use super::super::reload::Refused;
    use super::super::view::tests::plane;
    use super::*;
    use crate::breaker::policy::Window;
    use crate::config::Route;
    use crate::table::sample;

    struct Api {
        plane: Arc<Plane>,
        orders: UnboundedReceiver<Order>,
        router: Router,
    }

    /// Runs `test` against the API of two routes, one of them with a breaker.
    fn with_api(token: Option<&str>, test: impl FnOnce(Api) -> Pin<Box<dyn Future<Output = ()>>>) {
        let breaker = Some(sample::reset(3, Window::Cumulative));
        let guarded = Route { breaker, ..sample::route("GET /users/:id") };
        let (plane, orders) = plane(&sample::config(vec![guarded, sample::route("GET /x")]));
        let router = router(Arc::clone(&plane), Token::new(token.map(str::to_owned)));
        let runtime = super::super::runtime().unwrap();
        runtime.block_on(test(Api { plane, orders, router }));
    }

    impl Api {
        /// `METHOD path`, then header lines.
        async fn ask(&self, lines: &[&str]) -> (u16, String) {
            let (method, path) = lines[0].split_once(' ').unwrap();
            let mut request = Request::builder().method(method).uri(path);
            for line in lines[1..].iter().filter(|line| !line.starts_with('{')) {
                let (name, value) = line.split_once(": ").unwrap();
                request = request.header(name, value);
            }
            // A line that names no field is the body.
            let body = lines.iter().find(|line| line.starts_with('{')).copied().unwrap_or_default();
            let request = request.body(Body::from(body.to_owned())).unwrap();
            let response = self.router.clone().oneshot(request).await.unwrap();
            let status = response.status().as_u16();
            let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            (status, String::from_utf8(body.to_vec()).unwrap())
        }

        async fn json(&self, lines: &[&str]) -> (u16, Value) {
            let (status, body) = self.ask(lines).await;
            (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
        }
    }

    #[test]
    fn ready_says_no_from_the_moment_a_stop_is_wished() {
        with_api(None, |mut api| {
            Box::pin(async move {
                let (status, body) = api.json(&["GET /ready"]).await;
                assert_eq!((status, &body["generation"]), (200, &1.into()));
                assert!(api.plane.stop(), "the first wish");
                assert!(!api.plane.stop(), "the second");
                assert_eq!(api.ask(&["GET /ready"]).await.0, 503);
                assert_eq!(api.ask(&["GET /live"]).await.0, 200);
                assert!(matches!(api.orders.try_recv(), Ok(Order::Stop)));
                assert_eq!(api.ask(&["POST /reload"]).await.0, 503);
                assert!(api.orders.try_recv().is_err(), "a process on its way out reloads nothing");
            })
        });
    }

    #[test]
    fn breakers_are_listed_and_found_by_their_encoded_name() {
        with_api(None, |api| {
            Box::pin(async move {
                let (status, all) = api.json(&["GET /breakers"]).await;
                assert_eq!((status, all["breakers"].as_array().unwrap().len()), (200, 1));
                let (status, one) = api.json(&["GET /breakers/GET%20%2Fusers%2F%3Aid"]).await;
                assert_eq!((status, &one), (200, &all["breakers"][0]));
                assert_eq!(one["name"], "GET /users/:id");
                let (status, none) = api.json(&["GET /breakers/GET%20%2Fx"]).await;
                assert_eq!((status, &none["error"]), (404, &"no breaker of this name".into()));
            })
        });
    }

    #[test]
    fn an_override_holds_until_it_is_taken_back() {
        with_api(None, |api| {
            Box::pin(async move {
                let path = "POST /breakers/GET%20%2Fusers%2F%3Aid/override";
                let order = r#"{"state": "force_open", "ttl": "1 minute", "reason": "drill"}"#;
                let (status, shown) = api.json(&[path, order]).await;
                assert_eq!((status, &shown["state"]), (200, &"closed".into()), "{shown}");
                assert_eq!(shown["override"], "force_open");
                assert_eq!(
                    (&shown["effective"], &shown["override_reason"]),
                    (&"open".into(), &"drill".into())
                );
                let left = shown["override_remaining_ms"].as_u64().unwrap();
                assert!((50_000..=60_000).contains(&left), "{left}");
                let (_, shown) = api.json(&[path, r#"{"state": "force_closed"}"#]).await;
                assert_eq!(shown["override_remaining_ms"], Value::Null);
                assert_eq!(shown["override_reason"], Value::Null);
                let (status, shown) = api.json(&[path, r#"{"state": "none"}"#]).await;
                assert_eq!((status, &shown["override"]), (200, &"none".into()));
                for (body, expected) in [
                    ("{", 400),
                    ("{}", 422),
                    (r#"{"state": "open"}"#, 422),
                    (r#"{"state": "none", "ttl": "soon"}"#, 422),
                    (r#"{"state": "none", "ttl": 0}"#, 422),
                    (r#"{"state": "none", "until": 5}"#, 422),
                ] {
                    assert_eq!(api.ask(&[path, body]).await.0, expected, "{body}");
                }
                assert_eq!(api.ask(&[path]).await.0, 400, "no body at all");
                let nobody = "POST /breakers/GET%20%2Fx/override";
                assert_eq!(api.ask(&[nobody, r#"{"state": "none"}"#]).await.0, 404);
            })
        });
    }

    #[test]
    fn a_reset_is_told_and_shown() {
        with_api(None, |api| {
            Box::pin(async move {
                let path = "POST /breakers/GET%20%2Fusers%2F%3Aid/reset";
                let (status, shown) = api.json(&[path]).await;
                assert_eq!((status, &shown["epoch"]), (200, &2.into()));
                assert_eq!(api.ask(&["POST /breakers/x/reset"]).await.0, 404);
                assert_eq!(api.ask(&["GET /breakers/x/reset"]).await.0, 405);
            })
        });
    }

    #[test]
    fn metrics_cover_every_route_and_breaker() {
        with_api(None, |api| {
            Box::pin(async move {
                let (status, text) = api.ask(&["GET /metrics"]).await;
                assert_eq!(status, 200);
                for line in [
                    "fusebox_requests_total{route=\"GET /x\",code=\"5xx\"} 0",
                    "fusebox_config_generation 1",
                    "fusebox_config_last_reload_success 1",
                    "fusebox_driver_info{driver=\"io_uring\"} 1",
                ] {
                    assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
                }
                let closed = "fusebox_breaker_state=\"closed\"} 1";
                assert_eq!(text.matches(closed).count(), 1);
            })
        });
    }

    #[test]
    fn long_answers_are_few_at_once_and_count_until_they_are_sent() {
        with_api(None, |api| {
            Box::pin(async move {
                let read = |path: &str| {
                    let request = Request::get(path).body(Body::empty()).unwrap();
                    api.router.clone().oneshot(request)
                };
                let stats = "/stats/circuitbreaker/open/GET%20%2Fusers%2F%3Aid";
                let mut held = Vec::new();
                for path in ["/metrics", "/breakers", stats, "/metrics"] {
                    held.push(read(path).await.unwrap());
                }
                assert!(held.iter().all(|response| response.status() == StatusCode::OK));
                let late = read("/metrics").await.unwrap();
                assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
                assert!(late.headers().contains_key(RETRY_AFTER));
                assert_eq!(api.ask(&["GET /ready"]).await.0, 200, "short ones need no turn");
                held.pop();
                assert_eq!(api.ask(&["GET /metrics"]).await.0, 200);
            })
        });
    }

    #[test]
    fn what_a_slow_reader_has_not_taken_is_held_once_and_counted() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        const LONG: usize = 64 << 20;
        super::super::runtime().unwrap().block_on(async {
            let door = Door::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
            let address = door.address().unwrap();
            let permits = Arc::new(tokio::sync::Semaphore::new(1));
            let given = Arc::clone(&permits);
            let answer = async move || {
                let permit = given.try_acquire_owned().unwrap();
                Bytes::from_owner(Held { text: vec![b'x'; LONG], _permit: permit })
            };
            let router = Router::new().route("/", get(answer));
            let service = router.into_make_service_with_connect_info::<Work>();
            tokio::spawn(async move { axum::serve(door, service).await });
            let mut theirs = tokio::net::TcpStream::connect(address).await.unwrap();
            theirs.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            let mut bytes = vec![0; LONG / 8];
            theirs.read_exact(&mut bytes).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(permits.available_permits(), 0, "most of it has not been sent");
            for _ in 1..8 {
                theirs.read_exact(&mut bytes).await.unwrap();
            }
            let freed = tokio::time::timeout(Duration::from_secs(10), permits.acquire()).await;
            assert!(freed.is_ok(), "all of it has been");
        });
    }

    #[test]
    fn what_is_not_there_and_what_is_not_meant_so_is_json_too() {
        with_api(None, |api| {
            Box::pin(async move {
                for (line, expected) in [
                    ("GET /", 404),
                    ("GET /breakers/a/b", 404),
                    ("GET /breakers/%ff", 404),
                    ("GET /reload", 405),
                    ("POST /breakers", 405),
                    ("DELETE /metrics", 405),
                ] {
                    let (status, body) = api.json(&[line]).await;
                    assert_eq!(status, expected, "{line}");
                    assert!(body["error"].is_string(), "{line}: {body}");
                }
                assert_eq!(api.ask(&["HEAD /ready"]).await, (200, String::new()));
            })
        });
    }

    #[test]
    fn foreign_hosts_and_origins_are_refused_everywhere() {
        with_api(None, |mut api| {
            Box::pin(async move {
                let here = "Host: 127.0.0.1:9901";
                for lines in [
                    &["GET /live"][..],
                    &["GET /live", here],
                    &["GET /live", "Host: [::1]:9901"],
                    &["GET /live", "Host: LocalHost"],
                    &["GET /live", here, "Origin: http://127.0.0.1:9901"],
                    &["GET /live", here, "Sec-Fetch-Site: same-origin"],
                    &["GET /live", here, "Sec-Fetch-Site: none", "Sec-Fetch-Dest: document"],
                    &["GET /live", here, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: document"],
                ] {
                    assert_eq!(api.ask(lines).await.0, 200, "{lines:?}");
                }
                for path in ["GET /live", "GET /metrics", "POST /reload", "GET /nothing"] {
                    for lines in [
                        &[path, "Host: evil.example:9901"][..],
                        &[path, "Host: localhost.evil.example"],
                        &[path, "Host: 127.0.0.1@evil.example"],
                        &[path, here, "Host: evil.example"],
                        &[path, here, "Origin: http://evil.example"],
                        &[path, here, "Origin: https://127.0.0.1:9901"],
                        &[path, here, "Origin: http://127.0.0.1:80"],
                        &[path, here, "Origin: null"],
                        &[path, here, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: image"],
                        &[path, here, "Sec-Fetch-Site: same-site"],
                    ] {
                        assert_eq!(api.ask(lines).await.0, 403, "{lines:?}");
                    }
                }
                assert_eq!(api.ask(&["GET http://evil.example/live", here]).await.0, 403);
                assert!(api.orders.try_recv().is_err());
            })
        });
    }

    #[test]
    fn whoever_has_the_token_may_call_us_by_any_name() {
        with_api(Some("s3cret"), |api| {
            Box::pin(async move {
                let (host, right) = ("Host: proxy.internal:9901", "Authorization: Bearer s3cret");
                assert_eq!(api.ask(&["GET /live", host, right]).await.0, 200);
                let origin = "Origin: http://evil.example";
                for lines in [
                    &["GET /live", host][..],
                    &["GET /live", host, "Authorization: Bearer wrong"],
                    &["GET /live", host, right, "Host: other"],
                    &["GET /live", host, right, origin],
                ] {
                    assert_eq!(api.ask(lines).await.0, 403, "{lines:?}");
                }
            })
        });
        with_api(None, |api| {
            Box::pin(async move {
                let lines = ["GET /live", "Host: proxy.internal", "Authorization: Bearer s3cret"];
                assert_eq!(api.ask(&lines).await.0, 403, "there is no token to know");
            })
        });
    }

    #[test]
    fn a_token_is_replaced_at_once() {
        let token = Token::new(Some("old".to_owned()));
        let served = token.clone();
        let with = |value: &'static str| {
            HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))])
        };
        assert_eq!(served.judge(&with("Bearer old")), Presented::Right);
        token.replace(Some("new".to_owned()));
        assert_eq!(served.judge(&with("Bearer old")), Presented::Wrong);
        assert_eq!(served.judge(&with("Bearer new")), Presented::Right);
        assert_eq!(format!("{served:?}"), "(secret)");
    }

    #[test]
    fn changes_need_the_token_and_reads_do_not() {
        with_api(Some("s3cret"), |mut api| {
            Box::pin(async move {
                for header in [
                    "Accept: */*",
                    "Authorization: Bearer s3cre",
                    "Authorization: Bearer s3cret2",
                    "Authorization: Basic s3cret",
                    "Authorization: Bearer",
                ] {
                    assert_eq!(api.ask(&["POST /reload", header]).await.0, 401, "{header}");
                }
                assert_eq!(api.ask(&["GET /breakers"]).await.0, 200);
                assert!(api.orders.try_recv().is_err());
                let ask = api.router.clone().oneshot(
                    Request::post("/reload")
                        .header(AUTHORIZATION, "bearer s3cret")
                        .body(Body::empty())
                        .unwrap(),
                );
                let asked = tokio::spawn(ask);
                let Some(Order::Reload(Some(reply))) = api.orders.recv().await else {
                    panic!("no order")
                };
                let error = "shop.json is refused".to_owned();
                let complaints = serde_json::json!([{"code": "F001"}]);
                let (report, log) = ("error: x".to_owned(), String::new());
                let refused = Refused { error, complaints, report, log };
                reply.send(Verdict::Refused(refused)).unwrap();
                let response = asked.await.unwrap().unwrap();
                assert_eq!(response.status().as_u16(), 422);
                let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
                let body: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(body["complaints"][0]["code"], "F001");
                assert_eq!(body["report"], "error: x");
            })
        });
    }

    #[test]
    fn a_large_body_is_not_read() {
        with_api(None, |mut api| {
            Box::pin(async move {
                let body = Body::from(vec![b'a'; BODY_MAX + 1]);
                let request = Request::post("/reload").body(body).unwrap();
                let response = api.router.clone().oneshot(request).await.unwrap();
                assert_eq!(response.status().as_u16(), 413);
                assert!(api.orders.try_recv().is_err());
            })
        });
    }
}
