//! Where a body ends.
//!
//! Enters: body bytes as they arrive. Leaves: how many of them belong to the message, which of
//! those are for this hop only (chunk extensions, trailers), and whether it is over. What is not
//! fully understood is refused: two readings of one length are how requests are smuggled. Owns the
//! position inside a chunked body (RFC 9112 §7.1).

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::ops::Range;

/// How the length of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// So many bytes.
    Exact(u64),
    /// Chunks.
    Chunked,
    /// Everything until the sender closes; responses only.
    UntilClose,
}

/// A body on its way: its framing, and how far it has come.
#[derive(Clone, Debug)]
pub enum Body {
    /// So many bytes are left.
    Left(u64),
    /// Chunks.
    Chunked(Chunks),
    /// It ends when its sender closes.
    UntilClose,
}

impl Body {
    /// A body of which nothing has come yet.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Left(0),
            Framing::Exact(length) => Self::Left(length),
            Framing::Chunked => Self::Chunked(Chunks::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Whether it is known to be over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self {
            Self::Left(left) => *left == 0,
            Self::Chunked(chunks) => chunks.at == At::Done,
            Self::UntilClose => false,
        }
    }

    /// Reads on through `bytes`; `found` is told which of them are payload, and which are for this
    /// hop only.
    pub fn feed(&mut self, bytes: &[u8], mut found: impl FnMut(Part, Range<usize>)) -> Fed {
        match self {
            Self::Left(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                found(Part::Data, 0..taken);
                *left -= taken as u64;
                if *left == 0 { Fed::Done(taken) } else { Fed::More }
            }
            Self::Chunked(chunks) => chunks.feed(bytes, found),
            Self::UntilClose => {
                found(Part::Data, 0..bytes.len());
                Fed::More
            }
        }
    }
}

/// The longest extensions of one chunk: they have no use but attack.
const LINE_MAX: u16 = 256;

/// The most bytes of extensions in a whole body: else a byte of payload could cost a line of them.
const EXTENSIONS_MAX: u16 = 4096;

/// The most bytes of a trailer section: what is passed on of it is held until it is whole.
pub const TRAILER_MAX: u16 = 4096;

/// The most lines of one.
const TRAILER_LINES: u8 = 32;

/// The most hexadecimal digits of a chunk size: more overflow 64 bits, or hide behind zeros.
const DIGITS_MAX: u8 = 15;

/// The position inside a chunked body.
#[derive(Clone, Debug)]
pub struct Chunks {
    at: At,
    /// Bytes of the current line or of the trailer section so far.
    line: u16,
    /// Bytes of extensions so far.
    extensions: u16,
    digits: u8,
    /// Whole lines of the trailer section so far.
    trailers: u8,
    size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size,
    /// Behind the `;`: a name is due.
    Extension,
    ExtensionName,
    /// Behind the `=`: a token or a quoted string is due.
    ExtensionEquals,
    ExtensionValue,
    Quoted,
    Escaped,
    QuotedEnd,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    Done,
}

/// What bytes of a body are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Payload.
    Data,
    /// Chunk extensions: for this hop only, and not passed on.
    Hop,
    /// The trailer section with the empty line behind it, where there is one: for `trailer` to look
    /// through when it is whole. A body without trailers has no such part.
    Trailer,
}

/// What [`Chunks::feed`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fed {
    /// All bytes belong to the body, and more follow.
    More,
    /// The body ends after so many of the bytes.
    Done(usize),
    /// This is not a chunked body.
    Bad,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { at: At::Size, line: 0, extensions: 0, digits: 0, trailers: 0, size: 0 }
    }
}

impl Chunks {
    /// See [`Body::feed`].
    fn feed(&mut self, bytes: &[u8], mut found: impl FnMut(Part, Range<usize>)) -> Fed {
        let mut next = 0;
        let mut run: Option<(Part, usize)> = None;
        while let Some(&byte) = bytes.get(next) {
            if self.at == At::Data {
                let left = usize::try_from(self.size).unwrap_or(usize::MAX);
                let taken = left.min(bytes.len() - next);
                found(Part::Data, next..next + taken);
                next += taken;
                self.size -= taken as u64;
                if self.size == 0 {
                    self.at = At::DataCr;
                }
                continue;
            }
            match self.step(byte) {
                Some(at) => self.at = at,
                None => return Fed::Bad,
            }
            let part = self.part();
            if let Some((before, start)) = run.filter(|(before, _)| Some(*before) != part) {
                found(before, start..next);
                run = None;
            }
            if let (Some(part), None) = (part, run) {
                run = Some((part, next));
            }
            next += 1;
            if self.at == At::Done {
                break;
            }
        }
        if let Some((part, start)) = run {
            found(part, start..next);
        }
        if self.at == At::Done { Fed::Done(next) } else { Fed::More }
    }

