//! How long a head says its body is.
//!
//! Enters: the fields of a head that tell a length. Leaves: one [`Framing`], or a fault: two
//! lengths, or one that can be read in two ways, are how requests are smuggled (RFC 9112 §6.1 and
//! §6.3).

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use super::field::{self, Fields, Kind};
use super::framing::Framing;
use super::head::{Asked, RequestFault, ResponseFault, Version, is_token};

/// RFC 9112 §6.3: one unmistakable length, or none.
pub(super) fn of_request(
    version: Version,
    fields: &Fields,
    bytes: &[u8],
) -> Result<Framing, RequestFault> {
    let coding = fields.only(Kind::TransferEncoding).map_err(|_| RequestFault::Malformed)?;
    let length = fields.only(Kind::ContentLength).map_err(|_| RequestFault::Malformed)?;
    match (coding, length) {
        (None, None) => Ok(Framing::None),
        (None, Some(length)) => match field::length(length.of_bytes(bytes)) {
            Some(0) => Ok(Framing::None),
            Some(length) => Ok(Framing::Exact(length)),
            None => Err(RequestFault::Malformed),
        },
        (Some(_), Some(_)) => Err(RequestFault::Malformed),
        (Some(_), None) if version == Version::Http10 => Err(RequestFault::Malformed),
        (Some(coding), None) => match coding.of_bytes(bytes) {
            text if text.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
            text => Err(coding_fault(text)),
        },
    }
}

/// A list of codings that ends in `chunked` once, or does without it, is one we do not know;
/// anything else is none (RFC 9112 §6.1).
fn coding_fault(text: &[u8]) -> RequestFault {
    let mut codings = text.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).rev();
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let well_formed = |coding: &[u8]| !coding.is_empty() && coding.iter().copied().all(is_token);
    let last = codings.next().unwrap_or_default();
    if well_formed(last) && codings.all(|coding| well_formed(coding) && !is_chunked(coding)) {
        RequestFault::UnknownCoding
    } else {
        RequestFault::Malformed
    }
}

/// RFC 9112 §6.3: by the request, the status, the coding and the length, in that order.
pub(super) fn of_response(
    version: Version,
    status: u16,
    asked: Asked,
    fields: &Fields,
    bytes: &[u8],
) -> Result<Framing, ResponseFault> {
    let coding = fields.only(Kind::TransferEncoding).map_err(|_| ResponseFault::Malformed)?;
    let length = fields.only(Kind::ContentLength).map_err(|_| ResponseFault::Malformed)?;
    let length = match length {
        Some(length) => {
            Some(field::length(length.of_bytes(bytes)).ok_or(ResponseFault::Malformed)?)
        }
        None => None,
    };
    let chunked = match coding {
        Some(coding) => {
            let known = coding.of_bytes(bytes).eq_ignore_ascii_case(b"chunked");
            if !known || length.is_some() || version == Version::Http10 {
                return Err(ResponseFault::Malformed);
            }
            true
        }
        None => false,
    };
    Ok(match (asked, status, length) {
        (Asked::Head, _, _) | (_, 100..=199 | 204 | 304, _) | (_, _, Some(0)) => Framing::None,
        (_, _, Some(length)) => Framing::Exact(length),
        (_, _, None) if chunked => Framing::Chunked,
        (_, _, None) => Framing::UntilClose,
    })
}
