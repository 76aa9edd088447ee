//! Configurations and tables for tests, written in few words.
//!
//! Enters: patterns and URLs as text. Leaves: values as `config` would make them. Tests only; the
//! reading of the text here is as simple as these tests need.

#![allow(clippy::disallowed_types, clippy::disallowed_macros, reason = "cold: tests only")]

use std::num::NonZeroU32;
use std::time::Duration;

use super::Table;
use super::compile::{Kept, compile};
use crate::breaker::policy::{Policy, Window};
use crate::breaker::registry::{Draft, Registry};
use crate::config::{
    Access, Answer, Balance, Body, BreakerConfig, Config, Driver, Emit, Forwarded, HostHeader,
    HostPattern, Http, Limits, LineFormat, Log, Merge, PathPattern, PathRules, Piece, Retry,
    RetryAfter, Route, RouteTimeouts, Scope, Segment, Service, State, Stats, TemplateQuery,
    Timeouts, TrailingSlash, Turn, UrlTemplate, Workers,
};
use crate::stats::Tallies;

/// The table of `routes`, for one core; every target answers at 127.0.0.1.
pub(crate) fn table(generation: u64, routes: Vec<Route>) -> Table {
    let kept = Kept {
        breakers: &Registry::new(1),
        draft: &mut Draft::default(),
        tallies: &mut Tallies::default(),
    };
    compile(&config(routes), generation, kept, |_, port| vec![([127, 0, 0, 1], port).into()])
}

/// A configuration of `routes` with the defaults of the contract.
pub(crate) fn config(routes: Vec<Route>) -> Config {
    Config {
        listen: vec![([0, 0, 0, 0], 8080).into()],
        admin: None,
        workers: Workers::Auto,
        driver: Driver::Auto,
        state: State::Memory,
        log: Log {
            level: log::LevelFilter::Info,
            access: Access::Errors,
            format: LineFormat::Json,
            file: None,
        },
        http: Http {
            routes,
            handlers: Vec::new(),
            timeouts: Timeouts { header: None, idle: None, upstream_idle: None, drain: None },
            limits: Limits {
                header_bytes: 16 * 1024,
                headers: 100,
                uri_bytes: 8 * 1024,
                response_header_bytes: 32 * 1024,
                response_headers: 200,
                connections: None,
                requests_per_connection: None,
                upstream_connections: None,
                upstream_idle: 32,
            },
            forwarded: Forwarded { trust: Vec::new(), emit: vec![Emit::XForwarded] },
            trailing_slash: TrailingSlash::Ignore,
            paths: PathRules::Normal,
        },
    }
}

/// A route with one service and no breaker: `GET /users/:id`, `ALL /a/(.*)`, with a host before the
/// method where there is one.
pub(crate) fn route(text: &str) -> Route {
    let mut words: Vec<&str> = text.split(' ').collect();
    let path = words.pop().unwrap();
    let method = words.pop().unwrap();
    let host = match words.pop() {
        None => HostPattern::Default,
        Some(host) => match host.strip_prefix("*.") {
            Some(below) => HostPattern::Below(below.to_owned()),
            None => HostPattern::Exact(host.to_owned()),
        },
    };
    Route {
        host,
        path: pattern(path),
        method: (method != "ALL").then(|| method.to_owned()),
        services: vec![service("one", "localhost", 9000)],
        breaker: None,
        generic_errors: false,
        timeouts: RouteTimeouts { body: None, connect: None, response: None, tunnel: None },
        body_bytes_max: None,
    }
}

/// A path pattern.
pub(crate) fn pattern(text: &str) -> PathPattern {
    let segment = |part: &str| match (part.strip_prefix(':'), part.strip_prefix('*')) {
        (Some(name), _) => Segment::Param(name.to_owned()),
        (_, Some(name)) => Segment::Rest(name.to_owned()),
        _ if part == "(.*)" => Segment::Rest("0".to_owned()),
        _ => Segment::Literal(part.to_owned()),
    };
    let parts = text.strip_prefix('/').unwrap().split('/');
    let segments = if text == "/" { Vec::new() } else { parts.map(segment).collect() };
    PathPattern { text: text.to_owned(), segments }
}

/// A service at `http://host:port/`.
pub(crate) fn service(name: &str, host: &str, port: u16) -> Service {
    Service {
        name: name.to_owned(),
        urls: vec![url(host, port)],
        balance: Balance::LeastRequests,
        breaker: None,
        retry: Retry::default(),
        timeout: None,
        merge: Merge::Union,
        host_header: HostHeader::Target,
        turn: Turn::Always,
    }
}

/// `http://host:port/`.
pub(crate) fn url(host: &str, port: u16) -> UrlTemplate {
    let authority = format!("{host}:{port}");
    UrlTemplate {
        text: format!("http://{authority}/"),
        host: host.to_owned(),
        port,
        authority,
        pieces: vec![Piece::Literal("/".to_owned())],
        query: TemplateQuery::Absent,
    }
}

/// Seed A's breaker: `max_errors` within `duration`.
pub(crate) fn look_back(max_errors: u32, duration: Duration) -> BreakerConfig {
    let failures = NonZeroU32::new(max_errors).unwrap();
    let busy = Answer { status: 503, body: Body::Text("Busy.".to_owned()) };
    breaker(Policy::look_back(failures, duration), None, busy)
}

/// Seed B's breaker with its defaults, but for the count.
pub(crate) fn reset(max_failures: u32, window: Window) -> BreakerConfig {
    let failures = NonZeroU32::new(max_failures).unwrap();
    let policy = Policy::reset(failures, window, Duration::from_secs(120));
    let unavailable = Answer { status: 503, body: Body::Message("Service unavailable".to_owned()) };
    breaker(policy, Some(Duration::from_secs(30)), unavailable)
}

fn breaker(policy: Policy, timeout: Option<Duration>, refusal: Answer) -> BreakerConfig {
    BreakerConfig {
        scope: Scope::Route,
        policy,
        timeout,
        timeout_answer: Answer { status: 504, body: Body::Message("Operation timeout".to_owned()) },
        refusal,
        fallback: None,
        retry_after: RetryAfter::Send,
        on_open: Vec::new(),
        on_close: Vec::new(),
        on_rejected: Vec::new(),
        stats: Some(Stats::default()),
    }
}
