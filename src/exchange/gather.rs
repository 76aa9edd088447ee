//! Reads a request's body whole, where it goes to several services.
//!
//! Enters: what is unread of the body, in the client's buffer and on its stream. Leaves: the body,
//! taken out of its framing and within the limits. Cold by nature: it allocates.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "cold: a fan-out holds whole bodies anyway"
)]

use super::account::Account;
use super::client::Client;
use super::fault::{Failure, Fault};
use super::waiting::Waiting;
use crate::clock::{self, Now};
use crate::http1::framing::{Fed, Part as Bytes};
use crate::http1::head::Expect;
use crate::rt::buffer::{Buf, Class};
use crate::rt::deadline::Cut;
use crate::table::Route;

/// The largest request body that is sent to several services.
const REQUEST_MAX: usize = 1024 * 1024;

/// Reads the request's body whole.
pub(super) async fn whole(
    client: &mut Client,
    account: &Account,
    route: &Route,
    until: Option<Now>,
    expect: Expect,
) -> Result<Vec<u8>, Failure> {
    let Client { stream, buf, body: framing, seen, .. } = client;
    let waiting = Waiting::new(stream, route.timeouts.body, until);
    let max = route
        .body_bytes_max
        .map_or(REQUEST_MAX, |max| usize::try_from(max).unwrap_or(usize::MAX).min(REQUEST_MAX));
    let mut body = Vec::new();
    let mut invitation = Some(expect).filter(|expect| *expect == Expect::Continue);
    loop {
        if !framing.is_over() {
            let filled = buf.filled();
            let fed = framing.feed(filled, |part, range| {
                if part == Bytes::Data {
                    body.extend_from_slice(filled.get(range).unwrap_or_default());
                }
            });
            match fed {
                Fed::Bad => return Err(Fault::ClientMalformed.into()),
                Fed::Done(used) => buf.consume(used),
                Fed::More => buf.renew(),
            }
        }
        account.received.set(body.len() as u64);
        if body.len() > max {
            return Err(Fault::ClientTooLarge.into());
        }
        if framing.is_over() {
            return Ok(body);
        }
        if invitation.take().is_some() {
            invite(&waiting, *seen).await?;
        }
        let mut room = std::mem::take(buf);
        room.renew();
        waiting.begin(clock::now(), Cut::Read);
        let (read, back) = stream.read(room).await;
        waiting.end();
        *buf = back;
        if !matches!(read, Ok(1..)) {
            return Err(Fault::of_client(stream).into());
        }
    }
}

/// Lets a client that waits for it send its body: the services are asked when it is whole.
async fn invite(client: &Waiting<'_>, now: Now) -> Result<(), Fault> {
    let mut buf = Buf::new(Class::Small);
    let _ = buf.put(b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send(buf, now).await.0
}
