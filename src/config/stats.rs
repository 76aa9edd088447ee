//! Series of breaker events: how wide their buckets are, and how long they are kept.
//!
//! Enters: `stats` and a breaker's `statsConfig` and `disableStats`. Leaves: a [`Stats`], or that
//! there is none. Owns the defaults, and the most points that one series may have.

use std::time::Duration;

use super::complaint::Code;
use super::document;
use super::place::At;
use super::report::Report;
use super::span::Span;

/// The series of one breaker's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Seconds that one bucket covers: buckets begin at its multiples since 1970.
    pub width_s: u64,
    /// Buckets that are kept, the present one among them.
    pub points: u64,
    /// What the names of its sums begin with.
    pub prefix: String,
    /// Which breakers are summed together.
    pub mapper: RequestMapper,
}

/// Which breakers are summed together: those that it gives one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestMapper {
    /// Those of one path, as written.
    Path,
    /// Those of one method and path.
    Operation,
    /// All.
    Total,
}

/// The most points of one series: more than a week of minutes, and 80 KiB where none is empty.
pub const POINTS_MAX: u64 = 10_240;

impl Default for Stats {
    /// The contract's: a day of minutes.
    fn default() -> Self {
        Self { width_s: 60, points: 1440, prefix: "stats".to_owned(), mapper: RequestMapper::Path }
    }
}

/// What is written at `at`, on top of `base`.
pub(super) fn read(
    own: Option<&document::Stats>,
    base: &Stats,
    at: &At<'_>,
    report: &mut Report,
) -> Stats {
    let Some(own) = own else { return base.clone() };
    let granularity = own.granularity.as_ref();
    let root = at.key("granularity");
    let width = granularity.and_then(|own| own.duration);
    let width_s = match width {
        None => base.width_s,
        Some(Span(width)) if width.subsec_nanos() == 0 => width.as_secs(),
        Some(_) => {
            let message = "buckets are whole seconds wide".to_owned();
            report.value(Code::OutOfRange, &root.key("duration"), message, r#"write "1s" or more"#);
            base.width_s
        }
    };
    let kept = granularity.and_then(|own| own.ttl).map(|Span(ttl)| ttl);
    let ttl = kept.unwrap_or(Duration::from_secs(base.width_s.saturating_mul(base.points)));
    let points = ttl.as_secs().div_ceil(width_s.max(1)).max(1);
    if granularity.is_some() {
        // Where both are written, the one that makes no sense of the other is the second.
        let place = if kept.is_some() { root.key("ttl") } else { root.key("duration") };
        check_span(points, ttl, Duration::from_secs(width_s), &place, report);
    }
    let odd = |prefix: &String| prefix.is_empty() || prefix.contains(char::is_control);
    if own.prefix.as_ref().is_some_and(odd) {
        let message = "this is no prefix of a name".to_owned();
        report.value(Code::OutOfRange, &at.key("prefix"), message, r#"write one, as in "stats""#);
    }
    let prefix = own.prefix.clone().unwrap_or_else(|| base.prefix.clone());
    Stats {
        width_s,
        points,
        prefix,
        mapper: match own.request_mapper {
            None => base.mapper,
            Some(document::RequestMapper::Path) => RequestMapper::Path,
            Some(document::RequestMapper::Operation) => RequestMapper::Operation,
            Some(document::RequestMapper::Total) => RequestMapper::Total,
        },
    }
}

fn check_span(points: u64, ttl: Duration, width: Duration, at: &At<'_>, report: &mut Report) {
    if points > POINTS_MAX {
        let message = format!("a series of {points} buckets is too long");
        let remedy = format!("write a `ttl` of at most {POINTS_MAX} times `duration`");
        report.value(Code::TooMany, at, message, &remedy);
    } else if ttl < width {
        let message = "`ttl` is shorter than one bucket".to_owned();
        report.value(Code::Conflict, at, message, "write a `ttl` longer than `duration`");
    }
}
