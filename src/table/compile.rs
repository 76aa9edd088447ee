//! Config (+ what is kept of the old table) → Table.
//!
//! Enters: a checked configuration, the breakers and counters that live on, a way to find
//! addresses. Leaves: a [`Table`] that holds everything a request may need, rendered. Owns nothing:
//! what it chose to keep is noted in the draft, and counts when the table is published.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "cold: runs when a table is compiled"
)]

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::sync::LazyLock;

use super::{
    Answers, BreakerIx, Endpoint, EndpointIx, Forwarding, Guard, Piece, Route, Service, ServiceIx,
    Span, Table, Target, TargetIx, tree,
};
use crate::breaker::Breaker;
use crate::breaker::registry::{Draft, Registry};
use crate::config::{
    self, Body, BreakerConfig, Config, Fallback, HostPattern, RetryAfter, Scope, Turn, UrlTemplate,
};
use crate::http1::answer::{Length, Rendered, Say};
use crate::http1::forwarding::Telling;
use crate::stats::Tallies;

/// What a compile takes over from the tables before.
#[derive(Debug)]
pub struct Kept<'a> {
    /// Breaker memories.
    pub breakers: &'a Registry,
    /// The memories chosen here; commit it when the table is published.
    pub draft: &'a mut Draft,
    /// Counters of routes, services and targets.
    pub tallies: &'a mut Tallies,
}

/// Makes the table of `generation`. `resolve` gives the addresses of a host and port, in the order
/// to try; empty where the name does not resolve. It is asked once per distinct host and port.
pub fn compile(
    config: &Config,
    generation: u64,
    kept: Kept<'_>,
    resolve: impl Fn(&str, u16) -> Vec<SocketAddr>,
) -> Table {
    let http = &config.http;
    let (matcher, allows) = tree::grow(&http.routes, http.trailing_slash);
    let mut parts = Parts::new(kept, resolve);
    let routes = http.routes.iter().map(|route| parts.route(route)).collect();
    Table {
        generation,
        matcher,
        routes,
        services: parts.services.into(),
        endpoints: parts.endpoints.into(),
        targets: parts.targets.into(),
        breakers: parts.breakers.into(),
        answers: answers(&allows),
        timeouts: http.timeouts,
        limits: http.limits,
        forwarding: forwarding(&http.forwarded),
        paths: http.paths,
        access: config.log.access,
    }
}

/// The stable name of a route and of its breaker: host (unless default), method, path.
#[must_use]
pub fn route_name(route: &config::Route) -> String {
    let method = route.method.as_deref().unwrap_or("ALL");
    let path = &route.path.text;
    match &route.host {
        HostPattern::Default => format!("{method} {path}"),
        HostPattern::Exact(host) => format!("{host} {method} {path}"),
        HostPattern::Below(host) => format!("*.{host} {method} {path}"),
    }
}

/// Every breaker of `route` by its stable name, in the order in which the table has them. URLs of
/// one service with one host and port share theirs: it watches the target.
#[must_use]
pub fn breakers(route: &config::Route) -> Vec<(String, &BreakerConfig)> {
    let name = route_name(route);
    let own = route.breaker.iter().map(|breaker| (name.clone(), breaker));
    let mut found: Vec<_> = own.collect();
    for service in &route.services {
        let Some(breaker) = &service.breaker else { continue };
        for url in &service.urls {
            let name = attempts_name(&name, service, url, breaker.scope);
            if !found.iter().any(|(known, _)| *known == name) {
                found.push((name, breaker));
            }
        }
    }
    found
}

/// The stable name of the breaker that watches attempts on `url`.
fn attempts_name(
    route: &str,
    service: &config::Service,
    url: &UrlTemplate,
    scope: Scope,
) -> String {
    match scope {
        Scope::Route | Scope::Service => format!("{route}#{}", service.name),
        Scope::Target => format!("{route}#{}@http://{}", service.name, url.authority),
    }
}

fn forwarding(config: &config::Forwarded) -> Forwarding {
    let telling = Telling::new(&config.emit, NAME.as_bytes());
    Forwarding { trust: config.trust.as_slice().into(), telling }
}

/// What this process is called in `Via`: by chance, since two of one name would each take what the
/// other forwards for its own coming back. The same for all tables of a process.
static NAME: LazyLock<String> = LazyLock::new(|| {
    // The keys of a hasher are random, and differ between processes.
    let chance = RandomState::new().build_hasher().finish();
    format!("fusebox-{:08x}", chance >> 32)
});

