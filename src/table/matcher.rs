//! (host, path, method) → route; borrowed bytes in, no allocation.
//!
//! Enters: a host, a path without its query, a method. Leaves: the route and the parts of the path
//! that its params took. Owns the tree of all path patterns as flat arrays, made by `tree`.
//!
//! - A host chooses its tree first: the exact one, else the longest `*.below`, else the default.
//!   A host with routes of its own never falls to the default one, like a virtual host.
//! - In a tree a literal goes before a `:name` before a rest, segment by segment from the left. A
//!   `:name` takes a segment that is not empty; a rest may be empty: `/a/(.*)` serves `/a` too.
//! - The first path found decides. If it lacks the method that is a 405, although a less specific
//!   path may have it: else adding a route would not take its path over.
//!
//! Looking up neither recurses nor keeps a stack: to go back, it climbs from a node to its parent.
//! Each node is visited at most once, whatever the path.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use super::RouteIx;
use crate::config::{PARAMS_MAX, TrailingSlash};

/// Finds the route of a request.
#[derive(Debug)]
pub struct Matcher {
    pub(super) nodes: Box<[Node]>,
    pub(super) ends: Box<[End]>,
    pub(super) methods: Box<[Method]>,
    pub(super) names: Box<[u8]>,
    /// Literal edges by hash of parent and name: open addressing, at most half full, so that a
    /// vacant slot ends every probe. Keys come from the configuration alone.
    pub(super) slots: Box<[Slot]>,
    pub(super) trailing_slash: TrailingSlash,
    pub(super) default_host: u32,
    pub(super) exact_hosts: u32,
    pub(super) below_hosts: u32,
}

/// No node, no end.
pub(super) const NONE: u32 = u32::MAX;

/// The parent of the roots of exact hosts.
pub(super) const EXACT: u32 = u32::MAX - 1;

/// The parent of the roots of `*.below` hosts.
pub(super) const BELOW: u32 = u32::MAX - 2;

/// Literals are found in [`Matcher::slots`].
pub(super) const MANY: u32 = u32::MAX - 3;

/// The longest host name there is (RFC 1035 §2.3.4); bounds the search for `*.below`.
const HOST_BYTES_MAX: usize = 255;

/// A place in a pattern; its path from the root is the pattern so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) parent: u32,
    pub(super) via: Via,
    /// The literal or the host that leads here; empty for a param.
    pub(super) name: Name,
    /// The only literal that goes on from here, or [`MANY`]: an only one needs no hashing.
    pub(super) literal: u32,
    /// The node that a `:name` leads to.
    pub(super) param: u32,
    /// The end of a pattern that ends here.
    pub(super) end: u32,
    /// The end of a pattern that takes the rest from here.
    pub(super) rest: u32,
}

/// What leads from the parent to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    Literal,
    Param,
}

/// Bytes of [`Matcher::names`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Name {
    pub(super) start: u32,
    pub(super) len: u32,
}

/// The methods of one path.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) first: u32,
    pub(super) len: u32,
    pub(super) all: Option<RouteIx>,
    /// Which 405 to send.
    pub(super) wrong_method: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    pub(super) name: Name,
    pub(super) route: RouteIx,
}

/// A literal edge, or [`VACANT`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) hash: u32,
    pub(super) node: u32,
}

pub(super) const VACANT: Slot = Slot { hash: 0, node: NONE };

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
    /// The n-th capture, as bytes of `path`; empty where there is none.
    #[must_use]
    pub fn get<'p>(&self, nth: usize, path: &'p [u8]) -> &'p [u8] {
        let span = self.spans.get(nth).filter(|_| nth < self.len());
        let (start, end) = span.copied().unwrap_or_default();
        path.get(usize::from(start)..usize::from(end)).unwrap_or_default()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether the route has no params.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn push(&mut self, start: usize, end: usize) {
        if let Some(slot) = self.spans.get_mut(usize::from(self.len)) {
            // `find` refuses paths that 16 bits cannot span.
            *slot = (start as u16, end as u16);
        }
        self.len = self.len.saturating_add(1);
    }

    const fn pop(&mut self) {
        self.len = self.len.saturating_sub(1);
    }
}

