//! The matcher against the rules of its contract, the compile against its configuration.

#![allow(clippy::disallowed_types, clippy::disallowed_macros, reason = "cold: tests only")]

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::compile::{Kept, compile};
use super::matcher::{Captures, Match};
use super::sample::{self, config, look_back, reset, route, service};
use super::{Piece, Table};
use crate::breaker::policy::Window;
use crate::breaker::registry::{Draft, Registry};
use crate::config::{self as cfg, HostPattern, PathRules, Segment, TrailingSlash};
use crate::http1::answer::{After, Prefer, Rendered, Send};
use crate::stats::Tallies;

fn routed(routes: &[&str], trailing_slash: TrailingSlash) -> Table {
    let mut config = config(routes.iter().map(|text| route(text)).collect());
    config.http.trailing_slash = trailing_slash;
    let kept = Kept {
        breakers: &Registry::new(1),
        draft: &mut Draft::default(),
        tallies: &mut Tallies::default(),
    };
    compile(&config, 1, kept, |_, _| Vec::new())
}

/// What `request` (as in [`route`]) finds: the route's name and captures, 404, or 405 with `Allow`.
fn found(table: &Table, request: &str) -> String {
    let mut words: Vec<&str> = request.split(' ').collect();
    let path = words.pop().unwrap().as_bytes();
    let method = words.pop().unwrap().as_bytes();
    let host = words.pop().unwrap_or("unnamed.test").as_bytes();
    let mut captures = Captures::default();
    match table.matcher.find(host, path, method, &mut captures) {
        Match::NotFound => "404".to_owned(),
        Match::WrongMethod(nth) => {
            let text = text(&table.answers.method_not_allowed[nth]);
            let allow = text.lines().find(|line| line.starts_with("allow: "));
            format!("405 {}", allow.unwrap())
        }
        Match::Route(ix) => {
            let takes = (0..captures.len()).map(|nth| captures.get(nth, path).escape_ascii());
            let takes: Vec<_> = takes.map(|bytes| format!(" [{bytes}]")).collect();
            format!("{}{}", table.routes[ix.at()].name, takes.concat())
        }
    }
}

fn text(rendered: &Rendered) -> String {
    let mut out = Vec::new();
    rendered.write(Prefer::Text, Send::Whole, After::Keep, b"", None, |bytes| out.extend(bytes));
    String::from_utf8(out).unwrap()
}

#[track_caller]
fn finds(table: &Table, rows: &[(&str, &str)]) {
    for (request, expected) in rows {
        assert_eq!(found(table, request), *expected, "{request}");
    }
}

#[test]
fn a_literal_goes_before_a_param_before_the_rest_whatever_the_order() {
    let mut routes = ["GET /u/(.*)", "GET /u/:id", "GET /u/me", "GET /u/:id/x", "GET /u/me/:y"];
    for _ in 0..2 {
        let table = routed(&routes, TrailingSlash::Ignore);
        let rows = [
            ("GET /u/me", "GET /u/me"),
            ("GET /u/7", "GET /u/:id [7]"),
            ("GET /u/7/x", "GET /u/:id/x [7]"),
            ("GET /u/me/x", "GET /u/me/:y [x]"),
            ("GET /u/me/x/y", "GET /u/(.*) [me/x/y]"),
            ("GET /u/7/y", "GET /u/(.*) [7/y]"),
            ("GET /u", "GET /u/(.*) []"),
            ("GET /v", "404"),
            ("GET /", "404"),
            ("GET *", "404"),
            ("GET ", "404"),
        ];
        finds(&table, &rows);
        routes.reverse();
    }
}