/// The arrays of a table while they grow.
struct Parts<'c, 'k, R> {
    kept: Kept<'k>,
    resolve: R,
    services: Vec<Service>,
    endpoints: Vec<Endpoint>,
    targets: Vec<Target>,
    known_targets: BTreeMap<(&'c str, u16), TargetIx>,
    breakers: Vec<Guard>,
    known_breakers: BTreeMap<String, BreakerIx>,
}

/// The route that is being compiled.
struct Of<'c> {
    name: &'c str,
    route: &'c config::Route,
    first: ServiceIx,
}

impl Of<'_> {
    /// Where its service of this name will be.
    fn service(&self, name: &str) -> Option<ServiceIx> {
        let nth = self.route.services.iter().position(|service| service.name == name)?;
        Some(ServiceIx(self.first.0 + index(nth)))
    }
}

impl<'c, 'k, R: Fn(&str, u16) -> Vec<SocketAddr>> Parts<'c, 'k, R> {
    const fn new(kept: Kept<'k>, resolve: R) -> Self {
        Self {
            kept,
            resolve,
            services: Vec::new(),
            endpoints: Vec::new(),
            targets: Vec::new(),
            known_targets: BTreeMap::new(),
            breakers: Vec::new(),
            known_breakers: BTreeMap::new(),
        }
    }

    fn route(&mut self, route: &'c config::Route) -> Route {
        let name = route_name(route);
        let first = ServiceIx(index(self.services.len()));
        let of = Of { name: &name, route, first };
        let breaker = route.breaker.as_ref();
        let breaker = breaker.map(|breaker| self.breaker(name.clone(), &of, breaker));
        for service in &route.services {
            let service = self.service(&of, service);
            self.services.push(service);
        }
        let asked = route.services.iter().filter(|service| service.turn == Turn::Always).count();
        Route {
            services: Span { first, len: index(asked) },
            stand_ins: index(route.services.len() - asked),
            breaker,
            timeouts: route.timeouts,
            body_bytes_max: route.body_bytes_max,
            generic_errors: route.generic_errors,
            tally: self.kept.tallies.route(&name, self.kept.breakers.cores()),
            name: name.into(),
        }
    }

    fn service(&mut self, of: &Of<'_>, service: &'c config::Service) -> Service {
        let first = EndpointIx(index(self.endpoints.len()));
        for url in &service.urls {
            let breaker = service.breaker.as_ref().map(|breaker| {
                let name = attempts_name(of.name, service, url, breaker.scope);
                self.breaker(name, of, breaker)
            });
            let endpoint = self.endpoint(url, breaker);
            self.endpoints.push(endpoint);
        }
        let name = format!("{}#{}", of.name, service.name);
        Service {
            ix: ServiceIx(index(self.services.len())),
            name: service.name.as_str().into(),
            endpoints: Span { first, len: index(service.urls.len()) },
            balance: service.balance,
            retry: service.retry,
            tally: self.kept.tallies.service(&name, self.kept.breakers.cores()),
            timeout: service.timeout,
            merge: service.merge,
            host_header: service.host_header,
        }
    }

    fn endpoint(&mut self, url: &'c UrlTemplate, breaker: Option<BreakerIx>) -> Endpoint {
        let pieces = pieces(&url.pieces);
        let literal = |piece: &Piece| match piece {
            Piece::Literal(bytes) => bytes.len(),
            Piece::Capture(_) | Piece::QueryCapture(_) => 0,
        };
        Endpoint {
            target: self.target(url),
            breaker,
            literal_bytes: pieces.iter().map(literal).sum(),
            pieces,
            query: url.query,
        }
    }

    fn target(&mut self, url: &'c UrlTemplate) -> TargetIx {
        let key = (url.host.as_str(), url.port);
        if let Some(&known) = self.known_targets.get(&key) {
            return known;
        }
        let ix = TargetIx(index(self.targets.len()));
        let (host, port) = key;
        let name = target_name(host, port);
        let tally = self.kept.tallies.target(&name, self.kept.breakers.cores());
        let addresses = (self.resolve)(host, port).into();
        let line_end = format!(" HTTP/1.1\r\nhost: {}\r\n", url.authority).into_bytes().into();
        self.targets.push(Target { name: name.into(), line_end, addresses, tally });
        self.known_targets.insert(key, ix);
        ix
    }

