//! A line as words, and back.
//!
//! Enters: a [`Line`]. Leaves: words for a ring, each part of it cut to what a rendered line has
//! room for; or, out of such words, the line. Nothing is rendered here: that is the writer's work.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::net::Ipv6Addr;

use super::Line;
use crate::clock::Now;

/// The most bytes of each part that a rendering shows, in the order of a record: method, path,
/// host, route, service, target, referer, user agent, outcome. Together with all that stands
/// between them they are a line of 2 KiB.
pub(super) const SHOWN: [usize; 9] = [24, 760, 100, 160, 64, 100, 200, 200, 32];

/// The most bytes of a part that are kept: one more, so that a rendering sees that there was more.
const KEPT: [usize; 9] = {
    let (mut kept, mut part) = (SHOWN, 0);
    while part < kept.len() {
        kept[part] += 1;
        part += 1;
    }
    kept
};

/// Words in front of the parts.
const FIXED: usize = 11;

/// The most words of a record.
pub(super) const WORDS_MAX: usize = {
    let (mut words, mut part) = (FIXED, 0);
    while part < KEPT.len() {
        words += KEPT[part].div_ceil(8);
        part += 1;
    }
    words
};

/// Stands for a span of time that there was not.
const NONE: u32 = u32::MAX;

/// A line that was measured.
pub(super) struct Record<'a> {
    line: &'a Line<'a>,
    parts: [&'a [u8]; 9],
    /// How many words it takes.
    pub(super) words: u64,
}

fn parts<'a>(line: &Line<'a>) -> [&'a [u8]; 9] {
    let Line { method, path, host, route, service, target, referer, agent, .. } = *line;
    [method, path, host, route, service, target, referer, agent, line.outcome.as_bytes()]
}

/// Measures `line`.
pub(super) fn measure<'a>(line: &'a Line<'a>) -> Record<'a> {
    let (mut parts, mut words) = (parts(line), FIXED as u64);
    for (part, max) in parts.iter_mut().zip(KEPT) {
        *part = part.get(..max).unwrap_or(part);
        words += part.len().div_ceil(8) as u64;
    }
    Record { line, parts, words }
}

/// How many words the record takes that begins with `first`.
pub(super) fn words_of(first: u64) -> u64 {
    // Never less than the word itself: a reader goes on whatever it finds.
    (first & 0xffff).clamp(1, WORDS_MAX as u64)
}

