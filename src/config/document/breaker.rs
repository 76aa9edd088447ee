//! The keys of a circuit breaker: two vocabularies and what both share.
//!
//! Enters: the clean tree of one breaker. Leaves: [`Breaker`] in the operator's words. No
//! behaviour.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Entries, OneOrMany, Stats};
use crate::breaker::policy::{FAILURES_MAX, LOOK_BACK_FAILURES_MAX, PROBES_MAX};
use crate::config::span::{Patience, Span};
use crate::config::units::{AnswerStatus, Count, Share, StatusRange};

/// A circuit breaker.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "circuitBreaker")]
pub struct Breaker {
    /// Opens when this many failures lie inside the last `duration`.
    #[schemars(extend("minimum" = 1, "maximum" = LOOK_BACK_FAILURES_MAX))]
    pub max_errors: Option<Count>,
    /// How far back failures count; it stays open as long as enough of them do.
    pub duration: Option<Span>,
    /// Status of a refusal. Default: 503.
    pub error_status: Option<AnswerStatus>,
    /// Body of a refusal: a string is sent as text, anything else as JSON. Default: "Busy."
    #[schemars(with = "Option<serde_json::Value>")]
    pub error_body: Option<Box<RawValue>>,
    /// From admission to the end of the response. Default: "30s"; with `maxErrors`: none.
    pub timeout: Option<Patience>,
    /// Opens at this many failures. Default: 10, unless another condition is written.
    #[schemars(extend("minimum" = 1, "maximum" = FAILURES_MAX))]
    pub max_failures: Option<Count>,
    /// How far failures and exchanges may lie apart to count together, see `window`. Default: since
    /// it last closed.
    pub time_window: Option<Span>,
    /// Open to half-open. Default: "2 minutes".
    pub reset_timeout: Option<Span>,
    /// Status when `timeout` ran out. Default: 504.
    pub timeout_status_code: Option<AnswerStatus>,
    /// Message when `timeout` ran out. Default: "Operation timeout".
    pub timeout_message: Option<String>,
    /// Status of a refusal. Default: 503.
    pub reject_status_code: Option<AnswerStatus>,
    /// Message of a refusal. Default: "Service unavailable".
    pub reject_message: Option<String>,
    /// Handler or handlers called when it opens.
    pub on_open: Option<OneOrMany<HandlerCall>>,
    /// Handler or handlers called when it closes.
    pub on_close: Option<OneOrMany<HandlerCall>>,
    /// Handler or handlers called, once a second at most, when it refuses.
    pub on_rejected: Option<OneOrMany<HandlerCall>>,
    /// Whether its events are left out of the series. Default: false.
    pub disable_stats: Option<bool>,
    /// Its own series. Default: those of the top level.
    pub stats_config: Option<Stats>,
    /// The named breaker that fills the keys not written here.
    #[serde(rename = "use")]
    pub import: Option<String>,
    /// Whether it refuses. Default: "enforce".
    pub mode: Option<Mode>,
    /// What it watches. Default: "route"; in a service "service".
    pub scope: Option<Scope>,
    /// How `maxFailures` counts. Default: "cumulative" without `timeWindow`; with it "sliding"
    /// beside a share, else "fixed".
    pub window: Option<WindowKind>,
    /// Opens at this run of failures.
    #[schemars(extend("minimum" = 1, "maximum" = FAILURES_MAX))]
    pub consecutive_failures: Option<Count>,
    /// Opens at this share of failures within the last `timeWindow`.
    pub failure_rate: Option<Share>,
    /// Fewer requests than this say nothing about a share. Default: 20.
    #[schemars(extend("minimum" = 1, "maximum" = FAILURES_MAX))]
    pub min_requests: Option<Count>,
    /// Opens at a share of slow exchanges.
    pub slow_call: Option<SlowCall>,
    /// Which statuses are failures. Default: ["500-599"].
    pub failure_statuses: Option<OneOrMany<StatusRange>>,
    /// Probes.
    pub half_open: Option<HalfOpen>,
    /// Gradual return after half-open. Default: none.
    pub ramp: Option<Ramp>,
    /// Growth of `resetTimeout` on repeated opens. Default: none.
    pub backoff: Option<Backoff>,
    /// Whether refusals carry Retry-After. Default: true.
    pub retry_after: Option<bool>,
    /// What is sent instead of the refusal.
    pub fallback: Option<Fallback>,
}

/// A call of a named handler.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "handlerCall")]
pub struct HandlerCall {
    /// Its name under `handlers`.
    #[schemars(required)]
    pub name: Option<String>,
    /// Passed on as written.
    pub options: Option<serde_json::Value>,
}

/// Whether a breaker refuses.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Mode {
    /// It does.
    Enforce,
    /// It decides and counts, and lets through.
    Shadow,
    /// It does nothing.
    Off,
}

/// What a breaker watches.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Scope {
    /// The final outcomes of a route.
    Route,
    /// The attempts on a service.
    Service,
    /// The attempts on one URL.
    Target,
}

/// How a time window counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum WindowKind {
    /// The last `timeWindow`, always.
    Sliding,
    /// From the first failure on, then anew.
    Fixed,
    /// Since the breaker last closed.
    Cumulative,
}

/// Opens at a share of slow exchanges.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "slowCall")]
pub struct SlowCall {
    /// As long or longer is slow.
    #[schemars(required)]
    pub after: Option<Span>,
    /// The share that opens.
    #[schemars(required)]
    pub rate: Option<Share>,
}

/// Probes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "halfOpen")]
pub struct HalfOpen {
    /// Permits of a round. Default: as many as `successes`.
    #[schemars(extend("minimum" = 1, "maximum" = PROBES_MAX))]
    pub requests: Option<Count>,
    /// Successes that close, at most `requests`. Default: 1.
    #[schemars(extend("minimum" = 1, "maximum" = PROBES_MAX))]
    pub successes: Option<Count>,
    /// Opens again when no verdict came for so long. Default: "30s", or a second more than
    /// `timeout` if that is longer.
    pub max_wait: Option<Span>,
}

/// Gradual return after half-open.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "ramp")]
pub struct Ramp {
    /// How long it takes.
    #[schemars(required)]
    pub duration: Option<Span>,
    /// The share admitted at first. Default: "10%".
    pub start: Option<Share>,
}

/// Growth of `resetTimeout` on repeated opens.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "backoff")]
pub struct Backoff {
    /// Factor of each open. Default: 1.
    #[schemars(extend("minimum" = 1))]
    pub multiplier: Option<f64>,
    /// Longest open time; the first one lasts `resetTimeout` all the same. Default: "5m".
    pub max: Option<Span>,
    /// By how much of itself an open time varies; it is never below `resetTimeout`. Default: 0.
    pub jitter: Option<Share>,
}

/// What is sent instead of the refusal.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "fallback")]
pub struct Fallback {
    /// Its status. Default: 200.
    pub status: Option<AnswerStatus>,
    /// Its body: a string is sent as text, anything else as JSON. Default: none.
    #[schemars(with = "Option<serde_json::Value>")]
    pub body: Option<Box<RawValue>>,
    /// Its headers.
    pub headers: Option<Entries<String>>,
    /// Or the service of the same route that answers instead; it is asked only then.
    pub service: Option<String>,
}
