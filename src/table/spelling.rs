//! Which spellings of a path are refused before it is matched.
//!
//! Enters: a path as the client wrote it, without its query. Leaves: whether it may be matched and
//! forwarded unchanged. Owns nothing. One pass; an ordinary byte costs one look into a table.
//!
//! We match and forward the same raw bytes. What an upstream would read as another path than the
//! one we matched must not get through: a dot segment in any spelling would leave its route.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use crate::config::PathRules;

/// Whether `path` may be matched. Bytes from 0x80 up may stand raw: they mean the same everywhere.
#[must_use]
pub fn clean(path: &[u8], rules: PathRules) -> bool {
    let mut bytes = path.iter();
    let mut segment = Dots::Other;
    let mut before = 0;
    while let Some(&byte) = bytes.next() {
        let class = CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Refused);
        match class {
            Class::Plain => segment = Dots::Other,
            // Upstreams that cut parameters off a segment see a dot segment in `..;a`.
            Class::Semicolon if segment.is_dot_segment() => return false,
            Class::Semicolon => segment = Dots::Other,
            Class::Dot => segment = segment.more(),
            Class::Slash if segment.is_dot_segment() => return false,
            Class::Slash if rules == PathRules::Strict && before == b'/' => return false,
            Class::Slash => segment = Dots::None,
            Class::Escape => match (escaped(bytes.next(), bytes.next()), rules) {
                (None | Some(0), _) | (Some(b'/' | b'\\'), PathRules::Strict) => return false,
                (Some(b'.'), _) => segment = segment.more(),
                // Upstreams that decode these see a segment end, as in `..%2f` and `..%3b`.
                (Some(b'/' | b'\\' | b';'), _) if segment.is_dot_segment() => return false,
                (Some(b'/' | b'\\'), _) => segment = Dots::None,
                (Some(_), _) => segment = Dots::Other,
            },
            Class::Refused => return false,
        }
        before = byte;
    }
    !segment.is_dot_segment()
}

/// What a byte of a path means here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Semicolon,
    Dot,
    Slash,
    Escape,
    Refused,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    let mut control = 0;
    while control <= 0x20 {
        classes[control] = Class::Refused;
        control += 1;
    }
    classes[0x7f] = Class::Refused;
    classes[b'\\' as usize] = Class::Refused;
    classes[b'#' as usize] = Class::Refused;
    classes[b'.' as usize] = Class::Dot;
    classes[b';' as usize] = Class::Semicolon;
    classes[b'/' as usize] = Class::Slash;
    classes[b'%' as usize] = Class::Escape;
    classes
};

/// What the current segment is made of so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dots {
    None,
    One,
    Two,
    Other,
}

impl Dots {
    const fn more(self) -> Self {
        match self {
            Self::None => Self::One,
            Self::One => Self::Two,
            Self::Two | Self::Other => Self::Other,
        }
    }

    const fn is_dot_segment(self) -> bool {
        matches!(self, Self::One | Self::Two)
    }
}

fn escaped(high: Option<&u8>, low: Option<&u8>) -> Option<u8> {
    Some(nibble(*high?)? << 4 | nibble(*low?)?)
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &[u8]) -> (bool, bool) {
        (!clean(path, PathRules::Normal), !clean(path, PathRules::Strict))
    }

    #[test]
    fn ordinary_paths_pass() {
        let paths: [&[u8]; 12] = [
            b"/",
            b"/a/b",
            b"/a/b/",
            b"/...",
            b"/.well-known/x",
            b"/a..b/..c/d..",
            b"/%41%7e",
            b"/a%20b",
            b"/a/%2e%2e%2e",
            b"/.%2ea",
            "/caf\u{e9}".as_bytes(),
            b"/a;b=c,d@e:f!$&'()*+=~|^{}[]\"<>`",
        ];
        for path in paths {
            assert_eq!(refused(path), (false, false), "{}", path.escape_ascii());
        }
    }

    #[test]
    fn dot_segments_are_refused_in_every_spelling() {
        for dots in [".", "..", "%2e", "%2E", ".%2e", "%2e.", "%2E%2e"] {
            let around = [
                ("/", ""),
                ("/", "/"),
                ("/a/", "/b"),
                ("/a%2f", "%2Fb"),
                ("/a%5c", "/"),
                ("/", ";b"),
                ("/", "%3bb/c"),
            ];
            for (before, after) in around {
                let path = [before, dots, after].concat();
                assert_eq!(refused(path.as_bytes()), (true, true), "{path}");
            }
        }
    }

    #[test]
    fn what_breaks_other_parsers_is_refused() {
        for path in ["/a%00", "/a\0", "/a\tb", "/a\x7f", "/a b", "/a\\b", "/a#b"] {
            assert_eq!(refused(path.as_bytes()), (true, true), "{path:?}");
        }
        for path in ["/%", "/%4", "/%g1", "/%1g", "/%%41", "/a%+1", "/%u0041"] {
            assert_eq!(refused(path.as_bytes()), (true, true), "{path:?}");
        }
    }

    #[test]
    fn strict_refuses_hidden_and_empty_segments_as_well() {
        for path in ["/a%2fb", "/a%2Fb", "/a%5cb", "/a%5Cb", "//a", "/a//b", "/a//"] {
            assert_eq!(refused(path.as_bytes()), (false, true), "{path}");
        }
    }

    /// The same rules, read off the text: decode what hides dots and slashes, then split.
    #[test]
    fn agrees_with_a_slow_reading_of_the_rules() {
        const BYTES: &[u8] = b"/..%2eEfF05cCa\\#\x1f";
        let mut seed = 0x5eed_u64;
        for round in 0..200_000 {
            let mut path = Vec::from(b"/");
            for _ in 0..round % 9 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                path.push(BYTES[(seed >> 33) as usize % BYTES.len()]);
            }
            let expected = (slow(&path, PathRules::Normal), slow(&path, PathRules::Strict));
            assert_eq!(refused(&path), expected, "{}", path.escape_ascii());
        }
    }

    fn slow(path: &[u8], rules: PathRules) -> bool {
        let strict = rules == PathRules::Strict;
        let mut decoded = Vec::new();
        let mut at = 0;
        while at < path.len() {
            let Some(b'%') = path.get(at) else {
                decoded.push(path[at]);
                at += 1;
                continue;
            };
            let digits = path.get(at + 1..at + 3).and_then(|two| std::str::from_utf8(two).ok());
            let digits = digits.filter(|two| two.bytes().all(|digit| digit.is_ascii_hexdigit()));
            match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
                None | Some(0) => return true,
                Some(b'/' | b'\\') if strict => return true,
                Some(b'\\') => decoded.push(b'/'),
                Some(byte @ (b'.' | b'/')) => decoded.push(byte),
                Some(_) => decoded.push(b'x'),
            }
            at += 3;
        }
        let bad = |byte: &u8| *byte <= 0x20 || matches!(byte, 0x7f | b'\\' | b'#');
        path.iter().any(bad)
            || decoded.split(|&byte| byte == b'/').any(|part| part == b"." || part == b"..")
            || strict && path.windows(2).any(|two| two == b"//")
    }
}