#[test]
fn going_back_gives_up_what_a_dead_branch_captured() {
    let table = routed(
        &["GET /:a/b/c/d", "GET /x/:b/c/e", "GET /x/b/:c/f", "GET /:a/:b/*tail"],
        TrailingSlash::Ignore,
    );
    let rows = [
        ("GET /x/b/c/d", "GET /:a/b/c/d [x]"),
        ("GET /x/b/c/e", "GET /x/:b/c/e [b]"),
        ("GET /x/b/c/f", "GET /x/b/:c/f [c]"),
        ("GET /x/b/c/g", "GET /:a/:b/*tail [x] [b] [c/g]"),
        ("GET /x/b", "GET /:a/:b/*tail [x] [b] []"),
        ("GET /x", "404"),
    ];
    finds(&table, &rows);
}

#[test]
fn the_wildcard_takes_slashes_and_bytes_as_they_came() {
    let table = routed(&["GET /users/:id/a/(.*)"], TrailingSlash::Ignore);
    let rows = [
        ("GET /users/100/a/boom/shanker", "GET /users/:id/a/(.*) [100] [boom/shanker]"),
        ("GET /users/a%20b/a//x/", "GET /users/:id/a/(.*) [a%20b] [/x/]"),
        ("GET /users/100/a/", "GET /users/:id/a/(.*) [100] []"),
        ("GET /users//a/x", "404"),
    ];
    finds(&table, &rows);
}

#[test]
fn a_trailing_slash_is_ignored_or_counts() {
    let paths = ["GET /users", "GET /a/(.*)", "GET /"];
    let rows = [("GET /users", "GET /users"), ("GET /a", "GET /a/(.*) []"), ("GET /", "GET /")];
    for trailing_slash in [TrailingSlash::Ignore, TrailingSlash::Strict] {
        let table = routed(&paths, trailing_slash);
        finds(&table, &rows);
        finds(&table, &[("GET /a/", "GET /a/(.*) []"), ("GET /a/b/", "GET /a/(.*) [b/]")]);
        finds(&table, &[("GET //", "404"), ("GET /users//", "404")]);
    }
    finds(&routed(&paths, TrailingSlash::Ignore), &[("GET /users/", "GET /users")]);
    finds(&routed(&paths, TrailingSlash::Strict), &[("GET /users/", "404")]);

    let both = ["GET /users/", "POST /users"];
    let table = routed(&both, TrailingSlash::Ignore);
    finds(&table, &[("GET /users", "GET /users/"), ("POST /users/", "POST /users")]);
    let table = routed(&both, TrailingSlash::Strict);
    finds(&table, &[("GET /users", "405 allow: POST"), ("GET /users/", "GET /users/")]);
}

#[test]
fn a_method_of_its_own_goes_before_all_and_head_follows_get() {
    let table = routed(
        &["ALL /a", "GET /a", "GET /b", "PURGE /b", "HEAD /c", "GET /c", "POST /d", "ALL /e"],
        TrailingSlash::Ignore,
    );
    let rows = [
        ("GET /a", "GET /a"),
        ("HEAD /a", "GET /a"),
        ("BREW /a", "ALL /a"),
        ("HEAD /b", "GET /b"),
        ("PURGE /b", "PURGE /b"),
        ("purge /b", "405 allow: GET, HEAD, PURGE"),
        ("OPTIONS /b", "405 allow: GET, HEAD, PURGE"),
        ("HEAD /c", "HEAD /c"),
        ("HEAD /d", "405 allow: POST"),
        ("HEAD /e", "ALL /e"),
        ("ALL /b", "405 allow: GET, HEAD, PURGE"),
    ];
    finds(&table, &rows);
}

