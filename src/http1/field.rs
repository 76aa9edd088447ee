//! The fields of one head: which of them mean something to a proxy.
//!
//! Enters: names and values. Leaves: spans with a [`Kind`] each, and the answers a proxy needs of
//! them (does the connection persist, which fields are for this hop only). Owns one list per core,
//! used again for every head.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use super::answer::Prefer;
use super::head::{Persist, Span, Version};

/// What a field means to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: it is for the other end.
    EndToEnd,
    /// It is for this hop only (RFC 9110 §7.6.1).
    Hop,
    /// `Connection`: it names further fields that are for this hop only.
    Connection,
    /// `Content-Length`.
    ContentLength,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Host`.
    Host,
    /// `Expect`.
    Expect,
    /// `Accept`.
    Accept,
    /// `Accept-Encoding`.
    AcceptEncoding,
    /// Says who the client is; believed only from trusted peers.
    Forwarding,
}

impl Kind {
    const COUNT: usize = Self::Forwarding as usize + 1;
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: Span,
    /// Its value, without white space around it.
    pub value: Span,
    /// What it means.
    pub kind: Kind,
}

/// The fields of one head.
#[derive(Debug, Default)]
pub struct Fields {
    list: Vec<Field>,
    /// Where the field lines end: the offset of the blank line.
    end: usize,
    /// By kind: the value of the first field of it.
    first: [Option<Span>; Kind::COUNT],
    /// By kind: a bit where there is more than one.
    twice: u16,
}

/// A field breaks a rule of framing, or stands twice where it may stand once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

/// The longest field name: longer ones have wrapped length fields elsewhere (CVE-2021-40346).
const NAME_MAX: usize = 256;

/// The longest `Content-Length` that is believed: 10^15 bytes.
const LENGTH_DIGITS: usize = 16;

impl Fields {
    /// A list with room for every head that is accepted.
    #[must_use]
    pub fn new() -> Self {
        Self { list: Vec::with_capacity(super::head::HEADERS_MAX), ..Self::default() }
    }

    /// The fields, in the order they were sent.
    #[must_use]
    pub fn list(&self) -> &[Field] {
        &self.list
    }

    /// The offset of the blank line that ends the head.
    #[must_use]
    pub const fn end(&self) -> usize {
        self.end
    }

    /// Takes over the fields of a head of `len` bytes. Every line has to end in CR LF: a bare LF
    /// another parser may read in another way.
    pub(super) fn read<'b>(
        &mut self,
        lines: impl Iterator<Item = (&'b [u8], &'b [u8])>,
        bytes: &[u8],
        len: usize,
    ) -> Result<(), Fault> {
        self.list.clear();
        (self.first, self.twice) = ([None; Kind::COUNT], 0);
        self.end = len.saturating_sub(2);
        for (name, value) in lines {
            if name.len() > NAME_MAX {
                return Err(Fault);
            }
            let kind = kind(name)?;
            let (name, value) = (Span::of(name, bytes), Span::of(value, bytes));
            if !line_ends_before(name.start(), bytes) {
                return Err(Fault);
            }
            self.list.push(Field { name, value, kind });
            if let Some(first) = self.first.get_mut(kind as usize) {
                self.twice |= u16::from(first.is_some()) << (kind as u16);
                first.get_or_insert(value);
            }
        }
        let blank = bytes.get(self.end..len) == Some(b"\r\n");
        if blank && line_ends_before(self.end, bytes) { Ok(()) } else { Err(Fault) }
    }

    /// The length that has to be written anew, because it was not written in its plainest form
    /// (leading zeros, tabs and extra blanks are allowed, and read in more than one way).
    pub(super) fn odd_length(&self, bytes: &[u8]) -> Option<u64> {
        let (plain, value) = self.written(Kind::ContentLength, bytes)?;
        let padded = value.len() > 1 && value.first() == Some(&b'0');
        if plain && !padded { None } else { length(value) }
    }

    /// Whether the transfer coding has to be written anew, for the same reason.
    pub(super) fn odd_coding(&self, bytes: &[u8]) -> bool {
        self.written(Kind::TransferEncoding, bytes).is_some_and(|(plain, _)| !plain)
    }

    /// The only field of `kind`: whether one blank and nothing else stands around its value.
    fn written<'b>(&self, kind: Kind, bytes: &'b [u8]) -> Option<(bool, &'b [u8])> {
        let value = self.only(kind).ok()??;
        let before = value.start().checked_sub(2).and_then(|at| bytes.get(at..value.start()));
        let after = bytes.get(value.end()..value.end() + 2);
        let plain = before == Some(b": ") && after == Some(b"\r\n");
        Some((plain, value.of_bytes(bytes)))
    }

    /// The value of the field of `kind`, if there is one; more than one is a fault.
    pub fn only(&self, kind: Kind) -> Result<Option<Span>, Fault> {
        if self.twice & 1 << (kind as u16) != 0 {
            return Err(Fault);
        }
        Ok(self.first.get(kind as usize).copied().flatten())
    }

    /// Whether the sender lets the connection go on (RFC 9112 §9.3).
    pub(super) fn persist(&self, version: Version, bytes: &[u8]) -> Persist {
        let mut persist = match version {
            Version::Http11 => Persist::Keep,
            Version::Http10 => Persist::Close,
        };
        for token in self.connection_tokens(bytes) {
            if token.eq_ignore_ascii_case(b"close") {
                return Persist::Close;
            }
            if token.eq_ignore_ascii_case(b"keep-alive") {
                persist = Persist::Keep;
            }
        }
        persist
    }

    /// Whether `Connection` names fields of its own to be left out; most say only whether to go on.
    #[must_use]
    pub fn nominates(&self, bytes: &[u8]) -> bool {
        self.connection_tokens(bytes).any(|token| {
            !token.eq_ignore_ascii_case(b"close") && !token.eq_ignore_ascii_case(b"keep-alive")
        })
    }

    /// Whether `Connection` names `field`. What framing, routing and trust rest on cannot be named.
    #[must_use]
    pub fn is_nominated(&self, field: &Field, bytes: &[u8]) -> bool {
        let name = field.name.of_bytes(bytes);
        matches!(field.kind, Kind::EndToEnd | Kind::Accept | Kind::AcceptEncoding)
            && !name.eq_ignore_ascii_case(b"authorization")
            && self.connection_tokens(bytes).any(|token| token.eq_ignore_ascii_case(name))
    }

    /// Which of our representations the client prefers: JSON, unless it ranks text above it.
    pub(super) fn prefer(&self, bytes: &[u8]) -> Prefer {
        let Ok(Some(accept)) = self.only(Kind::Accept) else { return Prefer::Json };
        match accept.of_bytes(bytes) {
            b"*/*" => Prefer::Json,
            value if rank(value, b"text/plain") > rank(value, b"application/json") => Prefer::Text,
            _ => Prefer::Json,
        }
    }

    fn connection_tokens<'b>(&self, bytes: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        // Most heads have none: then nothing is looked through.
        let any = self.first.get(Kind::Connection as usize).is_some_and(Option::is_some);
        self.list
            .get(..if any { self.list.len() } else { 0 })
            .unwrap_or_default()
            .iter()
            .filter(|field| field.kind == Kind::Connection)
            .flat_map(|field| field.value.of_bytes(bytes).split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|token| !token.is_empty())
    }
}

/// A `Content-Length`: digits alone (RFC 9110 §8.6), and not more than can be meant.
pub(super) fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > LENGTH_DIGITS {
        return None;
    }
    value.iter().try_fold(0u64, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0'))
    })
}

fn line_ends_before(offset: usize, bytes: &[u8]) -> bool {
    offset.checked_sub(2).and_then(|start| bytes.get(start..offset)) == Some(b"\r\n")
}

/// Names that mean something to a proxy, by length.
fn known(len: usize) -> &'static [(&'static [u8], Kind)] {
    match len {
        2 => &[(b"te", Kind::Hop)],
        4 => &[(b"host", Kind::Host)],
        6 => &[(b"accept", Kind::Accept), (b"expect", Kind::Expect)],
        7 => &[(b"upgrade", Kind::Hop)],
        9 => &[(b"forwarded", Kind::Forwarding)],
        10 => &[(b"connection", Kind::Connection), (b"keep-alive", Kind::Hop)],
        14 => &[(b"content-length", Kind::ContentLength), (b"http2-settings", Kind::Hop)],
        15 => &[(b"accept-encoding", Kind::AcceptEncoding), (b"x-forwarded-for", Kind::Forwarding)],
        16 => &[
            (b"x-forwarded-host", Kind::Forwarding),
            (b"x-forwarded-port", Kind::Forwarding),
            (b"proxy-connection", Kind::Hop),
        ],
        17 => &[
            (b"transfer-encoding", Kind::TransferEncoding),
            (b"x-forwarded-proto", Kind::Forwarding),
        ],
        _ => &[],
    }
}

/// What a field of this name means. A name that only an underscore tells from one of ours is a
/// fault: servers that turn both into `_` would take it for the real one.
fn kind(name: &[u8]) -> Result<Kind, Fault> {
    let dashed = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    let twin = |known: &[u8]| name.iter().map(dashed).eq(known.iter().copied());
    match known(name.len()).iter().find(|(known, _)| twin(known)) {
        Some((known, kind)) if name.eq_ignore_ascii_case(known) => Ok(*kind),
        Some((_, Kind::Accept | Kind::AcceptEncoding)) | None => Ok(Kind::EndToEnd),
        Some(_) => Err(Fault),
    }
}

/// The quality of media type `wanted` in an `Accept` value, in thousandths (RFC 9110 §12.5.1): the
/// most specific range decides.
fn rank(accept: &[u8], wanted: &[u8]) -> u32 {
    let slash = memchr::memchr(b'/', wanted).unwrap_or(0);
    let family = wanted.get(..=slash).unwrap_or_default();
    let mut best = (0, 0);
    for range in accept.split(|&byte| byte == b',') {
        let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let media = parts.next().unwrap_or_default();
        let specific = if media.eq_ignore_ascii_case(wanted) {
            3
        } else if media.strip_suffix(b"*").is_some_and(|m| m.eq_ignore_ascii_case(family)) {
            2
        } else if media == b"*/*" {
            1
        } else {
            continue;
        };
        let quality = parts.find_map(|part| part.strip_prefix(b"q=")).map_or(1000, thousandths);
        if specific > best.0 {
            best = (specific, quality);
        }
    }
    best.1
}

/// `0.8` → 800; what is no quality counts as 1.
fn thousandths(value: &[u8]) -> u32 {
    let (whole, part) = match value {
        [whole] => (*whole, &[][..]),
        [whole, b'.', part @ ..] if part.len() <= 3 => (*whole, part),
        _ => return 1000,
    };
    let mut sum = if whole == b'0' { 0 } else { 1000 };
    for (digit, worth) in part.iter().zip([100, 10, 1]) {
        sum += u32::from(digit.saturating_sub(b'0').min(9)) * worth;
    }
    sum.min(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_digits_and_nothing_else() {
        assert_eq!(length(b"0003"), Some(3));
        assert_eq!(length(b"9999999999999999"), Some(9_999_999_999_999_999));
        for bad in ["", "+3", "-0", "0x3", "1_0", "1 0", "3;", "3, 3", "18446744073709551619"] {
            assert_eq!(length(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_twin_of_a_known_name_is_a_fault_and_any_other_name_is_free() {
        assert_eq!(kind(b"Transfer-Encoding"), Ok(Kind::TransferEncoding));
        for twin in ["Transfer_Encoding", "content_length", "X_Forwarded-For", "Keep_Alive"] {
            assert_eq!(kind(twin.as_bytes()), Err(Fault), "{twin}");
        }
        for free in ["user_agent", "x_request_id", "Accept_Encoding", "Transfer.Encoding"] {
            assert_eq!(kind(free.as_bytes()), Ok(Kind::EndToEnd), "{free}");
        }
    }

    #[test]
    fn text_is_preferred_only_where_it_ranks_higher() {
        let prefers_text = |accept: &str| {
            rank(accept.as_bytes(), b"text/plain") > rank(accept.as_bytes(), b"application/json")
        };
        assert!(prefers_text("text/plain"));
        assert!(prefers_text("text/*, application/json;q=0.5"));
        assert!(prefers_text("text/html, text/plain;q=0.9, */*;q=0.8"));
        assert!(!prefers_text("*/*"));
        assert!(!prefers_text("application/json, text/plain"));
        assert!(!prefers_text("text/html, */*;q=0.8"));
    }
}
