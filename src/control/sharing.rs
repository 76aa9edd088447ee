//! How this process stands to the others, for whoever asks.
//!
//! Enters: what each exchange with the store came to. Leaves: figures for `/metrics`, the JSON of
//! `/status`, and a line in the log when something begins or ceases to be wrong. Owns which of them
//! is told, and how often.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Now;
use crate::cluster::Standing;
use crate::cluster::store::{Failure, Kind};

/// Upper bounds of the buckets of an exchange's duration, in microseconds.
pub(super) const BOUNDS_MICROS: [u64; 10] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];

/// The same thing is not told again sooner, though it came and went meanwhile.
const SILENCE: Duration = Duration::from_secs(10);

/// A server that starts, fails over or is late is told of when it takes longer: one answer that did
/// not come in time is a number in the metrics.
const TRANSIENT: Duration = Duration::from_secs(2);

/// What is known of the store.
#[derive(Debug, Default)]
pub struct Sharing(Mutex<Figures>);

/// The figures of one moment.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// How this instance stands to the others.
    pub standing: Standing,
    /// Exchanges by duration: one more than there are bounds.
    pub(super) durations: [u64; BOUNDS_MICROS.len() + 1],
    /// Microseconds of all of them.
    pub(super) duration_micros: u64,
    /// Refused and missing answers, by [`Kind`].
    pub(super) errors: [u64; Kind::ALL.len()],
    /// Bytes of keys and arguments sent.
    pub(super) sent: u64,
    /// Bytes of answers received.
    pub(super) received: u64,
    /// Time without the store before the present loss.
    degraded: Duration,
    /// Since when the store is away; `None`: it is there.
    lost: Option<Now>,
    /// What is wrong now, and since when.
    failure: Option<(Failure, Now)>,
    /// The servers that are connected to.
    servers: Vec<String>,
    /// Why hints do not arrive.
    deaf: Option<Failure>,
    told: Told,
}

/// What an operator has been told.
#[derive(Clone, Debug, Default)]
struct Told {
    /// The failure that is present, told or passed over.
    present: Option<Kind>,
    /// When each kind was told last.
    last: HashMap<Kind, Now>,
    /// What has been told and is not told to be over.
    owed: Option<Kind>,
    deaf: bool,
}

/// One exchange.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    /// How long it took.
    pub(super) took: Duration,
    /// Bytes of keys and arguments.
    pub(super) sent: usize,
    /// What it was answered.
    pub(super) answers: &'a [Result<Vec<u8>, Failure>],
    /// The servers that are connected to.
    pub(super) servers: Vec<String>,
    /// Why hints do not arrive.
    pub(super) deaf: Option<Failure>,
}