impl Matcher {
    /// Finds the route of a request. `host` is lower case, without a port; `path` is without the
    /// query and has passed the path rules; `captures` is filled for a route.
    #[must_use]
    pub fn find(&self, host: &[u8], path: &[u8], method: &[u8], captures: &mut Captures) -> Match {
        captures.len = 0;
        if path.first() != Some(&b'/') || path.len() > usize::from(u16::MAX) {
            return Match::NotFound;
        }
        let end = self.root(host).and_then(|root| self.end(root, path, captures));
        match end.and_then(|end| self.ends.get(end as usize)) {
            Some(end) => self.method(end, method),
            None => Match::NotFound,
        }
    }

    /// Whether any route is for a host of its own: otherwise that of a request says nothing.
    #[must_use]
    pub const fn knows_hosts(&self) -> bool {
        self.exact_hosts > 0 || self.below_hosts > 0
    }

    /// The root of the tree that serves `host`.
    fn root(&self, host: &[u8]) -> Option<u32> {
        let host = host.strip_suffix(b".").unwrap_or(host);
        if host.len() > HOST_BYTES_MAX {
            return Some(self.default_host);
        }
        if self.exact_hosts > 0
            && let Some(root) = self.child(EXACT, host)
        {
            return Some(root);
        }
        if self.below_hosts > 0 {
            let mut below = host;
            while let Some(dot) = below.iter().position(|&byte| byte == b'.') {
                below = below.get(dot + 1..)?;
                if let Some(root) = self.child(BELOW, below) {
                    return Some(root);
                }
            }
        }
        Some(self.default_host)
    }

    /// The end of the most specific pattern under `root` that fits `path`.
    fn end(&self, root: u32, path: &[u8], captures: &mut Captures) -> Option<u32> {
        let span = Segments::of(path, self.trailing_slash);
        let mut at = 1;
        let mut ix = root;
        loop {
            let node = self.node(ix)?;
            if !span.is_over(at) {
                let stop = span.stop(at);
                if let Some(child) = self.literal(ix, node, span.path.get(at..stop)?) {
                    (ix, at) = (child, stop + 1);
                    continue;
                }
                if node.param != NONE && stop > at {
                    captures.push(at, stop);
                    (ix, at) = (node.param, stop + 1);
                    continue;
                }
            } else if node.end != NONE {
                return Some(node.end);
            }
            if node.rest != NONE {
                captures.push(at.min(path.len()), path.len());
                return Some(node.rest);
            }
            match self.climb(ix, at, &span, captures)? {
                Climbed::Param(child, next) => (ix, at) = (child, next),
                Climbed::Rest(end) => return Some(end),
            }
        }
    }

    /// Goes back from a node where nothing fits to the nearest choice that was passed by; `at` is
    /// the start of the segment that did not fit.
    fn climb(
        &self,
        mut ix: u32,
        mut at: usize,
        span: &Segments<'_>,
        captures: &mut Captures,
    ) -> Option<Climbed> {
        loop {
            let child = self.node(ix)?;
            ix = child.parent;
            // A root's parent is no node: there is nothing left to try.
            let node = self.node(ix)?;
            let stop = at - 1;
            at = span.start(stop);
            if child.via == Via::Param {
                captures.pop();
            } else if node.param != NONE && stop > at {
                captures.push(at, stop);
                return Some(Climbed::Param(node.param, stop + 1));
            }
            if node.rest != NONE {
                captures.push(at, span.whole_len);
                return Some(Climbed::Rest(node.rest));
            }
        }
    }

