//! What we promise → the fixed plan every core reads.
//!
//! A [`Table`] is flat arrays with typed indices, made whole by `compile`, published whole by
//! `live`, and never changed. Routes, breakers, targets and answers of one table belong together:
//! an index of one table means nothing in another.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

pub mod compile;
pub mod live;
pub mod matcher;
pub mod spelling;
mod tree;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use std::sync::Arc;

use crate::breaker::Breaker;
use crate::config::{
    Access, Balance, HostHeader, Limits, Merge, Network, PathRules, Retry, RetryAfter,
    RouteTimeouts, Scope, TemplateQuery, Timeouts,
};
use crate::http1::answer::Rendered;
use crate::http1::forwarding::{Telling, Word};
use crate::stats::{ServiceTally, Tally, TargetTally};

/// The compiled configuration.
#[derive(Debug)]
pub struct Table {
    /// Which generation of the configuration this is, from 1.
    pub generation: u64,
    /// Finds the route of a request.
    pub matcher: matcher::Matcher,
    /// Every route, by [`RouteIx`].
    pub routes: Box<[Route]>,
    /// Every service, by [`ServiceIx`]; a route's services are neighbours.
    pub services: Box<[Service]>,
    /// Every URL, by [`EndpointIx`]; a service's URLs are neighbours.
    pub endpoints: Box<[Endpoint]>,
    /// Every target, by [`TargetIx`]; one per distinct host and port.
    pub targets: Box<[Target]>,
    /// Every breaker, by [`BreakerIx`].
    pub breakers: Box<[Guard]>,
    /// Responses of our own that no route chooses.
    pub answers: Answers,
    /// Process-wide timeouts.
    pub timeouts: Timeouts,
    /// Limits on what clients and upstreams send.
    pub limits: Limits,
    /// Whose word on a client is believed, and what upstreams are told of one.
    pub forwarding: Forwarding,
    /// Which spellings of a path are refused.
    pub paths: PathRules,
    /// Which requests are logged.
    pub access: Access,
}

/// Whose word on a client is believed, and what upstreams are told of one.
#[derive(Debug)]
pub struct Forwarding {
    /// Peers that are believed.
    pub trust: Box<[Network]>,
    /// What is told.
    pub telling: Telling,
}

impl Forwarding {
    /// Whether what the peer at `ip` says of a client is believed.
    #[must_use]
    pub fn word_of(&self, ip: IpAddr) -> Word {
        if self.trust.iter().any(|network| network.holds(ip)) {
            Word::Believed
        } else {
            Word::Replaced
        }
    }
}

// An index is made by this table's compile and used with this table only: it is always in range.
impl Table {
    /// The route at `ix`.
    #[must_use]
    pub fn route(&self, ix: RouteIx) -> &Route {
        &self.routes[ix.at()]
    }

    /// The services that every request of a route goes to, in the document's order.
    #[must_use]
    pub fn services_of(&self, route: &Route) -> &[Service] {
        let first = route.services.first.at();
        &self.services[first..first + route.services.len as usize]
    }

    /// A route's services, those that stand in for others last.
    #[must_use]
    pub fn all_services_of(&self, route: &Route) -> &[Service] {
        let first = route.services.first.at();
        &self.services[first..first + (route.services.len + route.stand_ins) as usize]
    }

    /// The service at `ix`, as if it were the only one of its route.
    #[must_use]
    pub fn service_alone(&self, ix: ServiceIx) -> &[Service] {
        std::slice::from_ref(&self.services[ix.at()])
    }

    /// A service's URLs, in the document's order: at least one.
    #[must_use]
    pub fn endpoints_of(&self, service: &Service) -> &[Endpoint] {
        let first = service.endpoints.first.at();
        &self.endpoints[first..first + service.endpoints.len as usize]
    }

    /// The target at `ix`.
    #[must_use]
    pub fn target(&self, ix: TargetIx) -> &Target {
        &self.targets[ix.at()]
    }

    /// The breaker of this name, and its place.
    #[must_use]
    pub fn breaker_named(&self, name: &str) -> Option<(BreakerIx, &Guard)> {
        let place = self.breakers.iter().position(|it| *it.name == *name)?;
        Some((BreakerIx(u32::try_from(place).ok()?), &self.breakers[place]))
    }

    /// The breaker at `ix`.
    #[must_use]
    pub fn breaker(&self, ix: BreakerIx) -> &Guard {
        &self.breakers[ix.at()]
    }
}

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Its stable name: `GET /users`, with a host `api.example.com GET /users`.
    pub name: Box<str>,
    /// The services that every request goes to: first and count.
    pub services: Span<ServiceIx>,
    /// How many services behind those are asked instead of what a breaker refuses.
    pub stand_ins: u32,
    /// Its breaker of scope route, if it has one.
    pub breaker: Option<BreakerIx>,
    /// Its timeouts.
    pub timeouts: RouteTimeouts,
    /// The largest request body in bytes; `None`: unlimited.
    pub body_bytes_max: Option<u64>,
    /// Whether any upstream 5xx leaves as our own 500.
    pub generic_errors: bool,
    /// Its request counters, kept across reloads.
    pub tally: Arc<Tally>,
}

