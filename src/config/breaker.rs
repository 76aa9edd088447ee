//! Circuit breakers: two vocabularies, one policy.
//!
//! Enters: a breaker as written, and the named ones it may import. Leaves: a [`BreakerConfig`].
//! Owns the breaker's defaults and the rules which of its keys go together. Where words of seed A
//! say when it trips, it looks back; all else is seed B's machine.

use std::time::Duration;

use serde_json::value::RawValue;

use super::complaint::{Code, nearest, quoted};
use super::document::{self, Breaker, BreakerChoice, Entries, HandlerCall, OneOrMany};
use super::place::At;
use super::policy;
use super::report::Report;
use super::span::Patience;
use super::units::AnswerStatus;
use super::{Answer, Body, BreakerConfig, Call, Handler, RetryAfter, Scope, Stats, answer, stats};

const TIMEOUT: Duration = Duration::from_secs(30);

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
    /// The series of a breaker that says nothing of its own.
    pub(super) stats: &'d Stats,
}

/// A breaker that another one uses, and where it is written.
pub(super) struct Named<'d> {
    breaker: &'d Breaker,
    home: At<'d>,
}

/// Complains about what is wrong with the named breakers whoever uses them: words that contradict
/// each other, and handlers that nobody bears. What one lacks its users may add.
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
        check_pairs(breaker, None, &at, report);
        for (key, written) in [
            ("onOpen", &breaker.on_open),
            ("onClose", &breaker.on_close),
            ("onRejected", &breaker.on_rejected),
        ] {
            calls(written.as_ref(), &at.key(key), names, report);
        }
    }
}

/// The breaker written at `at`; `None`: none, or none that works. `scope` is what it watches where
/// it does not say.
pub(super) fn choose(
    choice: Option<&BreakerChoice>,
    scope: Scope,
    at: &At<'_>,
    names: &Names<'_>,
    report: &mut Report,
) -> Option<BreakerConfig> {
    let Some(BreakerChoice::Breaker(own)) = choice else {
        return None;
    };
    let Some(name) = &own.import else {
        advise_window(own, at, report);
        return Some(config(own, None, scope, at, names, report));
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
    let http = At::ROOT.key("http");
    let library = http.key("circuitBreakers");
    let named = Named { breaker: named, home: library.key(name) };
    advise_window(&fill(own, named.breaker), &named.home, report);
    Some(config(own, Some(&named), scope, at, names, report))
}

/// Without a window a failure of last month counts like one of this minute.
fn advise_window(breaker: &Breaker, at: &At<'_>, report: &mut Report) {
    let looks_back = breaker.max_errors.is_some() || breaker.duration.is_some();
    let counts = policy::counts(breaker);
    if counts && !looks_back && breaker.time_window.is_none() && breaker.window.is_none() {
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
    named: Option<&Named<'_>>,
    scope: Scope,
    at: &At<'_>,
    names: &Names<'_>,
    report: &mut Report,
) -> BreakerConfig {
    let blamed = check_pairs(own, named, at, report);
    let empty = Breaker::default();
    let filled = fill(own, named.map_or(&empty, |named| named.breaker));
    let looks_back = filled.max_errors.is_some() || filled.duration.is_some();
    let timeout = match filled.timeout {
        Some(Patience(timeout)) => timeout,
        None => (!looks_back).then_some(TIMEOUT),
    };
    policy::check(&filled, timeout, &Place { own: words(own), at, named }, &blamed, report);
    let mut calls = |key: &str, own: &Option<OneOrMany<HandlerCall>>, filled: &Option<_>| {
        let base = home(own.as_ref(), at, named);
        calls(filled.as_ref(), &base.key(key), names, report)
    };
    let on_open = calls("onOpen", &own.on_open, &filled.on_open);
    let on_close = calls("onClose", &own.on_close, &filled.on_close);
    let on_rejected = calls("onRejected", &own.on_rejected, &filled.on_rejected);
    let base = home(own.stats_config.as_ref(), at, named);
    let stats =
        stats::read(filled.stats_config.as_ref(), names.stats, &base.key("statsConfig"), report);
    let stats = (filled.disable_stats != Some(true)).then_some(stats);
    BreakerConfig {
        scope: match filled.scope {
            None => scope,
            Some(document::Scope::Route) => Scope::Route,
            Some(document::Scope::Service) => Scope::Service,
            Some(document::Scope::Target) => Scope::Target,
        },
        policy: policy::policy(&filled, timeout),
        timeout,
        timeout_answer: Answer {
            status: filled.timeout_status_code.map_or(504, |AnswerStatus(status)| status),
            body: message(filled.timeout_message.as_deref(), "Operation timeout"),
        },
        refusal: refusal(&filled),
        fallback: filled.fallback.as_ref().map(|written| {
            let base = home(own.fallback.as_ref(), at, named);
            answer::fallback(written, &base.key("fallback"), report)
        }),
        retry_after: match filled.retry_after {
            Some(false) => RetryAfter::Omit,
            Some(true) | None => RetryAfter::Send,
        },
        on_open,
        on_close,
        on_rejected,
        stats,
    }
}

/// Where a key is written: in the breaker at `at` where that has it, else in the named one.
const fn home<'p, T>(own: Option<&T>, at: &At<'p>, named: Option<&Named<'p>>) -> At<'p> {
    match (own, named) {
        (None, Some(named)) => named.home,
        _ => *at,
    }
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

/// Complains about two words for one thing, and gives the keys that are to blame.
fn check_pairs(
    own: &Breaker,
    named: Option<&Named<'_>>,
    at: &At<'_>,
    report: &mut Report,
) -> Vec<&'static str> {
    let mine = words(own);
    let theirs = named.map(|named| words(named.breaker)).unwrap_or_default();
    let place = |key: &'static str| match named {
        Some(named) if !mine.contains(&key) => named.home.key(key).to_string(),
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
    blamed
}

/// Where the keys of a filled breaker were written.
pub(super) struct Place<'p> {
    own: Vec<&'static str>,
    at: &'p At<'p>,
    named: Option<&'p Named<'p>>,
}

impl Place<'_> {
    /// Complains about the first of `keys` that is the breaker's own; where all of them are the
    /// named one's, about the use of that.
    pub(super) fn blame(
        &self,
        keys: &[&'static str],
        message: String,
        remedy: &str,
        report: &mut Report,
    ) {
        let own = keys.iter().find(|key| self.own.contains(key));
        match (own, self.named, keys) {
            (None, Some(named), [key, ..]) => {
                report.value(Code::Conflict, &self.at.key("use"), message, remedy);
                report.point_at(named.home.key(key).to_string(), "taken from here");
            }
            (Some(key), ..) | (None, None, [key, ..]) => {
                report.key(Code::Conflict, &self.at.key(key), message, remedy);
            }
            (None, _, []) => {}
        }
    }
}

/// Which of the words in question are written.
pub(super) fn words(breaker: &Breaker) -> Vec<&'static str> {
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
        ("timeout", breaker.timeout.is_some()),
        ("consecutiveFailures", breaker.consecutive_failures.is_some()),
        ("failureRate", breaker.failure_rate.is_some()),
        ("minRequests", breaker.min_requests.is_some()),
        ("slowCall", breaker.slow_call.is_some()),
        ("halfOpen", breaker.half_open.is_some()),
        ("ramp", breaker.ramp.is_some()),
        ("backoff", breaker.backoff.is_some()),
        ("fallback", breaker.fallback.is_some()),
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
