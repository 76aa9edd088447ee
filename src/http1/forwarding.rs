//! What an upstream is told of its client: `X-Forwarded-*`, `Forwarded` (RFC 7239) and `Via`
//! (RFC 9110 §7.6.3).
//!
//! Enters: a client's address, what it asked for, what it says of those before it. Leaves: field
//! lines. What anyone but a believed peer says of a client is replaced; what a believed one says is
//! kept and appended to. Owns the text of one address.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::io::Write;
use std::net::IpAddr;

use super::field::{Field, Fields, Kind};
use super::head::Version;
use super::rewrite::Writer;

/// A way to tell of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emit {
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    XForwarded,
    /// `Forwarded`.
    Forwarded,
    /// `Via`, on responses too.
    Via,
}

/// In which ways upstreams are told, and by whom.
#[derive(Clone, Debug)]
pub struct Telling {
    /// A bit for each [`Emit`].
    ways: u8,
    name: Box<[u8]>,
}

/// Whether a client's word on those before it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It is.
    Believed,
    /// It is replaced by ours.
    Replaced,
}

/// Who sent a request, and to where, as the upstream is told.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The client's address.
    pub address: &'a Address,
    /// The host it asked for; empty when it named none.
    pub host: &'a [u8],
    /// Whether it is believed.
    pub word: Word,
    /// In which ways the upstream is told.
    pub telling: &'a Telling,
}

/// A client's address as text, written once per connection.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    text: [u8; Self::LEN_MAX],
    len: u8,
}

/// The longest received-by of our own.
pub const NAME_MAX: usize = 32;

/// The most bytes that [`Origin::write`] adds to what the client sent, but for the host, which may
/// stand there twice.
pub const ADDED: usize = 256;

impl Address {
    /// The longest IPv6 address, with an IPv4 one at its end.
    const LEN_MAX: usize = 45;

    /// The text of `ip`. An IPv4 client of an IPv6 socket is named as what it is.
    #[must_use]
    pub fn new(ip: IpAddr) -> Self {
        let mut text = [0; Self::LEN_MAX];
        let mut rest = &mut text[..];
        // A text that did not fit would be cut, not overrun.
        let _ = write!(rest, "{}", ip.to_canonical());
        let used = Self::LEN_MAX - rest.len();
        Self { text, len: u8::try_from(used).unwrap_or(0) }
    }

