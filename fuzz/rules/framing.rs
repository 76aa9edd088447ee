//! Framing: a head has one length in every reading, or none.

use fusebox::http1::field::Fields;
use fusebox::http1::framing::Framing;
use fusebox::http1::head::{self, Asked};

use super::{BOUNDS, reader};

/// What heads are put together from: the first byte of the input picks the first line, each further
/// byte one of these.
const PIECES: [&[u8]; 32] = [
    b"Content-Length",
    b"Transfer-Encoding",
    b":",
    b": ",
    b"\r\n",
    b"chunked",
    b"3",
    b"0",
    b"18446744073709551619",
    b" ",
    b"\t",
    b",",
    b", ",
    b"identity",
    b"gzip",
    b"Chunked",
    b"x",
    b"+",
    b"-",
    b"_",
    b";",
    b"\"",
    b"\x0b",
    b"\x0c",
    b"\0",
    b"\r",
    b"\n",
    b"content_length",
    b"Connection: close\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"\xa0",
];

const LINES: [&[u8]; 8] = [
    b"POST / HTTP/1.1\r\nHost: a\r\n",
    b"POST / HTTP/1.0\r\nHost: a\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 204 No\r\n",
    b"HTTP/1.1 304 No\r\n",
    b"HTTP/1.1 100 Go\r\n",
];

/// Makes a head of `data` and compares what it is taken for with what it says.
pub fn check(data: &[u8]) {
    let [first, rest @ ..] = data else { return };
    let line = LINES[usize::from(*first) % LINES.len()];
    let pieces = rest.iter().take(200).map(|byte| PIECES[usize::from(*byte) % PIECES.len()]);
    let mut bytes = line.to_vec();
    bytes.extend(pieces.flatten());
    bytes.extend(b"\r\n\r\n");
    let told = reader::head(&bytes).and_then(|head| {
        // Names that others take for framing are refused, whatever they hold.
        let twin = head.fields.iter().any(|(name, _)| name.contains(&b'_') && is_twin(name));
        let long = head.fields.iter().any(|(name, _)| name.len() > 256);
        (!twin && !long && head.fields.len() <= BOUNDS.fields).then_some(head)
    });
    let told = told.as_ref().and_then(length);
    let mut fields = Fields::new();
    if line.starts_with(b"HTTP/") {
        let status = &line[9..12];
        let expected = told.map(|told| match (status, told) {
            (b"204" | b"304" | b"100", _) | (_, Some(Told::Length(0))) => Framing::None,
            (_, Some(Told::Length(length))) => Framing::Exact(length),
            (_, Some(Told::Chunked)) => Framing::Chunked,
            (_, None) => Framing::UntilClose,
        });
        let mut read = |asked| {
            let head = head::response(&bytes, &BOUNDS, asked, &mut fields).ok().flatten();
            head.map(|head| head.framing)
        };
        assert_eq!(read(Asked::Body), expected, "{}", bytes.escape_ascii());
        let expected = told.map(|_| Framing::None);
        assert_eq!(read(Asked::Head), expected, "{}", bytes.escape_ascii());
    } else {
        let expected = told.map(|told| match told {
            None | Some(Told::Length(0)) => Framing::None,
            Some(Told::Length(length)) => Framing::Exact(length),
            Some(Told::Chunked) => Framing::Chunked,
        });
        let read = head::request(&bytes, &BOUNDS, &mut fields).ok().flatten();
        assert_eq!(read.map(|head| head.framing), expected, "{}", bytes.escape_ascii());
    }
}

#[derive(Clone, Copy)]
enum Told {
    Length(u64),
    Chunked,
}

/// RFC 9112 §6: what one head says of its body; the outer `None` where it says it unclearly.
#[expect(clippy::option_option, reason = "not clear, not told, and told are three things")]
fn length(head: &reader::Head<'_>) -> Option<Option<Told>> {
    let old = head.line.windows(8).any(|word| word == b"HTTP/1.0");
    match (&*head.values("content-length"), &*head.values("transfer-encoding")) {
        ([], []) => Some(None),
        ([digits], []) if (1..=16).contains(&digits.len()) => {
            let length = std::str::from_utf8(digits).ok()?;
            let plain = length.bytes().all(|byte| byte.is_ascii_digit());
            Some(Some(Told::Length(length.parse().ok().filter(|_| plain)?)))
        }
        ([], [coding]) if !old && coding.eq_ignore_ascii_case(b"chunked") => {
            Some(Some(Told::Chunked))
        }
        _ => None,
    }
}

fn is_twin(name: &[u8]) -> bool {
    let dashed: Vec<u8> = name
        .iter()
        .map(|byte| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() })
        .collect();
    dashed == b"content-length" || dashed == b"transfer-encoding"
}
