//! Path patterns → the arrays that `matcher` walks.
//!
//! Enters: the routes of a configuration. Leaves: a [`Matcher`] in which route `n` is the n-th
//! entered, and the `Allow` of every 405 it may name. Owns nothing afterwards. The order of the
//! routes does not matter: what is more specific is a matter of the tree's shape.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "cold: runs when a table is compiled"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::RouteIx;
use super::matcher::{
    BELOW, EXACT, End, MANY, Matcher, Method, NONE, Name, Node, Slot, VACANT, Via, hash,
};
use crate::config::{HostPattern, Route, Segment, TrailingSlash};

/// Grows the tree of `routes`. The second value is the `Allow` of each 405, by the index that
/// `Match::WrongMethod` carries.
pub(super) fn grow(routes: &[Route], trailing_slash: TrailingSlash) -> (Matcher, Vec<String>) {
    let mut tree = Tree::default();
    let default_host = tree.sprout(NONE, Via::Literal, "");
    for (nth, route) in routes.iter().enumerate() {
        let root = match &route.host {
            HostPattern::Default => default_host,
            HostPattern::Exact(host) => tree.literal(EXACT, host),
            HostPattern::Below(host) => tree.literal(BELOW, host),
        };
        let end = tree.end(root, significant(&route.path.segments, trailing_slash));
        if let Some(served) = tree.ends.get_mut(end as usize) {
            served.push((route.method.as_deref(), RouteIx(index(nth))));
        }
    }
    let slots = tree.slots();
    let hosts_under = |parent| index(tree.nodes.iter().filter(|n| n.parent == parent).count());
    let (exact_hosts, below_hosts) = (hosts_under(EXACT), hosts_under(BELOW));
    let (ends, methods, allows) = flatten(&tree.ends, &mut tree.names);
    let matcher = Matcher {
        nodes: tree.nodes.into(),
        ends: ends.into(),
        methods: methods.into(),
        names: tree.names.into(),
        slots,
        trailing_slash,
        default_host,
        exact_hosts,
        below_hosts,
    };
    (matcher, allows)
}

/// A pattern's segments, without the empty last one where a trailing slash means nothing.
fn significant(segments: &[Segment], trailing_slash: TrailingSlash) -> &[Segment] {
    match segments {
        [rest @ .., Segment::Literal(last)]
            if last.is_empty() && trailing_slash == TrailingSlash::Ignore =>
        {
            rest
        }
        whole => whole,
    }
}

#[derive(Default)]
struct Tree<'c> {
    nodes: Vec<Node>,
    names: Vec<u8>,
    literals: HashMap<(u32, &'c str), u32>,
    /// The methods and routes of each end.
    ends: Vec<Vec<(Option<&'c str>, RouteIx)>>,
}

impl<'c> Tree<'c> {
    /// The end of the pattern `segments` under `root`.
    fn end(&mut self, root: u32, segments: &'c [Segment]) -> u32 {
        let mut ix = root;
        let mut rest = false;
        for segment in segments {
            ix = match segment {
                Segment::Literal(name) => self.literal(ix, name),
                Segment::Param(_) => self.param(ix),
                Segment::Rest(_) => {
                    rest = true;
                    break;
                }
            };
        }
        let fresh = index(self.ends.len());
        let Some(node) = self.nodes.get_mut(ix as usize) else { return NONE };
        let end = if rest { &mut node.rest } else { &mut node.end };
        if *end == NONE {
            *end = fresh;
            self.ends.push(Vec::new());
        }
        *end
    }

    fn literal(&mut self, parent: u32, name: &'c str) -> u32 {
        if let Some(&known) = self.literals.get(&(parent, name)) {
            return known;
        }
        let child = self.sprout(parent, Via::Literal, name);
        self.literals.insert((parent, name), child);
        if let Some(node) = self.nodes.get_mut(parent as usize) {
            node.literal = if node.literal == NONE { child } else { MANY };
        }
        child
    }

    fn param(&mut self, parent: u32) -> u32 {
        let known = self.nodes.get(parent as usize).map_or(NONE, |node| node.param);
        if known != NONE {
            return known;
        }
        let child = self.sprout(parent, Via::Param, "");
        if let Some(node) = self.nodes.get_mut(parent as usize) {
            node.param = child;
        }
        child
    }

    fn sprout(&mut self, parent: u32, via: Via, name: &str) -> u32 {
        let name = keep(&mut self.names, name);
        let (literal, param, end, rest) = (NONE, NONE, NONE, NONE);
        self.nodes.push(Node { parent, via, name, literal, param, end, rest });
        index(self.nodes.len() - 1)
    }

    /// The literal edges as a hash table that is at most half full.
    fn slots(&self) -> Box<[Slot]> {
        let mut slots = vec![VACANT; (self.literals.len() * 2).next_power_of_two()];
        let mask = slots.len() - 1;
        for (&(parent, name), &node) in &self.literals {
            let hash = hash(parent, name.as_bytes());
            let mut place = hash as usize & mask;
            while slots[place].node != NONE {
                place = (place + 1) & mask;
            }
            slots[place] = Slot { hash, node };
        }
        slots.into()
    }
}

/// Lays the methods of all ends side by side, and finds the distinct sets that a 405 names.
fn flatten(
    ends: &[Vec<(Option<&str>, RouteIx)>],
    names: &mut Vec<u8>,
) -> (Vec<End>, Vec<Method>, Vec<String>) {
    let mut methods = Vec::new();
    let mut allows = BTreeMap::new();
    let mut spelled = HashMap::new();
    let mut flat = Vec::with_capacity(ends.len());
    for served in ends {
        let first = index(methods.len());
        let mut all = None;
        for &(method, route) in served {
            match method {
                None => all = all.or(Some(route)),
                Some(method) => {
                    let name = *spelled.entry(method).or_insert_with(|| keep(names, method));
                    methods.push(Method { name, route });
                }
            }
        }
        let next = index(allows.len());
        let wrong_method = *allows.entry(allow(served)).or_insert(next);
        flat.push(End { first, len: index(methods.len()) - first, all, wrong_method });
    }
    let mut by_index: Vec<_> = allows.into_iter().collect();
    by_index.sort_by_key(|&(_, index)| index);
    (flat, methods, by_index.into_iter().map(|(allow, _)| allow).collect())
}

/// The value of `Allow`: every method served, `HEAD` where `GET` is; the common ones for `ALL`.
fn allow(served: &[(Option<&str>, RouteIx)]) -> String {
    let mut methods: BTreeSet<&str> = served.iter().filter_map(|&(method, _)| method).collect();
    if served.iter().any(|(method, _)| method.is_none()) {
        methods.extend(["DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT"]);
    }
    if methods.contains("GET") {
        methods.insert("HEAD");
    }
    Vec::from_iter(methods).join(", ")
}

fn keep(names: &mut Vec<u8>, name: &str) -> Name {
    let start = index(names.len());
    names.extend_from_slice(name.as_bytes());
    Name { start, len: index(name.len()) }
}

/// A place in an array. Four billion places do not fit in a document; the special values are safe.
fn index(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(NONE)
}
