//! Routes and their services.
//!
//! Enters: `routes` and `hosts` as written, and what `http` says for all of them. Leaves: the
//! routes in the document's order. Owns the rule that no two of them serve the same requests.

use std::collections::BTreeMap;

use super::breaker::{self, Names};
use super::complaint::{Code, quoted};
use super::document::{self, Entries, OneOrMany};
use super::pattern::{self, Flaw};
use super::place::At;
use super::report::Report;
use super::service::URLS_MAX;
use super::span::Patience;
use super::units::{BytesCap, Count, Share};
use super::{
    Balance, BreakerConfig, Cause, Causes, HostHeader, HostPattern, Merge, PathPattern, PathRules,
    Retry, Route, RouteTimeouts, Scope, Service, TrailingSlash, Turn, UrlTemplate, stand_in, url,
};

/// More routes than this are refused: an index of a route has 16 bits to spare, a mind has fewer.
pub(super) const ROUTES_MAX: usize = 65_536;

/// What `http` says for all routes.
pub(super) struct Common<'d> {
    pub(super) names: Names<'d>,
    pub(super) breaker: Option<BreakerConfig>,
    pub(super) generic_errors: bool,
    pub(super) timeouts: RouteTimeouts,
    pub(super) body_bytes_max: Option<u64>,
    pub(super) trailing_slash: TrailingSlash,
    pub(super) paths: PathRules,
}

/// Reads every route of `http`, which stands at `at`.
pub(super) fn routes(
    http: &document::Http,
    common: Common<'_>,
    at: &At<'_>,
    report: &mut Report,
) -> Vec<Route> {
    let mut routes = Routes { common, seen: BTreeMap::new(), found: Vec::new() };
    routes.hosts(http, at, report);
    routes.found
}

struct Routes<'d> {
    common: Common<'d>,
    /// Where each set of requests is served first.
    seen: BTreeMap<(HostPattern, String, Option<String>), (String, String)>,
    found: Vec<Route>,
}

type Paths = Entries<Entries<document::Route>>;

