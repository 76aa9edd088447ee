//! The fields of one head: which of them mean something to a proxy.
//!
//! Enters: names and values. Leaves: spans with a [`Kind`] each, and the answers a proxy needs of
//! them (does the connection persist, which fields are for this hop only). Owns one list per core,
//! used again for every head.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use super::accept;
use super::answer::Prefer;
use super::head::{Persist, Span, Version};
use super::name::{is, kind};

/// What a field means to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: it is for the other end.
    EndToEnd,
    /// It is for this hop only (RFC 9110 §7.6.1).
    Hop,
    /// `Upgrade`: for this hop too, but asked for on the next.
    Upgrade,
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
    /// `TE`: for this hop, but for the word `trailers`.
    Te,
    /// `Trailer`: which fields follow a body in chunks.
    Trailer,
    /// `Date`.
    Date,
    /// `Via`.
    Via,
}

impl Kind {
    const COUNT: usize = Self::Via as usize + 1;
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
    /// Whether the connection goes on, if `Connection` says it.
    persist: Option<Persist>,
    /// Whether `Connection` names fields of its own to be left out.
    nominates: bool,
}

/// A field breaks a rule of framing, or stands twice where it may stand once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

/// The longest field name: longer ones have wrapped length fields elsewhere (CVE-2021-40346).
pub(super) const NAME_MAX: usize = 256;

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
        self.begin();
        self.end_at(len.saturating_sub(2));
        for (name, value) in lines {
            let (name, value) = (Span::of(name, bytes), Span::of(value, bytes));
            if !line_ends_before(name.start(), bytes) {
                return Err(Fault);
            }
            self.add(name, value, bytes)?;
        }
        let blank = bytes.get(self.end..len) == Some(b"\r\n");
        if blank && line_ends_before(self.end, bytes) { Ok(()) } else { Err(Fault) }
    }

    /// Forgets the last head.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.list.clear();
        (self.first, self.twice) = ([None; Kind::COUNT], 0);
        (self.persist, self.nominates) = (None, false);
    }

    /// The blank line stands at `end`.
    #[inline]
    pub(super) const fn end_at(&mut self, end: usize) {
        self.end = end;
    }

    /// Takes over one field.
    #[inline]
    pub(super) fn add(&mut self, name: Span, value: Span, bytes: &[u8]) -> Result<(), Fault> {
        let text = name.of_bytes(bytes);
        if text.len() > NAME_MAX {
            return Err(Fault);
        }
        let kind = kind(text)?;
        if kind == Kind::Connection {
            self.hear(value.of_bytes(bytes));
        }
        self.list.push(Field { name, value, kind });
        if kind != Kind::EndToEnd
            && let Some(first) = self.first.get_mut(kind as usize)
        {
            self.twice |= u16::from(first.is_some()) << (kind as u16);
            first.get_or_insert(value);
        }
        Ok(())
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

    /// Whether there is a field of `kind`.
    #[must_use]
    pub fn has(&self, kind: Kind) -> bool {
        self.first.get(kind as usize).is_some_and(Option::is_some)
    }

    /// Whether the sender takes trailers (RFC 9110 §10.1.4).
    pub(super) fn takes_trailers(&self, bytes: &[u8]) -> bool {
        self.has(Kind::Te)
            && self.list.iter().filter(|field| field.kind == Kind::Te).any(|te| {
                tokens(te.value.of_bytes(bytes)).any(|c| c.eq_ignore_ascii_case(b"trailers"))
            })
    }

    /// Whether the sender lets the connection go on (RFC 9112 §9.3).
    pub(super) const fn persist(&self, version: Version) -> Persist {
        match (self.persist, version) {
            (Some(said), _) => said,
            (None, Version::Http11) => Persist::Keep,
            (None, Version::Http10) => Persist::Close,
        }
    }

    /// Whether `Connection` names fields of its own to be left out; most say only whether to go on.
    #[must_use]
    pub const fn nominates(&self) -> bool {
        self.nominates
    }

    /// Whether `Connection` names `field`. What framing, routing and trust rest on cannot be named,
    /// nor what is for every recipient of a message (RFC 9110 §7.6.1).
    #[must_use]
    pub fn is_nominated(&self, field: &Field, bytes: &[u8]) -> bool {
        let name = field.name.of_bytes(bytes);
        matches!(field.kind, Kind::EndToEnd | Kind::Accept | Kind::AcceptEncoding | Kind::Trailer)
            && !FOR_ALL.iter().any(|known| name.eq_ignore_ascii_case(known))
            && self.nominated(bytes).any(|token| token.eq_ignore_ascii_case(name))
    }

    /// Which of our representations the client prefers: JSON, unless it ranks text above it.
    pub(super) fn prefer(&self, bytes: &[u8]) -> Prefer {
        let Ok(Some(accept)) = self.only(Kind::Accept) else { return Prefer::Json };
        accept::prefer(accept.of_bytes(bytes))
    }

    /// Whether `Connection` names `token`.
    pub(super) fn connection_names(&self, token: &[u8], bytes: &[u8]) -> bool {
        self.has(Kind::Connection)
            && self.nominated(bytes).any(|named| named.eq_ignore_ascii_case(token))
    }

    /// What the fields of `kind`, which are lists, hold together.
    pub(super) fn listed<'b>(&self, kind: Kind, bytes: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        let fields = self.list.iter().filter(move |field| field.kind == kind);
        fields.flat_map(|field| tokens(field.value.of_bytes(bytes)))
    }

    /// Keeps what a `Connection` of this value says; `close` outweighs any other word.
    fn hear(&mut self, value: &[u8]) {
        if is(value, b"keep-alive") {
            // What nearly all say who say anything: nothing is cut.
            self.persist.get_or_insert(Persist::Keep);
            return;
        }
        for token in tokens(value) {
            if is(token, b"close") {
                self.persist = Some(Persist::Close);
            } else if is(token, b"keep-alive") {
                self.persist.get_or_insert(Persist::Keep);
            } else {
                self.nominates = true;
            }
        }
    }

    /// The tokens of all `Connection` fields.
    fn nominated<'b>(&self, bytes: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        self.list
            .iter()
            .filter(|field| field.kind == Kind::Connection)
            .flat_map(|field| tokens(field.value.of_bytes(bytes)))
    }
}

/// The members of a list (RFC 9110 §5.6.1).
pub(super) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// What `Connection` cannot name, besides what has a meaning to us: who asks, who is known again,
/// and how the content is to be read and stored.
const FOR_ALL: [&[u8]; 10] = [
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-range",
    b"content-type",
    b"cookie",
    b"range",
    b"set-cookie",
    b"vary",
    b"www-authenticate",
];

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
    bytes.get(..offset).is_some_and(|before| before.ends_with(b"\r\n"))
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
}