/// Gives the words of a record to `put`, one after the other.
pub(super) fn write(record: &Record<'_>, mut put: impl FnMut(u64)) {
    let Record { line, parts, words } = record;
    let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    let small = u64::from(line.minor) << 40 | u64::from(line.retries) << 32;
    put(small | u64::from(line.status) << 16 | words);
    put(line.at.micros());
    put(pair(line.took_us, line.connect_us.unwrap_or(NONE)));
    put(pair(0, line.response_us.unwrap_or(NONE)));
    put(line.received);
    put(line.sent);
    let client = line.client.to_bits();
    put((client >> 64) as u64);
    put(client as u64);
    let mut lengths = [0u64; 3];
    for (nth, part) in parts.iter().enumerate() {
        if let Some(word) = lengths.get_mut(nth / 4) {
            *word |= (part.len() as u64) << (nth % 4 * 16);
        }
    }
    lengths.into_iter().for_each(&mut put);
    for part in parts {
        let (whole, rest) = part.as_chunks::<8>();
        whole.iter().for_each(|bytes| put(u64::from_le_bytes(*bytes)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            for (place, byte) in last.iter_mut().zip(rest) {
                *place = *byte;
            }
            put(u64::from_le_bytes(last));
        }
    }
}

/// Reads the line of a record, given as bytes. `None`: it is none.
pub(super) fn read<T>(bytes: &[u8], take: impl FnOnce(Line<'_>) -> T) -> Option<T> {
    let (all, _) = bytes.as_chunks::<8>();
    let (fixed, rest) = all.split_first_chunk::<FIXED>()?;
    let [first, at, took, response, received, sent, high, low, lengths @ ..] =
        fixed.map(u64::from_le_bytes);
    let mut rest = rest.as_flattened();
    let mut parts = [&[][..]; 9];
    for (nth, part) in parts.iter_mut().enumerate() {
        let length = lengths.get(nth / 4)? >> (nth % 4 * 16) & 0xffff;
        let length = usize::try_from(length).ok()?;
        let words = rest.split_at_checked(length.next_multiple_of(8))?;
        (*part, rest) = (words.0.get(..length)?, words.1);
    }
    let [method, path, host, route, service, target, referer, agent, outcome] = parts;
    let span = |word: u64| Some(low_half(word)).filter(|span| *span != NONE);
    let client = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
    Some(take(Line {
        at: Now::from_micros(at),
        took_us: low_half(took >> 32),
        connect_us: span(took),
        response_us: span(response),
        client,
        minor: (first >> 40) as u8,
        status: (first >> 16) as u16,
        received,
        sent,
        retries: (first >> 32) as u8,
        outcome: std::str::from_utf8(outcome).ok()?,
        method,
        path,
        host,
        route,
        service,
        target,
        referer,
        agent,
    }))
}

const fn low_half(word: u64) -> u32 {
    word as u32
}

#[cfg(test)]
pub(in crate::access) mod tests {
    use super::*;

    pub(in crate::access) fn sample() -> Line<'static> {
        Line {
            at: Now::from_millis(5_000),
            took_us: 1_234,
            connect_us: Some(250),
            response_us: Some(900),
            client: std::net::Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped(),
            minor: 1,
            status: 200,
            received: 7,
            sent: 2326,
            retries: 0,
            outcome: super::super::OK,
            method: b"GET",
            path: b"/users/7",
            host: b"shop.example",
            route: b"GET /users/:id",
            service: b"users",
            target: b"localhost:6666",
            referer: b"http://shop.example/start",
            agent: b"Mozilla/5.0 (X11)",
        }
    }

    fn through(line: &Line<'_>, check: impl FnOnce(Line<'_>)) {
        let (mut words, record) = (Vec::new(), measure(line));
        write(&record, |word| words.push(word));
        assert_eq!(words.len() as u64, record.words);
        assert_eq!(words_of(words[0]), words.len() as u64);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert!(read(&bytes, check).is_some());
    }

    #[test]
    fn a_line_comes_back_as_it_was() {
        through(&sample(), |line| assert_eq!(line, sample()));
        for len in 0..100 {
            let path = vec![0xff; len];
            let odd = Line {
                took_us: u32::MAX,
                connect_us: None,
                response_us: None,
                client: "2001:db8::7".parse().unwrap(),
                minor: 0,
                status: 0,
                received: u64::MAX,
                sent: u64::MAX,
                retries: 255,
                path: &path,
                agent: b"",
                ..sample()
            };
            through(&odd, |line| assert_eq!(line, odd));
        }
    }

    #[test]
    fn a_part_too_long_is_cut_and_no_record_is_longer_than_it_may_be() {
        let long = [b'x'; 5000];
        let line = Line {
            method: &long,
            path: &long,
            host: &long,
            route: &long,
            service: &long,
            target: &long,
            referer: &long,
            agent: &long,
            ..sample()
        };
        assert!(measure(&line).words <= WORDS_MAX as u64);
        through(&line, |cut| {
            let lens = parts(&cut).map(<[u8]>::len);
            assert_eq!(lens[..8], KEPT[..8]);
        });
    }

    #[test]
    fn garbage_is_no_line_and_no_panic() {
        assert!(read(&[0xff; WORDS_MAX * 8], |_| ()).is_none());
        assert!(read(&[], |_| ()).is_none());
        assert_eq!((words_of(0), words_of(u64::MAX)), (1, WORDS_MAX as u64));
    }
}
