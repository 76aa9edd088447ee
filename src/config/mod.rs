//! What the operator wrote → what we promise.
//!
//! Enters: the text of one document. Leaves: a [`Config`], every default filled, every reference
//! resolved, every number in range; or all complaints at once. Pure: touches no network, no clock
//! and no file. `table::compile` turns a `Config` into what the cores read.

mod address;
mod answer;
mod breaker;
mod check;
mod complaint;
pub mod document;
mod form;
mod forwarded;
mod handler;
mod lines;
mod load;
mod logging;
mod mask;
mod node;
mod pattern;
mod place;
mod policy;
mod report;
mod routes;
mod schema;
mod service;
pub mod span;
mod stand_in;
mod state;
mod stats;
mod strict;
mod unbuilt;
pub mod units;
mod url;
mod walk;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

pub use answer::{Answer, Body, Fallback};
pub use complaint::{COMPLAINTS_MAX, Code, Colour, Complaint, Severity, render};
pub use forwarded::{Emit, Forwarded, Network};
pub use handler::{Handler, HandlerKind};
pub use load::{Loaded, TEXT_BYTES_MAX, complaints_at, load, load_bytes};
pub use logging::{Access, Ended, LineFormat, Log};
pub use node::{Node, Wire};
pub use schema::schema;
pub use service::{
    Balance, Cause, Causes, HostHeader, Merge, Piece, Retry, Service, TemplateQuery, Turn,
    UrlTemplate,
};
pub use state::{Hints, OnLoss, Place, Redis, State};
pub use stats::{POINTS_MAX, RequestMapper, Stats};
pub use unbuilt::{NotBuilt, not_built};

use crate::breaker::policy::Policy;

pub use crate::http1::head::{HEAD_BYTES_MAX, HEADERS_MAX};

/// The bundled configuration: everything goes to a service on this machine.
pub const DEFAULT: &str = include_str!("../../config/default.json");

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses served, at least one, none twice.
    pub listen: Vec<SocketAddr>,
    /// Where the admin API listens; `None`: nowhere.
    pub admin: Option<Admin>,
    /// Data-plane threads.
    pub workers: Workers,
    /// Which I/O driver the workers run on.
    pub driver: Driver,
    /// Where breaker state is shared.
    pub state: State,
    /// What is logged.
    pub log: Log,
    /// Routes and their rules.
    pub http: Http,
}

/// The admin API's own listener.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Its address; one that is not loopback has a token.
    pub listen: SocketAddr,
    /// What a caller must present to change anything.
    pub token: Option<Secret>,
}

/// How many data-plane threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// As many as the affinity mask and the cgroup quota allow.
    Auto,
    /// Exactly so many.
    Exactly(NonZeroUsize),
}

/// Which I/O driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// `io_uring`, or epoll with a warning where it is refused.
    Auto,
    /// `io_uring`, or no start.
    Uring,
    /// epoll.
    Epoll,
}

/// A value that is never printed, or the place where it is read whenever it is needed: the admin
/// token at start and at each reload, the password of Redis at start and at each connection.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Written in the document.
    Literal(String),
    /// In this environment variable.
    Env(String),
    /// In this file.
    File(String),
}

/// Routes and their rules.
#[derive(Clone, Debug)]
pub struct Http {
    /// Every (host, path, method), in the document's order.
    pub routes: Vec<Route>,
    /// Named event handlers; a [`Call`] names one by its index.
    pub handlers: Vec<Handler>,
    /// Process-wide timeouts.
    pub timeouts: Timeouts,
    /// Limits on what clients and upstreams send.
    pub limits: Limits,
    /// Whose word on a client is believed, and what upstreams are told of one.
    pub forwarded: Forwarded,
    /// Whether `/users/` is `/users`.
    pub trailing_slash: TrailingSlash,
    /// Which spellings of a path are refused.
    pub paths: PathRules,
}

/// Whether `/users/` is `/users`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrailingSlash {
    /// It is.
    Ignore,
    /// It is another path.
    Strict,
}

/// Which spellings of a path are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathRules {
    /// Dot segments, `%00`, controls, `\`, `#` and bad percent-escapes.
    Normal,
    /// Also `%2f`, `%5c` and `//`.
    Strict,
}

