//! Message heads: from bytes to spans.
//!
//! Enters: the bytes received so far. Leaves: a [`Request`] or a [`Response`] whose parts are
//! offsets into those bytes, with the fields in a [`Fields`] list that is used again for the next
//! head; or the fault that refuses it. `ordinary` or `tokens` cuts the head; the rules that make it
//! safe to forward (RFC 9112 §2.2, §3.2, §5.1, §6) are held there and here. Owns nothing of the
//! message.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use super::answer::Prefer;
use super::field::{Fields, Kind};
use super::framing::Framing;
use super::upgrade::{self, Upgrade};
use super::{length, ordinary, target, tokens};

/// A part of a head: offsets into its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        let narrow = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { start: narrow(start), end: narrow(end) }
    }

    /// Where `part`, a slice of `whole`, lies in it.
    pub(super) fn of(part: &[u8], whole: &[u8]) -> Self {
        let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
        Self::new(start, start + part.len())
    }

    /// The bytes it names.
    #[must_use]
    pub fn of_bytes(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start()..self.end()).unwrap_or_default()
    }

    /// Its first offset.
    #[must_use]
    pub const fn start(self) -> usize {
        self.start as usize
    }

    /// The offset behind it.
    #[must_use]
    pub const fn end(self) -> usize {
        self.end as usize
    }
}

/// The largest head that is held: one large buffer.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The most header fields that are tokenised.
pub const HEADERS_MAX: usize = 256;

/// What heads may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of the whole head.
    pub bytes: usize,
    /// Fields.
    pub fields: usize,
    /// Bytes of a request's target.
    pub target: usize,
}

/// The version a peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// Whether a peer wants the connection to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persist {
    /// It does.
    Keep,
    /// It closes after this message.
    Close,
}

/// Whether a client waits for `100 Continue` before it sends its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It does not.
    Nothing,
    /// It does.
    Continue,
}

/// A request's head.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Bytes of the head, leading line ends included.
    pub len: usize,
    /// The method.
    pub method: Span,
    /// The path, as sent.
    pub path: Span,
    /// The query with its `?`; empty when there is none.
    pub query: Span,
    /// Host and port, from the target or the `Host` field; empty only for HTTP/1.0.
    pub host: Span,
    /// The version.
    pub version: Version,
    /// How the body's length is told.
    pub framing: Framing,
    /// Whether the client wants the connection to go on.
    pub persist: Persist,
    /// Whether it waits for `100 Continue`.
    pub expect: Expect,
    /// Which of our representations it prefers.
    pub prefer: Prefer,
    /// Whether it asks for another protocol.
    pub upgrade: Upgrade,
}

/// A response's head.
#[derive(Clone, Copy, Debug)]
pub struct Response {
    /// Bytes of the head.
    pub len: usize,
    /// The status.
    pub status: u16,
    /// The version.
    pub version: Version,
    /// How the body's length is told.
    pub framing: Framing,
    /// Whether the upstream lets the connection go on.
    pub persist: Persist,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFault {
    /// 400.
    Malformed,
    /// 405: `CONNECT`, which asks for a tunnel to anywhere.
    Connect,
    /// 414.
    UriTooLong,
    /// 417.
    UnknownExpectation,
    /// 431: of bytes.
    HeadTooLarge,
    /// 431: of fields.
    TooManyFields,
    /// 501.
    UnknownCoding,
    /// 505.
    UnknownVersion,
}

/// Why a response is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFault {
    /// It is not HTTP/1.1.
    Malformed,
    /// Its head has too many bytes.
    HeadTooLarge,
    /// Its head has too many fields.
    TooManyFields,
}

/// A request's head, cut: its fields are in the list beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestLine {
    /// Bytes of the head, leading line ends included.
    pub(super) len: usize,
    pub(super) method: Span,
    pub(super) target: Span,
    pub(super) version: Version,
}

/// A response's head, cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StatusLine {
    /// Bytes of the head.
    pub(super) len: usize,
    pub(super) status: u16,
    pub(super) version: Version,
}

/// Reads a request's head. `Ok(None)`: it is not whole yet.
pub fn request(
    bytes: &[u8],
    bounds: &Bounds,
    fields: &mut Fields,
) -> Result<Option<Request>, RequestFault> {
    let cut = match ordinary::request(bytes, bounds, fields) {
        Some(cut) => cut,
        None => match tokens::request(bytes, bounds, fields)? {
            Some(cut) => cut,
            None => return Ok(None),
        },
    };
    let RequestLine { len, method, target, version } = cut;
    let target = target::parts(target, method, bytes)?;
    let framing = length::of_request(version, fields, bytes)?;
    Ok(Some(Request {
        len,
        method,
        path: target.path,
        query: target.query,
        host: target::host(target.authority, version, fields, bytes)?,
        version,
        framing,
        persist: fields.persist(version),
        expect: expectation(version, framing, fields, bytes)?,
        prefer: fields.prefer(bytes),
        upgrade: upgrade::of_request(version, framing, fields, bytes)?,
    }))
}

/// Reads a response's head; whether a body follows depends on what was `asked`. `Ok(None)`: it is
/// not whole yet.
pub fn response(
    bytes: &[u8],
    bounds: &Bounds,
    asked: Asked,
    fields: &mut Fields,
) -> Result<Option<Response>, ResponseFault> {
    let cut = match ordinary::response(bytes, bounds, fields) {
        Some(cut) => cut,
        None => match tokens::response(bytes, bounds, fields)? {
            Some(cut) => cut,
            None => return Ok(None),
        },
    };
    let StatusLine { len, status, version } = cut;
    if !(100..600).contains(&status) {
        return Err(ResponseFault::Malformed);
    }
    let framing = length::of_response(version, status, asked, fields, bytes)?;
    let persist = match framing {
        Framing::UntilClose => Persist::Close,
        // An HTTP/1.0 upstream may mean another length than we read: it is not asked again.
        _ if version == Version::Http10 => Persist::Close,
        Framing::None | Framing::Exact(_) | Framing::Chunked => fields.persist(version),
    };
    Ok(Some(Response { len, status, version, framing, persist }))
}

/// What a response answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A `HEAD`: whatever the head says, no body follows.
    Head,
    /// Anything else.
    Body,
}

/// Whether `byte` may stand in a method or a field name (RFC 9110 §5.6.2).
#[must_use]
pub const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// RFC 9110 §10.1.1; an HTTP/1.0 client cannot expect anything, and where no content follows there
/// is nothing to wait for.
fn expectation(
    version: Version,
    framing: Framing,
    fields: &Fields,
    bytes: &[u8],
) -> Result<Expect, RequestFault> {
    match fields.only(Kind::Expect).map_err(|_| RequestFault::UnknownExpectation)? {
        Some(value) if version == Version::Http11 => {
            if !value.of_bytes(bytes).eq_ignore_ascii_case(b"100-continue") {
                Err(RequestFault::UnknownExpectation)
            } else if framing == Framing::None {
                Ok(Expect::Nothing)
            } else {
                Ok(Expect::Continue)
            }
        }
        Some(_) | None => Ok(Expect::Nothing),
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