impl Routes<'_> {
    fn hosts(&mut self, http: &document::Http, at: &At<'_>, report: &mut Report) {
        if http.routes.is_none() && http.hosts.is_none() {
            let message = "there are no routes".to_owned();
            report.value(Code::Missing, at, message, "add `routes`, or `hosts` with routes");
        }
        if let Some(routes) = &http.routes {
            self.host(&HostPattern::Default, routes, &at.key("routes"), report);
        }
        let root = at.key("hosts");
        let mut hosts: BTreeMap<HostPattern, String> = BTreeMap::new();
        for (name, host) in http.hosts.iter().flat_map(|hosts| &hosts.0) {
            let at = root.key(name);
            let pattern = match pattern::host(name) {
                Ok(pattern) => pattern,
                Err(flaw) => {
                    refuse(Code::BadPattern, &at, flaw, report);
                    continue;
                }
            };
            if let Some(first) = hosts.get(&pattern) {
                let message = format!("host {} is there twice", quoted(name));
                report.key(Code::Overlap, &at, message, "put all its routes under one key");
                report.point_at(first.clone(), "first written here");
                continue;
            }
            hosts.insert(pattern.clone(), at.to_string());
            if let Some(routes) = &host.routes {
                self.host(&pattern, routes, &at.key("routes"), report);
            }
        }
        if self.found.len() > ROUTES_MAX {
            let message = format!("there are {} routes", self.found.len());
            let remedy = format!("use at most {ROUTES_MAX}: params and `ALL` cover many at once");
            report.key(Code::TooMany, at, message, &remedy);
        }
    }

    fn host(&mut self, host: &HostPattern, paths: &Paths, at: &At<'_>, report: &mut Report) {
        if paths.0.is_empty() {
            let message = "there are no routes".to_owned();
            report.key(Code::Missing, at, message, r#"add one, as in "/users": { "GET": … }"#);
        }
        for (text, methods) in &paths.0 {
            let at = at.key(text);
            let path = match pattern::path(text, self.common.trailing_slash, self.common.paths) {
                Ok(path) => path,
                Err(flaw) => {
                    refuse(Code::BadPattern, &at, flaw, report);
                    continue;
                }
            };
            if methods.0.is_empty() {
                let message = "the path has no method".to_owned();
                report.key(Code::Missing, &at, message, "add one such as `GET`, or `ALL`");
            }
            for (method, route) in &methods.0 {
                let at = at.key(method);
                match pattern::method(method) {
                    Ok(known) => self.route(host, &path, known, route, &at, report),
                    Err(flaw) => refuse(Code::BadPattern, &at, flaw, report),
                }
            }
        }
    }

    fn route(
        &mut self,
        host: &HostPattern,
        path: &PathPattern,
        method: Option<String>,
        route: &document::Route,
        at: &At<'_>,
        report: &mut Report,
    ) {
        let set = (host.clone(), pattern::shape(path), method.clone());
        if let Some((first, text)) = self.seen.get(&set) {
            let (one, other) = (quoted(&path.text), quoted(text));
            let message = format!("{one} matches the same requests as {other}");
            report.key(Code::Overlap, at, message, "keep one of the two routes");
            report.point_at(first.clone(), "the other route");
            return;
        }
        self.seen.insert(set, (at.to_string(), path.text.clone()));
        let breaker = match &route.circuit_breaker {
            None => self.common.breaker.clone(),
            own => {
                let (at, names) = (at.key("circuitBreaker"), &self.common.names);
                breaker::choose(own.as_ref(), Scope::Route, &at, names, report)
            }
        };
        // One that watches services or targets is that of each service without one of its own.
        let (breaker, each) = match breaker {
            Some(it) if it.scope == Scope::Route => (Some(it), None),
            each => (None, each),
        };
        let limits = route.limits.as_ref();
        let shared = Shared { names: &self.common.names, breaker: each.as_ref() };
        let mut services = services(route, path, &shared, at, report);
        stand_in::arrange(&mut services, breaker.as_ref(), at, report);
        self.found.push(Route {
            host: host.clone(),
            path: path.clone(),
            method,
            services,
            breaker,
            generic_errors: route.generic_errors.unwrap_or(self.common.generic_errors),
            timeouts: own_timeouts(route.timeouts.as_ref(), self.common.timeouts),
            body_bytes_max: match limits.and_then(|limits| limits.body) {
                None => self.common.body_bytes_max,
                Some(BytesCap(cap)) => cap,
            },
        });
    }
}

fn refuse(code: Code, at: &At<'_>, flaw: Flaw, report: &mut Report) {
    report.key(code, at, flaw.fault, &flaw.remedy);
}

/// What the services of a route share.
struct Shared<'d> {
    names: &'d Names<'d>,
    breaker: Option<&'d BreakerConfig>,
}

fn services(
    route: &document::Route,
    path: &PathPattern,
    shared: &Shared<'_>,
    at: &At<'_>,
    report: &mut Report,
) -> Vec<Service> {
    let Some(services) = &route.services else {
        return Vec::new();
    };
    let root = at.key("services");
    if services.0.is_empty() {
        let message = "the route has no service".to_owned();
        let remedy = r#"add one, as in "users": { "url": "http://127.0.0.1:9000/users" }"#;
        report.key(Code::Missing, &root, message, remedy);
    }
    let captures = pattern::captures(path);
    let services = services.0.iter().filter_map(|(name, service)| {
        self::service(name, service, &captures, shared, &root.key(name), report)
    });
    services.collect()
}

fn service(
    name: &str,
    service: &document::Service,
    captures: &[&str],
    shared: &Shared<'_>,
    at: &At<'_>,
    report: &mut Report,
) -> Option<Service> {
    if service.kind == Some(document::ServiceType::Redis) {
        return None;
    }
    if service.request_channel.is_some() {
        let message = "`requestChannel` belongs to services of type redis".to_owned();
        report.key(Code::Conflict, &at.key("requestChannel"), message, "remove it");
    }
    let breaker = match &service.circuit_breaker {
        // Who stands in for others is not refused by the breaker of those.
        None => shared.breaker.filter(|it| stand_in::named(it) != Some(name)).cloned(),
        own => own_breaker(own.as_ref(), shared.names, &at.key("circuitBreaker"), report),
    };
    Some(Service {
        name: name.to_owned(),
        urls: urls(service, captures, at, report)?,
        balance: match service.balance {
            Some(document::Balance::LeastRequests) | None => Balance::LeastRequests,
            Some(document::Balance::RoundRobin) => Balance::RoundRobin,
            Some(document::Balance::Random) => Balance::Random,
        },
        breaker,
        retry: service.retry.as_ref().map_or_else(Retry::default, retry),
        timeout: service.timeout.and_then(|Patience(timeout)| timeout),
        merge: match service.merge {
            Some(false) => Merge::Ignore,
            Some(true) | None => Merge::Union,
        },
        host_header: match service.preserve_host {
            Some(true) => HostHeader::Client,
            Some(false) | None => HostHeader::Target,
        },
        turn: Turn::Always,
    })
}

