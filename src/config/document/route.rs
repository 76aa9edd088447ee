//! The keys of a route and its services.
//!
//! Enters: the clean tree below `/http/routes`. Leaves: [`Route`] and [`Service`] in the operator's
//! words. No behaviour.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{BreakerChoice, Entries, OneOrMany, WordOr};
use crate::config::span::Patience;
use crate::config::units::{BytesCap, Count, Share};

/// What happens to the requests of one path and method.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "route")]
pub struct Route {
    /// Name, then service: at least one. One is streamed, several are merged as JSON.
    #[schemars(required)]
    pub services: Option<Entries<Service>>,
    /// Its own breaker, or "none". Default: the one of http.
    pub circuit_breaker: Option<BreakerChoice>,
    /// Whether any upstream 5xx leaves as 500. Default: the one of http.
    pub generic_errors: Option<bool>,
    /// Time limits that differ from those of http.
    pub timeouts: Option<RouteTimeouts>,
    /// Limits that differ from those of http.
    pub limits: Option<RouteLimits>,
}

/// Time limits of a route.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "routeTimeouts")]
pub struct RouteTimeouts {
    /// Request body or client write without progress.
    pub body: Option<Patience>,
    /// Upstream connection attempt.
    pub connect: Option<Patience>,
    /// Upstream silence.
    pub response: Option<Patience>,
    /// Upgraded connection at rest.
    pub tunnel: Option<Patience>,
}

/// Limits of a route.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "routeLimits")]
pub struct RouteLimits {
    /// Request body.
    pub body: Option<BytesCap>,
}

/// A service behind a route.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "service")]
pub struct Service {
    /// How it is reached. Default: "http".
    #[serde(rename = "type")]
    pub kind: Option<ServiceType>,
    /// URL or URLs; params of the route's path may be used, as in "/users/:id".
    pub url: Option<OneOrMany<String>>,
    /// How a URL is chosen. Default: "leastRequests".
    pub balance: Option<Balance>,
    /// Limit of the whole exchange. Default: none.
    pub timeout: Option<Patience>,
    /// A breaker of this service's own. Default: none.
    pub circuit_breaker: Option<BreakerChoice>,
    /// Repetition where nothing was sent, or the method is idempotent.
    pub retry: Option<Retry>,
    /// Services of a stage run in parallel, stages in ascending order. Default: last.
    pub stage: Option<Count>,
    /// Whether its answer is part of the merged one. Default: true.
    pub merge: Option<bool>,
    /// The field that its body is put under.
    pub merge_field: Option<String>,
    /// Whether its answer is waited for. Default: true.
    pub await_response: Option<bool>,
    /// What a failure means in a fan-out. Default: "fail".
    pub on_error: Option<WordOr<OnErrorWord, OnError>>,
    /// Which fields and headers of the request it is sent.
    pub mapping: Option<Mapping>,
    /// Whether it is sent the client's Host. Default: false, the URL's own.
    pub preserve_host: Option<bool>,
    /// redis: where the request is published.
    pub request_channel: Option<String>,
}

/// How a service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum ServiceType {
    /// By HTTP.
    Http,
    /// By a Redis channel.
    Redis,
}

/// How a URL is chosen.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Balance {
    /// The less busy of two random ones.
    LeastRequests,
    /// In turn.
    RoundRobin,
    /// At random.
    Random,
}

/// The most attempts after the first: each goes to another URL where there is one.
const RETRIES_MAX: u32 = 8;

/// Repetition of an exchange.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "retry")]
pub struct Retry {
    /// Attempts after the first. Default: 1.
    #[schemars(extend("maximum" = RETRIES_MAX))]
    pub attempts: Option<Count>,
    /// What is repeated. Default: ["connect"].
    pub on: Option<Vec<RetryOn>>,
    /// Share of requests that may be repetitions. Default: "20%".
    pub budget: Option<Share>,
}

/// What is repeated.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum RetryOn {
    /// Connections that failed.
    Connect,
    /// Connections reset before an answer.
    Reset,
    /// Answers that count as failures.
    Status,
    /// Time limits.
    Timeout,
}

/// What a failure means in a fan-out.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum OnErrorWord {
    /// The whole answer fails.
    Fail,
    /// The service is left out.
    Omit,
}

/// What stands in for a service that failed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "standIn")]
pub struct OnError {
    /// Any JSON.
    #[schemars(required)]
    pub json: Option<serde_json::Value>,
}

/// Which fields and headers of the request a service is sent.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "mapping")]
pub struct Mapping {
    /// Top-level fields of a JSON body.
    pub fields: Option<Fields>,
    /// Headers.
    pub headers: Option<Fields>,
}

/// What is let through.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "fields")]
pub struct Fields {
    /// Only these, each under its new name.
    pub include: Option<Entries<String>>,
    /// All but these.
    pub exclude: Option<Vec<String>>,
}