#[test]
fn the_most_specific_path_decides_though_another_has_the_method() {
    let table = routed(&["GET /users/me", "ALL /users/:id"], TrailingSlash::Ignore);
    let rows = [
        ("PUT /users/me", "405 allow: GET, HEAD"),
        ("PUT /users/7", "ALL /users/:id [7]"),
        ("TRACE /users/7", "405 allow: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
    ];
    finds(&table, &rows);
}

#[test]
fn a_host_with_routes_never_falls_to_the_default() {
    let table = routed(
        &[
            "GET /",
            "api.example.com GET /api",
            "*.example.com GET /below",
            "*.eu.example.com GET /eu",
        ],
        TrailingSlash::Ignore,
    );
    let rows = [
        ("GET /", "GET /"),
        ("api.example.com GET /api", "api.example.com GET /api"),
        ("api.example.com. GET /api", "api.example.com GET /api"),
        ("api.example.com GET /", "404"),
        ("api.example.com GET /below", "404"),
        ("x.example.com GET /below", "*.example.com GET /below"),
        ("x.y.example.com GET /below", "*.example.com GET /below"),
        ("x.eu.example.com GET /eu", "*.eu.example.com GET /eu"),
        ("x.eu.example.com GET /below", "404"),
        ("eu.example.com GET /below", "*.example.com GET /below"),
        ("example.com GET /", "GET /"),
        ("notexample.com GET /", "GET /"),
    ];
    finds(&table, &rows);
    let long = format!("{}x.example.com GET /", "a.".repeat(5000));
    assert_eq!(found(&table, &long), "GET /", "no host name is that long");
}

#[test]
fn a_path_that_16_bits_cannot_span_is_not_found() {
    let table = routed(&["GET /(.*)"], TrailingSlash::Ignore);
    assert_eq!(found(&table, &format!("GET /{}", "a".repeat(65_535))), "404");
    assert!(found(&table, &format!("GET /{}", "/".repeat(65_534))).starts_with("GET /(.*) [/"));
}

/// Going back costs nothing more than the tree's own size: a tree that offers two ways at each of
/// 16 levels, and a path that fits at no end.
#[test]
fn the_worst_tree_is_walked_once() {
    let mut routes = Vec::new();
    for ways in 0..1 << 12 {
        let way =
            |level| if ways >> level & 1 == 0 { "/a".to_owned() } else { format!("/:p{level}") };
        routes.push(format!("GET {}/end", (0..12).map(way).collect::<String>()));
    }
    let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
    let table = routed(&routes, TrailingSlash::Ignore);
    finds(&table, &[(&format!("GET {}/x", "/a".repeat(12)), "404")]);
    let last = format!("GET {}/end", "/b".repeat(12));
    assert!(found(&table, &last).starts_with("GET /:p0/:p1"));
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as usize % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }

    fn path(&mut self, parts: &[&str]) -> String {
        let path: String = (0..self.roll(5)).map(|_| format!("/{}", self.pick(parts))).collect();
        if path.is_empty() { "/".to_owned() } else { path }
    }
}

#[test]
fn agrees_with_a_naive_scan_over_random_route_sets() {
    let base = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = base.map_or(1..3000, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let trailing_slash = [TrailingSlash::Ignore, TrailingSlash::Strict][dice.roll(2)];
        let hosts = ["", "", "h.test ", "a.h.test ", "*.h.test ", "*.test "];
        let mut routes: Vec<String> = Vec::new();
        for _ in 0..dice.roll(14) {
            let host = dice.pick(&hosts);
            let method = dice.pick(&["GET", "POST", "ALL", "HEAD"]);
            let mut path = dice.path(&["a", "b", "ab", ":p"]);
            if dice.roll(4) == 0 {
                path = format!("{}/(.*)", path.trim_end_matches('/'));
            }
            let route = format!("{host}{method} {path}");
            if !routes.contains(&route) {
                routes.push(route);
            }
        }
        let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
        let table = routed(&routes, trailing_slash);
        let read: Vec<cfg::Route> = routes.iter().map(|text| route(text)).collect();
        for _ in 0..60 {
            let host =
                dice.pick(&["x.org", "h.test", "a.h.test", "b.h.test", "c.b.h.test", "test"]);
            let method = dice.pick(&["GET", "POST", "HEAD", "PUT"]);
            let path = dice.path(&["a", "b", "ab", "c", "", "%61"]);
            let request = format!("{host} {method} {path}");
            let expected = scan(&read, trailing_slash, host, &path, method);
            assert_eq!(found(&table, &request), expected, "SEED={seed} {request} {routes:#?}");
        }
    }
}

