//! `Upgrade`: the protocols a client offers to go on in, and the one a server goes on in.
//!
//! Enters: the fields of a request or of a 101. Leaves: whether an upgrade is asked for, the lines
//! that ask the next hop for it, and whether an answer accepts what was offered (RFC 9110 §7.8).
//! What may be passed on is decided here; everywhere else `Upgrade` is a field for this hop only.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use super::field::{Fields, Kind, tokens};
use super::framing::Framing;
use super::head::{RequestFault, Version, is_token};
use super::rewrite::Writer;

/// Whether a request asks for another protocol that may be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// It does not, or not in a way that a proxy may pass on.
    No,
    /// It does.
    Asked,
}

/// How [`write()`]'s lines begin, and what lies between protocols.
const LINES: &[u8] = b"connection: upgrade\r\nupgrade: ";

/// Reads what a request says. `Upgrade` means nothing in HTTP/1.0, nor where `Connection` does not
/// name it; `h2c` is never passed on: behind it, requests would pass that no rule here has seen.
pub(super) fn of_request(
    version: Version,
    framing: Framing,
    fields: &Fields,
    bytes: &[u8],
) -> Result<Upgrade, RequestFault> {
    let named = fields.has(Kind::Upgrade) && fields.connection_names(b"upgrade", bytes);
    if !named || version == Version::Http10 {
        return Ok(Upgrade::No);
    }
    if !fields.listed(Kind::Upgrade, bytes).all(is_protocol) {
        return Err(RequestFault::Malformed);
    }
    if !fields.listed(Kind::Upgrade, bytes).any(is_passed_on) {
        return Ok(Upgrade::No);
    }
    // Which bytes are the body's and which the other protocol's, two readers may see in two ways.
    if framing == Framing::None { Ok(Upgrade::Asked) } else { Err(RequestFault::Malformed) }
}

/// Writes the lines that ask the next hop for what may be passed on. They are not longer than those
/// that the client sent, but for [`LINES`]: what has room for a head has room for them.
pub(super) fn write(writer: &mut Writer<'_>, fields: &Fields, bytes: &[u8]) {
    writer.put(LINES);
    let offered = fields.listed(Kind::Upgrade, bytes).filter(|protocol| is_passed_on(protocol));
    for (nth, protocol) in offered.enumerate() {
        writer.put(if nth == 0 { b"" } else { b"," });
        writer.put(protocol);
    }
    writer.put(b"\r\n");
}

/// What `head`, which ends in the lines of [`write()`], offers.
#[must_use]
pub fn offered(head: &[u8]) -> &[u8] {
    let lines = head.strip_suffix(b"\r\n\r\n").unwrap_or_default();
    let at = memchr::memmem::rfind(lines, LINES).map_or(lines.len(), |at| at + LINES.len());
    lines.get(at..).unwrap_or_default()
}

/// Whether the 101 with these fields goes on in what was `offered`: it has to say so, in both
/// fields, and to frame nothing.
#[must_use]
pub fn accepts(offered: &[u8], version: Version, fields: &Fields, bytes: &[u8]) -> bool {
    let is_offered =
        |protocol: &[u8]| tokens(offered).any(|one| one.eq_ignore_ascii_case(protocol));
    version == Version::Http11
        && fields.connection_names(b"upgrade", bytes)
        && fields.listed(Kind::Upgrade, bytes).next().is_some()
        && fields.listed(Kind::Upgrade, bytes).all(is_offered)
        && !fields.has(Kind::ContentLength)
        && !fields.has(Kind::TransferEncoding)
}

/// `name`, or `name/version`.
fn is_protocol(protocol: &[u8]) -> bool {
    let mut parts = protocol.split(|&byte| byte == b'/');
    let is_part = |part: &[u8]| !part.is_empty() && part.iter().copied().all(is_token);
    parts.by_ref().take(2).all(is_part) && parts.next().is_none()
}

fn is_passed_on(protocol: &[u8]) -> bool {
    !protocol.eq_ignore_ascii_case(b"h2c")
}

#[cfg(test)]
mod tests {
    use super::super::head::{self, Asked, Bounds, Request};
    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 4096, fields: 32, target: 1024 };

    fn request(lines: &str, fields: &mut Fields) -> (String, Result<Request, RequestFault>) {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
        let read = head::request(text.as_bytes(), &BOUNDS, fields);
        (text, read.map(|head| head.expect("a whole head")))
    }

    #[test]
    fn an_upgrade_is_asked_for_in_two_fields_and_without_a_body() {
        let mut fields = Fields::new();
        for (lines, expected) in [
            ("Connection: Upgrade\r\nUpgrade: websocket", Ok(Upgrade::Asked)),
            ("Connection: keep-alive, upgrade\r\nUpgrade: a/1, b", Ok(Upgrade::Asked)),
            ("Connection: upgrade\r\nUpgrade: h2c, websocket", Ok(Upgrade::Asked)),
            ("Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 0", Ok(Upgrade::Asked)),
            ("Upgrade: websocket", Ok(Upgrade::No)),
            ("Connection: upgrade", Ok(Upgrade::No)),
            ("Connection: upgrade\r\nUpgrade: ,", Ok(Upgrade::No)),
            ("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: H2C", Ok(Upgrade::No)),
            ("Connection: upgrade\r\nUpgrade: a b", Err(RequestFault::Malformed)),
            ("Connection: upgrade\r\nUpgrade: a/", Err(RequestFault::Malformed)),
            ("Connection: upgrade\r\nUpgrade: a/1/2", Err(RequestFault::Malformed)),
            (
                "Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 3",
                Err(RequestFault::Malformed),
            ),
            (
                "Connection: upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked",
                Err(RequestFault::Malformed),
            ),
        ] {
            let (_, read) = request(lines, &mut fields);
            assert_eq!(read.map(|head| head.upgrade), expected, "{lines}");
        }
    }

    #[test]
    fn what_is_written_can_be_read_back_and_names_no_h2c() {
        let mut fields = Fields::new();
        let lines = "Connection: upgrade\r\nUpgrade: h2c, websocket\r\nUpgrade: a/1";
        let (text, read) = request(lines, &mut fields);
        assert_eq!(read.unwrap().upgrade, Upgrade::Asked);
        let mut place = [0; 256];
        let mut writer = Writer::new(&mut place);
        writer.put(b"GET / HTTP/1.1\r\n");
        write(&mut writer, &fields, text.as_bytes());
        writer.put(b"\r\n");
        let len = writer.finish().unwrap();
        assert_eq!(offered(&place[..len]), b"websocket,a/1");
        assert_eq!(offered(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), b"");
    }

    #[test]
    fn a_101_goes_on_in_what_was_offered() {
        let mut fields = Fields::new();
        for (lines, accepted) in [
            ("Connection: Upgrade\r\nUpgrade: WebSocket", true),
            ("Connection: upgrade\r\nUpgrade: a/1, websocket", true),
            ("Connection: upgrade\r\nUpgrade: a", false),
            ("Connection: upgrade\r\nUpgrade: websocket, other", false),
            ("Connection: upgrade", false),
            ("Upgrade: websocket", false),
            ("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0", false),
            ("Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked", false),
        ] {
            let text = format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n\r\n");
            let head = head::response(text.as_bytes(), &BOUNDS, Asked::Body, &mut fields);
            let version = head.unwrap().unwrap().version;
            let accepts = accepts(b"websocket, a/1", version, &fields, text.as_bytes());
            assert_eq!(accepts, accepted, "{lines}");
        }
    }
}
