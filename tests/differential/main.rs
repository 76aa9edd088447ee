//! Hostile requests, sent to fusebox, nginx and HAProxy in front of an origin that writes down what
//! it gets.
//!
//! `decisions.txt` holds what each of the three did with each message, and the reason where they
//! differ. What fusebox does is compared with it always; what the others do, where they are
//! installed in the versions on record. `FUSEBOX_RIVALS=required` makes their absence a failure,
//! `FUSEBOX_RIVALS=none` does as if they were absent.
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

/// What became of each of the messages, in their order, at the proxies behind `lanes`.
fn decisions(lanes: Vec<Lane>, messages: &[Message], known: &[Option<Decision>]) -> Vec<Decision> {
    let all: BTreeMap<usize, Decision> = thread::scope(|scope| {
        let share = |(nth, lane)| {
            let share = messages.iter().zip(known).enumerate().skip(nth).step_by(LANES);
            let settle = move |(at, (message, known)): (usize, (&Message, &Option<Decision>))| {
                (at, settled(lane, message, known.as_ref()))
            };
            scope.spawn(move || share.map(settle).collect::<Vec<_>>())
        };
        let threads: Vec<_> = lanes.iter().enumerate().map(share).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    all.into_values().collect()
}

/// What became of `message`: what is on record, if one of the looks finds it so, else the first.
fn settled(lane: &Lane, message: &Message, known: Option<&Decision>) -> Decision {
    let looks = if is_update() { &SILENCES[1..2] } else { &SILENCES[..] };
    let mut first = None;
    for silence in looks {
        let decision = decide(lane, &message.bytes, *silence);
        if let Some(known) = known.filter(|known| known.admits(&decision)) {
            return known.clone();
        }
        first.get_or_insert(decision);
    }
    first.unwrap()
}

fn is_update() -> bool {
    std::env::var_os("UPDATE").is_some()
}

#[test]
fn every_decision_on_a_hostile_request_is_on_record() {
    let messages = corpus::all();
    let names: BTreeSet<_> = messages.iter().map(|message| message.name.clone()).collect();
    assert!(names.len() == messages.len() && names.len() >= 300, "{}", names.len());
    let recorded = record::read();
    let known = |nth: usize| -> Vec<Option<Decision>> {
        let entry = |message: &Message| recorded.get(&message.name);
        let decision = |entry: &Entry| entry.decisions[nth].clone();
        messages.iter().map(|message| entry(message).map(decision)).collect()
    };
    let mut all: Vec<Vec<Decision>> = Vec::new();
    thread::scope(|scope| {
        let known = &known;
        let messages = &messages;
        let run = |nth: usize, lanes: Option<Vec<Lane>>| {
            scope.spawn(move || match lanes {
                Some(lanes) => decisions(lanes, messages, &known(nth)),
                None => {
                    let unknown = || Decision("not on record".to_owned());
                    known(nth).into_iter().map(|one| one.unwrap_or_else(unknown)).collect()
                }
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
    if is_update() {
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
        assert!(!ours.is_odd() && ours.is_certain(), "{name}: {ours:?}");
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
