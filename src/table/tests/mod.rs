//! The matcher against the rules of its contract, the compile against its configuration.

#![allow(clippy::disallowed_types, clippy::disallowed_macros, reason = "cold: tests only")]

mod compiling;
mod matching;
mod random;

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
