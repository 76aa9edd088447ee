//! Where breaker state is shared.
//!
//! Enters: `state` as written. Leaves: a [`State`]: this process alone, or a Redis, reached in
//! exactly one way. Owns the defaults, and which keys go together. Looks up no names and opens no
//! connection.

use std::time::Duration;

use super::Secret;
use super::complaint::Code;
use super::document::{self, StateType, WordOr};
use super::node::{Node, Wire, Written, written};
use super::pattern::Flaw;
use super::place::At;
use super::report::Report;
use super::span::Span;
use super::units::{Count, Share};
use super::{address, url};

/// Where Redis listens unless it is told otherwise.
const REDIS_PORT: u16 = 6379;

/// Where Sentinel does.
const SENTINEL_PORT: u16 = 26379;

/// Between two exchanges with Redis.
const INTERVAL: Duration = Duration::from_millis(200);

/// More often is no interval: an exchange takes some milliseconds, and hints are sooner.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Less often is no common state: breakers open for seconds.
const INTERVAL_MAX: Duration = Duration::from_secs(10);

/// It is in every key, and keys are many.
const PREFIX_BYTES_MAX: usize = 64;

/// Databases that a Redis may be built with.
const DB_MAX: u64 = u16::MAX as u64;

/// Where breaker state is shared.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Nowhere: this process decides alone.
    Memory,
    /// With every process that has the same Redis and prefix.
    Redis(Box<Redis>),
}

/// A Redis, and how its users agree.
#[derive(Clone, Debug, PartialEq)]
pub struct Redis {
    /// Where it is.
    pub place: Place,
    /// The ACL user; `None`: the default one.
    pub username: Option<String>,
    /// Its password; `None`: none is asked for.
    pub password: Option<Secret>,
    /// The database.
    pub db: u32,
    /// What every key begins with: not empty, no braces.
    pub prefix: String,
    /// Time between exchanges.
    pub interval: Duration,
    /// Whether changes are also announced.
    pub hints: Hints,
    /// What holds while it is away.
    pub on_loss: OnLoss,
    /// The share of instances that must have seen failures before the sum counts; 0: none must.
    pub quorum: f64,
}

/// Where a Redis is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// One server.
    One(Node),
    /// The nodes that a Redis Cluster is first asked at; it tells of the others.
    Cluster(Vec<Node>),
    /// A server that Sentinel watches.
    Sentinel {
        /// Who is asked where it is.
        nodes: Vec<Node>,
        /// By what name.
        master: String,
    },
}

/// Whether changes are announced by pub/sub beside the exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hints {
    /// They are.
    Announced,
    /// Exchanges alone tell of them.
    Off,
}

/// What holds while Redis is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// Each instance goes on alone.
    Local,
    /// States stay as they are.
    Freeze,
    /// Breakers close.
    Closed,
}

pub(super) fn state(
    document: Option<&WordOr<StateType, document::State>>,
    report: &mut Report,
) -> State {
    let default = document::State::default();
    let (kind, own) = match document {
        None | Some(WordOr::Word(StateType::Memory)) => return State::Memory,
        Some(WordOr::Word(StateType::Redis)) => (StateType::Redis, &default),
        Some(WordOr::Object(own)) => (own.kind.unwrap_or(StateType::Memory), own),
    };
    let at = At::ROOT.key("state");
    match kind {
        StateType::Memory => {
            strangers(own, &at, report);
            State::Memory
        }
        StateType::Redis => State::Redis(Box::new(redis(own, &at, report))),
    }
}

/// Complains about what says of a Redis that there is none.
fn strangers(own: &document::State, at: &At<'_>, report: &mut Report) {
    let written = [
        ("host", own.host.is_some()),
        ("port", own.port.is_some()),
        ("url", own.url.is_some()),
        ("cluster", own.cluster.is_some()),
        ("sentinel", own.sentinel.is_some()),
        ("username", own.username.is_some()),
        ("password", own.password.is_some()),
        ("db", own.db.is_some()),
        ("prefix", own.prefix.is_some()),
        ("interval", own.interval.is_some()),
        ("hints", own.hints.is_some()),
        ("onLoss", own.on_loss.is_some()),
        ("quorum", own.quorum.is_some()),
    ];
    let remedy = if own.kind.is_some() {
        "remove it, or write \"type\": \"redis\""
    } else {
        "write \"type\": \"redis\" beside it, or remove it"
    };
    for (key, _) in written.iter().filter(|(_, written)| *written) {
        let message = format!("state in memory has no `{key}`");
        report.key(Code::Conflict, &at.key(key), message, remedy);
    }
}