    fn ip(&self) -> &[u8] {
        self.text.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl Telling {
    /// Told in these ways. `name` is what this process is called in `Via`: another name than that
    /// of any other process, and at most [`NAME_MAX`] bytes of it.
    #[must_use]
    pub fn new(emit: &[Emit], name: &[u8]) -> Self {
        let ways = emit.iter().fold(0, |ways, emit| ways | 1 << (*emit as u8));
        Self { ways, name: name.get(..NAME_MAX).unwrap_or(name).into() }
    }

    const fn tells(&self, emit: Emit) -> bool {
        self.ways & 1 << (emit as u8) != 0
    }

    /// Writes our `Via`, if there is to be one, for a message that came in `version`.
    pub(super) fn via(&self, writer: &mut Writer<'_>, version: Version) {
        if !self.tells(Emit::Via) {
            return;
        }
        writer.put(match version {
            Version::Http10 => b"via: 1.0 ",
            Version::Http11 => b"via: 1.1 ",
        });
        writer.put(&self.name);
        writer.put(b"\r\n");
    }

    /// Whether a request has come by here before (RFC 9110 §7.6.3): then it would for ever.
    #[must_use]
    pub fn is_loop(&self, fields: &Fields, bytes: &[u8]) -> bool {
        self.tells(Emit::Via)
            && fields.list().iter().filter(|field| field.kind == Kind::Via).any(|via| {
                let hops = via.value.of_bytes(bytes).split(|&byte| byte == b',');
                hops.filter_map(received_by).any(|name| name.eq_ignore_ascii_case(&self.name))
            })
    }
}

/// The second word of an element of `Via`.
fn received_by(hop: &[u8]) -> Option<&[u8]> {
    let words = hop.split(|byte| matches!(byte, b' ' | b'\t'));
    words.filter(|word| !word.is_empty()).nth(1)
}

impl Origin<'_> {
    /// Whether the line of a forwarding field is passed on as it came.
    #[cold]
    pub(super) fn keeps(&self, field: &Field, bytes: &[u8]) -> bool {
        let name = field.name.of_bytes(bytes);
        self.word == Word::Believed
            && !(self.telling.tells(Emit::XForwarded) && name.eq_ignore_ascii_case(FORWARDED_FOR))
            && !(self.telling.tells(Emit::Forwarded) && name.eq_ignore_ascii_case(FORWARDED))
    }

    /// Writes what the upstream is told, but for `Via`.
    pub(super) fn write(&self, writer: &mut Writer<'_>, fields: &Fields, bytes: &[u8]) {
        let said = match self.word {
            Word::Believed => Said { fields, bytes },
            Word::Replaced => Said { fields, bytes: &[] },
        };
        if self.telling.tells(Emit::XForwarded) {
            self.x_forwarded(writer, &said);
        }
        if self.telling.tells(Emit::Forwarded) {
            self.forwarded(writer, &said);
        }
    }

    fn x_forwarded(&self, writer: &mut Writer<'_>, said: &Said<'_>) {
        writer.put(b"x-forwarded-for: ");
        said.append_to(writer, FORWARDED_FOR);
        writer.put(self.address.ip());
        writer.put(b"\r\n");
        if !said.has(b"x-forwarded-proto") {
            writer.put(b"x-forwarded-proto: http\r\n");
        }
        if !self.host.is_empty() && !said.has(b"x-forwarded-host") {
            writer.put(b"x-forwarded-host: ");
            writer.put(self.host);
            writer.put(b"\r\n");
        }
    }

    /// RFC 7239 §4: the parameters of one hop, what is no token in quotes.
    fn forwarded(&self, writer: &mut Writer<'_>, said: &Said<'_>) {
        writer.put(b"forwarded: ");
        said.append_to(writer, FORWARDED);
        let ip = self.address.ip();
        // RFC 7239 §6: an IPv6 address stands in brackets, which are no token.
        if ip.contains(&b':') {
            writer.put(b"for=\"[");
            writer.put(ip);
            writer.put(b"]\"");
        } else {
            writer.put(b"for=");
            writer.put(ip);
        }
        writer.put(b";proto=http");
        if !self.host.is_empty() {
            let plain = self.host.iter().copied().all(super::head::is_token);
            let quote: &[u8] = if plain { b"" } else { b"\"" };
            writer.put(b";host=");
            writer.put(quote);
            // Neither `"` nor `\` can stand in a host: see `target`.
            writer.put(self.host);
            writer.put(quote);
        }
        writer.put(b"\r\n");
    }
}

const FORWARDED_FOR: &[u8] = b"x-forwarded-for";
const FORWARDED: &[u8] = b"forwarded";

/// What a client says of those before it; without bytes: nothing that counts.
struct Said<'a> {
    fields: &'a Fields,
    bytes: &'a [u8],
}

impl<'a> Said<'a> {
    fn values(&self, name: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
        let bytes = self.bytes;
        let of_kind = self.fields.list().iter().filter(|field| field.kind == Kind::Forwarding);
        let named =
            of_kind.filter(move |field| field.name.of_bytes(bytes).eq_ignore_ascii_case(name));
        named.map(move |field| field.value.of_bytes(bytes))
    }

    fn has(&self, name: &'static [u8]) -> bool {
        !self.bytes.is_empty() && self.values(name).next().is_some()
    }

