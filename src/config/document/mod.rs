//! The file as it is written: a mirror of every key, without behaviour.
//!
//! Enters: the clean tree of a document. Leaves: [`Document`], still in the operator's words. The
//! schema is made from these types, and the doc comments are its descriptions.

mod breaker;
mod http;
mod route;
mod shape;

use schemars::JsonSchema;
use serde::Deserialize;

pub use breaker::{Breaker, Fallback, HandlerCall, Mode, Scope, WindowKind};
pub use http::{
    Emit, Forwarded, Handler, HandlerType, Host, Http, Limits, Paths, Timeouts, TrailingSlash,
};
pub use route::{Balance, Retry, RetryOn, Route, RouteTimeouts, Service, ServiceType};
pub use shape::{BreakerChoice, Entries, Off, OneOrMany, WordOr};

use crate::config::span::Span;
use crate::config::units::{Count, Share};

/// A fusebox configuration.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("required" = ["http"]))]
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
    pub quorum: Option<Share>,
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
    /// The file that lines about requests are appended to. Default: standard error.
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
    /// Those that were refused or cut short, and a service's 5xx.
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
    /// What the names of sums of breakers begin with. Default: "stats".
    pub prefix: Option<String>,
    /// Which breakers are summed under one name. Default: "path".
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

/// Which breakers are summed under one name.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum RequestMapper {
    /// Those of one path.
    Path,
    /// Those of one method and path.
    Operation,
    /// All.
    Total,
}
