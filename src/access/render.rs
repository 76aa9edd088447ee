//! A line as text.
//!
//! Enters: a [`Line`]. Leaves: JSON, or the common or combined log format, in at most [`LINE_MAX`]
//! bytes with its line end. Every part that a client or an upstream chose is escaped, so that it
//! can neither end a line nor begin one, and cut with `...` where it is long.

#![allow(clippy::disallowed_types, clippy::disallowed_macros, reason = "cold: the writer's thread")]

use std::fmt::Write;
use std::net::Ipv6Addr;
use std::time::Duration;

use super::Line;
use super::record::SHOWN;
use crate::clock::Now;
use crate::config::LineFormat;
use crate::log;

/// Bytes of a line, its line end included: short of what collectors cut.
pub(super) const LINE_MAX: usize = 2048;

/// Stands where a part was cut.
const CUT: &str = "...";

/// Turns monotonic time into words; a second is spelled once.
#[derive(Debug)]
pub(super) struct Calendar {
    /// Wall time at the origin of monotonic time.
    origin: Duration,
    second: u64,
    iso: String,
    clf: String,
}

impl Calendar {
    /// A calendar that is set by [`Calendar::set`].
    pub(super) const fn new() -> Self {
        Self { origin: Duration::ZERO, second: u64::MAX, iso: String::new(), clf: String::new() }
    }

    /// Sets it: `wall` is `now`.
    pub(super) const fn set(&mut self, now: Now, wall: Duration) {
        self.origin = wall.saturating_sub(Duration::from_micros(now.micros()));
    }

    /// Spells the second of `at`; returns the milliseconds behind it.
    fn spell(&mut self, at: Now) -> u32 {
        let wall = self.origin.saturating_add(Duration::from_micros(at.micros()));
        if wall.as_secs() != self.second {
            self.second = wall.as_secs();
            self.iso = log::rfc3339(wall);
            self.iso.truncate(19);
            self.clf = log::clf(wall);
        }
        wall.subsec_millis()
    }
}

/// Appends `line` to `out`.
pub(super) fn line(out: &mut String, line: &Line<'_>, format: LineFormat, calendar: &mut Calendar) {
    let millis = calendar.spell(line.at);
    match format {
        LineFormat::Json => json(out, line, &calendar.iso, millis),
        LineFormat::Common | LineFormat::Combined => clf(out, line, format, &calendar.clf),
    }
    out.push('\n');
}

// Writing to a string cannot fail; what it returns is dropped below.
fn json(out: &mut String, line: &Line<'_>, time: &str, millis: u32) {
    let [method, path, host, route, service, target, referer, agent, outcome] = SHOWN;
    let _ = write!(out, "{{\"time\":\"{time}.{millis:03}Z\",\"client\":\"");
    push_client(out, line.client);
    let mut text = |name: &str, part: &[u8], max: usize| {
        push_all(out, &[",\"", name, "\":\""]);
        push_bounded(out, part, max, push_json);
        out.push('"');
    };
    out_of(&mut text, "host", line.host, host);
    text("method", line.method, method);
    text("path", line.path, path);
    out_of(&mut text, "route", line.route, route);
    out_of(&mut text, "service", line.service, service);
    out_of(&mut text, "target", line.target, target);
    out_of(&mut text, "referer", line.referer, referer);
    out_of(&mut text, "user_agent", line.agent, agent);
    text("outcome", line.outcome.as_bytes(), outcome);
    let Line { minor, status, received, sent, retries, took_us, .. } = *line;
    let _ = write!(
        out,
        ",\"protocol\":\"HTTP/1.{minor}\",\"status\":{status},\"request_bytes\":{received},\
         \"response_bytes\":{sent},\"retries\":{retries}"
    );
    let spans = [("connect", line.connect_us), ("response", line.response_us)];
    for (name, micros) in spans.into_iter().chain([("duration", Some(took_us))]) {
        if let Some(micros) = micros {
            let _ = write!(out, ",\"{name}_ms\":{}.{:03}", micros / 1000, micros % 1000);
        }
    }
    out.push('}');
}

/// A part that is left out where it is empty.
fn out_of(text: &mut impl FnMut(&str, &[u8], usize), name: &str, part: &[u8], max: usize) {
    if !part.is_empty() {
        text(name, part, max);
    }
}

