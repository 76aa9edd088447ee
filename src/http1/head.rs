//! Message heads: from bytes to spans.
//!
//! Enters: the bytes received so far. Leaves: a [`Request`] or a [`Response`] whose parts are
//! offsets into those bytes, with the fields in a [`Fields`] list that is used again for the next
//! head; or the fault that refuses it. httparse cuts the head into tokens; the rules that make it
//! safe to forward (RFC 9112 §2.2, §3.2, §5.1, §6) are held here. Owns nothing of the message.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::mem::MaybeUninit;

use super::answer::Prefer;
use super::field::{self, Fields, Kind};
use super::framing::Framing;
use super::upgrade::{self, Upgrade};
use super::{length, target};

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

/// The most empty lines before a request line that are passed over (RFC 9112 §2.2 says "at least
/// one").
const LEADING_LINES: usize = 2;

/// Reads a request's head. `Ok(None)`: it is not whole yet.
pub fn request(
    bytes: &[u8],
    bounds: &Bounds,
    fields: &mut Fields,
) -> Result<Option<Request>, RequestFault> {
    let skipped = leading_lines(bytes)?;
    let rest = bytes.get(skipped..).unwrap_or_default();
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    let status = parsed.parse_with_uninit_headers(rest, &mut slots);
    let len = match status {
        Ok(httparse::Status::Complete(len)) if skipped + len <= bounds.bytes => skipped + len,
        Ok(httparse::Status::Partial) if bytes.len() < bounds.bytes => {
            return if has_bare_line_end(rest) { Err(RequestFault::Malformed) } else { Ok(None) };
        }
        Ok(_) if memchr::memchr(b'\n', rest).is_none() => return Err(RequestFault::UriTooLong),
        Ok(_) => return Err(RequestFault::HeadTooLarge),
        Err(httparse::Error::TooManyHeaders) => return Err(RequestFault::TooManyFields),
        Err(httparse::Error::Version) if bytes.len() < bounds.bytes => {
            return version_fault(rest).map_or(Ok(None), Err);
        }
        Err(_) => return Err(RequestFault::Malformed),
    };
    if parsed.headers.len() > bounds.fields {
        return Err(RequestFault::TooManyFields);
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(RequestFault::Malformed);
    };
    if target.len() > bounds.target {
        return Err(RequestFault::UriTooLong);
    }
    if method == "CONNECT" {
        return Err(RequestFault::Connect);
    }
    let method = Span::of(method.as_bytes(), bytes);
    fields.read(lines(parsed.headers), bytes, len).map_err(|fault| match fault {
        field::Fault if parsed.headers.iter().any(|field| field.name.len() > field::NAME_MAX) => {
            RequestFault::HeadTooLarge
        }
        field::Fault => RequestFault::Malformed,
    })?;
    let version = if version == 0 { Version::Http10 } else { Version::Http11 };
    let target = target::parts(Span::of(target.as_bytes(), bytes), method, bytes)?;
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
    // httparse passes over empty lines; a client would be sent them.
    if !bytes.iter().zip(b"HTTP/1.").all(|(is, ought)| is == ought) {
        return Err(ResponseFault::Malformed);
    }
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let outcome = config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut slots);
    let len = match outcome {
        Ok(httparse::Status::Complete(len)) if len <= bounds.bytes => len,
        Ok(httparse::Status::Partial) if bytes.len() < bounds.bytes => return Ok(None),
        Ok(_) => return Err(ResponseFault::HeadTooLarge),
        Err(httparse::Error::TooManyHeaders) => return Err(ResponseFault::TooManyFields),
        Err(_) => return Err(ResponseFault::Malformed),
    };
    let (Some(status), Some(version)) = (parsed.code, parsed.version) else {
        return Err(ResponseFault::Malformed);
    };
    if parsed.headers.len() > bounds.fields {
        return Err(ResponseFault::TooManyFields);
    }
    if !(100..600).contains(&status) {
        return Err(ResponseFault::Malformed);
    }
    fields
        .read(lines(parsed.headers), bytes, len)
        .map_err(|field::Fault| ResponseFault::Malformed)?;
    let version = if version == 0 { Version::Http10 } else { Version::Http11 };
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

/// Names and values, as they lie in the head.
fn lines<'a, 'b: 'a>(
    headers: &'a [httparse::Header<'b>],
) -> impl Iterator<Item = (&'b [u8], &'b [u8])> {
    headers.iter().map(|header| (header.name.as_bytes(), header.value))
}

fn leading_lines(bytes: &[u8]) -> Result<usize, RequestFault> {
    let mut skipped = 0;
    while let Some(b'\r' | b'\n') = bytes.get(skipped) {
        match bytes.get(skipped..skipped + 2) {
            Some(b"\r\n") if skipped < LEADING_LINES * 2 => skipped += 2,
            None if bytes.get(skipped) == Some(&b'\r') => return Ok(skipped),
            _ => return Err(RequestFault::Malformed),
        }
    }
    Ok(skipped)
}

/// Whether a line of an unfinished head ends in LF alone: then waiting for the rest is no use.
fn has_bare_line_end(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes)
        .any(|at| at.checked_sub(1).and_then(|before| bytes.get(before)) != Some(&b'\r'))
}

/// A request line whose version is not ours: one that is well formed, or no request line at all.
/// One that has not all arrived is waited for, so that the answer does not depend on how it was
/// sent.
fn version_fault(bytes: &[u8]) -> Option<RequestFault> {
    let end = memchr::memchr(b'\n', bytes)?;
    let line = bytes.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.split(|&byte| byte == b' ').skip(2);
    Some(match (words.next(), words.next()) {
        (Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None)
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            RequestFault::UnknownVersion
        }
        _ => RequestFault::Malformed,
    })
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
