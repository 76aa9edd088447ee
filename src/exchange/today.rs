//! The `Date` line of this moment.
//!
//! Enters: the moment, as everyone here is given it. Leaves: the line. Owns the line of the current
//! second: the wall clock is read when that is over, so at most once a second, not per response.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::cell::Cell;
use std::time::Duration;

use crate::clock::{self, Now};

/// Bytes of the line.
const LINE: usize = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n".len();

/// One core's `Date` line.
#[derive(Debug)]
pub(super) struct Today {
    line: Cell<[u8; LINE]>,
    /// When its second is over.
    until: Cell<Now>,
}

impl Default for Today {
    fn default() -> Self {
        Self { line: Cell::new(line_of(0)), until: Cell::new(Now::from_micros(0)) }
    }
}

impl Today {
    /// The line at `now`.
    #[inline]
    pub(super) fn line(&self, now: Now) -> [u8; LINE] {
        if now >= self.until.get() {
            self.renew(now, clock::wall());
        }
        self.line.get()
    }

    #[cold]
    fn renew(&self, now: Now, wall: Duration) {
        self.line.set(line_of(wall.as_secs()));
        let left = 1_000_000 - wall.subsec_micros();
        self.until.set(now.after(Duration::from_micros(left.into())));
    }
}

const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// The line of the moment `unix` seconds after the epoch (RFC 9110 §5.6.7).
fn line_of(unix: u64) -> [u8; LINE] {
    let (days, second) = (unix / 86_400, unix % 86_400);
    let (year, month, day) = clock::civil(days);
    let mut line = *b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let mut put = |at: usize, text: &[u8]| {
        if let Some(place) = line.get_mut(at..at + text.len()) {
            place.copy_from_slice(text);
        }
    };
    put(6, name(&DAYS, days % 7));
    put(11, &two(day));
    put(14, name(&MONTHS, month - 1));
    put(18, &two(year / 100));
    put(20, &two(year));
    put(23, &two(second / 3600));
    put(26, &two(second / 60 % 60));
    put(29, &two(second % 60));
    line
}

fn name(names: &'static [&'static [u8; 3]], nth: u64) -> &'static [u8] {
    let nth = usize::try_from(nth).unwrap_or(0);
    names.get(nth).map_or(b"", |name| name.as_slice())
}

/// The last two decimals of `number`.
fn two(number: u64) -> [u8; 2] {
    let digit = |n: u64| b'0' + u8::try_from(n % 10).unwrap_or(0);
    [digit(number / 10), digit(number)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_lasts_as_long_as_its_second() {
        let today = Today::default();
        let now = Now::from_millis(5_000);
        today.renew(now, Duration::from_millis(784_111_777_250));
        let line = line_of(784_111_777);
        assert_eq!(today.line(now), line);
        assert_eq!(today.line(now.after(Duration::from_micros(749_999))), line);
        assert_ne!(today.line(now.after(Duration::from_millis(750))), line, "read anew");
    }

    #[test]
    fn a_moment_is_written_as_http_wants_it() {
        for (unix, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (1_767_225_599, "Wed, 31 Dec 2025 23:59:59 GMT"),
            (1_767_225_600, "Thu, 01 Jan 2026 00:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(line_of(unix).as_slice(), format!("date: {text}\r\n").as_bytes(), "{unix}");
        }
    }
}
