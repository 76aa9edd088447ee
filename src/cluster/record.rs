//! What is agreed on a breaker: its state, and an operator's order.
//!
//! Enters: fields and values of registers. Leaves: [`Record`] and [`Order`], and back. A record's
//! rank is its epoch, an order's its revision. Remaining times are those at the moment of writing;
//! the store's clock says how long ago that was. Owns nothing.

use std::time::Duration;

use crate::breaker::circuit::{Course, Forced};

/// Epochs and revisions from here on are nobody's: the script's numbers are exact below 2^53, and
/// the tables of permits number their changes below an epoch's.
const RANK_END: u64 = 1 << 36;

/// The state of a breaker that its cluster is agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Raised with every change; zero: nothing was ever agreed on.
    pub(super) epoch: u64,
    pub(super) course: Course,
    pub(super) streak: u32,
    /// How long it lasts still, when written or read.
    pub(super) remaining: Duration,
    /// Whether an operator ordered it: what instances found out for themselves is forgotten too.
    pub(super) reset: bool,
    /// Who wrote it, and in which epoch of its own.
    pub(super) author: (u64, u32),
}

impl Record {
    /// Before anything was agreed on: closed.
    pub(super) const NONE: Self = Self {
        epoch: 0,
        course: Course::Close,
        streak: 0,
        remaining: Duration::ZERO,
        reset: false,
        author: (0, 0),
    };

    /// `open 1 10000 - 00000000000000ab 7 GET /users`: the name is for people who look.
    pub(super) fn text(&self, name: &str) -> String {
        let course = match self.course {
            Course::Close => "closed",
            Course::Open => "open",
            Course::Ease => "recovering",
        };
        let reset = if self.reset { "reset" } else { "-" };
        let (author, own) = self.author;
        let millis = self.remaining.as_millis();
        let name: String = name.chars().filter(|it| !it.is_control()).take(200).collect();
        format!("{course} {} {millis} {reset} {author:016x} {own} {name}", self.streak)
    }

    pub(super) fn read(epoch: u64, value: &str) -> Option<Self> {
        let mut words = value.split(' ').take_while(|_| epoch < RANK_END);
        let course = match words.next()? {
            "closed" => Course::Close,
            "open" => Course::Open,
            "recovering" => Course::Ease,
            _ => return None,
        };
        Some(Self {
            epoch,
            course,
            streak: words.next()?.parse().ok()?,
            remaining: Duration::from_millis(words.next()?.parse().ok()?),
            reset: words.next()? == "reset",
            author: (u64::from_str_radix(words.next()?, 16).ok()?, words.next()?.parse().ok()?),
        })
    }
}

/// What an operator ordered for all instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Raised with every order; zero: none was ever given.
    pub(super) revision: u64,
    pub(super) forced: Option<Forced>,
    /// How long it holds still; `None`: until it is taken back.
    pub(super) remaining: Option<Duration>,
    /// Through which instance it was given.
    pub(super) author: u64,
}

impl Order {
    /// `force_open 60000 00000000000000ab`
    pub(super) fn text(&self) -> String {
        let forced = match self.forced {
            None => "none",
            Some(Forced::Open) => "force_open",
            Some(Forced::Closed) => "force_closed",
        };
        let span = self.remaining.map_or_else(|| "-".into(), |span| span.as_millis().to_string());
        format!("{forced} {span} {:016x}", self.author)
    }

    pub(super) fn read(revision: u64, value: &str) -> Option<Self> {
        let mut words = value.split(' ').take_while(|_| revision < RANK_END);
        let forced = match words.next()? {
            "none" => None,
            "force_open" => Some(Forced::Open),
            "force_closed" => Some(Forced::Closed),
            _ => return None,
        };
        let remaining = match words.next()? {
            "-" => None,
            millis => Some(Duration::from_millis(millis.parse().ok()?)),
        };
        let author = u64::from_str_radix(words.next()?, 16).ok()?;
        Some(Self { revision, forced, remaining, author })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for course in Course::ALL {
            let record = Record {
                epoch: 9,
                course,
                streak: 3,
                remaining: Duration::from_millis(1234),
                reset: course == Course::Close,
                author: (u64::MAX, 77),
            };
            assert_eq!(Record::read(9, &record.text("GET /a b\n")), Some(record));
        }
        for (forced, remaining) in
            [(None, None), (Some(Forced::Open), None), (Some(Forced::Closed), Some(5))]
        {
            let remaining = remaining.map(Duration::from_millis);
            let order = Order { revision: 2, forced, remaining, author: 5 };
            assert_eq!(Order::read(2, &order.text()), Some(order));
        }
    }

    #[test]
    fn what_cannot_be_read_is_nothing() {
        for bad in ["", "open", "open x", "open 1 2 - zz 3", "ajar 1 2 - 0 3", "open 1 -2 - 0 3"] {
            assert_eq!(Record::read(1, bad), None, "{bad}");
            assert_eq!(Order::read(1, bad), None, "{bad}");
        }
        assert_eq!(Record::read(u64::MAX, &Record::NONE.text("")), None);
    }
}
