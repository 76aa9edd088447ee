//! Circuit breakers: two vocabularies, one policy.
//!
//! Enters: a breaker as written, and the named ones it may import. Leaves: a [`BreakerConfig`].
//! Owns the breaker's defaults and the rules which of its keys go together. Where words of seed A
//! say when it trips, it looks back; all else is seed B's machine.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::value::RawValue;

use super::complaint::{Code, nearest, quoted};
use super::document::{Breaker, BreakerChoice, Entries, HandlerCall, OneOrMany, WindowKind};
use super::place::At;
use super::report::Report;
use super::span::{Patience, Span};
use super::units::AnswerStatus;
use super::{Answer, Body, BreakerConfig, Call, Handler, RetryAfter};
use crate::breaker::policy::{Policy, StatusSet, Trip, Window};

const TIMEOUT: Duration = Duration::from_secs(30);
const RESET_TIMEOUT: Duration = Duration::from_secs(120);
const MAX_FAILURES: NonZeroU32 = match NonZeroU32::new(10) {
    Some(ten) => ten,
    None => NonZeroU32::MIN,
};
/// How much longer than its time limit a probe may stay without a verdict.
const PROBE_GRACE: Duration = Duration::from_secs(1);
/// How long a probe without a time limit may.
const PROBE_MAX: Duration = Duration::from_secs(30);

/// Keys of A and B for one thing.
const SAME_THING: [(&str, &str); 9] = [
    ("maxErrors", "maxFailures"),
    ("maxErrors", "timeWindow"),
    ("maxErrors", "resetTimeout"),
    ("maxErrors", "window"),
    ("duration", "timeWindow"),
    ("duration", "resetTimeout"),
    ("duration", "maxFailures"),
    ("errorStatus", "rejectStatusCode"),
    ("errorBody", "rejectMessage"),
];

/// What breakers may refer to.
pub(super) struct Names<'d> {
    pub(super) breakers: &'d [(String, Breaker)],
    pub(super) handlers: &'d [Handler],
}

/// Complains about what is wrong with the named breakers themselves.
pub(super) fn check_named(names: &Names<'_>, report: &mut Report) {
    let http = At::ROOT.key("http");
    let root = http.key("circuitBreakers");
    for (name, breaker) in names.breakers {
        let at = root.key(name);
        if breaker.import.is_some() {
            let message = "a named breaker cannot use another".to_owned();
            report.value(Code::Conflict, &at.key("use"), message, "write its keys here");
            continue;
        }
        config(breaker, None, &at, names, report);
        advise_window(breaker, &at, report);
    }
}

/// The breaker written at `at`; `None`: none, or none that works.
pub(super) fn choose(
    choice: Option<&BreakerChoice>,
    at: &At<'_>,
    names: &Names<'_>,
    report: &mut Report,
) -> Option<BreakerConfig> {
    let Some(BreakerChoice::Breaker(own)) = choice else {
        return None;
    };
    let Some(name) = &own.import else {
        advise_window(own, at, report);
        return Some(config(own, None, at, names, report));
    };
    let found = names.breakers.iter().find(|(other, _)| other == name);
    let Some((name, named)) = found else {
        let known = names.breakers.iter().map(|(name, _)| name.as_str());
        let remedy = match nearest(name, known) {
            Some(meant) => format!("did you mean {}?", quoted(meant)),
            None => "name it under `http.circuitBreakers`".to_owned(),
        };
        let message = format!("no breaker is named {}", quoted(name));
        report.name(&at.key("use"), "/http/circuitBreakers", message, &remedy);
        return None;
    };
    Some(config(own, Some((name, named)), at, names, report))
}

/// Without a window a failure of last month counts like one of this minute.
fn advise_window(breaker: &Breaker, at: &At<'_>, report: &mut Report) {
    let looks_back = breaker.max_errors.is_some() || breaker.duration.is_some();
    if !looks_back && breaker.time_window.is_none() && breaker.window.is_none() {
        report.key(
            Code::NoWindow,
            at,
            "this breaker counts failures since it last closed, however long ago".to_owned(),
            r#"add `timeWindow`, as in "10s", or `"window": "cumulative"` if it is meant so"#,
        );
    }
}

