//! Services that are asked instead of what a breaker refuses.
//!
//! Enters: the services of a route with their breakers, and the breaker of the route itself.
//! Leaves: the same, each told when it is asked, those that stand in behind the others. Owns the
//! rules of a fallback by a service: it is one of the same route, it is asked only then, whatever
//! breakers name it; it has no part in the route's answer otherwise, and nobody stands in for it.

use super::complaint::{Code, nearest, quoted};
use super::place::At;
use super::report::Report;
use super::{BreakerConfig, Fallback, Merge, Service, Turn};

/// Tells each of `services` when it is asked; the route stands at `at`, and has `breaker`.
pub(super) fn arrange(
    services: &mut [Service],
    breaker: Option<&BreakerConfig>,
    at: &At<'_>,
    report: &mut Report,
) {
    let own = services.iter().filter_map(|service| service.breaker.as_ref());
    let wanted: Vec<String> = own.chain(breaker).filter_map(named).map(str::to_owned).collect();
    if wanted.is_empty() {
        return;
    }
    let root = at.key("services");
    for name in &wanted {
        let known = services.iter().map(|service| service.name.as_str());
        if !known.clone().any(|known| known == name) {
            let message = format!("the route has no service {}, its fallback", quoted(name));
            let remedy = match nearest(name, known) {
                Some(meant) => format!("name {} there, or add it here", quoted(meant)),
                None => "add it; it is asked only instead of what the breaker refuses".to_owned(),
            };
            report.value(Code::Missing, &root, message, &remedy);
        }
    }
    for service in services.iter_mut().filter(|service| wanted.contains(&service.name)) {
        service.turn = Turn::Instead;
        let at = root.key(&service.name);
        if service.breaker.as_ref().and_then(named).is_some() {
            let message = "a service that stands in has nobody to stand in for it".to_owned();
            let remedy = "give its breaker a fallback of `status` and `body`, or none";
            report.key(Code::Conflict, &at.key("circuitBreaker"), message, remedy);
        }
        if service.merge == Merge::Ignore {
            let message = "a service that stands in is not ignored".to_owned();
            report.key(Code::Conflict, &at.key("merge"), message, "remove it");
        }
    }
    if !services.is_empty() && services.iter().all(|service| service.turn == Turn::Instead) {
        let message = "every service of the route is asked instead of another only".to_owned();
        report.key(Code::Conflict, &root, message, "add the one that is asked first");
    }
    // A stable sort: the order of the document stays.
    services.sort_by_key(|service| service.turn == Turn::Instead);
}

/// The service that stands in where `breaker` refuses.
pub(super) fn named(breaker: &BreakerConfig) -> Option<&str> {
    match &breaker.fallback {
        Some(Fallback::Service(name)) => Some(name),
        Some(Fallback::Answer { .. }) | None => None,
    }
}