/// The contract read aloud: the host's routes, those that fit, the most specific, its methods.
fn scan(
    routes: &[cfg::Route],
    trailing_slash: TrailingSlash,
    host: &str,
    path: &str,
    method: &str,
) -> String {
    let fits_host = |pattern: &HostPattern| match pattern {
        HostPattern::Default => 1,
        HostPattern::Exact(name) if name == host => usize::MAX,
        HostPattern::Below(name) if host.ends_with(&format!(".{name}")) => 1 + name.len(),
        _ => 0,
    };
    let best_host = routes.iter().map(|route| fits_host(&route.host)).max().unwrap_or(0).max(1);
    let here = routes.iter().filter(|route| fits_host(&route.host) == best_host);
    let fitting = here.filter_map(|route| {
        let (rank, takes) = fit(&route.path.segments, trailing_slash, path)?;
        Some((rank, takes, route))
    });
    let fitting: Vec<_> = fitting.collect();
    let Some(best) = fitting.iter().map(|(rank, ..)| rank).min() else { return "404".to_owned() };
    let chosen = || fitting.iter().filter(|(rank, ..)| rank == best);
    let by = |wanted: Option<&str>| chosen().find(|(.., route)| route.method.as_deref() == wanted);
    let get = if method == "HEAD" { by(Some("GET")) } else { None };
    if let Some((_, takes, route)) = by(Some(method)).or(get).or(by(None)) {
        return format!("{}{takes}", super::compile::route_name(route));
    }
    let mut allow: Vec<_> = chosen().filter_map(|(.., route)| route.method.as_deref()).collect();
    if allow.contains(&"GET") {
        allow.push("HEAD");
    }
    allow.sort_unstable();
    allow.dedup();
    format!("405 allow: {}", allow.join(", "))
}

/// Whether a pattern fits, how specific it is segment by segment (less is more), what it takes.
fn fit(
    pattern: &[Segment],
    trailing_slash: TrailingSlash,
    path: &str,
) -> Option<(Vec<u8>, String)> {
    let mut parts: Vec<&str> = path[1..].split('/').collect();
    if path == "/" || trailing_slash == TrailingSlash::Ignore && parts.last() == Some(&"") {
        parts.pop();
    }
    let (mut rank, mut takes, mut at) = (Vec::new(), String::new(), 1);
    for (nth, segment) in pattern.iter().enumerate() {
        match (segment, parts.get(nth)) {
            (Segment::Rest(_), _) => {
                rank.push(3);
                takes += &format!(" [{}]", path.get(at..).unwrap_or_default());
                return Some((rank, takes));
            }
            (Segment::Literal(literal), Some(part)) if literal == part => rank.push(1),
            (Segment::Param(_), Some(part)) if !part.is_empty() => {
                rank.push(2);
                takes += &format!(" [{part}]");
            }
            _ => return None,
        }
        at += parts[nth].len() + 1;
    }
    rank.push(0);
    (parts.len() == pattern.len()).then_some((rank, takes))
}

