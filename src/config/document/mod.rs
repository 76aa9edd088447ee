//! The file as it is written: a mirror of every key, without behaviour.
//!
//! Enters: the clean tree of a document. Leaves: [`Document`], still in the operator's words. The
//! schema is made from these types, and the doc comments are its descriptions.

mod breaker;
mod route;
mod shape;

use schemars::JsonSchema;
use serde::Deserialize;

pub use breaker::{Breaker, HandlerCall, WindowKind};
pub use route::{Route, RouteTimeouts, Service, ServiceType};
pub use shape::{BreakerChoice, Entries, Off, OneOrMany, WordOr};

use super::span::{Patience, Span};
use super::units::{Bytes, BytesCap, Count, CountCap};

/// A fusebox configuration.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Document {
    /// Where editors find the schema; ignored.
    #[serde(rename = "$schema")]
    pub schema: Option<String>,
    /// Address or addresses to serve. Default: "0.0.0.0:8080".
    pub listen: Option<OneOrMany<WordOr<String, Listener>>>,
    /// The admin API; false turns it off. Default: {"listen": "127.0.0.1:9901"}.
    pub admin: Option<WordOr<Off, Admin>>,
    /// Data-plane threads. Default: "auto", the CPUs of the affinity mask and the cgroup quota.
    pub workers: Option<WordOr<AutoWord, Count>>,
    /// The I/O driver. Default: {"driver": "auto"}.
    pub io: Option<WordOr<Driver, Io>>,
    /// Where breaker state is shared. Default: {"type": "memory"}.
    pub state: Option<WordOr<StateType, State>>,
    /// Routes and their rules.
    #[schemars(required)]
    pub http: Option<Http>,
    /// What is logged. Default: {"level": "info", "access": "errors"}.
    pub log: Option<Log>,
    /// Series of breaker events. Default: a minute wide, kept for a day, prefix "stats".
    pub stats: Option<Stats>,
}

/// A listener.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "listener")]
pub struct Listener {
    /// Address and port, or unix:/path.
    #[schemars(required)]
    pub address: Option<String>,
}

/// The admin API.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "admin")]
pub struct Admin {
    /// Address and port, or unix:/path. Default: "127.0.0.1:9901".
    pub listen: Option<String>,
    /// What a caller must present; needed for any address that is not loopback.
    pub token: Option<WordOr<String, Secret>>,
}

/// A secret that is kept elsewhere.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "secret")]
pub struct Secret {
    /// The environment variable that holds it.
    pub env: Option<String>,
    /// The file that holds it.
    pub file: Option<String>,
}

/// The word `auto`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum AutoWord {
    /// `auto`.
    Auto,
}

/// The I/O driver.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "io")]
pub struct Io {
    /// Which one. Default: "auto".
    pub driver: Option<Driver>,
}

/// Which I/O driver.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Driver {
    /// The ring, or epoll with a warning where the ring is refused.
    Auto,
    /// The ring, or no start.
    Uring,
    /// epoll.
    Epoll,
}

/// Where breaker state is shared.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "state")]
pub struct State {
    /// Which store. Default: "memory".
    #[serde(rename = "type")]
    pub kind: Option<StateType>,
    /// Redis host. Default: "127.0.0.1".
    pub host: Option<String>,
    /// Redis port. Default: 6379.
    #[schemars(extend("maximum" = 65535))]
    pub port: Option<Count>,
    /// Redis URL (redis:, rediss:, unix:) instead of host and port.
    pub url: Option<String>,
    /// URLs of the nodes of a Redis Cluster.
    pub cluster: Option<Vec<String>>,
    /// A Redis that Sentinel watches.
    pub sentinel: Option<Sentinel>,
    /// ACL user.
    pub username: Option<String>,
    /// Password.
    pub password: Option<WordOr<String, Secret>>,
    /// Database number. Default: 0.
    pub db: Option<Count>,
    /// First part of every Redis key. Default: "fusebox".
    pub prefix: Option<String>,
    /// Time between exchanges. Default: "200ms".
    pub interval: Option<Span>,
    /// Whether changes are also announced by pub/sub. Default: true.
    pub hints: Option<bool>,
    /// What holds while Redis is away. Default: "local".
    pub on_loss: Option<OnLoss>,
    /// Share of instances that must have seen failures before the sum counts. Default: 0.
    pub quorum: Option<super::units::Share>,
}