    /// What the byte that led here belongs to, if not to the framing that is passed on.
    const fn part(&self) -> Option<Part> {
        match self.at {
            At::Extension
            | At::ExtensionName
            | At::ExtensionEquals
            | At::ExtensionValue
            | At::Quoted
            | At::Escaped
            | At::QuotedEnd => Some(Part::Hop),
            At::TrailerName | At::TrailerValue | At::TrailerLf => Some(Part::Trailer),
            At::TrailerStart | At::LastLf | At::Done if self.trailers > 0 => Some(Part::Trailer),
            _ => None,
        }
    }

    fn step(&mut self, byte: u8) -> Option<At> {
        match self.at {
            At::Size => self.size_digit(byte),
            At::Extension
            | At::ExtensionName
            | At::ExtensionEquals
            | At::ExtensionValue
            | At::Quoted
            | At::Escaped
            | At::QuotedEnd => self.extension(byte),
            At::SizeLf => (byte == b'\n').then(|| self.size_read()),
            At::DataCr => (byte == b'\r').then_some(At::DataLf),
            At::DataLf => (byte == b'\n').then(|| {
                (self.digits, self.line) = (0, 0);
                At::Size
            }),
            At::TrailerStart | At::TrailerName | At::TrailerValue | At::TrailerLf | At::LastLf => {
                self.trailer(byte)
            }
            At::Data | At::Done => None,
        }
    }

