//! Reads an upstream's response up to the end of its head.
//!
//! Enters: the stream. Leaves: the head, and a buffer that begins with it. Interim responses are
//! passed over. Owns the deadline of the stream while it waits.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use super::fault::Fault;
use super::means::{Means, View};
use super::patience::Patience;
use crate::clock::{self, Now};
use crate::http1::head::{self, Asked, Bounds, Response};
use crate::rt::buffer::{Buf, Class, Fit};
use crate::rt::stream::Stream;

/// Room in front of a response for a head that grew: by less than a line, see `rewrite`.
const FRONT: usize = 64;

/// The most interim (1xx) responses before a final one.
const INTERIM_MAX: u32 = 8;

/// A response's head, the buffer that begins with it, and when it was there. Its fields are left in
/// `means` for the caller, who uses them before it waits for anything.
pub(super) struct Received {
    pub(super) head: Response,
    pub(super) buf: Buf,
    pub(super) at: Now,
}

/// Waits for the head of the final response.
pub(super) async fn head(
    means: &Means,
    view: &View,
    stream: &Stream,
    asked: Asked,
    patience: &Patience<'_>,
) -> Result<Received, Fault> {
    let limits = &view.table.limits;
    let bounds = Bounds {
        bytes: limits.response_header_bytes,
        fields: limits.response_headers,
        target: usize::MAX,
    };
    let mut buf = Buf::with_room(Class::Small, FRONT);
    let mut interim = 0;
    loop {
        let (read, back) = stream.read(buf).await;
        buf = back;
        if !matches!(read, Ok(1..)) {
            let nothing = buf.is_empty() && interim == 0;
            return Err(match Fault::of_upstream(stream) {
                Fault::CutShort if nothing => Fault::Stale,
                fault => fault,
            });
        }
        let at = clock::now();
        loop {
            let mut fields = means.fields.borrow_mut();
            match head::response(buf.filled(), &bounds, asked, &mut fields) {
                Err(fault) => return Err(fault.into()),
                Ok(Some(head)) if head.status >= 200 => return Ok(Received { head, buf, at }),
                // A switch of protocols that nobody asked for.
                Ok(Some(head)) if head.status == 101 => return Err(Fault::Malformed),
                Ok(Some(head)) if interim < INTERIM_MAX => {
                    interim += 1;
                    buf.consume(head.len);
                }
                Ok(Some(_)) => return Err(Fault::Malformed),
                Ok(None) => break,
            }
        }
        if buf.room() == 0 {
            buf = larger(&buf)?;
        }
        patience.arm(stream, at);
    }
}

/// The same bytes in a large buffer; the head is over its limit when they are in one already.
fn larger(buf: &Buf) -> Result<Buf, Fault> {
    let mut large = Buf::with_room(Class::Large, FRONT);
    let grown = large.room() > buf.len() && large.put(buf.filled()) == Fit::Whole;
    if grown { Ok(large) } else { Err(Fault::HeadTooLarge) }
}