    /// Exact before `HEAD` as `GET` before `ALL`, which is all but `TRACE`.
    fn method(&self, end: &End, method: &[u8]) -> Match {
        let first = end.first as usize;
        let served = self.methods.get(first..first + end.len as usize).unwrap_or_default();
        let find = |wanted: &[u8]| {
            served.iter().find(|served| self.name(served.name) == wanted).map(|found| found.route)
        };
        let as_get = || if method == b"HEAD" { find(b"GET") } else { None };
        // Who serves all methods wants no request echoed, with the secrets it came with.
        let all = || end.all.filter(|_| method != b"TRACE");
        match find(method).or_else(as_get).or_else(all) {
            Some(route) => Match::Route(route),
            None => Match::WrongMethod(end.wrong_method as usize),
        }
    }

    /// The node that the literal `name` leads to from `node`.
    fn literal(&self, ix: u32, node: &Node, name: &[u8]) -> Option<u32> {
        match node.literal {
            NONE => None,
            MANY => self.child(ix, name),
            only => (self.name(self.node(only)?.name) == name).then_some(only),
        }
    }

    /// The node that `name` leads to from `parent`, a node or a kind of host.
    fn child(&self, parent: u32, name: &[u8]) -> Option<u32> {
        let hash = hash(parent, name);
        let mask = self.slots.len().wrapping_sub(1);
        let mut place = hash as usize & mask;
        loop {
            let slot = self.slots.get(place)?;
            if slot.node == NONE {
                return None;
            }
            if slot.hash == hash
                && let Some(node) = self.node(slot.node)
                && node.parent == parent
                && self.name(node.name) == name
            {
                return Some(slot.node);
            }
            place = (place + 1) & mask;
        }
    }

    fn node(&self, ix: u32) -> Option<&Node> {
        self.nodes.get(ix as usize)
    }

    fn name(&self, name: Name) -> &[u8] {
        let start = name.start as usize;
        self.names.get(start..start + name.len as usize).unwrap_or_default()
    }
}

/// What climbing found.
enum Climbed {
    /// A `:name` that can take the segment: its node, and where the next segment starts.
    Param(u32, usize),
    /// A rest that takes everything from there.
    Rest(u32),
}

/// A path by segments: one begins after every slash, the root path has none.
struct Segments<'p> {
    /// Up to the last segment's end: without a trailing slash that does not count.
    path: &'p [u8],
    whole_len: usize,
}

impl<'p> Segments<'p> {
    fn of(path: &'p [u8], trailing_slash: TrailingSlash) -> Self {
        let dropped = trailing_slash == TrailingSlash::Ignore || path.len() == 1;
        let short = if dropped { path.strip_suffix(b"/") } else { None };
        Self { path: short.unwrap_or(path), whole_len: path.len() }
    }

    /// Whether no segment starts at `at`.
    const fn is_over(&self, at: usize) -> bool {
        at > self.path.len()
    }

    /// The end of the segment that starts at `start`.
    fn stop(&self, start: usize) -> usize {
        let left = self.path.get(start..).unwrap_or_default();
        start + left.iter().position(|&byte| byte == b'/').unwrap_or(left.len())
    }

    /// The start of the segment that ends at `stop`.
    fn start(&self, stop: usize) -> usize {
        let before = self.path.get(..stop).unwrap_or_default();
        before.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1)
    }
}

/// Hashes an edge. The keys are the operator's, so speed is all that matters.
pub(super) fn hash(parent: u32, name: &[u8]) -> u32 {
    let (words, tail) = name.as_chunks::<8>();
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(tail) {
        *to = *from;
    }
    let seed = (u64::from(parent) << 32) ^ name.len() as u64;
    let sum = words.iter().fold(seed, |sum, word| stir(sum ^ u64::from_le_bytes(*word)));
    let sum = stir(sum ^ u64::from_le_bytes(last));
    (sum ^ (sum >> 32)) as u32
}

fn stir(word: u64) -> u64 {
    let product = u128::from(word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
    (product ^ (product >> 64)) as u64
}