fn redis(own: &document::State, at: &At<'_>, report: &mut Report) -> Redis {
    let (place, db) = place(own, at, report);
    if own.username.is_some() && own.password.is_none() {
        let message = "a user without a password is nobody to Redis".to_owned();
        report.key(Code::Conflict, &at.key("username"), message, "add `password`, or remove it");
    }
    let username = own.username.clone();
    if username.as_ref().is_some_and(String::is_empty) {
        let message = "the user has no name".to_owned();
        report.value(Code::Missing, &at.key("username"), message, "leave it out, or write a name");
    }
    let password = own.password.as_ref();
    Redis {
        place,
        username,
        password: password.and_then(|it| address::secret(it, &at.key("password"), report)),
        db,
        prefix: prefix(own.prefix.as_deref(), &at.key("prefix"), report),
        interval: interval(own.interval, &at.key("interval"), report),
        hints: if own.hints.unwrap_or(true) { Hints::Announced } else { Hints::Off },
        on_loss: match own.on_loss {
            None | Some(document::OnLoss::Local) => OnLoss::Local,
            Some(document::OnLoss::Freeze) => OnLoss::Freeze,
            Some(document::OnLoss::Closed) => OnLoss::Closed,
        },
        quorum: own.quorum.map_or(0.0, |Share(share)| share),
    }
}

/// Where it is, and which database is meant.
fn place(own: &document::State, at: &At<'_>, report: &mut Report) -> (Place, u32) {
    let ways = [
        ("host", own.host.is_some()),
        ("port", own.port.is_some()),
        ("url", own.url.is_some()),
        ("cluster", own.cluster.is_some()),
        ("sentinel", own.sentinel.is_some()),
    ];
    let written: Vec<&str> = ways.iter().filter(|(_, is)| *is).map(|(key, _)| *key).collect();
    if let [first, others @ ..] = &*written {
        for other in others.iter().filter(|other| (*first, **other) != ("host", "port")) {
            let message = format!("`{first}` and `{other}` both say where Redis is");
            report.key(Code::Conflict, &at.key(other), message, "keep one of the two");
            report.point_at(at.key(first).to_string(), "written here too");
        }
    }
    let db = database(own.db, &at.key("db"), report);
    if let Some(urls) = &own.cluster {
        if db.is_some_and(|db| db != 0) {
            let message = "a Redis Cluster has no database but 0".to_owned();
            report.key(Code::Conflict, &at.key("db"), message, "remove it");
        }
        return (Place::Cluster(nodes(urls, REDIS_PORT, &at.key("cluster"), report)), 0);
    }
    if let Some(sentinel) = &own.sentinel {
        let at = at.key("sentinel");
        let urls = sentinel.nodes.as_deref().unwrap_or_default();
        let nodes = nodes(urls, SENTINEL_PORT, &at.key("nodes"), report);
        let master = sentinel.master.clone().unwrap_or_default();
        if sentinel.master.is_some() && master.is_empty() {
            let message = "the master has no name".to_owned();
            let remedy = "write the name that Sentinel watches it by";
            report.value(Code::Missing, &at.key("master"), message, remedy);
        }
        return (Place::Sentinel { nodes, master }, db.unwrap_or(0));
    }
    if let Some(text) = &own.url {
        let at = at.key("url");
        let Some(Written { node, db: also }) = node(text, REDIS_PORT, &at, report) else {
            return (Place::One(here()), 0);
        };
        if also.is_some() && db.is_some() {
            let message = "the database is written twice".to_owned();
            report.value(Code::Conflict, &at, message, "keep `db`, or the number in the URL");
            report.point_at(At::ROOT.key("state").key("db").to_string(), "written here too");
        }
        return (Place::One(node), db.or(also).unwrap_or(0));
    }
    (Place::One(server(own, at, report)), db.unwrap_or(0))
}

/// This machine, at the usual port.
fn here() -> Node {
    Node::Tcp { host: "127.0.0.1".to_owned(), port: REDIS_PORT, wire: Wire::Plain }
}

