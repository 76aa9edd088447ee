//! Hostile requests, sent to fusebox, nginx and HAProxy in front of an origin that writes down what
//! it gets.
//!
//! `decisions.txt` holds what each of the three did with each message, and the reason where they
//! differ. What fusebox does is compared with it always; what the others do, where they are
//! installed in the versions on record. `FUSEBOX_RIVALS=required` makes their absence a failure.
//! `UPDATE=1` writes the file anew: read the difference before you keep it.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    reason = "a test stops at the first surprise and starts processes; the harness is that of the \
              end-to-end tests, of which a part is used"
)]

#[path = "../e2e/client.rs"]
mod client;
#[path = "../e2e/corpus/mod.rs"]
mod corpus;
#[path = "../e2e/document.rs"]
mod document;
#[path = "../e2e/kernel.rs"]
mod kernel;
#[path = "../e2e/origin.rs"]
mod origin;
#[path = "../e2e/proxy.rs"]
mod proxy;
#[path = "../e2e/recorder.rs"]
mod recorder;
#[path = "../e2e/wait.rs"]
mod wait;

mod decision;
mod record;
mod rivals;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::thread;
use std::time::Duration;

use corpus::Message;
use decision::{Decision, decide};
use record::Entry;
use rivals::{Lane, Rival};

/// How many messages are under way at once, for each proxy.
const LANES: usize = 8;

/// How long an open connection has to be silent before no more is expected of it: at first, and
/// when something else came than is on record. A loaded machine is not another decision.
const SILENCES: [Duration; 3] =
    [Duration::from_millis(150), Duration::from_millis(600), Duration::from_millis(2_500)];

/// Where fusebox forwards what one of the others does not, and why that is sound.
const LAXER: [(&[&str], &str); 3] = [
    (
        &[
            "B6 tab before",
            "B8 tab before",
            "coding, tab before the value",
            "coding, tab behind the colon",
            "coding, tab behind the value",
            "length, tab before the value",
            "length, tab behind the value",
        ],
        "a tab around a value is white space (RFC 9110 §5.6.3); a blank is passed on in its place",
    ),
    (&["B23 coding"], "what a trailer says of framing is left out, and merged by nobody"),
    (&["B26 body one byte too long"], "any token is a method (RFC 9110 §9.1); the route decides"),
];

/// What each of the messages, in their order, became at the proxies behind `lanes`.
fn decisions(lanes: Vec<Lane>, messages: &[Message], known: &[Option<Decision>]) -> Vec<Decision> {
    let shares = thread::scope(|scope| {
        let count = lanes.len();
        let threads: Vec<_> = lanes
            .iter()
            .enumerate()
            .map(|(nth, lane)| {
                let share = messages.iter().zip(known).enumerate().skip(nth).step_by(count);
                scope.spawn(move || -> BTreeMap<usize, Decision> {
                    share
                        .map(|(at, (message, known))| {
                            let again = |span: &Duration| decide(lane, &message.bytes, *span);
                            let [first, second, _] = &SILENCES;
                            let settled = match known {
                                None => again(second),
                                Some(known) => {
                                    let first = again(first);
                                    let same = |again: &Decision| again == known;
                                    if same(&first) {
                                        first
                                    } else {
                                        let mut more = SILENCES[1..].iter().map(again);
                                        more.find(same).unwrap_or(first)
                                    }
                                }
                            };
                            (at, settled)
                        })
                        .collect()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<BTreeMap<_, _>>()
    });
    shares.into_values().collect()
}

#[test]
fn every_decision_on_a_hostile_request_is_on_record() {
    let messages = corpus::all();
    let names: BTreeSet<_> = messages.iter().map(|message| message.name.clone()).collect();
    assert!(names.len() == messages.len() && names.len() >= 300, "{}", names.len());
    let update = std::env::var_os("UPDATE").is_some();
    let recorded = record::read();
    let known = |nth: usize| -> Vec<Option<Decision>> {
        let entry = |message: &Message| recorded.get(&message.name);
        let decision = |entry: &Entry| entry.decisions[nth].clone();
        messages.iter().map(|m| entry(m).map(decision).filter(|_| !update)).collect()
    };
    let mut all: Vec<Vec<Decision>> = Vec::new();
    thread::scope(|scope| {
        let known = &known;
        let messages = &messages;
        let run = |nth: usize, lanes: Option<Vec<Lane>>| {
            scope.spawn(move || match lanes {
                Some(lanes) => decisions(lanes, messages, &known(nth)),
                None => known(nth).into_iter().flatten().collect(),
            })
        };
        let threads = [
            run(0, Some(rivals::fusebox(LANES))),
            run(1, rivals::start(Rival::Nginx, LANES)),
            run(2, rivals::start(Rival::Haproxy, LANES)),
        ];
        all = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    });
    let entries: BTreeMap<String, Entry> = messages
        .iter()
        .enumerate()
        .map(|(at, message)| {
            let decisions = [0, 1, 2].map(|nth: usize| all[nth][at].clone());
            let reason = format!("{}: {}", message.row, message.why);
            (message.name.clone(), Entry { reason, decisions })
        })
        .collect();
    if update {
        record::write(&entries);
        return;
    }
    let mut findings = Vec::new();
    for (name, entry) in &entries {
        match recorded.get(name) {
            Some(known) if known.decisions == entry.decisions => {}
            known => findings.push(format!("{name}:\n  is {entry:?}\n  on record {known:?}")),
        }
    }
    let gone = recorded.keys().filter(|name| !names.contains(*name));
    findings.extend(gone.map(|name| format!("{name}: on record, and not sent any more")));
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

/// Of what one of the others keeps out, fusebox lets through only what is listed here; what it lets
/// through is plain, and what must be refused by the corpus is.
#[test]
fn fusebox_is_never_the_laxest_without_a_reason() {
    let recorded = record::read();
    let mut laxer = BTreeSet::new();
    for (name, entry) in &recorded {
        let [ours, others @ ..] = &entry.decisions;
        assert!(!ours.is_odd(), "{name}: {ours:?}");
        if others.iter().any(|other| ours.forwarded() > other.forwarded()) {
            laxer.insert(name.as_str());
        }
    }
    let listed: BTreeSet<_> = LAXER.iter().flat_map(|(names, _)| *names).copied().collect();
    assert_eq!(laxer, listed);
    for (rival, nth) in [("nginx", 1), ("HAProxy", 2)] {
        let odd = recorded.values().filter(|entry| entry.decisions[nth].is_odd()).count();
        let both = |entry: &&Entry| entry.decisions[0].differs(&entry.decisions[nth]);
        let differ = recorded.values().filter(both).count();
        let line = format!("{rival}: {differ} of {} differ, {odd} forwarded odd\n", recorded.len());
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}
