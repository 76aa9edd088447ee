//! The two fields that framing rests on, with one odd byte at each place in turn.

use super::{Message, Must, chunked, post, raw};

/// Bytes that some parsers skip, trim or take for the end of something.
const ODD: [(&str, char); 13] = [
    ("NUL", '\0'),
    ("backspace", '\x08'),
    ("tab", '\t'),
    ("LF", '\n'),
    ("vertical tab", '\x0b'),
    ("form feed", '\x0c'),
    ("CR", '\r'),
    ("escape", '\x1b'),
    ("blank", ' '),
    ("comma", ','),
    ("delete", '\x7f'),
    ("next line", '\u{85}'),
    ("no-break space", '\u{a0}'),
];

/// Where the byte is put; `@` stands for it.
const CODING: [(&str, &str); 7] = [
    ("before the name", "@Transfer-Encoding: chunked"),
    ("in the name", "Transfer@-Encoding: chunked"),
    ("before the colon", "Transfer-Encoding@: chunked"),
    ("behind the colon", "Transfer-Encoding:@chunked"),
    ("before the value", "Transfer-Encoding: @chunked"),
    ("in the value", "Transfer-Encoding: chu@nked"),
    ("behind the value", "Transfer-Encoding: chunked@"),
];

const LENGTH: [(&str, &str); 5] = [
    ("before the name", "@Content-Length: 3"),
    ("before the colon", "Content-Length@: 3"),
    ("before the value", "Content-Length: @3"),
    ("in the value", "Content-Length: 0@3"),
    ("behind the value", "Content-Length: 3@"),
];

pub(super) fn messages() -> Vec<Message> {
    let mut messages = Vec::new();
    for (byte, odd) in ODD {
        for (place, text) in CODING {
            let text = chunked("3¦abc¦0¦¦")
                .replace("Transfer-Encoding: chunked", &text.replace('@', &odd.to_string()));
            messages.push(message("coding", byte, place, &text));
        }
        for (place, text) in LENGTH {
            let text = post(&text.replace('@', &odd.to_string()), "abc");
            messages.push(message("length", byte, place, &text));
        }
    }
    messages
}

fn message(field: &str, byte: &str, place: &str, text: &str) -> Message {
    Message {
        row: "mutation",
        name: format!("{field}, {byte} {place}"),
        bytes: raw(text),
        must: Must::Recorded,
        why: "an odd byte changes nothing, or everything is refused",
    }
}