    fn breaker(&mut self, name: String, of: &Of<'_>, breaker: &BreakerConfig) -> BreakerIx {
        if let Some(&known) = self.known_breakers.get(&name) {
            return known;
        }
        let ix = BreakerIx(index(self.breakers.len()));
        let memory = self.kept.breakers.memory(self.kept.draft, &name, &breaker.policy);
        self.breakers.push(Guard {
            name: name.as_str().into(),
            route: of.name.into(),
            scope: breaker.scope,
            breaker: Breaker::new(breaker.policy.clone(), memory),
            timeout: breaker.timeout,
            timeout_answer: rendered(&breaker.timeout_answer),
            refusal: match &breaker.fallback {
                Some(Fallback::Answer { answer, headers }) => stand_in(answer, headers),
                Some(Fallback::Service(_)) | None => rendered(&breaker.refusal),
            },
            instead: match &breaker.fallback {
                Some(Fallback::Service(name)) => of.service(name),
                Some(Fallback::Answer { .. }) | None => None,
            },
            retry_after: match &breaker.fallback {
                // An answer that is as good as any has nothing to retry.
                Some(Fallback::Answer { answer, .. }) if answer.status < 400 => RetryAfter::Omit,
                _ => breaker.retry_after,
            },
        });
        self.known_breakers.insert(name, ix);
        ix
    }
}

/// `host:port`, an IPv6 address in brackets: the identity of a target across tables.
#[must_use]
pub fn target_name(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A template's pieces; what stands behind its `?` is query.
fn pieces(template: &[config::Piece]) -> Box<[Piece]> {
    let mut in_query = false;
    let piece = |piece: &config::Piece| match piece {
        config::Piece::Literal(text) => {
            in_query |= text.contains('?');
            Piece::Literal(text.as_bytes().into())
        }
        config::Piece::Capture(nth) if in_query => Piece::QueryCapture(*nth),
        config::Piece::Capture(nth) => Piece::Capture(*nth),
    };
    template.iter().map(piece).collect()
}

fn rendered(answer: &config::Answer) -> Rendered {
    Rendered::new(answer.status, say(&answer.body), "")
}

const fn say(body: &Body) -> Say<'_> {
    match body {
        Body::Text(text) => Say::Text(text.as_str()),
        Body::Json(json) => Say::Json(json.as_str()),
        Body::Message(message) => Say::Message(message.as_str()),
    }
}

/// What is sent instead of a refusal, of the type it names itself or else of its body's.
fn stand_in(answer: &config::Answer, headers: &[(String, String)]) -> Rendered {
    let lines: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    if headers.iter().any(|(name, _)| name == "content-type") {
        let (Body::Text(body) | Body::Json(body) | Body::Message(body)) = &answer.body;
        return Rendered::from_bytes(
            answer.status,
            lines.as_bytes(),
            body.as_bytes(),
            Length::Told,
        );
    }
    Rendered::new(answer.status, say(&answer.body), &lines)
}

/// Short and neutral: nothing here tells a stranger what stands behind us.
fn answers(allows: &[String]) -> Answers {
    let message = |status, message| Rendered::new(status, Say::Message(message), "");
    let wrong_method = |allow: &String| {
        Rendered::new(405, Say::Message("Method not allowed"), &format!("allow: {allow}\r\n"))
    };
    Answers {
        bad_request: message(400, "Bad request"),
        not_found: message(404, "Not found"),
        connect_refused: wrong_method(&String::new()),
        request_timeout: message(408, "Request timeout"),
        content_too_large: message(413, "Content too large"),
        uri_too_long: message(414, "URI too long"),
        expectation_failed: message(417, "Expectation failed"),
        head_too_large: message(431, "Request header fields too large"),
        // Seed A's text, and text whatever the client prefers.
        internal: Rendered::new(500, Say::Text("Internal Server Error."), ""),
        not_implemented: message(501, "Not implemented"),
        bad_gateway: message(502, "Bad gateway"),
        no_room: message(503, "Too many connections"),
        gateway_timeout: message(504, "Gateway timeout"),
        version_not_supported: message(505, "HTTP version not supported"),
        loop_detected: message(508, "Loop detected"),
        method_not_allowed: allows.iter().map(wrong_method).collect(),
    }
}

/// A place in an array. Four billion places do not fit in a document.
fn index(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
