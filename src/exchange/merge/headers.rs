//! The header lines of several answers → those of one.
//!
//! Enters: the header lines of each answer as they came. Leaves: the merged ones, each ending in
//! CRLF, without what belongs to a hop, to the framing or to one body only. Owns nothing.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "cold: a fan-out holds whole bodies anyway"
)]

use super::Answer;

/// Ours to write: the message has another framing and perhaps another body.
const OURS: [&str; 10] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "proxy-connection",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// True of one service's body only. A client that sent them back would get a 304 of one service
/// next to a 200 of another.
const OF_ONE_BODY: [&str; 8] = [
    "accept-ranges",
    "content-digest",
    "content-md5",
    "content-range",
    "digest",
    "etag",
    "last-modified",
    "repr-digest",
];

/// The header lines of all answers: cookies of each, of any other name those of the last service
/// that sent it.
pub(super) fn merge(answers: &[(&str, Answer<'_>)]) -> Vec<u8> {
    let mut kept: Vec<(usize, Line<'_>)> = Vec::new();
    for (nth, (_, answer)) in answers.iter().enumerate() {
        let hop = lines(answer).filter(|line| line.is("connection")).map(|line| line.value);
        let hop: Vec<&[u8]> = hop.flat_map(|value| value.split(|&byte| byte == b',')).collect();
        for line in lines(answer) {
            let is_one_of = |names: &[&str]| names.iter().any(|name| line.is(name));
            let dropped = is_one_of(&OURS)
                || answers.len() > 1 && is_one_of(&OF_ONE_BODY)
                || hop.iter().any(|name| name.trim_ascii().eq_ignore_ascii_case(line.name));
            if dropped {
                continue;
            }
            if !line.is("set-cookie") {
                kept.retain(|(of, old)| *of == nth || !old.name.eq_ignore_ascii_case(line.name));
            }
            kept.push((nth, line));
        }
    }
    kept.iter()
        .flat_map(|(_, line)| [line.name, b": ", line.value, b"\r\n"])
        .flatten()
        .copied()
        .collect()
}

/// The value of header `name`, if the answer has one.
pub(super) fn value<'a>(answer: &Answer<'a>, name: &str) -> Option<&'a [u8]> {
    lines(answer).find(|line| line.is(name)).map(|line| line.value)
}

/// A header line, without its CRLF and the space around its value.
#[derive(Clone, Copy)]
struct Line<'a> {
    name: &'a [u8],
    value: &'a [u8],
}

impl Line<'_> {
    const fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// Lines without a name or with a bare CR or LF inside are left out: `http1::head` lets none pass.
fn lines<'a>(answer: &Answer<'a>) -> impl Iterator<Item = Line<'a>> + use<'a> {
    answer.headers.split(|&byte| byte == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r")?;
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?.trim_ascii());
        (!name.is_empty() && !value.contains(&b'\r')).then_some(Line { name, value })
    })
}