/// Which store.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum StateType {
    /// This process only.
    Memory,
    /// Redis or Valkey.
    Redis,
}

/// What holds while Redis is away.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum OnLoss {
    /// Each instance goes on alone.
    Local,
    /// States stay as they are.
    Freeze,
    /// Breakers close.
    Closed,
}

/// A Redis that Sentinel watches.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "sentinel")]
pub struct Sentinel {
    /// URLs of the sentinels.
    #[schemars(required)]
    pub nodes: Option<Vec<String>>,
    /// Name of the watched master.
    #[schemars(required)]
    pub master: Option<String>,
}

/// What is logged.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "log")]
pub struct Log {
    /// Lines below this level are not written. Default: "info".
    pub level: Option<Level>,
    /// Which requests are logged. Default: "errors".
    pub access: Option<Access>,
    /// How requests are logged. Default: "json".
    pub format: Option<AccessFormat>,
    /// The file that lines go to. Default: standard error.
    pub file: Option<String>,
}

/// A log level.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Level {
    /// Nothing.
    Off,
    /// What failed.
    Error,
    /// What may fail.
    Warn,
    /// What changed.
    Info,
    /// How it came about.
    Debug,
    /// Everything.
    Trace,
}

/// Which requests are logged.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Access {
    /// None.
    Off,
    /// Those that failed.
    Errors,
    /// All.
    All,
}

/// How requests are logged.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum AccessFormat {
    /// One JSON object a line.
    Json,
    /// The combined log format.
    Combined,
    /// The common log format.
    Common,
}

/// Series of breaker events.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "stats")]
pub struct Stats {
    /// Width and span of a series.
    pub granularity: Option<Granularity>,
    /// First part of every series' key. Default: "stats".
    pub prefix: Option<String>,
    /// What a series is about. Default: "path".
    pub request_mapper: Option<RequestMapper>,
}

/// Width and span of a series.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "granularity")]
pub struct Granularity {
    /// Width of one bucket. Default: "1 minute".
    pub duration: Option<Span>,
    /// How long buckets are kept. Default: "1 day".
    pub ttl: Option<Span>,
}

/// What a series is about.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum RequestMapper {
    /// A path.
    Path,
    /// A method and a path.
    Operation,
    /// Everything.
    Total,
}

/// Routes and their rules.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "http")]
pub struct Http {
    /// Path, then method, then route: for hosts that `hosts` does not name.
    pub routes: Option<Entries<Entries<Route>>>,
    /// Host ("api.example.com", "*.example.com"), then its routes.
    pub hosts: Option<Entries<Host>>,
    /// The breaker of every route that has none of its own. Default: none.
    pub circuit_breaker: Option<BreakerChoice>,
    /// Named breakers, imported with `use`.
    pub circuit_breakers: Option<Entries<Breaker>>,
    /// Named event handlers.
    pub handlers: Option<Entries<Handler>>,
    /// Whether any upstream 5xx leaves as 500 "Internal Server Error." Default: false.
    pub generic_errors: Option<bool>,
    /// Time limits.
    pub timeouts: Option<Timeouts>,
    /// Limits on what clients and upstreams send.
    pub limits: Option<Limits>,
    /// Forwarding headers. Default: nobody is believed, x-forwarded is sent.
    pub forwarded: Option<Forwarded>,
    /// Whether "/users/" is "/users". Default: "ignore".
    pub trailing_slash: Option<TrailingSlash>,
    /// Which spellings of a path are refused. Default: "normal".
    pub paths: Option<Paths>,
}

/// The routes of one host.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "host")]
pub struct Host {
    /// Path, then method, then route.
    #[schemars(required)]
    pub routes: Option<Entries<Entries<Route>>>,
}

