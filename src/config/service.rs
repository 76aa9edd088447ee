//! One service behind a route: its URLs, how one of them is chosen, and what is tried again.
//!
//! Enters: nothing. Leaves: the types that `routes` fills and `table::compile` reads. No behaviour.

use std::time::Duration;

use super::BreakerConfig;

/// One service behind a route.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name in the document.
    pub name: String,
    /// Where its requests go: at least one.
    pub urls: Vec<UrlTemplate>,
    /// How one of them is chosen.
    pub balance: Balance,
    /// Its breaker, of scope service or target: its own, else that of its route or of `http` where
    /// that has such a scope, unless it opted out.
    pub breaker: Option<BreakerConfig>,
    /// What is tried again.
    pub retry: Retry,
    /// From the request's start to the response's end; `None`: no limit of its own.
    pub timeout: Option<Duration>,
    /// Whether its answer is part of the merged one.
    pub merge: Merge,
    /// Which `Host` is sent.
    pub host_header: HostHeader,
    /// When it is asked.
    pub turn: Turn,
}

/// When a service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// For every request of its route.
    Always,
    /// Instead of what a breaker of its route refuses: its `fallback` names it.
    Instead,
}

/// The most URLs of one service: an exchange remembers in one word which of them it has tried.
pub(super) const URLS_MAX: usize = 64;

/// How one of several URLs is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Of two random ones that with fewer requests under way on this core (Mitzenmacher 2001).
    LeastRequests,
    /// One after the other, on each core.
    RoundRobin,
    /// Any.
    Random,
}

/// What is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts after the first.
    pub attempts: u32,
    /// After what.
    pub on: Causes,
    /// How many retries there may be, in millionths of the requests.
    pub budget_ppm: u32,
}

/// Why an attempt is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There was no connection: nothing was sent.
    Connect,
    /// The connection ended before a whole head.
    Reset,
    /// The answer's status counts as a failure.
    Status,
    /// A time limit ran out.
    Timeout,
}

/// A set of causes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes(u8);

impl Causes {
    /// This set and `cause`.
    #[must_use]
    pub const fn with(self, cause: Cause) -> Self {
        Self(self.0 | 1 << cause as u8)
    }

    /// Whether `cause` is one of them.
    #[must_use]
    pub const fn contains(self, cause: Cause) -> bool {
        self.0 & 1 << cause as u8 != 0
    }
}

impl Default for Retry {
    /// The contract's: once, after a failed connection, for a fifth of the requests.
    fn default() -> Self {
        Self { attempts: 1, on: Causes::default().with(Cause::Connect), budget_ppm: 200_000 }
    }
}

/// Whether a service's answer is part of the merged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// It is.
    Union,
    /// It is ignored, errors included.
    Ignore,
}

/// Which `Host` an upstream is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostHeader {
    /// The target's authority.
    Target,
    /// The client's.
    Client,
}

/// A URL with the params of its route's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlTemplate {
    /// As written.
    pub text: String,
    /// Host name or address literal (an IPv6 one without brackets), lower case.
    pub host: String,
    /// Port, 80 where none is written.
    pub port: u16,
    /// `host` or `host:port` as it goes into a `Host` header (brackets kept, port 80 left out).
    pub authority: String,
    /// What is sent as path and query: starts with a literal `/`, before the request's own query.
    pub pieces: Vec<Piece>,
    /// Whether the template itself has a `?` already.
    pub query: TemplateQuery,
}

/// A part of a URL template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Literal(String),
    /// The n-th capture of the route's path, as the client wrote it.
    Capture(usize),
}

/// Whether a URL template has a query of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateQuery {
    /// None: the request's query follows `?`.
    Absent,
    /// One: the request's query follows `&`.
    Present,
}