/// One breaker, its missing keys taken from the named one, if there is one.
fn config(
    own: &Breaker,
    named: Option<(&str, &Breaker)>,
    at: &At<'_>,
    names: &Names<'_>,
    report: &mut Report,
) -> BreakerConfig {
    let http = At::ROOT.key("http");
    let library = http.key("circuitBreakers");
    let home = named.map(|(name, _)| library.key(name));
    check_words(own, named.map(|(_, named)| named), at, home.as_ref(), report);
    let empty = Breaker::default();
    let filled = fill(own, named.map_or(&empty, |(_, named)| named));
    let looks_back = filled.max_errors.is_some() || filled.duration.is_some();
    let timeout = match filled.timeout {
        Some(Patience(timeout)) => timeout,
        None => (!looks_back).then_some(TIMEOUT),
    };
    let mut calls = |key: &str, own: &Option<OneOrMany<HandlerCall>>, filled: &Option<_>| {
        let base = match (own, &home) {
            (None, Some(home)) => *home,
            _ => *at,
        };
        calls(filled.as_ref(), &base.key(key), names, report)
    };
    let on_open = calls("onOpen", &own.on_open, &filled.on_open);
    let on_close = calls("onClose", &own.on_close, &filled.on_close);
    let on_rejected = calls("onRejected", &own.on_rejected, &filled.on_rejected);
    BreakerConfig {
        policy: Policy { trip: trip(&filled, timeout), failures: failures(&filled) },
        timeout,
        timeout_answer: Answer {
            status: filled.timeout_status_code.map_or(504, |AnswerStatus(status)| status),
            body: message(filled.timeout_message.as_deref(), "Operation timeout"),
        },
        refusal: refusal(&filled),
        retry_after: match filled.retry_after {
            Some(false) => RetryAfter::Omit,
            Some(true) | None => RetryAfter::Send,
        },
        on_open,
        on_close,
        on_rejected,
    }
}

fn trip(breaker: &Breaker, timeout: Option<Duration>) -> Trip {
    let count = |count: Option<super::units::Count>| {
        count.and_then(|count| u32::try_from(count.0).ok()).and_then(NonZeroU32::new)
    };
    match (count(breaker.max_errors), breaker.duration) {
        (Some(failures), Some(Span(look_back))) => Trip::LookBack { failures, look_back },
        _ => Trip::Reset {
            failures: count(breaker.max_failures).unwrap_or(MAX_FAILURES),
            window: match (breaker.window, breaker.time_window) {
                (Some(WindowKind::Cumulative), _) | (_, None) => Window::Cumulative,
                (_, Some(Span(window))) => Window::Fixed(window),
            },
            open_for: breaker.reset_timeout.map_or(RESET_TIMEOUT, |Span(open_for)| open_for),
            probe_max: timeout.map_or(PROBE_MAX, |timeout| timeout + PROBE_GRACE),
        },
    }
}

fn failures(breaker: &Breaker) -> StatusSet {
    let Some(statuses) = &breaker.failure_statuses else {
        return StatusSet::server_errors();
    };
    let mut set = StatusSet::EMPTY;
    for (_, range) in statuses.iter() {
        set.insert(range.first, range.last);
    }
    set
}

fn refusal(breaker: &Breaker) -> Answer {
    let status = breaker.error_status.or(breaker.reject_status_code);
    let looks_back = breaker.max_errors.is_some() || breaker.duration.is_some();
    let body = match (&breaker.error_body, &breaker.reject_message) {
        (Some(body), _) => error_body(body),
        (None, None) if looks_back => Body::Text("Busy.".to_owned()),
        (None, text) => message(text.as_deref(), "Service unavailable"),
    };
    Answer { status: status.map_or(503, |AnswerStatus(status)| status), body }
}

/// A string is text, and an empty one the default; anything else is sent as it was written.
fn error_body(raw: &RawValue) -> Body {
    match serde_json::from_str::<String>(raw.get()) {
        Ok(text) if text.is_empty() => Body::Text("Busy.".to_owned()),
        Ok(text) => Body::Text(text),
        Err(_) => Body::Json(raw.get().to_owned()),
    }
}

fn message(text: Option<&str>, default: &str) -> Body {
    Body::Message(text.unwrap_or(default).to_owned())
}

fn calls(
    calls: Option<&OneOrMany<HandlerCall>>,
    at: &At<'_>,
    names: &Names<'_>,
    report: &mut Report,
) -> Vec<Call> {
    let mut found = Vec::new();
    for (nth, call) in calls.into_iter().flat_map(OneOrMany::iter) {
        let entry = nth.map_or(*at, |nth| at.nth(nth));
        let Some(name) = &call.name else {
            continue;
        };
        let Some(handler) = names.handlers.iter().position(|handler| handler.name == *name) else {
            let known = names.handlers.iter().map(|handler| handler.name.as_str());
            let remedy = match nearest(name, known) {
                Some(meant) => format!("did you mean {}?", quoted(meant)),
                None => "name it under `http.handlers`".to_owned(),
            };
            let message = format!("no handler is named {}", quoted(name));
            report.name(&entry.key("name"), "/http/handlers", message, &remedy);
            continue;
        };
        let options = call.options.clone().unwrap_or_else(|| serde_json::json!({}));
        found.push(Call { handler, options });
    }
    found
}