/// One service of a route.
#[derive(Debug)]
pub struct Service {
    /// Its place: where a core finds what it keeps of the service.
    pub ix: ServiceIx,
    /// Its name in the document.
    pub name: Box<str>,
    /// Its URLs: first and count.
    pub endpoints: Span<EndpointIx>,
    /// How one of them is chosen.
    pub balance: Balance,
    /// What is tried again.
    pub retry: Retry,
    /// Its retries, counted and kept across reloads.
    pub tally: Arc<ServiceTally>,
    /// Its own time limit.
    pub timeout: Option<Duration>,
    /// Whether its answer is part of the merged one.
    pub merge: Merge,
    /// Which `Host` is sent.
    pub host_header: HostHeader,
}

impl Service {
    /// Whether an exchange may go on at another URL than it began with.
    #[must_use]
    pub const fn may_move(&self) -> bool {
        self.endpoints.len > 1 && self.retry.attempts > 0
    }
}

/// One URL of a service.
#[derive(Debug)]
pub struct Endpoint {
    /// Where its requests go.
    pub target: TargetIx,
    /// What watches each attempt on it: its own breaker, or the one of its service.
    pub breaker: Option<BreakerIx>,
    /// What is sent as path and query.
    pub pieces: Box<[Piece]>,
    /// Whether `pieces` has a query of its own.
    pub query: TemplateQuery,
    /// Bytes of all literal pieces.
    pub literal_bytes: usize,
}

/// A part of a URL template.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Literal(Box<[u8]>),
    /// The n-th capture of the route's path.
    Capture(usize),
    /// The same in the query, where some bytes that are plain in a path would end the value.
    QueryCapture(usize),
}

/// A host and port that requests go to.
#[derive(Debug)]
pub struct Target {
    /// `host:port`, its identity across tables.
    pub name: Box<str>,
    /// What ends a request line to it: the version, and the `Host` field with its authority.
    pub line_end: Box<[u8]>,
    /// Where it answers, in the order to try; empty when its name did not resolve. A name may lead
    /// elsewhere later: see [`Moved`].
    pub addresses: Box<[SocketAddr]>,
    /// Its connections, counted and kept across reloads.
    pub tally: Arc<TargetTally>,
}

/// A target whose name leads elsewhere now: what the control plane tells the cores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The target's name.
    pub target: Box<str>,
    /// Where it answers; empty: nowhere.
    pub addresses: Box<[SocketAddr]>,
}

/// A breaker with what its clients are told.
#[derive(Debug)]
pub struct Guard {
    /// Its stable name: of a route `GET /users`, of a service `GET /users#user`, of a target
    /// `GET /users#user@http://localhost:6666`.
    pub name: Box<str>,
    /// The name of its route.
    pub route: Box<str>,
    /// What it watches.
    pub scope: Scope,
    /// Policy and shared state.
    pub breaker: Breaker,
    /// From admission to the end of the response.
    pub timeout: Option<Duration>,
    /// Sent when `timeout` runs out before the head.
    pub timeout_answer: Rendered,
    /// Sent to refused requests.
    pub refusal: Rendered,
    /// The service that is asked instead of refusing, if there is one.
    pub instead: Option<ServiceIx>,
    /// Whether refusals carry `Retry-After`.
    pub retry_after: RetryAfter,
}

/// Responses of our own that no route chooses.
#[derive(Debug)]
pub struct Answers {
    /// 400.
    pub bad_request: Rendered,
    /// 404.
    pub not_found: Rendered,
    /// 405 to `CONNECT`: nothing is allowed on the authority it names.
    pub connect_refused: Rendered,
    /// 408.
    pub request_timeout: Rendered,
    /// 413.
    pub content_too_large: Rendered,
    /// 414.
    pub uri_too_long: Rendered,
    /// 417.
    pub expectation_failed: Rendered,
    /// 431.
    pub head_too_large: Rendered,
    /// 500 of `genericErrors`: `Internal Server Error.`
    pub internal: Rendered,
    /// 501: a transfer coding we do not know.
    pub not_implemented: Rendered,
    /// 502.
    pub bad_gateway: Rendered,
    /// 503: no room for another connection.
    pub no_room: Rendered,
    /// 504.
    pub gateway_timeout: Rendered,
    /// 505.
    pub version_not_supported: Rendered,
    /// 508: the request has been here before.
    pub loop_detected: Rendered,
    /// 405, one per distinct set of allowed methods; `Match::WrongMethod` names it by index.
    pub method_not_allowed: Box<[Rendered]>,
}

/// `len` neighbours from `first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span<Ix> {
    /// The first.
    pub first: Ix,
    /// How many.
    pub len: u32,
}

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(in crate::table) u32);

        impl $name {
            /// Its place in the array.
            #[must_use]
            pub const fn at(self) -> usize {
                self.0 as usize
            }
        }
    };
}

index!(
    /// A place in [`Table::routes`].
    RouteIx
);
index!(
    /// A place in [`Table::services`].
    ServiceIx
);
index!(
    /// A place in [`Table::endpoints`].
    EndpointIx
);
index!(
    /// A place in [`Table::targets`].
    TargetIx
);
index!(
    /// A place in [`Table::breakers`].
    BreakerIx
);

/// A breaker of this table moved: what a core tells the control plane.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The table the breaker was asked in.
    pub table: Arc<Table>,
    /// The breaker.
    pub breaker: BreakerIx,
    /// Its move.
    pub transition: crate::breaker::Transition,
}

/// Takes notices from the cores: must not block, and may drop what it has no place for.
pub type Report = Arc<dyn Fn(Notice) + Send + Sync>;

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