fn clf(out: &mut String, line: &Line<'_>, format: LineFormat, time: &str) {
    let [method, path, _, _, _, _, referer, agent, _] = SHOWN;
    push_client_bare(out, line.client);
    let _ = write!(out, " - - [{time}] \"");
    push_bounded(out, line.method, method, push_hex);
    out.push(' ');
    push_bounded(out, line.path, path, push_hex);
    let _ = write!(out, " HTTP/1.{}\" {:03} {}", line.minor, line.status, line.sent);
    if format == LineFormat::Combined {
        for (part, max) in [(line.referer, referer), (line.agent, agent)] {
            out.push_str(" \"");
            push_bounded(out, if part.is_empty() { b"-" } else { part }, max, push_hex);
            out.push('"');
        }
    }
}

fn push_client(out: &mut String, client: Ipv6Addr) {
    push_client_bare(out, client);
    out.push('"');
}

fn push_client_bare(out: &mut String, client: Ipv6Addr) {
    let _ = write!(out, "{}", client.to_canonical());
}

/// Appends `bytes`, each piece of them escaped by `escape`, in at most `max` bytes.
fn push_bounded(out: &mut String, bytes: &[u8], max: usize, escape: fn(&mut String, Piece)) {
    let start = out.len();
    // Nearly all are plain: no piece of them has another form.
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'"' && *byte != b'\\';
    if bytes.len() <= max
        && bytes.iter().all(is_plain)
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        out.push_str(text);
        return;
    }
    let mut room_for_cut = start;
    for chunk in bytes.utf8_chunks() {
        let broken = chunk.invalid().iter().map(|byte| Piece::Byte(*byte));
        for piece in chunk.valid().chars().map(Piece::Char).chain(broken) {
            escape(out, piece);
            if out.len() - start > max {
                out.truncate(room_for_cut);
                out.push_str(CUT);
                return;
            }
            if out.len() - start <= max - CUT.len() {
                room_for_cut = out.len();
            }
        }
    }
}

/// What text is made of, and what is no text.
#[derive(Clone, Copy)]
enum Piece {
    Char(char),
    Byte(u8),
}

/// RFC 8259 §7; escapes also what moves the cursor of a terminal.
fn push_json(out: &mut String, piece: Piece) {
    let _ = match piece {
        Piece::Char('"') => write!(out, "\\\""),
        Piece::Char('\\') => write!(out, "\\\\"),
        Piece::Char(c) if c.is_control() => write!(out, "\\u{:04x}", u32::from(c)),
        Piece::Char(c) => return out.push(c),
        // JSON has no words for bytes: a backslash, as in the other formats.
        Piece::Byte(byte) => write!(out, "\\\\x{byte:02X}"),
    };
}

/// As nginx escapes a variable: what is not printable ASCII, quotes and backslashes as `\xHH`.
fn push_hex(out: &mut String, piece: Piece) {
    let mut bytes = [0; 4];
    let bytes = match piece {
        Piece::Char(c @ ' '..='~') if c != '"' && c != '\\' => return out.push(c),
        Piece::Char(c) => c.encode_utf8(&mut bytes).as_bytes(),
        Piece::Byte(byte) => {
            bytes[0] = byte;
            &bytes[..1]
        }
    };
    for byte in bytes {
        let _ = write!(out, "\\x{byte:02X}");
    }
}