    fn size_digit(&mut self, byte: u8) -> Option<At> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            self.digits += 1;
            self.size = self.size.checked_mul(16)?.checked_add(u64::from(digit))?;
            return (self.digits <= DIGITS_MAX).then_some(At::Size);
        }
        match byte {
            _ if self.digits == 0 => None,
            b'\r' => Some(At::SizeLf),
            b';' => Some(At::Extension),
            _ => None,
        }
    }

    /// RFC 9112 §7.1.1: `;name`, `;name=token` or `;name="text"`, without the white space that is
    /// allowed there and that nobody should send.
    fn extension(&mut self, byte: u8) -> Option<At> {
        self.line += 1;
        self.extensions += 1;
        if self.line > LINE_MAX || self.extensions > EXTENSIONS_MAX {
            return None;
        }
        let is_token = super::head::is_token(byte);
        match (self.at, byte) {
            (At::ExtensionName | At::ExtensionValue | At::QuotedEnd, b'\r') => Some(At::SizeLf),
            (At::ExtensionName | At::ExtensionValue | At::QuotedEnd, b';') => Some(At::Extension),
            (At::Extension | At::ExtensionName, _) if is_token => Some(At::ExtensionName),
            (At::ExtensionName, b'=') => Some(At::ExtensionEquals),
            (At::ExtensionEquals, b'"') => Some(At::Quoted),
            (At::ExtensionEquals | At::ExtensionValue, _) if is_token => Some(At::ExtensionValue),
            (At::Quoted, b'"') => Some(At::QuotedEnd),
            (At::Quoted, b'\\') => Some(At::Escaped),
            (At::Quoted | At::Escaped, b'\t' | b' '..=b'~') => Some(At::Quoted),
            _ => None,
        }
    }

    fn size_read(&mut self) -> At {
        self.line = 0;
        if self.size == 0 { At::TrailerStart } else { At::Data }
    }

    fn trailer(&mut self, byte: u8) -> Option<At> {
        self.line += 1;
        if self.line > TRAILER_MAX {
            return None;
        }
        match (self.at, byte) {
            (At::TrailerStart, b'\r') => Some(At::LastLf),
            (At::TrailerName, b':') => Some(At::TrailerValue),
            (At::TrailerStart | At::TrailerName, byte) => {
                super::head::is_token(byte).then_some(At::TrailerName)
            }
            (At::TrailerValue, b'\r') => Some(At::TrailerLf),
            (At::TrailerLf, b'\n') => {
                self.trailers += 1;
                (self.trailers <= TRAILER_LINES).then_some(At::TrailerStart)
            }
            (At::LastLf, b'\n') => Some(At::Done),
            (At::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => Some(At::TrailerValue),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in parts of `step` and gives back the payload, if the body ended.
    fn decode(bytes: &[u8], step: usize) -> Option<(Vec<u8>, usize)> {
        let (mut chunks, mut payload, mut at) = (Chunks::default(), Vec::new(), 0);
        for part in bytes.chunks(step) {
            let fed = chunks.feed(part, |kind, range| match kind {
                Part::Data => payload.extend_from_slice(&part[range]),
                Part::Hop | Part::Trailer => {}
            });
            match fed {
                Fed::More => at += part.len(),
                Fed::Done(used) => return Some((payload, at + used)),
                Fed::Bad => return None,
            }
        }
        None
    }

    #[test]
    fn a_chunked_body_ends_where_it_says_however_it_is_split() {
        let body =
            b"4\r\nWiki\r\n5;a=\"q\\\"\";b\r\npedia\r\n0\r\nX-T: 1\r\n\r\nGET / HTTP/1.1\r\n";
        let end = body.len() - b"GET / HTTP/1.1\r\n".len();
        for step in 1..body.len() {
            assert_eq!(decode(body, step), Some((b"Wikipedia".to_vec(), end)), "step {step}");
        }
    }

    #[test]
    fn extensions_and_trailers_are_told_apart_however_the_body_is_split() {
        let body = b"4;x=\"y\"\r\nWiki\r\n5\r\npedia\r\n0;z\r\nX-T: 1\r\nY: 2\r\n\r\nnext";
        for step in 1..=body.len() {
            let (mut chunks, mut kept) = (Chunks::default(), Vec::new());
            let mut trailers = Vec::new();
            for part in body.chunks(step) {
                let mut next = 0;
                let fed = chunks.feed(part, |kind, range| {
                    if kind != Part::Data {
                        kept.extend_from_slice(&part[next..range.start]);
                        next = range.end;
                    }
                    if kind == Part::Trailer {
                        trailers.extend_from_slice(&part[range]);
                    }
                });
                let end = if let Fed::Done(used) = fed { used } else { part.len() };
                kept.extend_from_slice(&part[next..end]);
                if matches!(fed, Fed::Done(_)) {
                    break;
                }
            }
            assert_eq!(kept, b"4\r\nWiki\r\n5\r\npedia\r\n0\r\n", "step {step}");
            assert_eq!(trailers, b"X-T: 1\r\nY: 2\r\n\r\n", "step {step}");
        }
    }

    #[test]
    fn what_is_not_plainly_a_chunk_is_refused() {
        for bad in [
            &b"+3\r\nabc\r\n0\r\n\r\n"[..],
            b"0x3\r\nabc\r\n0\r\n\r\n",
            b" 3\r\nabc\r\n0\r\n\r\n",
            b"3 \r\nabc\r\n0\r\n\r\n",
            b"3xyz\r\nabc\r\n0\r\n\r\n",
            b"\r\nabc",
            b";a\r\n",
            b"ffffffffffffffff\r\n",
            b"fffffffffffffffff\r\n",
            b"00000000000000000003\r\nabc\r\n0\r\n\r\n",
            b"3\nabc\r\n0\r\n\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"3\rXabc\r\n0\r\n\r\n",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"3;a\n\r\nabc\r\n0\r\n\r\n",
            b"3;a=\"\r\n\"\r\nabc\r\n0\r\n\r\n",
            b"3;\0\r\nabc\r\n0\r\n\r\n",
            b"3;\r\nabc\r\n0\r\n\r\n",
            b"3;;a\r\nabc\r\n0\r\n\r\n",
            b"3;a=\r\nabc\r\n0\r\n\r\n",
            b"3;a b\r\nabc\r\n0\r\n\r\n",
            b"3;a=\"b\"c\r\nabc\r\n0\r\n\r\n",
            b"0\r\n X: y\r\n\r\n",
            b"0\r\nX: y\n\r\n",
            b"0\r\nno trailer\r\n\r\n",
            b"0\r\nX\r\n\r\n",
            b"0\r\n: y\r\n\r\n",
            b"0\r\nX: \0\r\n\r\n",
            b"0\r\n\rX",
        ] {
            for step in 1..=bad.len() {
                assert_eq!(decode(bad, step), None, "{}", bad.escape_ascii());
            }
            let (mut chunks, mut refused) = (Chunks::default(), false);
            for byte in bad {
                refused |= chunks.feed(&[*byte], |_, _| {}) == Fed::Bad;
            }
            assert!(refused, "{} only waits", bad.escape_ascii());
        }
    }

    #[test]
    fn extensions_and_trailers_have_an_end() {
        let long = |open: &[u8], byte: u8, count: usize| {
            let mut chunks = Chunks::default();
            let mut fed = chunks.feed(open, |_, _| {});
            for _ in 0..count {
                fed = chunks.feed(&[byte], |_, _| {});
                if fed == Fed::Bad {
                    break;
                }
            }
            fed
        };
        assert_eq!(long(b"3;", b'a', usize::from(LINE_MAX)), Fed::More);
        assert_eq!(long(b"3;", b'a', usize::from(LINE_MAX) + 1), Fed::Bad);
        let bodies = |count: usize| b"1;abcdef\r\nx\r\n".repeat(count);
        let most = usize::from(EXTENSIONS_MAX) / b"abcdef\r".len();
        assert_eq!(Chunks::default().feed(&bodies(most), |_, _| {}), Fed::More);
        assert_eq!(Chunks::default().feed(&bodies(most + 1), |_, _| {}), Fed::Bad);
        assert_eq!(long(b"0\r\nX:", b'a', usize::from(TRAILER_MAX) - 2), Fed::More);
        assert_eq!(long(b"0\r\nX:", b'a', usize::from(TRAILER_MAX) - 1), Fed::Bad);
        let lines = |count: usize| [b"0\r\n".as_slice(), &b"X: y\r\n".repeat(count)].concat();
        let most = usize::from(TRAILER_LINES);
        assert_eq!(Chunks::default().feed(&lines(most), |_, _| {}), Fed::More);
        assert_eq!(Chunks::default().feed(&lines(most + 1), |_, _| {}), Fed::Bad);
    }
}
