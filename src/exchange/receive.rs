//! Reads an upstream's response up to the end of its head.
//!
//! Enters: the stream. Leaves: the head, and a buffer that begins with it; before that, interim
//! responses, to a client that can read them (RFC 9110 §15.2). Owns the deadline of the stream
//! while it waits.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use super::fault::Fault;
use super::means::{Means, View};
use super::patience::Patience;
use super::waiting::Waiting;
use crate::clock::{self, Now};
use crate::http1::field::Fields;
use crate::http1::forwarding::Telling;
use crate::http1::head::{self, Asked, Bounds, Response, Version};
use crate::http1::rewrite::{self, BodyForm, Changes, Say, Writer};
use crate::http1::upgrade;
use crate::rt::buffer::{Buf, Class, Fit};
use crate::rt::stream::Stream;

/// Room in front of a response for a head that grew.
pub(super) const FRONT: usize = rewrite::GROWTH;

/// The most interim (1xx) responses before a final one.
const INTERIM_MAX: u32 = 8;

/// A response's head, the buffer that begins with it, and when it was there. Its fields are left in
/// `means` for the caller, who uses them before it waits for anything.
pub(super) struct Received {
    pub(super) head: Response,
    pub(super) buf: Buf,
    pub(super) at: Now,
}

/// Who is told of interim responses, and in which words.
#[derive(Clone, Copy)]
pub(super) struct Audience<'a> {
    pub(super) client: &'a Waiting<'a>,
    pub(super) version: Version,
    pub(super) telling: &'a Telling,
}

impl Audience<'_> {
    /// An interim response as the client is to have it; `None`: it is too old to be sent any.
    fn rewritten(self, head: &Response, fields: &Fields, bytes: &[u8]) -> Option<Buf> {
        if self.version == Version::Http10 {
            return None;
        }
        let (say, body) = (Say::Nothing, BodyForm::AsSent);
        let changes = Changes { say, body, date: &[], telling: self.telling };
        let mut out = Buf::sized(head.len + FRONT);
        let fit = out.fill(|room| {
            let mut writer = Writer::new(room);
            rewrite::response_head(&mut writer, head, fields, bytes, &changes);
            writer.finish()
        });
        (fit == Fit::Whole).then_some(out)
    }
}

/// Waits for the head of the final response, or of the 101 that goes on in what was `offered`.
/// Interim ones go to `audience`, if there is one.
pub(super) async fn head(
    means: &Means,
    view: &View,
    stream: &Stream,
    asked: Asked,
    offered: &[u8],
    patience: &Patience<'_>,
    audience: Option<Audience<'_>>,
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
        let mut at = clock::now();
        loop {
            let (status, passed) = {
                let mut fields = means.fields.borrow_mut();
                match head::response(buf.filled(), &bounds, asked, &mut fields) {
                    Err(fault) => return Err(fault.into()),
                    Ok(Some(head)) if head.status >= 200 => return Ok(Received { head, buf, at }),
                    Ok(Some(head)) if head.status == 101 => {
                        let bytes = buf.filled();
                        let accepted = upgrade::accepts(offered, head.version, &fields, bytes);
                        // Otherwise a switch of protocols that nobody asked for.
                        return if accepted {
                            Ok(Received { head, buf, at })
                        } else {
                            Err(Fault::Malformed)
                        };
                    }
                    Ok(Some(head)) if interim < INTERIM_MAX => {
                        interim += 1;
                        let to = audience.map(|a| (a, a.rewritten(&head, &fields, buf.filled())));
                        buf.consume(head.len);
                        (head.status, to)
                    }
                    Ok(Some(_)) => return Err(Fault::Malformed),
                    Ok(None) => break,
                }
            };
            if let Some((Audience { client, .. }, Some(out))) = passed {
                // The client's time, not the upstream's.
                patience.rest(stream);
                // Boxed: this is rare, and its state would make every connection larger.
                Box::pin(client.send(out, at)).await.0?;
                if status == 100 {
                    client.invited();
                }
                at = clock::now();
            }
        }
        if buf.room() == 0 {
            buf = larger(&buf)?;
        }
        if audience.is_some_and(|audience| audience.client.is_waiting()) {
            patience.rest(stream);
        } else {
            patience.arm(stream, at);
        }
    }
}

/// The same bytes in a large buffer; the head is over its limit when they are in one already.
fn larger(buf: &Buf) -> Result<Buf, Fault> {
    let mut large = Buf::with_room(Class::Large, FRONT);
    let grown = large.room() > buf.len() && large.put(buf.filled()) == Fit::Whole;
    if grown { Ok(large) } else { Err(Fault::HeadTooLarge) }
}
