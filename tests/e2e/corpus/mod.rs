//! Hostile requests: raw bytes, each with a name, what must become of it, and why.
//!
//! `framing`, `chunks` and `target` hold the classes of known attacks by their row ids,
//! `mutations` what a generator makes of the two fields that framing rests on. In the texts `¦` is
//! CR LF, and every character below 256 is one byte.

mod chunks;
mod framing;
mod mutations;
mod target;

/// One hostile request.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The row of the list of attacks it belongs to.
    pub(crate) row: &'static str,
    /// Unique.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) must: Must,
    pub(crate) why: &'static str,
}

/// What must become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Must {
    /// One answer with this status, and a close; not a byte reaches the origin.
    Refuse(u16),
    /// 400 or a cut; the origin may have seen a part of it, never a whole request.
    Break,
    /// The origin sees exactly these requests, as `recorder` spells them; each is answered 200.
    Forward(&'static str),
    /// The same, and what follows gets this status and a close.
    ForwardThenRefuse(&'static str, u16),
    /// Answered by us with this status; not a byte reaches the origin, the connection may go on.
    Answer(u16),
    /// Refused, broken or forwarded as read; which of them is on record.
    Recorded,
}

/// The rows of the list of attacks on the framing of requests.
pub(crate) const FRAMING_ROWS: std::ops::RangeInclusive<u8> = 1..=27;

/// The rows on target, host, version and method.
pub(crate) const TARGET_ROWS: std::ops::RangeInclusive<u8> = 28..=34;

/// What an attacker wants to have read as a request.
const EVIL: &str = "GET /evil HTTP/1.1¦Host: a¦¦";

/// Attacks on the framing of requests.
pub(crate) fn framing() -> Vec<Message> {
    [framing::messages(), chunks::messages()].concat()
}

/// Attacks on target, host, version and method.
pub(crate) fn target() -> Vec<Message> {
    target::messages()
}

/// All of them.
pub(crate) fn all() -> Vec<Message> {
    [framing(), target(), mutations::messages()].concat()
}

/// The rows of one id: name, text, what must become of it.
fn rows(
    row: &'static str,
    why: &'static str,
    messages: impl IntoIterator<Item = (&'static str, String, Must)>,
) -> Vec<Message> {
    let message = |(name, text, must): (&str, String, Must)| Message {
        row,
        name: format!("{row} {name}"),
        bytes: raw(&text),
        must,
        why,
    };
    messages.into_iter().map(message).collect()
}

/// The bytes that `text` stands for.
pub(crate) fn raw(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for c in text.chars() {
        match c {
            '¦' => bytes.extend(b"\r\n"),
            c => bytes.push(u8::try_from(u32::from(c)).expect("a byte")),
        }
    }
    bytes
}

/// A `POST` with these framing fields and this body.
fn post(fields: &str, body: &str) -> String {
    format!("POST /x HTTP/1.1¦Host: a¦{fields}¦¦{body}")
}

/// A chunked `POST` with this body.
fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked", body)
}

/// A `GET` with these fields.
fn get(fields: &str) -> String {
    format!("GET /x HTTP/1.1¦Host: a¦{fields}¦¦")
}