impl Sharing {
    /// Nothing is known; the store has been away since `now`.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self(Mutex::new(Figures { lost: Some(now), ..Figures::default() }))
    }

    /// The figures as they are.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.lock().clone()
    }

    /// Takes in an exchange.
    pub(super) fn exchanged(&self, exchange: Exchange<'_>, now: Now) {
        let mut figures = self.lock();
        let micros = u64::try_from(exchange.took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.iter().position(|bound| micros <= *bound);
        if let Some(count) = figures.durations.get_mut(bucket.unwrap_or(BOUNDS_MICROS.len())) {
            *count += 1;
        }
        figures.duration_micros = figures.duration_micros.saturating_add(micros);
        figures.sent += exchange.sent as u64;
        let mut failure = None;
        for answer in exchange.answers {
            match answer {
                Ok(bytes) => figures.received += bytes.len() as u64,
                Err(why) => {
                    figures.count(why.kind);
                    failure.get_or_insert(why);
                }
            }
        }
        figures.servers = exchange.servers;
        figures.deaf = exchange.deaf;
        figures.tell_deaf();
        figures.present(failure, now);
    }

    /// Takes in an answer that is none.
    pub(super) fn malformed(&self, text: &str, now: Now) {
        let mut figures = self.lock();
        figures.count(Kind::Malformed);
        let failure = Failure { kind: Kind::Malformed, text: text.to_owned() };
        figures.present(Some(&failure), now);
    }

    /// Takes in how this instance stands to the others.
    pub(super) fn stands(&self, standing: Standing, now: Now) {
        let mut figures = self.lock();
        let well = standing.well_since.is_some();
        match figures.lost {
            Some(since) if well => {
                figures.degraded += now.since(since);
                figures.lost = None;
            }
            None if !well => figures.lost = Some(now),
            _ => {}
        }
        figures.standing = standing;
    }

    fn lock(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Figures {
    /// Whether the store is there.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.lost.is_none()
    }

    /// How long this process has been without the store, all in all.
    #[must_use]
    pub fn degraded(&self, now: Now) -> Duration {
        self.degraded + self.lost.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// How old the oldest thing is that is known of the others; `None`: nothing is.
    #[must_use]
    pub fn lag(&self, now: Now) -> Option<Duration> {
        self.standing.oldest.map(|heard| now.since(heard))
    }

    fn count(&mut self, kind: Kind) {
        if let Some(count) = self.errors.get_mut(kind as usize) {
            *count += 1;
        }
    }

    /// `failure` is what is wrong now; nothing may be.
    fn present(&mut self, failure: Option<&Failure>, now: Now) {
        let Some(failure) = failure else {
            self.told.present = None;
            let since = self.failure.take().map(|(_, since)| since);
            if let (Some(since), Some(_)) = (since, self.told.owed.take()) {
                log::info!("Redis is back after {:.1} s", now.since(since).as_secs_f64());
            }
            return;
        };
        let since = self.failure.as_ref().map_or(now, |(_, since)| *since);
        self.failure = Some((failure.clone(), since));
        let passing = matches!(failure.kind, Kind::NotReady | Kind::Timeout);
        let transient = passing && now.since(since) < TRANSIENT;
        if self.told.present == Some(failure.kind) || transient {
            return;
        }
        self.told.present = Some(failure.kind);
        let last = self.told.last.get(&failure.kind);
        if last.is_none_or(|last| now.since(*last) >= SILENCE) {
            self.told.last.insert(failure.kind, now);
            self.told.owed = Some(failure.kind);
            log::warn!("state is not shared: {failure}; meanwhile `state.onLoss` holds");
        }
    }

    fn tell_deaf(&mut self) {
        if let Some(why) = self.deaf.as_ref().filter(|_| !self.told.deaf) {
            log::warn!("no hints from Redis, changes are seen an interval later: {why}");
        }
        self.told.deaf = self.deaf.is_some();
    }

    /// What `/status` shows.
    #[must_use]
    pub fn shown(&self, now: Now) -> Value {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let errors: serde_json::Map<String, Value> = Kind::ALL
            .into_iter()
            .zip(self.errors)
            .map(|(kind, count)| (kind.as_str().to_owned(), count.into()))
            .collect();
        let failure = self.failure.as_ref().map(|(failure, since)| {
            json!({
                "kind": failure.kind.as_str(), "text": failure.text,
                "remedy": failure.kind.remedy(), "for_ms": millis(now.since(*since)),
            })
        });
        json!({
            "type": "redis",
            "up": self.is_up(),
            "servers": self.servers,
            "instances": self.standing.instances,
            "lag_ms": self.lag(now).map(millis),
            "dirty_breakers": self.standing.dirty,
            "shards": self.standing.shards,
            "shards_lost": self.standing.lost,
            "degraded_ms": millis(self.degraded(now)),
            "exchanges": self.durations.iter().sum::<u64>(),
            "errors": errors,
            "failure": failure,
            "hints_failure": self.deaf.as_ref().map(ToString::to_string),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a line was written since the last time, by what is owed and when it was told.
    fn told(sharing: &Sharing, answer: Result<Vec<u8>, Failure>, millis: u64) -> (bool, bool) {
        let now = Now::from_millis(millis);
        let before = sharing.figures().told.owed.is_some();
        let exchange = Exchange {
            took: Duration::from_millis(1),
            sent: 1,
            answers: &[answer],
            servers: Vec::new(),
            deaf: None,
        };
        sharing.exchanged(exchange, now);
        let after = sharing.figures().told.owed.is_some();
        (!before && after, before && !after)
    }

    #[test]
    fn what_comes_and_goes_is_told_once_in_a_while_and_its_end_only_when_it_was_told() {
        let sharing = Sharing::new(Now::from_millis(1));
        let gone = || Err(Failure { kind: Kind::Unreachable, text: "refused".to_owned() });
        let begins = (true, false);
        let ends = (false, true);
        let silence = (false, false);
        assert_eq!(told(&sharing, Ok(Vec::new()), 10), silence);
        assert_eq!(told(&sharing, gone(), 100), begins);
        assert_eq!(told(&sharing, gone(), 300), silence, "still");
        assert_eq!(told(&sharing, Ok(Vec::new()), 500), ends);
        assert_eq!(told(&sharing, gone(), 700), silence, "again so soon");
        assert_eq!(told(&sharing, Ok(Vec::new()), 900), silence);
        assert_eq!(told(&sharing, gone(), 10_200), begins);
    }

    #[test]
    fn a_server_that_starts_or_is_late_is_given_some_time() {
        let sharing = Sharing::new(Now::from_millis(1));
        let busy = || Err(Failure { kind: Kind::NotReady, text: "loading".to_owned() });
        assert_eq!(told(&sharing, busy(), 100), (false, false));
        let late = Err(Failure { kind: Kind::Timeout, text: "late".to_owned() });
        assert_eq!(told(&sharing, late, 2_000), (false, false));
        assert_eq!(told(&sharing, busy(), 2_100), (true, false));
    }
}