/// The URLs of a service; `None`: none that can be called.
fn urls(
    service: &document::Service,
    captures: &[&str],
    at: &At<'_>,
    report: &mut Report,
) -> Option<Vec<UrlTemplate>> {
    let root = at.key("url");
    let mut urls = Vec::new();
    for (nth, text) in service.url.iter().flat_map(OneOrMany::iter) {
        let at = nth.map_or(root, |nth| root.nth(nth));
        match url::template(text, captures) {
            Ok(url) => urls.push(url),
            Err((code, flaw)) => report.value(code, &at, flaw.fault, &flaw.remedy),
        }
    }
    if urls.len() > URLS_MAX {
        let message = format!("the service has {} URLs", urls.len());
        let remedy = format!("use at most {URLS_MAX}: one name may lead to many addresses");
        report.key(Code::TooMany, &root, message, &remedy);
    }
    let missing = match &service.url {
        None => Some((*at, "`url` is missing")),
        Some(OneOrMany::Many(urls)) if urls.is_empty() => Some((root, "the list of URLs is empty")),
        Some(_) => None,
    };
    if let Some((at, message)) = missing {
        let remedy = r#"add one, as in "url": "http://127.0.0.1:9000/users""#;
        report.value(Code::Missing, &at, message.to_owned(), remedy);
    }
    Some(urls).filter(|urls| !urls.is_empty())
}

/// A service's own breaker: it watches the service, or each of its targets.
fn own_breaker(
    written: Option<&document::BreakerChoice>,
    names: &Names<'_>,
    at: &At<'_>,
    report: &mut Report,
) -> Option<BreakerConfig> {
    let breaker = breaker::choose(written, Scope::Service, at, names, report)?;
    if breaker.scope == Scope::Route {
        let message = "a service's breaker does not watch its route".to_owned();
        let remedy = r#"write "service" or "target", or move the breaker to the route"#;
        report.key(Code::Conflict, at, message, remedy);
    }
    Some(breaker)
}

fn retry(written: &document::Retry) -> Retry {
    let default = Retry::default();
    let cause = |on: &document::RetryOn| match on {
        document::RetryOn::Connect => Cause::Connect,
        document::RetryOn::Reset => Cause::Reset,
        document::RetryOn::Status => Cause::Status,
        document::RetryOn::Timeout => Cause::Timeout,
    };
    // The walk has held these to their ranges, which fit.
    let ppm = |Share(share): Share| (share * 1e6).round() as u32;
    Retry {
        attempts: written
            .attempts
            .and_then(|Count(count)| u32::try_from(count).ok())
            .unwrap_or(default.attempts),
        on: written
            .on
            .as_ref()
            .map_or(default.on, |on| on.iter().map(cause).fold(Causes::default(), Causes::with)),
        budget_ppm: written.budget.map_or(default.budget_ppm, ppm),
    }
}

/// A route's own time limits on top of those of `http`.
fn own_timeouts(own: Option<&document::RouteTimeouts>, http: RouteTimeouts) -> RouteTimeouts {
    let on_top = |own: Option<Patience>, http| own.map_or(http, |Patience(limit)| limit);
    RouteTimeouts {
        body: on_top(own.and_then(|own| own.body), http.body),
        connect: on_top(own.and_then(|own| own.connect), http.connect),
        response: on_top(own.and_then(|own| own.response), http.response),
        tunnel: on_top(own.and_then(|own| own.tunnel), http.tunnel),
    }
}