/// The server at `host` and `port`.
fn server(own: &document::State, at: &At<'_>, report: &mut Report) -> Node {
    let port = own.port.map_or(Some(REDIS_PORT), |Count(port)| u16::try_from(port).ok());
    let port = port.filter(|port| *port > 0).unwrap_or_else(|| {
        let message = "this is not a port".to_owned();
        let remedy = "write a port from 1 to 65535";
        report.value(Code::OutOfRange, &at.key("port"), message, remedy);
        REDIS_PORT
    });
    let Some(text) = &own.host else {
        return Node::Tcp { host: "127.0.0.1".to_owned(), port, wire: Wire::Plain };
    };
    // Without brackets a colon would begin a port, which has a key of its own.
    let bracketed = format!("[{text}]");
    let authority = if text.parse::<std::net::Ipv6Addr>().is_ok() { &bracketed } else { text };
    let authority = if authority.contains('@') { "" } else { authority };
    match url::authority_of(authority, 0) {
        Ok((host, 0)) => Node::Tcp { host, port, wire: Wire::Plain },
        _ => {
            let message = "this is not a host".to_owned();
            let remedy = "write a name or an address, and the port in `port`; or use `url`";
            report.value(Code::BadUrl, &at.key("host"), message, remedy);
            here()
        }
    }
}

fn database(written: Option<Count>, at: &At<'_>, report: &mut Report) -> Option<u32> {
    let Count(db) = written?;
    if db > DB_MAX {
        let message = "no Redis has that many databases".to_owned();
        report.value(Code::OutOfRange, at, message, "write the number of one, as in 0");
    }
    Some(u32::try_from(db).unwrap_or(0))
}

fn nodes(urls: &[String], port: u16, at: &At<'_>, report: &mut Report) -> Vec<Node> {
    let mut found: Vec<(usize, Node)> = Vec::new();
    for (nth, text) in urls.iter().enumerate() {
        let at = at.nth(nth);
        let Some(Written { node, db }) = node(text, port, &at, report) else { continue };
        if db.is_some_and(|db| db != 0) || matches!(node, Node::Unix(_)) {
            let message = "a node is a host and a port".to_owned();
            report.value(Code::Conflict, &at, message, "write `redis://host:port` only");
            continue;
        }
        if let Some((twin, _)) = found.iter().find(|(_, other)| *other == node) {
            let message = format!("`{node}` is written twice");
            report.value(Code::Conflict, &at, message, "keep one of the two");
            report.point_at(at_nth(&at, *twin), "first written here");
            continue;
        }
        let wire = |node: &Node| match node {
            Node::Tcp { wire, .. } => Some(*wire),
            Node::Unix(_) => None,
        };
        if found.first().is_some_and(|(_, first)| wire(first) != wire(&node)) {
            let message = "some nodes are reached inside TLS, and some are not".to_owned();
            report.value(Code::Conflict, &at, message, "write `rediss:` for all of them, or none");
        }
        found.push((nth, node));
    }
    if urls.is_empty() {
        let message = "the list of nodes is empty".to_owned();
        report.value(Code::Missing, at, message, "write the URL of one at least");
    }
    found.into_iter().map(|(_, node)| node).collect()
}

/// The pointer of the element `nth` of the list that `at` is in.
fn at_nth(at: &At<'_>, nth: usize) -> String {
    let pointer = at.to_string();
    let list = pointer.rsplit_once('/').map_or("", |(list, _)| list);
    format!("{list}/{nth}")
}

fn node(text: &str, port: u16, at: &At<'_>, report: &mut Report) -> Option<Written> {
    match written(text, port) {
        Ok(written) => Some(written),
        Err((code, Flaw { fault, remedy })) => {
            report.value(code, at, fault, &remedy);
            None
        }
    }
}

fn prefix(written: Option<&str>, at: &At<'_>, report: &mut Report) -> String {
    let prefix = written.unwrap_or("fusebox");
    let good = (1..=PREFIX_BYTES_MAX).contains(&prefix.len())
        && prefix.chars().all(|c| c.is_ascii_graphic() && !"{}".contains(c));
    if !good {
        let message = "keys cannot begin with this".to_owned();
        let remedy = "write 1 to 64 printable ASCII characters, without blanks and braces";
        report.value(Code::OutOfRange, at, message, remedy);
    }
    prefix.to_owned()
}

fn interval(written: Option<Span>, at: &At<'_>, report: &mut Report) -> Duration {
    let interval = written.map_or(INTERVAL, |Span(span)| span);
    if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        let message = "the interval is not between 10 ms and 10 s".to_owned();
        report.value(Code::OutOfRange, at, message, "write one, as in \"200ms\"");
    }
    interval
}
