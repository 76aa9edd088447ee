//! Document → Config: defaults filled, references resolved, contradictions found.
//!
//! Enters: a decoded document. Leaves: a [`Config`]; it holds only while the report is empty. Owns
//! the defaults of everything but breakers and addresses, each with its reason.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::breaker::{self, Names};
use super::complaint::Code;
use super::document::{self, Document, WordOr};
use super::place::At;
use super::report::Report;
use super::routes::{self, Common};
use super::span::Patience;
use super::units::{Bytes, BytesCap, Count, CountCap};
use super::{
    Config, Driver, HEAD_BYTES_MAX, Http, Limits, PathRules, RouteTimeouts, Scope, Stats, Timeouts,
    TrailingSlash, Workers, address, forwarded, handler, logging, state, stats,
};

/// Makes the configuration. What is wrong goes to `report`.
pub(super) fn config(document: &Document, report: &mut Report) -> Config {
    let listen = address::listen(document.listen.as_ref(), report);
    let admin = address::admin(document.admin.as_ref(), &listen, report);
    let workers = match document.workers {
        None | Some(WordOr::Word(_)) => Workers::Auto,
        Some(WordOr::Object(Count(count))) => workers(count, report),
    };
    let driver = match &document.io {
        None => None,
        Some(WordOr::Word(driver)) => Some(*driver),
        Some(WordOr::Object(io)) => io.driver,
    };
    let stats =
        stats::read(document.stats.as_ref(), &Stats::default(), &At::ROOT.key("stats"), report);
    Config {
        listen,
        admin,
        workers,
        driver: match driver {
            None | Some(document::Driver::Auto) => Driver::Auto,
            Some(document::Driver::Uring) => Driver::Uring,
            Some(document::Driver::Epoll) => Driver::Epoll,
        },
        state: state::state(document.state.as_ref(), report),
        log: logging::log(document.log.as_ref(), report),
        http: http(document.http.as_ref(), &stats, report),
    }
}

fn workers(count: u64, report: &mut Report) -> Workers {
    /// No machine has more cores.
    const WORKERS_MAX: usize = 1024;
    let count = usize::try_from(count).ok().filter(|count| *count <= WORKERS_MAX);
    match count.and_then(NonZeroUsize::new) {
        Some(count) => Workers::Exactly(count),
        None => {
            let message = "the number of workers is out of range".to_owned();
            let remedy = format!("write a number from 1 to {WORKERS_MAX}, or \"auto\"");
            report.value(Code::OutOfRange, &At::ROOT.key("workers"), message, &remedy);
            Workers::Auto
        }
    }
}

fn http(document: Option<&document::Http>, stats: &Stats, report: &mut Report) -> Http {
    let at = At::ROOT.key("http");
    let timeouts = document.and_then(|http| http.timeouts.as_ref());
    let limits = document.and_then(|http| http.limits.as_ref());
    let trailing_slash = match document.and_then(|http| http.trailing_slash) {
        None | Some(document::TrailingSlash::Ignore) => TrailingSlash::Ignore,
        Some(document::TrailingSlash::Strict) => TrailingSlash::Strict,
    };
    let paths = match document.and_then(|http| http.paths) {
        None | Some(document::Paths::Normal) => PathRules::Normal,
        Some(document::Paths::Strict) => PathRules::Strict,
    };
    let handlers = document.and_then(|http| http.handlers.as_ref());
    let mut http = Http {
        routes: Vec::new(),
        handlers: handlers.map(|all| handler::handlers(all, &at, report)).unwrap_or_default(),
        timeouts: process_timeouts(timeouts),
        limits: self::limits(limits, &at.key("limits"), report),
        forwarded: forwarded::read(
            document.and_then(|http| http.forwarded.as_ref()),
            &at.key("forwarded"),
            report,
        ),
        trailing_slash,
        paths,
    };
    let Some(document) = document else {
        return http;
    };
    let names = Names {
        breakers: breaker::named(document.circuit_breakers.as_ref()),
        handlers: &http.handlers,
        stats,
    };
    breaker::check_named(&names, report);
    let global = document.circuit_breaker.as_ref();
    let root = at.key("circuitBreaker");
    let breaker = breaker::choose(global, Scope::Route, &root, &names, report);
    let common = Common {
        names,
        breaker,
        generic_errors: document.generic_errors.unwrap_or(false),
        timeouts: route_timeouts(timeouts),
        body_bytes_max: match limits.and_then(|limits| limits.body) {
            None => Some(BODY_BYTES),
            Some(BytesCap(cap)) => cap,
        },
        trailing_slash,
        paths,
    };
    http.routes = routes::routes(document, common, &at, report);
    http
}

fn patience(written: Option<Patience>, default: u64) -> Option<Duration> {
    match written {
        None => Some(Duration::from_secs(default)),
        Some(Patience(limit)) => limit,
    }
}

fn process_timeouts(document: Option<&document::Timeouts>) -> Timeouts {
    Timeouts {
        header: patience(document.and_then(|own| own.header), 10),
        idle: patience(document.and_then(|own| own.idle), 60),
        upstream_idle: patience(document.and_then(|own| own.upstream_idle), 30),
        drain: patience(document.and_then(|own| own.drain), 30),
    }
}

fn route_timeouts(document: Option<&document::Timeouts>) -> RouteTimeouts {
    RouteTimeouts {
        body: patience(document.and_then(|own| own.body), 30),
        connect: patience(document.and_then(|own| own.connect), 2),
        response: patience(document.and_then(|own| own.response), 30),
        tunnel: patience(document.and_then(|own| own.tunnel), 3600),
    }
}

const BODY_BYTES: u64 = 1 << 30;

fn limits(document: Option<&document::Limits>, at: &At<'_>, report: &mut Report) -> Limits {
    let default = document::Limits::default();
    let own = document.unwrap_or(&default);
    let mut head = |key: &str, written: Option<Bytes>, default: usize| {
        let bytes = written.map_or(Some(default), |Bytes(bytes)| usize::try_from(bytes).ok());
        bytes.filter(|bytes| *bytes <= HEAD_BYTES_MAX).unwrap_or_else(|| {
            let message = format!("`{key}` is above 64 KiB, which is all that is held of a head");
            report.value(Code::OutOfRange, &at.key(key), message, "write \"64KiB\" or less");
            default
        })
    };
    // The walk has held these to their ranges, which fit.
    let fields = |written: Option<Count>, default: usize| {
        written.and_then(|Count(count)| usize::try_from(count).ok()).unwrap_or(default)
    };
    let cap = |written: Option<CountCap>, default: u32| match written {
        None => std::num::NonZeroU32::new(default),
        Some(CountCap(cap)) => cap.and_then(std::num::NonZeroU32::new),
    };
    Limits {
        header_bytes: head("headerBytes", own.header_bytes, 16 * 1024),
        headers: fields(own.headers, 100),
        uri_bytes: head("uri", own.uri, 8 * 1024),
        response_header_bytes: head("responseHeaderBytes", own.response_header_bytes, 32 * 1024),
        response_headers: fields(own.response_headers, 200),
        connections: own
            .connections
            .and_then(|CountCap(cap)| cap)
            .and_then(|cap| usize::try_from(cap).ok())
            .and_then(NonZeroUsize::new),
        requests_per_connection: cap(own.requests_per_connection, 10_000),
        upstream_connections: cap(own.upstream_connections, 1024),
        upstream_idle: own.upstream_idle.and_then(|n| u32::try_from(n.0).ok()).unwrap_or(32),
    }
}