    /// Writes the values of `name` as the beginning of a list that goes on.
    fn append_to(&self, writer: &mut Writer<'_>, name: &'static [u8]) {
        if self.bytes.is_empty() {
            return;
        }
        for value in self.values(name).filter(|value| !value.is_empty()) {
            writer.put(value);
            writer.put(b", ");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::head::{Bounds, request};
    use super::*;

    fn told(ip: &str, host: &str, word: Word, emit: &[Emit], lines: &str) -> String {
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let bounds = Bounds { bytes: 4096, fields: 100, target: 100 };
        let mut fields = Fields::new();
        request(bytes.as_bytes(), &bounds, &mut fields).unwrap().unwrap();
        let telling = Telling::new(emit, b"us");
        let address = Address::new(ip.parse().unwrap());
        let origin = Origin { address: &address, host: host.as_bytes(), word, telling: &telling };
        let mut place = [0; 1024];
        let mut writer = Writer::new(&mut place);
        origin.write(&mut writer, &fields, bytes.as_bytes());
        let len = writer.finish().unwrap();
        String::from_utf8(place[..len].to_vec()).unwrap()
    }

    #[test]
    fn a_client_is_named_without_its_port_and_as_what_it_is() {
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        for (ip, text) in [
            ("1.2.3.4", "1.2.3.4"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("fe80::1", "fe80::1"),
            (longest, longest),
        ] {
            assert_eq!(Address::new(ip.parse().unwrap()).ip(), text.as_bytes());
        }
    }

    #[test]
    fn what_is_no_token_is_quoted_in_forwarded() {
        for (ip, host, line) in [
            ("192.0.2.1", "shop", "for=192.0.2.1;proto=http;host=shop"),
            ("192.0.2.1", "shop:81", "for=192.0.2.1;proto=http;host=\"shop:81\""),
            ("2001:db8::1", "[::1]", "for=\"[2001:db8::1]\";proto=http;host=\"[::1]\""),
            ("192.0.2.1", "", "for=192.0.2.1;proto=http"),
        ] {
            let told = told(ip, host, Word::Replaced, &[Emit::Forwarded], "");
            assert_eq!(told, format!("forwarded: {line}\r\n"));
        }
    }

    const CHAIN: &str = "X-Forwarded-For: 10.0.0.1\r\nx-forwarded-for: 10.0.0.2,10.0.0.3\r\n\
                         X-Forwarded-Proto: https\r\nForwarded: for=10.0.0.1\r\n";

    #[test]
    fn a_believed_chain_is_one_list_that_ends_with_the_peer() {
        let both = [Emit::XForwarded, Emit::Forwarded];
        assert_eq!(
            told("10.0.0.4", "a", Word::Believed, &both, CHAIN),
            "x-forwarded-for: 10.0.0.1, 10.0.0.2,10.0.0.3, 10.0.0.4\r\nx-forwarded-host: a\r\n\
             forwarded: for=10.0.0.1, for=10.0.0.4;proto=http;host=a\r\n"
        );
        assert_eq!(
            told("6.6.6.6", "a", Word::Replaced, &both, CHAIN),
            "x-forwarded-for: 6.6.6.6\r\nx-forwarded-proto: http\r\nx-forwarded-host: a\r\n\
             forwarded: for=6.6.6.6;proto=http;host=a\r\n"
        );
        let empty = "X-Forwarded-For:\r\nX-Forwarded-Host: b\r\n";
        assert_eq!(
            told("10.0.0.4", "a", Word::Believed, &[Emit::XForwarded], empty),
            "x-forwarded-for: 10.0.0.4\r\nx-forwarded-proto: http\r\n"
        );
        assert_eq!(told("10.0.0.4", "a", Word::Believed, &[], CHAIN), "");
    }

    #[test]
    fn what_is_added_has_its_bound() {
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let telling = Telling::new(&[Emit::Via], &[b'x'; 99]);
        let mut place = [0; 1024];
        let mut writer = Writer::new(&mut place);
        telling.via(&mut writer, Version::Http11);
        let via = writer.finish().unwrap();
        let all = [Emit::XForwarded, Emit::Forwarded];
        let host = "h:1";
        let told = told(longest, host, Word::Replaced, &all, "").len();
        assert!(told + via - 2 * host.len() <= ADDED, "{told} + {via}");
    }

    #[test]
    fn a_request_that_came_by_before_is_known_by_our_name() {
        let telling = Telling::new(&[Emit::Via], b"us");
        let bounds = Bounds { bytes: 4096, fields: 100, target: 100 };
        for (via, is_loop) in [
            ("Via: 1.1 us\r\n", true),
            ("Via: 1.0 fred, 1.1 US (comment)\r\n", true),
            ("Via: 1.1 fred\r\nVia: HTTP/1.1  us\r\n", true),
            ("Via: 1.1 usual, us, 1.1\r\n", false),
            ("X-Via: 1.1 us\r\n", false),
        ] {
            let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{via}\r\n");
            let mut fields = Fields::new();
            request(bytes.as_bytes(), &bounds, &mut fields).unwrap().unwrap();
            assert_eq!(telling.is_loop(&fields, bytes.as_bytes()), is_loop, "{via}");
        }
    }
}