/// One route: a host, a path, a method.
#[derive(Clone, Debug)]
pub struct Route {
    /// Which hosts it serves.
    pub host: HostPattern,
    /// Which paths.
    pub path: PathPattern,
    /// Which method, upper case as written; `None`: `ALL`.
    pub method: Option<String>,
    /// Where the request goes, in the document's order: at least one that is always asked, and
    /// behind them those that are asked instead.
    pub services: Vec<Service>,
    /// Its breaker: its own, else the one of `http`, unless it opted out; of scope route.
    pub breaker: Option<BreakerConfig>,
    /// Whether any upstream 5xx leaves as our own 500.
    pub generic_errors: bool,
    /// The process-wide timeouts with the route's own on top.
    pub timeouts: RouteTimeouts,
    /// The largest request body in bytes; `None`: unlimited.
    pub body_bytes_max: Option<u64>,
}

/// Which hosts a route serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPattern {
    /// Hosts that no other pattern names.
    Default,
    /// This one, lower case.
    Exact(String),
    /// Any host below this one, lower case, without the leading `*.`.
    Below(String),
}

/// Which paths a route serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    /// As written.
    pub text: String,
    /// Its segments, without the leading slash. The root path has none. A last literal that is
    /// empty is a trailing slash; there is one only under [`TrailingSlash::Strict`].
    pub segments: Vec<Segment>,
}

/// One segment of a path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// These bytes.
    Literal(String),
    /// Any one segment, captured under this name.
    Param(String),
    /// The rest, slashes included, possibly empty; last, captured under this name (unnamed groups
    /// are `0`, `1`, … in order).
    Rest(String),
}

/// The most params one path may have.
pub const PARAMS_MAX: usize = 16;

/// A breaker.
#[derive(Clone, Debug)]
pub struct BreakerConfig {
    /// What it watches.
    pub scope: Scope,
    /// What trips it and what heals it.
    pub policy: Policy,
    /// From admission to the end of the response; `None`: no limit.
    pub timeout: Option<Duration>,
    /// What a client gets when `timeout` runs out before the head.
    pub timeout_answer: Answer,
    /// What a refused client gets.
    pub refusal: Answer,
    /// What it gets instead, if something is configured.
    pub fallback: Option<Fallback>,
    /// Whether refusals carry `Retry-After`.
    pub retry_after: RetryAfter,
    /// Called when it opens.
    pub on_open: Vec<Call>,
    /// Called when it closes.
    pub on_close: Vec<Call>,
    /// Called once per second in which it refused.
    pub on_rejected: Vec<Call>,
    /// The series of its events; `None`: there are none.
    pub stats: Option<Stats>,
}

/// What a breaker watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The final outcomes of a route.
    Route,
    /// Every attempt on a service.
    Service,
    /// Every attempt on one URL of a service.
    Target,
}

/// Whether refusals carry `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// With the true remaining seconds.
    Send,
    /// No.
    Omit,
}

/// A handler and what it is called with.
#[derive(Clone, Debug)]
pub struct Call {
    /// Index into [`Http::handlers`].
    pub handler: usize,
    /// Passed on as written: a JSON value.
    pub options: serde_json::Value,
}

/// Timeouts of the whole process. `None` is the word `"none"`: never.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Whole request head from its first byte, and silence of a new connection.
    pub header: Option<Duration>,
    /// Keep-alive connection at rest.
    pub idle: Option<Duration>,
    /// Pooled upstream connection at rest.
    pub upstream_idle: Option<Duration>,
    /// How long a shutdown waits for running exchanges.
    pub drain: Option<Duration>,
}

/// Timeouts a route may set for itself. `None`: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteTimeouts {
    /// Request body or client write without progress.
    pub body: Option<Duration>,
    /// Upstream connection attempt.
    pub connect: Option<Duration>,
    /// Upstream silence.
    pub response: Option<Duration>,
    /// Upgraded connection at rest.
    pub tunnel: Option<Duration>,
}

/// Limits on what clients and upstreams send. `None` is the word `"unlimited"`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Request head, bytes; at most [`HEAD_BYTES_MAX`].
    pub header_bytes: usize,
    /// Request header fields; at most [`HEADERS_MAX`].
    pub headers: usize,
    /// Request target, bytes.
    pub uri_bytes: usize,
    /// Response head, bytes; at most [`HEAD_BYTES_MAX`].
    pub response_header_bytes: usize,
    /// Response header fields; at most [`HEADERS_MAX`].
    pub response_headers: usize,
    /// Downstream connections of the whole process; `None`: from the file limit.
    pub connections: Option<NonZeroUsize>,
    /// Requests on one downstream connection.
    pub requests_per_connection: Option<NonZeroU32>,
    /// Upstream connections in use, per target.
    pub upstream_connections: Option<NonZeroU32>,
    /// Pooled upstream connections at rest, per target and core.
    pub upstream_idle: u32,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}
