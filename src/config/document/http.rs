//! The keys below `http`.
//!
//! Enters: the clean tree of `http`. Leaves: [`Http`] in the operator's words. No behaviour.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Breaker, BreakerChoice, Entries, Level, Route};
use crate::config::HEADERS_MAX;
use crate::config::span::{Patience, Span};
use crate::config::units::{Bytes, BytesCap, Count, CountCap};

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
    /// webhook: where to POST, an http: URL.
    pub url: Option<String>,
    /// webhook: time limit of one attempt; exec: how long it may run. Default: "2s"; exec: "10s".
    pub timeout: Option<Span>,
    /// webhook: attempts after the first. Default: 3.
    #[schemars(extend("maximum" = 10))]
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

/// Limits on what clients and upstreams send. The word "unlimited" lifts `body`, `connections`,
/// `requestsPerConnection` and `upstreamConnections`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "limits")]
pub struct Limits {
    /// Request head. Default: "16KiB"; at most "64KiB".
    pub header_bytes: Option<Bytes>,
    /// Request header fields. Default: 100; at most 256.
    #[schemars(extend("minimum" = 1, "maximum" = HEADERS_MAX))]
    pub headers: Option<Count>,
    /// Request target. Default: "8KiB"; at most "64KiB".
    pub uri: Option<Bytes>,
    /// Response head. Default: "32KiB"; at most "64KiB".
    pub response_header_bytes: Option<Bytes>,
    /// Response header fields. Default: 200; at most 256.
    #[schemars(extend("minimum" = 1, "maximum" = HEADERS_MAX))]
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
    /// Peers, as CIDRs, whose forwarding headers are kept and appended to; those of anyone else are
    /// replaced. Default: none.
    pub trust: Option<Vec<String>>,
    /// What is sent upstream; via is added to responses too. Default: ["x-forwarded"].
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
