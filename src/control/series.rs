//! How often breakers opened, closed and refused, over time.
//!
//! Enters: events, with the wall clock, as they are told to handlers. Leaves: series of buckets,
//! `[unix second, count]`, the oldest first and none left out, for `GET /stats/circuitbreaker/…`.
//! Owns them for as long as a configuration names their breaker; a reload that keeps the width of
//! the buckets keeps what they hold.
//!
//! Every breaker has a series of each event. What `requestMapper` makes of its route, behind
//! `prefix` and a colon, names the sum of all breakers of which it makes the same: `stats:/users`,
//! `stats:GET - /users`, `stats:total`.
//!
//! Only buckets in which something happened take room: a breaker that never moves takes none, and
//! one that moves in every bucket takes 16 bytes for each.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::events::{CLOSE, OPEN, REJECT};
use crate::config::{Config, HostPattern, RequestMapper, Route, Stats};
use crate::table::compile;

/// Buckets of an answer where the caller does not say.
const COUNT: u64 = 24;

/// A bucket's first unix second, and what was counted in it.
pub type Point = (u64, u64);

/// See the file.
#[derive(Debug, Default)]
pub struct Series(Mutex<BTreeMap<Box<str>, Breaker>>);

/// The series of one breaker.
#[derive(Debug)]
struct Breaker {
    stats: Stats,
    /// The sum that it is a part of.
    sum: String,
    lines: [Line; 3],
}

/// The buckets that are not empty, the oldest first.
#[derive(Debug, Default)]
struct Line(VecDeque<Point>);

/// Which events are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// It opened.
    Open,
    /// It closed.
    Close,
    /// It refused a request.
    Rejected,
}

/// Why there is no series to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// Nothing bears this name.
    Unknown(String),
    /// It cannot be told like that.
    Bad(String),
}

impl Which {
    /// The series of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "open" => Some(Self::Open),
            "close" => Some(Self::Close),
            "rejected" => Some(Self::Rejected),
            _ => None,
        }
    }

    fn of(event: &str) -> Option<Self> {
        match event {
            OPEN => Some(Self::Open),
            CLOSE => Some(Self::Close),
            REJECT => Some(Self::Rejected),
            _ => None,
        }
    }
}

impl Series {
    /// From now on there are the series of the breakers of `config`, and no others.
    pub fn follow(&self, config: &Config) {
        let routes = config.http.routes.iter();
        let breakers = routes.flat_map(|route| {
            let with_stats = compile::breakers(route).into_iter();
            with_stats.filter_map(|(name, it)| {
                Some((name, it.stats.clone()?, sum(route, it.stats.as_ref()?)))
            })
        });
        let wanted: Vec<(String, Stats, String)> = breakers.collect();
        self.with(|known| {
            let mut before = std::mem::take(known);
            for (name, stats, sum) in wanted {
                let same = before.remove(&*name).filter(|it| it.stats.width_s == stats.width_s);
                let lines = same.map(|it| it.lines).unwrap_or_default();
                known.insert(name.into(), Breaker { stats, sum, lines });
            }
        });
    }

    /// Counts that `event` happened to the breaker of this name `count` times.
    pub(super) fn note(&self, name: &str, event: &str, count: u64, wall: Duration) {
        let Some(which) = Which::of(event) else { return };
        self.with(|breakers| {
            let Some(Breaker { stats, lines, .. }) = breakers.get_mut(name) else { return };
            if let Some(line) = lines.get_mut(which as usize) {
                line.add(stats, wall.as_secs(), count);
            }
        });
    }

