//! Every class of known attack on a request, as raw bytes: what the client is told, and what the
//! origin has really received.
//!
//! The rows stand in `corpus`. Each is sent whole, and then byte by byte on another connection; the
//! answers, the end of the connection and the origin's bytes are the same.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use crate::client::Client;
use crate::corpus::{self, Message, Must};
use crate::document;
use crate::proxy::Proxy;
use crate::reading::understood;
use crate::recorder::Recorder;

/// What became of one message.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    statuses: Vec<u16>,
    /// Whether the connection ended before the client did.
    closed: bool,
    origin: String,
}

/// Sends all of `messages` and names every one of which something else became than must.
#[track_caller]
fn judge(messages: &[Message]) {
    let recorder = Recorder::start();
    let url = format!("http://{}/:rest", recorder.address());
    let proxy = Proxy::start(&document::one_route("/*rest", "ALL", &url, serde_json::json!({})));
    let mut findings = Vec::new();
    for message in messages {
        let bytewise: Vec<&[u8]> = message.bytes.chunks(1).collect();
        let long = message.bytes.len() > 2_000;
        let halves: Vec<&[u8]> = message.bytes.chunks(message.bytes.len() / 2 + 1).collect();
        let ways = [vec![&*message.bytes], if long { halves } else { bytewise }];
        for (way, parts) in ways.iter().enumerate() {
            let mut client = Client::connect(proxy.address());
            parts.iter().for_each(|part| client.offer(part));
            client.finish_sending();
            let statuses = client.statuses();
            let closed = statuses.is_ok();
            drop(client);
            let statuses = statuses.unwrap_or_else(|statuses| statuses);
            let outcome = Outcome { statuses, closed, origin: recorder.take() };
            if !holds(&outcome, message.must) {
                let (name, must, why) = (&message.name, message.must, message.why);
                findings.push(format!("{name} (way {way}): {outcome:?}, not {must:?}: {why}"));
            }
        }
    }
    assert_eq!(proxy.get("/clean").status, 200, "the next client");
    assert_eq!(recorder.take(), "GET /clean -");
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

fn holds(outcome: &Outcome, must: Must) -> bool {
    let Outcome { statuses, origin, .. } = outcome;
    let whole = origin.split(" + ").filter(|one| !matches!(*one, "" | "part")).count();
    match must {
        Must::Refuse(status) => *statuses == [status] && origin.is_empty() && outcome.closed,
        Must::Answer(status) => statuses.first() == Some(&status) && whole == 0,
        Must::Break => matches!(**statuses, [] | [400]) && whole == 0 && outcome.closed,
        Must::Forward(shape) => {
            origin == shape && statuses.len() == whole && statuses.iter().all(|s| *s == 200)
        }
        Must::ForwardThenRefuse(shape, status) => {
            origin == shape
                && statuses.split_last().is_some_and(|(last, before)| {
                    *last == status && before.len() == whole && before.iter().all(|s| *s == 200)
                })
                && outcome.closed
        }
        Must::Recorded => true,
    }
}

/// Whether every row of the list has a message.
#[track_caller]
fn cover(messages: &[Message], rows: RangeInclusive<u8>) {
    let covered: BTreeSet<_> = messages.iter().map(|message| message.row.to_owned()).collect();
    let listed: BTreeSet<_> = rows.map(|row| format!("B{row}")).collect();
    assert_eq!(covered, listed);
    let names: BTreeSet<_> = messages.iter().map(|message| &message.name).collect();
    assert_eq!(names.len(), messages.len(), "a name stands twice");
}

#[test]
fn no_request_is_framed_in_two_ways() {
    cover(&corpus::framing(), corpus::FRAMING_ROWS);
    judge(&corpus::framing());
}

#[test]
fn no_request_is_for_two_targets() {
    cover(&corpus::target(), corpus::TARGET_ROWS);
    judge(&corpus::target());
}

/// The rows on upgrades, expectations, responses and reuse, and where they stand. There is no cache
/// to poison, so B44 has no test.
#[test]
fn every_row_of_the_list_of_attacks_has_its_bytes() {
    let hops = include_str!("hops.rs");
    for row in [36, 37, 38, 39, 45].map(|row| format!("B{row}")) {
        assert!(
            hops.contains(&format!("/// {row}: ")) || hops.contains(&format!(" {row}: ")),
            "{row}"
        );
    }
}

#[test]
fn what_reaches_the_origin_is_what_was_understood_however_it_arrived() {
    let recorder = Recorder::start();
    let url = format!("http://{}/:rest", recorder.address());
    let proxy = Proxy::start(&document::one_route("/*rest", "ALL", &url, serde_json::json!({})));
    let mut findings = Vec::new();
    for message in corpus::all() {
        let expected = understood(std::iter::once(&*message.bytes));
        let mut client = Client::connect(proxy.address());
        client.offer(&message.bytes);
        client.finish_sending();
        let statuses = client.statuses();
        drop(client);
        let origin = recorder.take();
        // A request whose body broke off has come in part.
        let whole: Vec<_> = origin.split(" + ").filter(|o| !matches!(*o, "" | "part")).collect();
        let forwarded = statuses.iter().flatten().filter(|status| **status == 200).count();
        if whole != expected.requests || forwarded != whole.len() {
            findings.push(format!("{}: {expected:?}, {statuses:?}, {origin}", message.name));
        }
    }
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn a_message_means_the_same_in_whatever_segments_it_comes() {
    let messages = corpus::all();
    assert!(messages.len() >= 300, "{}", messages.len());
    for message in messages {
        let bytes = &*message.bytes;
        let whole = understood(std::iter::once(bytes));
        let name = &message.name;
        if bytes.len() < 5_000 {
            assert_eq!(understood(bytes.chunks(1)), whole, "{name}, byte by byte");
        }
        for size in [7, 64, 1_460, 4_096] {
            assert_eq!(understood(bytes.chunks(size)), whole, "{name}, by {size}");
        }
        for cut in (1..bytes.len()).step_by(bytes.len() / 200 + 1) {
            let (front, back) = bytes.split_at(cut);
            assert_eq!(understood([front, back].into_iter()), whole, "{name}, cut at {cut}");
        }
    }
}