/// A named event handler.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "handler")]
pub struct Handler {
    /// What it does.
    #[serde(rename = "type")]
    #[schemars(required)]
    pub kind: Option<HandlerType>,
    /// log: the level of its lines. Default: "warn".
    pub level: Option<Level>,
    /// webhook: where to POST.
    pub url: Option<String>,
    /// webhook: time limit of one attempt. Default: "2s".
    pub timeout: Option<Span>,
    /// webhook: attempts after the first. Default: 3.
    pub retries: Option<Count>,
    /// exec: program and arguments.
    pub command: Option<Vec<String>>,
    /// redis: where to publish.
    pub channel: Option<String>,
}

/// What a handler does.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum HandlerType {
    /// Writes a log line.
    Log,
    /// Calls a URL.
    Webhook,
    /// Runs a program.
    Exec,
    /// Publishes on a Redis channel.
    Redis,
}

/// Time limits. The word "none" switches one off.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "timeouts")]
pub struct Timeouts {
    /// Whole request head from its first byte, and silence of a new connection. Default: "10s".
    pub header: Option<Patience>,
    /// Request body or client write without progress. Default: "30s".
    pub body: Option<Patience>,
    /// Keep-alive connection at rest. Default: "60s".
    pub idle: Option<Patience>,
    /// Upstream connection attempt. Default: "2s".
    pub connect: Option<Patience>,
    /// Upstream silence. Default: "30s".
    pub response: Option<Patience>,
    /// Upgraded connection at rest. Default: "1h".
    pub tunnel: Option<Patience>,
    /// Pooled upstream connection at rest. Default: "30s".
    pub upstream_idle: Option<Patience>,
    /// How long a shutdown waits for running exchanges. Default: "30s".
    pub drain: Option<Patience>,
}

/// Limits on what clients and upstreams send. The word "unlimited" lifts one.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "limits")]
pub struct Limits {
    /// Request head. Default: "16KiB"; at most "64KiB".
    pub header_bytes: Option<Bytes>,
    /// Request header fields. Default: 100; at most 256.
    #[schemars(extend("minimum" = 1, "maximum" = 256))]
    pub headers: Option<Count>,
    /// Request target. Default: "8KiB"; at most "64KiB".
    pub uri: Option<Bytes>,
    /// Response head. Default: "32KiB"; at most "64KiB".
    pub response_header_bytes: Option<Bytes>,
    /// Response header fields. Default: 200; at most 256.
    #[schemars(extend("minimum" = 1, "maximum" = 256))]
    pub response_headers: Option<Count>,
    /// Request body. Default: "1GiB".
    pub body: Option<BytesCap>,
    /// Client connections. Default: from the file limit.
    pub connections: Option<CountCap>,
    /// Requests on one client connection. Default: 10000.
    pub requests_per_connection: Option<CountCap>,
    /// Upstream connections in use, per target. Default: 1024.
    pub upstream_connections: Option<CountCap>,
    /// Pooled upstream connections at rest, per target and core. Default: 32.
    #[schemars(extend("maximum" = 65536))]
    pub upstream_idle: Option<Count>,
}

/// Forwarding headers.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "forwarded")]
pub struct Forwarded {
    /// CIDRs whose forwarding headers are believed. Default: none.
    pub trust: Option<Vec<String>>,
    /// What is sent upstream. Default: ["x-forwarded"].
    pub emit: Option<Vec<Emit>>,
}

/// A forwarding header.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Emit {
    /// x-forwarded-for, -host and -proto.
    XForwarded,
    /// RFC 7239.
    Forwarded,
    /// via.
    Via,
}

/// Whether "/users/" is "/users".
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum TrailingSlash {
    /// It is.
    Ignore,
    /// It is another path.
    Strict,
}

/// Which spellings of a path are refused.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Paths {
    /// Those that no one understands alike.
    Normal,
    /// Also %2f, %5c and //.
    Strict,
}
