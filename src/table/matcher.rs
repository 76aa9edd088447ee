//! (host, path, method) → route; borrowed bytes in, no allocation.

#![deny(clippy::disallowed_types, clippy::disallowed_macros)]

use super::RouteIx;
use crate::config::PARAMS_MAX;

/// Finds the route of a request.
#[derive(Debug)]
pub struct Matcher {}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// This route.
    Route(RouteIx),
    /// The path is served with other methods: which of `Answers::method_not_allowed` to send.
    WrongMethod(usize),
    /// No route serves the path.
    NotFound,
}

/// The parts of a path that a route's params took, in the order of the pattern.
#[derive(Clone, Copy, Debug, Default)]
pub struct Captures {
    spans: [(u16, u16); PARAMS_MAX],
    len: u8,
}

impl Captures {
    /// The n-th capture, as bytes of `path`.
    #[must_use]
    pub fn get<'p>(&self, nth: usize, path: &'p [u8]) -> &'p [u8] {
        let (start, end) = self.spans.get(nth).copied().unwrap_or_default();
        path.get(usize::from(start)..usize::from(end)).unwrap_or_default()
    }
}

impl Matcher {
    /// Finds the route of a request. `host` is lower case, without a port; `path` is without the
    /// query and has passed the path rules; `captures` is filled for a route.
    #[must_use]
    pub fn find(&self, host: &[u8], path: &[u8], method: &[u8], captures: &mut Captures) -> Match {
        let _ = (host, path, method, captures);
        Match::NotFound
    }
}
