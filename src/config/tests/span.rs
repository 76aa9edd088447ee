//! Durations, row by row: what is accepted, what is refused, and where seed B's library differed.

use crate::config::complaint::Code;
use crate::config::span::{Patience, Reading, Span, read};
use crate::config::units::{Leaf, Raw};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn millis(text: &str) -> u64 {
    let (span, _) = read(text).unwrap_or_else(|misread| panic!("{text}: {misread:?}"));
    u64::try_from(span.as_micros()).unwrap() / 1000
}

#[test]
fn what_reads_in_one_way_is_read_that_way() {
    let rows = [
        ("45 seconds", 45_000),
        ("2 minutes and 30 seconds", 150_000),
        ("2 minutes 30 seconds", 150_000),
        ("2 minutes, 30 seconds", 150_000),
        ("2 minutes30 seconds", 150_000),
        ("three days", 3 * DAY),
        ("1.5 hours", 90 * MINUTE),
        (".5 hours", 30 * MINUTE),
        ("2minutes", 2 * MINUTE),
        ("+5 seconds", 5000),
        ("1e3 seconds", 1_000_000),
        ("week", 7 * DAY),
        ("month", 30 * DAY),
        ("1 year", 365 * DAY),
        ("a minute", MINUTE),
        ("an hour", HOUR),
        ("2 seconds and 3 seconds", 5000),
        ("1 day, 2 hours, 3 minutes, 4 seconds", DAY + 2 * HOUR + 3 * MINUTE + 4000),
        // What 0.1.6 could not read at all.
        ("1 minute, and 30 seconds", 90_000),
        ("2 minutes and 30 seconds ", 150_000),
        ("5s", 5000),
        ("150ms", 150),
        ("100 ms", 100),
        ("1m30s", 90_000),
        ("1h30m", 90 * MINUTE),
        ("1.5h", 90 * MINUTE),
        ("2d", 2 * DAY),
        ("2 Minutes", 2 * MINUTE),
        ("5 SECONDS", 5000),
        ("1H 30M", 90 * MINUTE),
        ("Forty-Five Seconds", 45_000),
    ];
    for (text, expected) in rows {
        assert_eq!(millis(text), expected, "{text}");
        assert_eq!(read(text).unwrap().1, Reading::Same, "{text}");
    }
}

#[test]
fn what_human_interval_read_differently_is_told() {
    let rows = [
        ("eleven minutes", 11 * MINUTE),
        ("twenty five seconds", 25_000),
        ("forty-five seconds", 45_000),
        ("sixty seconds", 60_000),
        ("seventeen seconds", 17_000),
        ("ninety-nine days", 99 * DAY),
        ("1 day 2 hours 3 minutes", DAY + 2 * HOUR + 3 * MINUTE),
        ("1 day, 2 hours 3 minutes", DAY + 2 * HOUR + 3 * MINUTE),
        ("500 milliseconds", 500),
    ];
    for (text, expected) in rows {
        assert_eq!(millis(text), expected, "{text}");
        assert!(matches!(read(text).unwrap().1, Reading::Different(_)), "{text}");
    }
}

#[test]
fn what_is_doubtful_is_refused() {
    let rows = [
        "half an hour",
        "-2 seconds",
        "-2 minutes and 30 seconds",
        "2 minutes & 30 seconds",
        "2 minutes; 30 seconds",
        "5 seconds and",
        "and 5 seconds",
        "5 sec",
        "10 min",
        "1 hr",
        "50 microseconds",
        "30000",
        "two",
        "test",
        "1 quarter",
        "1,000 seconds",
        "1/2 hour",
        "2 thousand seconds",
        "hundred and three seconds",
        "3 weekdays",
        "",
        " ",
        ",",
        "s",
        "a s",
        "three s",
        "1m30",
        "1 2 seconds",
        "twenty eleven seconds",
        "one two seconds",
        "NaN",
        "1.",
        "infinity seconds",
        "1e",
        "1..5s",
        "--5s",
        "+ 5s",
        "5 - 6 seconds",
        "twenty- seconds",
        "twenty-zero seconds",
        "5 seconds -",
        "1e400 seconds",
        "5\u{a0}s",
        "٣ seconds",
        "1s,",
        "1w",
    ];
    for text in rows {
        let misread = read(text).expect_err(text);
        assert!(!misread.fault.is_empty() && !misread.remedy.is_empty(), "{text}");
    }
}

#[test]
fn a_near_miss_is_told_what_was_meant() {
    let rows = [
        ("10 sekonds", "`10 seconds`"),
        ("5 sec", "`5 second`"),
        ("2 minuts", "`2 minutes`"),
        ("2 mins", "`2 minutes`"),
        ("thre days", "`three days`"),
        ("2 minutes ad 30 seconds", "`2 minutes and 30 seconds`"),
    ];
    for (text, meant) in rows {
        let remedy = read(text).unwrap_err().remedy;
        assert!(remedy.contains(meant), "{text}: {remedy}");
    }
}

#[test]
fn a_limit_is_above_zero_and_below_ten_years() {
    for text in ["0 seconds", "zero seconds", "0s", "0.0001ms", "0 days and 0 hours"] {
        assert_eq!(Span::read(Raw::Text(text)).unwrap_err().code, Code::OutOfRange, "{text}");
        assert!(Patience::read(Raw::Text(text)).unwrap_err().remedy.contains("none"), "{text}");
    }
    for number in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 0.000_1] {
        assert_eq!(Span::read(Raw::Number(number)).unwrap_err().code, Code::OutOfRange);
    }
    assert_eq!(Span::read(Raw::Number(1.5)).unwrap().0.as_micros(), 1500);
    assert!(Span::read(Raw::Text("10 years")).is_ok());
    assert!(Span::read(Raw::Text("10 years and 1 second")).is_err());
    assert_eq!(Patience::read(Raw::Text("none")), Ok(Patience(None)));
    assert!(Span::read(Raw::Text("none")).is_err());
}