    /// The last `count` buckets of a breaker, or of a sum, up to the present one.
    ///
    /// # Errors
    /// Nothing has this name, or not so many buckets.
    pub fn read(
        &self,
        which: Which,
        name: &str,
        count: Option<&str>,
        wall: Duration,
    ) -> Result<Vec<Point>, Unread> {
        self.with(|breakers| {
            let members: Vec<&Breaker> = match breakers.get(name) {
                Some(breaker) => vec![breaker],
                None => breakers.values().filter(|breaker| breaker.sum == name).collect(),
            };
            let Some(first) = members.first() else {
                let why = "no breaker of this name has series, and no sum of them is named so";
                return Err(Unread::Unknown(why.to_owned()));
            };
            let width = first.stats.width_s;
            if members.iter().any(|member| member.stats.width_s != width) {
                let why = "its breakers have buckets of several widths: ask for each of them";
                return Err(Unread::Bad(why.to_owned()));
            }
            let kept = members.iter().map(|member| member.stats.points).max().unwrap_or(1);
            let count = asked(count, kept)?;
            let present = wall.as_secs() / width;
            let first = (present + 1).saturating_sub(count);
            let mut points: Vec<Point> = (first..=present).map(|nth| (nth * width, 0)).collect();
            for line in members.iter().filter_map(|member| member.lines.get(which as usize)) {
                line.add_to(&mut points, width);
            }
            Ok(points)
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<Box<str>, Breaker>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How many buckets are asked for, of `kept`.
fn asked(count: Option<&str>, kept: u64) -> Result<u64, Unread> {
    let Some(count) = count else { return Ok(COUNT.min(kept)) };
    match count.parse() {
        Ok(count @ 1..) if count <= kept => Ok(count),
        _ => Err(Unread::Bad(format!("`count` is not a whole number from 1 to {kept}"))),
    }
}

impl Line {
    fn add(&mut self, stats: &Stats, second: u64, count: u64) {
        let width = stats.width_s.max(1);
        let begins = second / width * width;
        let kept = (stats.points - 1) * width;
        // The wall clock may be set back: then it is one of the last; or it was wrong for long, and
        // what it said then is worth nothing.
        if self.0.back().is_some_and(|(last, _)| begins < last.saturating_sub(kept)) {
            self.0.clear();
        }
        match self.0.binary_search_by_key(&begins, |(begins, _)| *begins) {
            Ok(at) => {
                if let Some((_, sum)) = self.0.get_mut(at) {
                    *sum = sum.saturating_add(count);
                }
            }
            Err(at) => self.0.insert(at, (begins, count)),
        }
        let last = self.0.back().map_or(begins, |(begins, _)| *begins);
        let oldest = last.saturating_sub(kept);
        while self.0.front().is_some_and(|(begins, _)| *begins < oldest) {
            self.0.pop_front();
        }
    }

    /// Adds its counts to those of `points`, which lie `width` seconds apart.
    fn add_to(&self, points: &mut [Point], width: u64) {
        let Some((first, _)) = points.first().copied() else { return };
        for (begins, count) in self.0.iter().rev().take_while(|(begins, _)| *begins >= first) {
            let nth = usize::try_from((begins - first) / width.max(1)).ok();
            if let Some((_, sum)) = nth.and_then(|nth| points.get_mut(nth)) {
                *sum = sum.saturating_add(*count);
            }
        }
    }
}

/// The sum that the breakers of `route` are a part of.
fn sum(route: &Route, stats: &Stats) -> String {
    let host = match &route.host {
        HostPattern::Default => String::new(),
        HostPattern::Exact(host) => host.clone(),
        HostPattern::Below(host) => format!("*.{host}"),
    };
    let path = format!("{host}{}", route.path.text);
    let of = match stats.mapper {
        RequestMapper::Path => path,
        RequestMapper::Operation => {
            format!("{} - {path}", route.method.as_deref().unwrap_or("ALL"))
        }
        RequestMapper::Total => "total".to_owned(),
    };
    format!("{}:{of}", stats.prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::policy::Window;
    use crate::config::BreakerConfig;
    use crate::table::sample;

    fn stats(width_s: u64, points: u64) -> Stats {
        Stats { width_s, points, ..Stats::default() }
    }

    /// One route for each text, each with a breaker.
    fn config(routes: &[(&str, Option<Stats>)]) -> Config {
        let route = |(text, stats): &(&str, Option<Stats>)| {
            let stats = stats.clone();
            let breaker = BreakerConfig { stats, ..sample::reset(3, Window::Cumulative) };
            Route { breaker: Some(breaker), ..sample::route(text) }
        };
        sample::config(routes.iter().map(route).collect())
    }

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    const A: &str = "GET /a";

    #[test]
    fn a_series_has_as_many_points_as_asked_for_aligned_and_with_zeros_the_oldest_first() {
        let series = Series::default();
        series.follow(&config(&[(A, Some(stats(60, 10)))]));
        for (second, count) in [(100, 1), (119, 2), (120, 5), (250, 1)] {
            series.note(A, REJECT, count, at(second));
        }
        series.note(A, "probe", 1, at(250));
        let read = |which, count| series.read(which, A, count, at(299)).unwrap();
        assert_eq!(
            read(Which::Rejected, Some("4")),
            [(60, 3), (120, 5), (180, 0), (240, 1)],
            "the present bucket is the last"
        );
        assert_eq!(read(Which::Rejected, Some("1")), [(240, 1)]);
        assert_eq!(read(Which::Open, Some("2")), [(180, 0), (240, 0)]);
        let later = series.read(Which::Rejected, A, None, at(100_000)).unwrap();
        assert_eq!((later.len(), later[0].0, later[9].0), (10, 99_420, 99_960));
        assert!(later.iter().all(|(_, count)| *count == 0));
    }

    #[test]
    fn no_more_is_kept_than_there_are_points_even_if_the_clock_is_set_back() {
        let series = Series::default();
        series.follow(&config(&[(A, Some(stats(1, 5)))]));
        (100..200).for_each(|second| series.note(A, OPEN, 1, at(second)));
        series.note(A, OPEN, 7, at(197));
        series.with(|all| assert_eq!(all[A].lines[0].0.len(), 5));
        let read = series.read(Which::Open, A, Some("5"), at(199)).unwrap();
        assert_eq!(read, [(195, 1), (196, 1), (197, 8), (198, 1), (199, 1)]);
    }

    #[test]
    fn a_clock_that_was_wrong_for_long_does_not_silence_a_series() {
        let series = Series::default();
        series.follow(&config(&[(A, Some(stats(60, 10)))]));
        let year = 365 * 86_400;
        series.note(A, OPEN, 3, at(year + 600));
        series.note(A, OPEN, 1, at(600));
        series.note(A, OPEN, 1, at(660));
        let read = series.read(Which::Open, A, Some("3"), at(660)).unwrap();
        assert_eq!(read, [(540, 0), (600, 1), (660, 1)]);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let series = Series::default();
        series.follow(&config(&[(A, Some(stats(60, 30))), ("GET /b", None)]));
        let read = |name, count| series.read(Which::Open, name, count, at(0));
        for count in ["0", "31", "-1", "x", "", "1.5", "99999999999999999999"] {
            assert!(matches!(read(A, Some(count)), Err(Unread::Bad(_))), "{count}");
        }
        assert_eq!(read(A, Some("30")).unwrap(), [(0, 0)], "nothing was before 1970");
        for name in ["GET /b", "GET /c", "stats:/b", ""] {
            assert!(matches!(read(name, None), Err(Unread::Unknown(_))), "{name}");
        }
    }

    #[test]
    fn a_reload_keeps_what_has_the_same_buckets_and_forgets_the_rest() {
        let series = Series::default();
        let (b, c) = ("GET /b", "GET /c");
        series.follow(&config(&[(A, Some(stats(60, 30))), (b, Some(stats(60, 30))), (c, None)]));
        for name in [A, b, c] {
            series.note(name, OPEN, 1, at(600));
        }
        let wanted = [(A, Some(stats(60, 5))), (b, Some(stats(30, 5))), (c, Some(stats(60, 5)))];
        series.follow(&config(&wanted));
        let read = |name| series.read(Which::Open, name, Some("1"), at(600)).unwrap()[0].1;
        assert_eq!((read(A), read(b), read(c)), (1, 0, 0));
        series.follow(&config(&[(b, Some(stats(30, 5)))]));
        assert!(series.read(Which::Open, A, None, at(600)).is_err());
    }

    #[test]
    fn breakers_of_one_name_by_their_mapper_are_summed() {
        let mapped = |mapper| Some(Stats { mapper, ..stats(60, 30) });
        let (path, operation, total) =
            (RequestMapper::Path, RequestMapper::Operation, RequestMapper::Total);
        let series = Series::default();
        let routes = [
            ("GET /a", mapped(path)),
            ("POST /a", mapped(path)),
            ("h.io GET /a", mapped(path)),
            ("GET /o", mapped(operation)),
            ("GET /t", mapped(total)),
            ("GET /u", mapped(total)),
            ("GET /v", Some(Stats { width_s: 30, ..mapped(total).unwrap() })),
            ("GET /w", Some(Stats { prefix: "own".to_owned(), ..mapped(total).unwrap() })),
        ];
        series.follow(&config(&routes));
        routes.iter().for_each(|(name, _)| series.note(name, CLOSE, 1, at(600)));
        let read = |name| series.read(Which::Close, name, Some("1"), at(600));
        for (name, count) in [
            ("stats:/a", 2),
            ("stats:h.io/a", 1),
            ("stats:GET - /o", 1),
            ("own:total", 1),
            ("GET /a", 1),
        ] {
            assert_eq!(read(name).unwrap(), [(600, count)], "{name}");
        }
        assert!(matches!(read("stats:total"), Err(Unread::Bad(_))), "two widths");
    }
}
