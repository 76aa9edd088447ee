//! Handlers of breaker events: what each does when it is called.
//!
//! Enters: `http.handlers` as written. Leaves: [`Handler`]s in the document's order. Owns their
//! defaults and which keys belong to which type.

use std::time::Duration;

use super::complaint::Code;
use super::document::{self, Entries, HandlerType};
use super::logging;
use super::place::At;
use super::report::Report;
use super::span::Span;
use super::units::Count;
use super::url;

/// A named event handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handler {
    /// Its name.
    pub name: String,
    /// What it does.
    pub kind: HandlerKind,
}

/// What a handler does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandlerKind {
    /// Writes a log line at this level.
    Log(log::Level),
    /// Posts the event to a URL.
    Webhook {
        /// Where.
        url: String,
        /// Time limit of one attempt.
        timeout: Duration,
        /// Attempts after the first.
        retries: u32,
    },
    /// Runs a program that is told the event.
    Exec {
        /// Program and arguments, at least the first.
        command: Vec<String>,
        /// How long it may run.
        timeout: Duration,
    },
}

/// Long enough for a receiver across an ocean, short enough that what queues up behind one that
/// hangs is told within a minute.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(2);
const WEBHOOK_RETRIES: u32 = 3;
/// A script that calls something itself.
const EXEC_TIMEOUT: Duration = Duration::from_secs(10);

/// The handlers written below `at`.
pub(super) fn handlers(
    all: &Entries<document::Handler>,
    at: &At<'_>,
    report: &mut Report,
) -> Vec<Handler> {
    let root = at.key("handlers");
    let mut found = Vec::new();
    for (name, handler) in &all.0 {
        let at = root.key(name);
        strangers(handler, &at, report);
        let kind = match handler.kind {
            Some(HandlerType::Webhook) => webhook(handler, &at, report),
            Some(HandlerType::Exec) => exec(handler, &at, report),
            // Handlers of type redis stand in here for their names; the walk has refused them.
            Some(HandlerType::Log | HandlerType::Redis) | None => {
                HandlerKind::Log(level(handler, &at, report))
            }
        };
        found.push(Handler { name: name.clone(), kind });
    }
    found
}

/// Complains about keys of other types.
fn strangers(handler: &document::Handler, at: &At<'_>, report: &mut Report) {
    let (kind, own): (_, &[&str]) = match handler.kind {
        Some(HandlerType::Log) => ("log", &["level"]),
        Some(HandlerType::Webhook) => ("webhook", &["url", "timeout", "retries"]),
        Some(HandlerType::Exec) => ("exec", &["command", "timeout"]),
        Some(HandlerType::Redis) | None => return,
    };
    let written = [
        ("level", handler.level.is_some()),
        ("url", handler.url.is_some()),
        ("timeout", handler.timeout.is_some()),
        ("retries", handler.retries.is_some()),
        ("command", handler.command.is_some()),
        ("channel", handler.channel.is_some()),
    ];
    for (key, _) in written.into_iter().filter(|(key, written)| *written && !own.contains(key)) {
        let message = format!("a handler of type {kind} has no `{key}`");
        report.key(Code::Conflict, &at.key(key), message, "remove it");
    }
}

fn level(handler: &document::Handler, at: &At<'_>, report: &mut Report) -> log::Level {
    let level = handler.level.map_or(log::LevelFilter::Warn, logging::filter).to_level();
    if level.is_none() {
        let message = "a handler that logs nothing does nothing".to_owned();
        report.value(Code::Conflict, &at.key("level"), message, "write `warn`");
    }
    level.unwrap_or(log::Level::Warn)
}

fn webhook(handler: &document::Handler, at: &At<'_>, report: &mut Report) -> HandlerKind {
    let place = at.key("url");
    match &handler.url {
        None => {
            let message = "a webhook needs a `url`".to_owned();
            let remedy = r#"add one, as in "url": "http://127.0.0.1:9000/breakers""#;
            report.value(Code::Missing, at, message, remedy);
        }
        Some(text) => {
            if let Err((code, flaw)) = url::template(text, &[]) {
                report.value(code, &place, flaw.fault, &flaw.remedy);
            }
        }
    }
    HandlerKind::Webhook {
        url: handler.url.clone().unwrap_or_default(),
        timeout: handler.timeout.map_or(WEBHOOK_TIMEOUT, |Span(timeout)| timeout),
        // The schema has held it to its range, which fits.
        retries: handler
            .retries
            .and_then(|Count(retries)| u32::try_from(retries).ok())
            .unwrap_or(WEBHOOK_RETRIES),
    }
}

fn exec(handler: &document::Handler, at: &At<'_>, report: &mut Report) -> HandlerKind {
    const REMEDY: &str = r#"write a program and its arguments, as in ["/usr/bin/notify", "ops"]"#;
    let (command, root) = (handler.command.clone().unwrap_or_default(), at.key("command"));
    match command.first().map(String::as_str) {
        None if handler.command.is_none() => {
            let message = "a handler of type exec needs a `command`".to_owned();
            report.value(Code::Missing, at, message, REMEDY);
        }
        None => report.value(Code::Missing, &root, "the command is empty".to_owned(), REMEDY),
        Some("") => {
            let message = "the command names no program".to_owned();
            report.value(Code::Missing, &root.nth(0), message, REMEDY);
        }
        Some(_) => {}
    }
    if let Some(nth) = command.iter().position(|part| part.contains('\0')) {
        let message = "no program can be given a zero byte".to_owned();
        report.value(Code::OutOfRange, &root.nth(nth), message, "remove it");
    }
    let timeout = handler.timeout.map_or(EXEC_TIMEOUT, |Span(timeout)| timeout);
    HandlerKind::Exec { command, timeout }
}
