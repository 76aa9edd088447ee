//! Numbers with a unit, as they are written in a document.
//!
//! Enters: one number or string. Leaves: a value that can be trusted, or what is wrong with it.
//! Owns the phrases for what may be written. Durations live next door, in `span`.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::complaint::{Code, quoted};
use super::span::{Patience, Span};

/// One number or string of a document.
#[derive(Clone, Copy, Debug)]
pub enum Raw<'t> {
    /// A number.
    Number(f64),
    /// A string.
    Text(&'t str),
}

/// Why a value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misread {
    /// What kind of fault.
    pub code: Code,
    /// What is wrong.
    pub fault: String,
    /// What to write instead.
    pub remedy: String,
}

/// A value read from one number or string: what its schema, the checker and serde have in common.
pub trait Leaf: Sized {
    /// Its name in the schema (`x-unit`).
    const UNIT: &'static str;

    /// Reads it.
    ///
    /// # Errors
    /// Where `raw` is no such value.
    fn read(raw: Raw<'_>) -> Result<Self, Misread>;
}

/// A share, 0 to 1: `0.5` or `"50%"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(pub f64);

/// A size in bytes: a number or `"16KiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// A size in bytes, or the word `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BytesCap(pub Option<u64>);

/// A whole number, not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u64);

/// A whole number above zero, or the word `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountCap(pub Option<u32>);

/// An HTTP status, 100 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u16);

/// The status of a whole answer, 200 to 599: after one below, a client waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerStatus(pub u16);

/// Some HTTP statuses: `429` or `"500-599"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// Tells what is wrong with a value, if anything.
pub(super) type Check = fn(Raw<'_>) -> Option<Misread>;

/// Every unit of the schema: how it is checked, and what may be written.
pub(super) const UNITS: [(&str, Check, &str); 10] = [
    (Span::UNIT, misread::<Span>, r#"a duration ("30s", or a number of milliseconds)"#),
    (Patience::UNIT, misread::<Patience>, r#"a duration ("30s", or milliseconds) or "none""#),
    (Share::UNIT, misread::<Share>, r#"a share (0.5 or "50%")"#),
    (Bytes::UNIT, misread::<Bytes>, r#"a size ("16KiB", or a number of bytes)"#),
    (BytesCap::UNIT, misread::<BytesCap>, r#"a size ("16KiB", or bytes) or "unlimited""#),
    (Count::UNIT, misread::<Count>, "a whole number"),
    (CountCap::UNIT, misread::<CountCap>, r#"a whole number or "unlimited""#),
    (Status::UNIT, misread::<Status>, "a status from 100 to 599"),
    (AnswerStatus::UNIT, misread::<AnswerStatus>, "a status from 200 to 599"),
    (StatusRange::UNIT, misread::<StatusRange>, r#"a status, or some ("500-599")"#),
];

/// A duration as people write it.
#[must_use]
pub fn shown(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}

fn misread<L: Leaf>(raw: Raw<'_>) -> Option<Misread> {
    L::read(raw).err()
}

fn bad_unit(text: &str, what: &str, remedy: &str) -> Misread {
    Misread {
        code: Code::BadUnit,
        fault: format!("{} is not {what}", quoted(text)),
        remedy: remedy.to_owned(),
    }
}

fn out_of_range(fault: String, remedy: &str) -> Misread {
    Misread { code: Code::OutOfRange, fault, remedy: remedy.to_owned() }
}

impl Leaf for Share {
    const UNIT: &'static str = "share";

    fn read(raw: Raw<'_>) -> Result<Self, Misread> {
        let share = match raw {
            Raw::Number(share) => share,
            Raw::Text(text) => {
                let percent = text.trim().strip_suffix('%').map(str::trim_end);
                let percent = percent.filter(|p| p.starts_with(|c: char| c.is_ascii_digit()));
                let percent = percent.and_then(|percent| percent.parse::<f64>().ok());
                percent.ok_or_else(|| bad_unit(text, "a share", r#"write it as 0.5 or "50%""#))?
                    / 100.0
            }
        };
        if !(0.0..=1.0).contains(&share) {
            let fault = format!("a share of {}% is not between 0% and 100%", share * 100.0);
            return Err(out_of_range(fault, r#"write a share from 0 to 1, or "0%" to "100%""#));
        }
        Ok(Self(share))
    }
}

/// Sizes above this are a slip of the pen; it also keeps every sum of sizes inside 64 bits.
const BYTES_MAX: u64 = 1 << 50;

impl Leaf for Bytes {
    const UNIT: &'static str = "bytes";

    fn read(raw: Raw<'_>) -> Result<Self, Misread> {
        const REMEDY: &str = r#"write bytes as a number, or a size such as "16KiB" or "1GiB""#;
        const SCALES: [(&str, u64); 9] = [
            ("kib", 1 << 10),
            ("mib", 1 << 20),
            ("gib", 1 << 30),
            ("tib", 1 << 40),
            ("kb", 1000),
            ("mb", 1_000_000),
            ("gb", 1_000_000_000),
            ("tb", 1_000_000_000_000),
            ("b", 1),
        ];
        let bytes = match raw {
            Raw::Number(_) => Count::read(raw)?.0,
            Raw::Text(text) => {
                let lower = text.trim().to_ascii_lowercase();
                let unreadable = || bad_unit(text, "a size", REMEDY);
                let scale = SCALES.iter().find_map(|&(suffix, scale)| {
                    lower.strip_suffix(suffix).map(|figure| (figure.trim_end(), scale))
                });
                let (figure, scale) = scale.ok_or_else(unreadable)?;
                let figure: u64 = figure.parse().map_err(|_| unreadable())?;
                figure.saturating_mul(scale)
            }
        };
        if bytes == 0 || bytes > BYTES_MAX {
            let fault = match bytes {
                0 => "a size of zero means nothing here".to_owned(),
                _ => "the size is above 1 PiB".to_owned(),
            };
            return Err(out_of_range(fault, REMEDY));
        }
        Ok(Self(bytes))
    }
}

impl Leaf for BytesCap {
    const UNIT: &'static str = "bytes or unlimited";

    fn read(raw: Raw<'_>) -> Result<Self, Misread> {
        match raw {
            Raw::Text("unlimited") => Ok(Self(None)),
            raw => Bytes::read(raw).map(|bytes| Self(Some(bytes.0))),
        }
    }
}

impl Leaf for Count {
    const UNIT: &'static str = "count";

    fn read(raw: Raw<'_>) -> Result<Self, Misread> {
        /// The largest whole number that every JSON tool keeps.
        const LARGEST: f64 = 9_007_199_254_740_992.0;
        match raw {
            Raw::Text(text) => Err(bad_unit(text, "a number", "write it without quotes")),
            Raw::Number(number) if number < 0.0 => {
                Err(out_of_range(format!("{number} is negative"), "write a whole number from 0 up"))
            }
            Raw::Number(number) if number.fract() != 0.0 => Err(out_of_range(
                format!("{number} is not a whole number"),
                "write a number without a fraction",
            )),
            Raw::Number(number) if number > LARGEST => {
                Err(out_of_range("the number is too large".to_owned(), "write a smaller number"))
            }
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole, not negative and below 2^53"
            )]
            Raw::Number(number) => Ok(Self(number as u64)),
        }
    }
}

impl Leaf for CountCap {
    const UNIT: &'static str = "count or unlimited";

    fn read(raw: Raw<'_>) -> Result<Self, Misread> {
        match raw {
            Raw::Text("unlimited") => Ok(Self(None)),
            Raw::Text(text) => {
                Err(bad_unit(text, "a number", r#"write a number, or the word "unlimited""#))
            }
            raw => match u32::try_from(Count::read(raw)?.0) {
                Ok(0) => {
                    let remedy = r#"write a number from 1 up, or "unlimited""#;
                    Err(out_of_range("a limit of zero would refuse everything".to_owned(), remedy))
                }
                Ok(count) => Ok(Self(Some(count))),
                Err(_) => {
                    let remedy = r#"write a smaller number, or "unlimited""#;
                    Err(out_of_range("the number is too large".to_owned(), remedy))
                }
            },
        }
    }
}

const STATUS_REMEDY: &str = "write a status from 100 to 599";

impl Leaf for Status {
    const UNIT: &'static str = "status";

    fn read(raw: Raw<'_>) -> Result<Self, Misread> {
        status(raw, STATUS_REMEDY).map(Self)
    }
}

impl Leaf for AnswerStatus {
    const UNIT: &'static str = "status of an answer";

    fn read(raw: Raw<'_>) -> Result<Self, Misread> {
        const REMEDY: &str = "write a status from 200 to 599";
        match status(raw, REMEDY)? {
            status @ 200.. => Ok(Self(status)),
            status => Err(out_of_range(format!("{status} only announces an answer"), REMEDY)),
        }
    }
}

fn status(raw: Raw<'_>, remedy: &str) -> Result<u16, Misread> {
    let unread = |fault: String| out_of_range(fault, remedy);
    let Raw::Number(number) = raw else {
        return Err(Count::read(raw).err().unwrap_or_else(|| unread("not a status".to_owned())));
    };
    let status = Count::read(raw).ok().and_then(|count| u16::try_from(count.0).ok());
    status
        .filter(|status| (100..=599).contains(status))
        .ok_or_else(|| unread(format!("{number} is not an HTTP status")))
}

impl Leaf for StatusRange {
    const UNIT: &'static str = "statuses";

    fn read(raw: Raw<'_>) -> Result<Self, Misread> {
        let Raw::Text(text) = raw else {
            let Status(status) = Status::read(raw)?;
            return Ok(Self { first: status, last: status });
        };
        let status = |text: &str| {
            let text = text.trim();
            let plain = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
            let status = text.parse().ok().filter(|status| (100..=599).contains(status));
            match (plain, status) {
                (true, Some(status)) => Ok(status),
                (true, None) => {
                    let fault = format!("{} is not an HTTP status", quoted(text));
                    Err(out_of_range(fault, STATUS_REMEDY))
                }
                (false, _) => {
                    let remedy = r#"write 429, or "500-599" for all from 500 to 599"#;
                    Err(bad_unit(text, "a status", remedy))
                }
            }
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = Self { first: status(first)?, last: status(last)? };
        if range.first > range.last {
            let fault = format!("{} begins above its end", quoted(text));
            return Err(out_of_range(fault, "write the lower status first"));
        }
        Ok(range)
    }
}

/// Reads any [`Leaf`] with serde.
fn deserialize<'de, L: Leaf, D: Deserializer<'de>>(deserializer: D) -> Result<L, D::Error> {
    struct Reader<L>(std::marker::PhantomData<L>);

    impl<L: Leaf> Visitor<'_> for Reader<L> {
        type Value = L;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(L::UNIT)
        }

        #[allow(clippy::cast_precision_loss, reason = "more than 2^53 of anything is refused")]
        fn visit_u64<E: Error>(self, number: u64) -> Result<L, E> {
            self.visit_f64(number as f64)
        }

        #[allow(clippy::cast_precision_loss, reason = "negative numbers are refused")]
        fn visit_i64<E: Error>(self, number: i64) -> Result<L, E> {
            self.visit_f64(number as f64)
        }

        fn visit_f64<E: Error>(self, number: f64) -> Result<L, E> {
            L::read(Raw::Number(number)).map_err(|misread| E::custom(misread.fault))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<L, E> {
            L::read(Raw::Text(text)).map_err(|misread| E::custom(misread.fault))
        }
    }

    deserializer.deserialize_any(Reader(std::marker::PhantomData))
}

macro_rules! leaf {
    ($name:ident, $($schema:tt)+) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize(deserializer)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let mut schema = json_schema!($($schema)+);
                schema.insert("x-unit".to_owned(), $name::UNIT.into());
                schema
            }
        }
    };
}

leaf!(Span, { "type": ["number", "string"], "exclusiveMinimum": 0 });
leaf!(Patience, { "type": ["number", "string"], "exclusiveMinimum": 0 });
leaf!(Share, { "type": ["number", "string"], "minimum": 0, "maximum": 1 });
leaf!(Bytes, { "type": ["integer", "string"], "minimum": 1 });
leaf!(BytesCap, { "type": ["integer", "string"], "minimum": 1 });
leaf!(Count, { "type": "integer", "minimum": 0 });
leaf!(CountCap, { "type": ["integer", "string"], "minimum": 1 });
leaf!(Status, { "type": "integer", "minimum": 100, "maximum": 599 });
leaf!(AnswerStatus, { "type": "integer", "minimum": 200, "maximum": 599 });
leaf!(StatusRange, {
    "type": ["integer", "string"], "minimum": 100, "maximum": 599,
    "pattern": "^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$"
});