/// Complains about keys that contradict each other, or lack their other half.
fn check_words(
    own: &Breaker,
    named: Option<&Breaker>,
    at: &At<'_>,
    home: Option<&At<'_>>,
    report: &mut Report,
) {
    let mine = words(own);
    let theirs = named.map(words).unwrap_or_default();
    let place = |key: &'static str| match home {
        Some(home) if !mine.contains(&key) => home.key(key).to_string(),
        _ => at.key(key).to_string(),
    };
    let has = |key: &'static str| mine.contains(&key) || theirs.contains(&key);
    let (mut blamed, mut told) = (Vec::new(), Vec::new());
    for (a, b) in SAME_THING {
        // What the named one says twice is said of the named one.
        let key = if mine.contains(&b) { b } else { a };
        let other = if key == b { a } else { b };
        if !has(a) || !has(b) || !mine.contains(&key) || blamed.contains(&key) {
            continue;
        }
        blamed.push(key);
        // One word of the named breaker against two of one's own is one fault.
        if key == a && told.contains(&b) {
            continue;
        }
        told.push(other);
        let message = format!("`{key}` and `{other}` are two words for one thing");
        report.key(Code::Conflict, &at.key(key), message, "keep the words of one vocabulary");
        report.point_at(place(other), "the other word");
    }
    for (one, half) in [("maxErrors", "duration"), ("duration", "maxErrors")] {
        if mine.contains(&one) && !has(half) && !blamed.contains(&one) {
            let message = format!("`{one}` says nothing without `{half}`");
            let remedy = format!("add `{half}`");
            report.key(Code::Conflict, &at.key(one), message, &remedy);
        }
    }
    let filled = fill(own, named.unwrap_or(&Breaker::default()));
    let contradiction = match (filled.window, filled.time_window) {
        (Some(WindowKind::Fixed), None) => {
            Some(("a fixed window needs `timeWindow`", "add `timeWindow`, or write \"cumulative\""))
        }
        (Some(WindowKind::Cumulative), Some(_)) => Some((
            "a cumulative count has no `timeWindow`",
            "remove `timeWindow`, or write \"fixed\"",
        )),
        _ => None,
    };
    if let Some((message, remedy)) = contradiction
        && (mine.contains(&"window") || mine.contains(&"timeWindow"))
        && !blamed.contains(&"window")
    {
        let key = if mine.contains(&"window") { "window" } else { "timeWindow" };
        report.value(Code::Conflict, &at.key(key), message.to_owned(), remedy);
    }
}

/// Which of the words in question are written.
fn words(breaker: &Breaker) -> Vec<&'static str> {
    let written = [
        ("maxErrors", breaker.max_errors.is_some()),
        ("duration", breaker.duration.is_some()),
        ("errorStatus", breaker.error_status.is_some()),
        ("errorBody", breaker.error_body.is_some()),
        ("maxFailures", breaker.max_failures.is_some()),
        ("timeWindow", breaker.time_window.is_some()),
        ("resetTimeout", breaker.reset_timeout.is_some()),
        ("rejectStatusCode", breaker.reject_status_code.is_some()),
        ("rejectMessage", breaker.reject_message.is_some()),
        ("window", breaker.window.is_some()),
    ];
    written.into_iter().filter(|(_, is_written)| *is_written).map(|(key, _)| key).collect()
}

/// `own`, with the keys it leaves out taken from `named`.
fn fill(own: &Breaker, named: &Breaker) -> Breaker {
    macro_rules! fill {
        ($($key:ident)+) => {
            Breaker { import: None, $($key: own.$key.clone().or_else(|| named.$key.clone())),+ }
        };
    }
    fill! {
        max_errors duration error_status error_body timeout max_failures time_window
        reset_timeout timeout_status_code timeout_message reject_status_code reject_message
        on_open on_close on_rejected disable_stats stats_config mode scope window
        consecutive_failures failure_rate min_requests slow_call failure_statuses half_open ramp
        backoff retry_after fallback
    }
}

/// The named breakers of a document.
pub(super) fn named(entries: Option<&Entries<Breaker>>) -> &[(String, Breaker)] {
    entries.map(|entries| entries.0.as_slice()).unwrap_or_default()
}
