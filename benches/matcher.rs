//! Finding a route among 10, 1,000 and 10,000, checking a path's spelling, compiling a large table.
//!
//! Goals: a look-up within 100 ns and a compile within 200 ms, both with 10,000 routes.

use std::num::NonZeroU32;
use std::time::Duration;

use divan::{Bencher, black_box};
use fusebox::breaker::policy::{Policy, Window};
use fusebox::breaker::registry::{Draft, Registry};
use fusebox::config::{
    Access, Answer, Balance, Body, BreakerConfig, Config, Driver, Forwarded, HostHeader,
    HostPattern, Http, Limits, LineFormat, Log, Merge, PathPattern, PathRules, Piece, Retry,
    RetryAfter, Route, RouteTimeouts, Scope, Segment, Service, TemplateQuery, Timeouts,
    TrailingSlash, Turn, UrlTemplate, Workers,
};
use fusebox::stats::Tallies;
use fusebox::table::Table;
use fusebox::table::compile::{Kept, compile};
use fusebox::table::matcher::{Captures, Match};
use fusebox::table::spelling::clean;

const SIZES: [usize; 3] = [10, 1_000, 10_000];

fn main() {
    divan::main();
}

/// Another route at each look-up, so that the tree of 10,000 is not one branch in the cache.
#[divan::bench(args = SIZES, sample_size = 10_000)]
fn literal(bencher: Bencher<'_, '_>, routes: usize) {
    let table = table(&config(routes));
    let paths: Vec<String> =
        (0..routes).step_by(3).map(|nth| format!("/api/v1/shop{nth}/items")).collect();
    look_up(bencher, &table, &paths, b"GET");
}

#[divan::bench(args = SIZES, sample_size = 10_000)]
fn param(bencher: Bencher<'_, '_>, routes: usize) {
    let table = table(&config(routes));
    let paths: Vec<String> =
        (1..routes).step_by(3).map(|nth| format!("/api/v1/shop{nth}/users/12345")).collect();
    look_up(bencher, &table, &paths, b"GET");
}

#[divan::bench(args = SIZES, sample_size = 10_000)]
fn rest_after_a_dead_branch(bencher: Bencher<'_, '_>, routes: usize) {
    let table = table(&config(routes));
    let paths: Vec<String> =
        (2..routes).step_by(3).map(|nth| format!("/api/v1/shop{nth}/files/a/b.png")).collect();
    look_up(bencher, &table, &paths, b"GET");
}

#[divan::bench(args = SIZES, sample_size = 10_000)]
fn not_found(bencher: Bencher<'_, '_>, routes: usize) {
    let table = table(&config(routes));
    bencher.bench_local(|| {
        let mut captures = Captures::default();
        table.matcher.find(b"localhost", black_box(b"/api/v1/shop/items"), b"GET", &mut captures)
    });
}

fn look_up(bencher: Bencher<'_, '_>, table: &Table, paths: &[String], method: &[u8]) {
    let mut paths = paths.iter().cycle();
    bencher.bench_local(|| {
        let path = paths.next().map_or(&b"/"[..], |path| path.as_bytes());
        let mut captures = Captures::default();
        let found = table.matcher.find(b"localhost", black_box(path), method, &mut captures);
        assert!(matches!(found, Match::Route(_)));
        (found, captures)
    });
}

#[divan::bench(args = ["/users", "/api/v1/shop123/users/12345/orders", "/a%20b/%2e%2e%2e/c"])]
fn spelling(path: &str) -> bool {
    clean(black_box(path.as_bytes()), PathRules::Normal)
}

#[divan::bench(args = [10_000], sample_count = 10)]
fn compiling(bencher: Bencher<'_, '_>, routes: usize) {
    let config = config(routes);
    bencher.bench_local(|| table(black_box(&config)));
}

fn table(config: &Config) -> Table {
    let kept = Kept {
        breakers: &Registry::new(4),
        draft: &mut Draft::default(),
        tallies: &mut Tallies::default(),
    };
    compile(config, 1, kept, |_, port| [([127, 0, 0, 1], port).into()].into())
}

fn config(routes: usize) -> Config {
    Config {
        listen: Vec::new(),
        admin: None,
        workers: Workers::Auto,
        driver: Driver::Auto,
        state: fusebox::config::State::Memory,
        log: Log {
            level: log::LevelFilter::Info,
            access: Access::Off,
            format: LineFormat::Json,
            file: None,
        },
        http: Http {
            routes: (0..routes).map(route).collect(),
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
            forwarded: Forwarded { trust: Vec::new(), emit: Vec::new() },
            trailing_slash: TrailingSlash::Ignore,
            paths: PathRules::Normal,
        },
    }
}

/// By turns a literal path, one with a param, one with a rest, each under a shop of its own.
fn route(nth: usize) -> Route {
    let literal = |text: &str| Segment::Literal(text.to_owned());
    let shop = literal(&format!("shop{nth}"));
    let mut segments = [literal("api"), literal("v1"), shop].to_vec();
    segments.extend(match nth % 3 {
        0 => [literal("items")].to_vec(),
        1 => [literal("users"), Segment::Param("id".to_owned())].to_vec(),
        _ => [Segment::Rest("0".to_owned())].to_vec(),
    });
    Route {
        host: HostPattern::Default,
        path: PathPattern { text: format!("/api/v1/shop{nth}/{}", nth % 3), segments },
        method: Some("GET".to_owned()),
        services: [service(nth)].into(),
        breaker: Some(breaker()),
        generic_errors: false,
        timeouts: RouteTimeouts { body: None, connect: None, response: None, tunnel: None },
        body_bytes_max: None,
    }
}

fn service(nth: usize) -> Service {
    let host = format!("10.0.{}.{}", nth / 250 % 250, nth % 250);
    Service {
        name: "shop".to_owned(),
        urls: [UrlTemplate {
            text: format!("http://{host}:8080/"),
            authority: format!("{host}:8080"),
            host,
            port: 8080,
            pieces: [Piece::Literal("/".to_owned())].into(),
            query: TemplateQuery::Absent,
        }]
        .into(),
        balance: Balance::LeastRequests,
        breaker: None,
        retry: Retry::default(),
        timeout: None,
        merge: Merge::Union,
        host_header: HostHeader::Target,
        turn: Turn::Always,
    }
}

fn breaker() -> BreakerConfig {
    let message = |status, text: &str| Answer { status, body: Body::Message(text.to_owned()) };
    let failures = NonZeroU32::MIN.saturating_add(9);
    BreakerConfig {
        scope: Scope::Route,
        policy: Policy::reset(failures, Window::Cumulative, Duration::from_secs(120)),
        timeout: Some(Duration::from_secs(30)),
        timeout_answer: message(504, "Operation timeout"),
        refusal: message(503, "Service unavailable"),
        fallback: None,
        retry_after: RetryAfter::Send,
        on_open: Vec::new(),
        on_close: Vec::new(),
        on_rejected: Vec::new(),
        stats: None,
    }
}
