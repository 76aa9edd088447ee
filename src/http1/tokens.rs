//! Any head at all, cut into tokens by httparse.
//!
//! Enters: the bytes received so far. Leaves: the parts of a head, with its fields; that it is not
//! whole yet; or the fault that refuses it. Who has to look closely looks here: `ordinary` reads
//! what nearly all send.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::mem::MaybeUninit;

use super::field::{self, Fields};
use super::head::{
    Bounds, HEADERS_MAX, RequestFault, RequestLine, ResponseFault, Span, StatusLine, Version,
};

/// The most empty lines before a request line that are passed over (RFC 9112 §2.2 says "at least
/// one").
const LEADING_LINES: usize = 2;

/// Cuts a request's head. `Ok(None)`: it is not whole yet.
#[inline(never)]
pub(super) fn request(
    bytes: &[u8],
    bounds: &Bounds,
    fields: &mut Fields,
) -> Result<Option<RequestLine>, RequestFault> {
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
    fields.read(lines(parsed.headers), bytes, len).map_err(|fault| match fault {
        field::Fault if parsed.headers.iter().any(|field| field.name.len() > field::NAME_MAX) => {
            RequestFault::HeadTooLarge
        }
        field::Fault => RequestFault::Malformed,
    })?;
    let version = if version == 0 { Version::Http10 } else { Version::Http11 };
    let [method, target] = [method, target].map(|part| Span::of(part.as_bytes(), bytes));
    Ok(Some(RequestLine { len, method, target, version }))
}

/// Cuts a response's head. `Ok(None)`: it is not whole yet.
#[inline(never)]
pub(super) fn response(
    bytes: &[u8],
    bounds: &Bounds,
    fields: &mut Fields,
) -> Result<Option<StatusLine>, ResponseFault> {
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
    fields
        .read(lines(parsed.headers), bytes, len)
        .map_err(|field::Fault| ResponseFault::Malformed)?;
    let version = if version == 0 { Version::Http10 } else { Version::Http11 };
    Ok(Some(StatusLine { len, status, version }))
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