#[test]
fn breakers_and_counters_live_on_under_their_routes_names() {
    let registry = Registry::new(2);
    let mut tallies = Tallies::default();
    let mut users = route("api.example.com ALL /users");
    users.breaker = Some(look_back(3, Duration::from_secs(10)));
    let mut orders = route("POST /orders");
    orders.breaker = Some(reset(10, Window::Cumulative));
    let mut again = |generation, routes: Vec<cfg::Route>| {
        let mut draft = Draft::default();
        let kept = Kept { breakers: &registry, draft: &mut draft, tallies: &mut tallies };
        let table = compile(&config(routes), generation, kept, |_, _| Vec::new());
        registry.commit(draft);
        table
    };
    let first = again(1, [users.clone(), route("GET /free"), orders.clone()].into());
    let second = again(2, [orders, users].into());
    assert_eq!((first.generation, second.generation), (1, 2));
    let names: Vec<_> = first.breakers.iter().map(|breaker| &*breaker.name).collect();
    assert_eq!(names, ["api.example.com ALL /users", "POST /orders"]);
    for breaker in &first.breakers {
        let route = first.routes.iter().find(|route| route.name == breaker.name).unwrap();
        assert_eq!(first.breakers[route.breaker.unwrap().at()].name, route.name);
        let later = second.routes.iter().find(|later| later.name == route.name).unwrap();
        assert!(Arc::ptr_eq(&route.tally, &later.tally), "{}", route.name);
    }
    assert!(first.routes[1].breaker.is_none());

    // The memory is shared: what one generation's breaker learns, the other's knows.
    let core = crate::breaker::Core::claim(1);
    let now = crate::clock::Now::from_millis(5000);
    let (verdict, _) = first.breakers[1].breaker.admit(&core, now);
    let crate::breaker::Verdict::Admit(ticket) = verdict else { panic!("refused") };
    assert!(ticket.settle(crate::breaker::outcome::Ending::Answered(500), now).is_none());
    assert_eq!(second.breakers[0].breaker.totals().failure, 1);
    assert!(text(&first.breakers[0].refusal).ends_with("\r\n\r\nBusy."));
    assert!(text(&second.breakers[0].refusal).ends_with("\r\n\r\nService unavailable"));
    assert!(text(&first.breakers[0].timeout_answer).starts_with("HTTP/1.1 504 "));
}

#[test]
fn services_are_neighbours_and_targets_are_shared() {
    let mut one = route("GET /one");
    one.services = vec![service("a", "localhost", 9000), service("b", "::1", 9000)];
    one.services[1].urls[0].pieces =
        vec![cfg::Piece::Literal("/b/".to_owned()), cfg::Piece::Capture(0)];
    let mut two = route("GET /two");
    two.services = vec![service("c", "localhost", 9001), service("d", "localhost", 9000)];
    let asked = Cell::new(0);
    let kept = Kept {
        breakers: &Registry::new(1),
        draft: &mut Draft::default(),
        tallies: &mut Tallies::default(),
    };
    let table = compile(&config([one, two].into()), 1, kept, |host, port| {
        asked.set(asked.get() + 1);
        if port == 9001 { Vec::new() } else { vec![address(host, port)] }
    });
    assert_eq!(asked.get(), 3);
    let names: Vec<_> = table.targets.iter().map(|target| &*target.name).collect();
    assert_eq!(names, ["localhost:9000", "[::1]:9000", "localhost:9001"]);
    assert_eq!(*table.targets[1].addresses, [address("::1", 9000)]);
    assert!(table.targets[2].addresses.is_empty());
    let span = table.routes[1].services;
    assert_eq!((span.first.at(), span.len), (2, 2));
    let targets: Vec<_> = table.endpoints.iter().map(|endpoint| endpoint.target.at()).collect();
    assert_eq!(targets, [0, 1, 2, 0]);
    assert_eq!(table.endpoints[1].literal_bytes, 3);
    assert_eq!(*table.endpoints[1].pieces, [Piece::Literal((*b"/b/").into()), Piece::Capture(0)]);
}

fn address(host: &str, port: u16) -> SocketAddr {
    let ip = if host == "localhost" { "127.0.0.1" } else { host };
    (ip.parse::<std::net::IpAddr>().unwrap(), port).into()
}

#[test]
fn every_answer_of_our_own_has_its_status_and_a_short_text() {
    let table = sample::table(7, [route("GET /"), route("PUT /x")].into());
    let answers = &table.answers;
    assert!(text(&answers.internal).ends_with("\r\n\r\nInternal Server Error."));
    assert!(text(&answers.bad_gateway).ends_with("\r\n\r\nBad gateway"));
    assert!(text(&answers.not_found).ends_with("\r\n\r\nNot found"));
    let statuses = [&answers.bad_request, &answers.gateway_timeout, &answers.no_room];
    assert_eq!(statuses.map(Rendered::status), [400, 504, 503]);
    assert_eq!(answers.method_not_allowed.len(), 2);
    assert_eq!((table.generation, table.paths), (7, PathRules::Normal));
}
