//! Responses of our own, as configured, and what a client gets instead of a refusal.
//!
//! Enters: a fallback as written. Leaves: an answer whose header fields can be sent as they stand.
//! Owns the list of fields that are ours to write.

use super::complaint::{Code, quoted};
use super::document;
use super::place::At;
use super::report::Report;
use super::units::AnswerStatus;

/// A response of our own, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200–599.
    pub status: u16,
    /// What it says.
    pub body: Body,
}

/// What a client gets instead of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// This response.
    Answer {
        /// Status and body.
        answer: Answer,
        /// Names and values of further fields, sound as they stand.
        headers: Vec<(String, String)>,
    },
    /// What the service of this name answers: one of its route, that is asked only then.
    Service(String),
}

/// The body of a response of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Text, whatever the client prefers (seed A's string).
    Text(String),
    /// This JSON, whatever the client prefers (seed A's object).
    Json(String),
    /// JSON `{"error": message}`, or the message as text where the client prefers text (seed B).
    Message(String),
}

/// Fields about length, framing and the connection, and the one that says when to come back.
const OURS: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "retry-after",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The fallback written at `at`.
pub(super) fn fallback(written: &document::Fallback, at: &At<'_>, report: &mut Report) -> Fallback {
    if let Some(service) = &written.service {
        let others = [
            ("status", written.status.is_some()),
            ("body", written.body.is_some()),
            ("headers", written.headers.is_some()),
        ];
        for (key, _) in others.into_iter().filter(|(_, written)| *written) {
            let message = format!("a fallback by a service has no `{key}`: the service says it");
            report.key(Code::Conflict, &at.key(key), message, "remove it, or `service`");
        }
        return Fallback::Service(service.clone());
    }
    let fields = at.key("headers");
    let mut headers = Vec::new();
    for (name, value) in written.headers.iter().flat_map(|headers| &headers.0) {
        let at = fields.key(name);
        let lower = name.to_ascii_lowercase();
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            let message = format!("{} is not the name of a header field", quoted(name));
            report.key(Code::OutOfRange, &at, message, "use letters, digits and `-`");
        } else if OURS.contains(&lower.as_str()) {
            let message = format!("`{lower}` is not a fallback's to say");
            report.key(Code::Conflict, &at, message, "remove it");
        } else if value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
            let message = format!("the value of `{lower}` holds a control character");
            report.value(Code::OutOfRange, &at, message, "write it on one line");
        } else {
            headers.push((lower, value.trim().to_owned()));
        }
    }
    let body = written.body.as_deref().map(|raw| match serde_json::from_str(raw.get()) {
        Ok(text) => Body::Text(text),
        Err(_) => Body::Json(raw.get().to_owned()),
    });
    Fallback::Answer {
        answer: Answer {
            status: written.status.map_or(200, |AnswerStatus(status)| status),
            body: body.unwrap_or_else(|| Body::Text(String::new())),
        },
        headers,
    }
}