fn push_all(out: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| out.push_str(part));
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::sample;
    use super::*;

    fn rendered(line: &Line<'_>, format: LineFormat) -> String {
        let mut calendar = Calendar::new();
        calendar.set(Now::from_millis(5_000), Duration::from_millis(951_825_604_112));
        let mut out = String::new();
        super::line(&mut out, line, format, &mut calendar);
        out
    }

    fn hostile(bytes: &[u8]) -> Line<'_> {
        Line {
            method: bytes,
            path: bytes,
            host: bytes,
            route: bytes,
            service: bytes,
            target: bytes,
            referer: bytes,
            agent: bytes,
            client: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap(),
            took_us: u32::MAX - 1,
            connect_us: Some(u32::MAX - 1),
            response_us: Some(u32::MAX - 1),
            received: u64::MAX,
            sent: u64::MAX,
            retries: 255,
            ..sample()
        }
    }

    /// The fields of a combined line: outside quotes words, inside them bytes with their escapes
    /// undone.
    fn fields(line: &str) -> Vec<Vec<u8>> {
        let mut fields = vec![Vec::new()];
        let mut bytes = line.trim_end_matches('\n').bytes();
        let mut quoted = false;
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' => quoted = !quoted,
                b' ' if !quoted => fields.push(Vec::new()),
                b'\\' => {
                    assert_eq!(bytes.next(), Some(b'x'));
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    let digits = std::str::from_utf8(&digits).unwrap();
                    fields.last_mut().unwrap().push(u8::from_str_radix(digits, 16).unwrap());
                }
                _ => fields.last_mut().unwrap().push(byte),
            }
        }
        assert!(!quoted, "{line}");
        fields
    }

    #[test]
    fn each_format_is_the_golden_one() {
        assert_eq!(
            rendered(&sample(), LineFormat::Common),
            "10.1.2.3 - - [29/Feb/2000:12:00:04 +0000] \"GET /users/7 HTTP/1.1\" 200 2326\n"
        );
        assert_eq!(
            rendered(&sample(), LineFormat::Combined),
            "10.1.2.3 - - [29/Feb/2000:12:00:04 +0000] \"GET /users/7 HTTP/1.1\" 200 2326 \
             \"http://shop.example/start\" \"Mozilla/5.0 (X11)\"\n"
        );
        assert_eq!(
            rendered(&sample(), LineFormat::Json),
            "{\"time\":\"2000-02-29T12:00:04.112Z\",\"client\":\"10.1.2.3\",\
             \"host\":\"shop.example\",\"method\":\"GET\",\"path\":\"/users/7\",\
             \"route\":\"GET /users/:id\",\"service\":\"users\",\
             \"target\":\"localhost:6666\",\"referer\":\"http://shop.example/start\",\
             \"user_agent\":\"Mozilla/5.0 (X11)\",\"outcome\":\"ok\",\
             \"protocol\":\"HTTP/1.1\",\"status\":200,\"request_bytes\":7,\
             \"response_bytes\":2326,\"retries\":0,\"connect_ms\":0.250,\
             \"response_ms\":0.900,\"duration_ms\":1.234}\n"
        );
    }

    #[test]
    fn whatever_a_client_says_is_one_line_that_parses_to_what_it_said() {
        let every: Vec<u8> = (0..=255).collect();
        let forged = b"x\" 200 5\r\n{\"status\":200}\n\x1b[2J\xc2\x9b\xff\xe2\x80\xae\\";
        for bytes in every.chunks(20).chain([&forged[..]]) {
            let line = Line { path: bytes, agent: bytes, ..sample() };
            let text = rendered(&line, LineFormat::Json);
            assert!(!text.trim_end_matches('\n').contains(|c: char| c.is_control()), "{text:?}");
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            let told = json["user_agent"].as_str().unwrap();
            match std::str::from_utf8(bytes) {
                Ok(said) => assert_eq!(told, said),
                Err(_) => assert!(told.contains("\\x"), "{told}"),
            }
            let text = rendered(&line, LineFormat::Combined);
            assert!(text.trim_end_matches('\n').bytes().all(|byte| matches!(byte, b' '..=b'~')));
            let fields = fields(&text);
            assert_eq!(fields.len(), 10, "{text}");
            assert_eq!(fields[5], [b"GET ", bytes, b" HTTP/1.1"].concat());
            assert_eq!((&fields[6][..], &fields[9][..]), (&b"200"[..], bytes));
        }
    }

    #[test]
    fn no_line_is_longer_than_a_line_and_what_was_cut_says_so() {
        for byte in [b'x', b'"', 0, 0xff, 0xc3] {
            let long = [byte; 801];
            for format in [LineFormat::Json, LineFormat::Combined, LineFormat::Common] {
                let text = rendered(&hostile(&long), format);
                assert!(text.len() <= LINE_MAX, "{}: {text}", text.len());
                assert!(text.contains("..."), "{text}");
                if format == LineFormat::Json {
                    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
                    assert!(json["path"].as_str().unwrap().ends_with("..."));
                }
            }
        }
        let whole = [b'x'; 760];
        let text = rendered(&Line { path: &whole, ..sample() }, LineFormat::Common);
        assert!(!text.contains("..."), "exactly at the limit");
    }

    #[test]
    fn a_request_without_an_answer_still_has_every_field() {
        let silent =
            Line { status: 0, referer: b"", agent: b"", method: b"", path: b"", ..sample() };
        let text = rendered(&silent, LineFormat::Combined);
        assert!(text.contains("\" 000 ") && text.ends_with("\"-\" \"-\"\n"), "{text}");
        assert_eq!(fields(&text).len(), 10, "{text}");
    }
}
