//! Outgoing heads, written straight from the incoming bytes.
//!
//! Enters: a parsed head and the bytes it was parsed from. Leaves: the head for the other side:
//! what is for one hop only is left out, what a proxy adds is added, and all the rest is copied in
//! runs as it was sent. Nothing is rebuilt from a map.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use super::field::{Field, Fields, Kind};
use super::forwarding::{Origin, Telling};
use super::head::{Expect, Request, Response, Version};

/// Writes bytes into a place of fixed size, and remembers whether they fitted.
#[derive(Debug)]
pub struct Writer<'a> {
    place: &'a mut [u8],
    len: usize,
    fits: bool,
}

impl<'a> Writer<'a> {
    /// A writer that begins at the start of `place`.
    #[must_use]
    pub const fn new(place: &'a mut [u8]) -> Self {
        Self { place, len: 0, fits: true }
    }

    /// Writes `bytes`; once something did not fit, nothing more is written.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match self.place.get_mut(self.len..self.len + bytes.len()) {
            Some(place) if self.fits => {
                place.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            _ => self.fits = false,
        }
    }

    /// How many bytes were written; `None` when some did not fit.
    #[must_use]
    pub const fn finish(self) -> Option<usize> {
        if self.fits { Some(self.len) } else { None }
    }
}

/// How a request reaches its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Its response is passed on as it is.
    Relayed,
    /// Its response is read by us: no encoding is asked for that we would have to undo. The body
    /// was read whole too, and its length and the blank line are left for the caller to write.
    Read,
}

/// Writes the fields of a request and the blank line; the request line and `Host` are written
/// already.
pub fn request_fields(
    writer: &mut Writer<'_>,
    request: &Request,
    fields: &Fields,
    bytes: &[u8],
    origin: &Origin<'_>,
    passage: Passage,
) {
    copy(writer, fields, bytes, |field| match field.kind {
        Kind::EndToEnd | Kind::Accept | Kind::Date | Kind::Via => true,
        Kind::ContentLength | Kind::TransferEncoding | Kind::AcceptEncoding | Kind::Trailer => {
            passage == Passage::Relayed
        }
        // RFC 9110 §10.1.1: whether to go on is for the upstream to say, if it hears of it.
        Kind::Expect => passage == Passage::Relayed && request.expect == Expect::Continue,
        Kind::Forwarding => origin.keeps(field, bytes),
        Kind::Hop | Kind::Connection | Kind::Host | Kind::Te => false,
    });
    origin.write(writer, fields, bytes);
    origin.telling.via(writer, request.version);
    if passage == Passage::Relayed {
        // An HTTP/1.0 client gets no chunks, and so no trailers.
        if request.version == Version::Http11 && fields.takes_trailers(bytes) {
            writer.put(b"te: trailers\r\nconnection: te\r\n");
        }
        writer.put(b"\r\n");
    }
}

/// Writes a part of a path as a value of a query: what would end the value there is escaped.
pub fn query_value(writer: &mut Writer<'_>, value: &[u8]) {
    for byte in value {
        match byte {
            b'&' => writer.put(b"%26"),
            b';' => writer.put(b"%3B"),
            b'=' => writer.put(b"%3D"),
            b'+' => writer.put(b"%2B"),
            byte => writer.put(&[*byte]),
        }
    }
}

/// What the client is told about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// Nothing: HTTP/1.1 goes on by default.
    Nothing,
    /// That it goes on: HTTP/1.0 has to be told.
    KeepAlive,
    /// That it ends.
    Close,
}

/// How the body of a response is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyForm {
    /// Framed as it came.
    AsSent,
    /// Without its chunks: the client speaks HTTP/1.0.
    Unchunked,
}

/// How a response's head is changed for its client.
#[derive(Clone, Copy, Debug)]
pub struct Changes<'a> {
    /// What the client is told about its connection.
    pub say: Say,
    /// How the body is passed on.
    pub body: BodyForm,
    /// The `Date` line of a response that came without one (RFC 9110 §6.6.1).
    pub date: &'a [u8],
    /// What is told of us.
    pub telling: &'a Telling,
}

/// The most bytes by which a head grows here: the `Date` and `Via` lines, `connection: keep-alive`,
/// and a length or a coding in more words than it was sent in.
pub const GROWTH: usize = 192;

/// Writes the head of a response for the client.
pub fn response_head(
    writer: &mut Writer<'_>,
    response: &Response,
    fields: &Fields,
    bytes: &[u8],
    changes: &Changes<'_>,
) {
    const VERSION: usize = "HTTP/1.x".len();
    let first = fields.list().first().map_or(fields.end(), |field| field.name.start());
    if response.version == Version::Http10 {
        writer.put(b"HTTP/1.1");
        writer.put(bytes.get(VERSION..first).unwrap_or_default());
    } else {
        writer.put(bytes.get(..first).unwrap_or_default());
    }
    // RFC 9110 §8.6, RFC 9112 §6.1: these have neither, and who believes one waits for a body.
    let bodiless = matches!(response.status, 100..=199 | 204);
    copy(writer, fields, bytes, |field| match field.kind {
        Kind::Hop | Kind::Connection | Kind::Te => false,
        Kind::TransferEncoding => changes.body == BodyForm::AsSent && !bodiless,
        Kind::ContentLength => !bodiless,
        Kind::Trailer => changes.body == BodyForm::AsSent,
        Kind::EndToEnd
        | Kind::Host
        | Kind::Expect
        | Kind::Accept
        | Kind::AcceptEncoding
        | Kind::Forwarding
        | Kind::Date
        | Kind::Via => true,
    });
    if response.status >= 200 && !fields.has(Kind::Date) {
        writer.put(changes.date);
    }
    changes.telling.via(writer, response.version);
    writer.put(match changes.say {
        Say::Nothing => b"\r\n",
        Say::KeepAlive => b"connection: keep-alive\r\n\r\n",
        Say::Close => b"connection: close\r\n\r\n",
    });
}

/// Copies the field lines that `keep` keeps, neighbours together.
fn copy(writer: &mut Writer<'_>, fields: &Fields, bytes: &[u8], keep: impl Fn(&Field) -> bool) {
    let nominates = fields.nominates();
    let kept = |kind: Kind| fields.list().iter().any(|field| field.kind == kind && keep(field));
    let length = fields.odd_length(bytes).filter(|_| kept(Kind::ContentLength));
    let coding = fields.odd_coding(bytes) && kept(Kind::TransferEncoding);
    let keep = |field: &Field| {
        keep(field)
            && !(length.is_some() && field.kind == Kind::ContentLength)
            && !(coding && field.kind == Kind::TransferEncoding)
            && !(nominates && fields.is_nominated(field, bytes))
    };
    let list = fields.list();
    let mut run = list.first().map_or(fields.end(), |field| field.name.start());
    for (index, field) in list.iter().enumerate() {
        if keep(field) {
            continue;
        }
        writer.put(bytes.get(run..field.name.start()).unwrap_or_default());
        run = list.get(index + 1).map_or(fields.end(), |next| next.name.start());
    }
    writer.put(bytes.get(run..fields.end()).unwrap_or_default());
    if coding {
        writer.put(b"transfer-encoding: chunked\r\n");
    }
    if let Some(length) = length {
        writer.put(b"content-length: ");
        writer.put(super::answer::decimal(length, &mut [0; 20]));
        writer.put(b"\r\n");
    }
}
