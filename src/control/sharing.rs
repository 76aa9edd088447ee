//! How this process stands to the others, for whoever asks.
//!
//! Enters: what each exchange with the store came to. Leaves: figures for `/metrics`, the JSON of
//! `/status`, and a line in the log when something begins to be wrong, or nothing is any more. Owns
//! which of them is told, and how often: once for each server and kind of failure, however many
//! shards share it, and whatever becomes of the others meanwhile.

use std::collections::{BTreeMap, HashMap, HashSet};
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
    /// What is wrong with each shard.
    wrong: BTreeMap<u8, Wrong>,
    /// Since when something has been wrong without a break.
    wrong_since: Option<Now>,
    /// How often the task that reconciles has panicked.
    pub(super) panics: u64,
    /// The servers that are connected to.
    servers: Vec<String>,
    /// Why hints do not arrive.
    deaf: Option<Failure>,
    told: Told,
}

/// What is wrong with a shard.
#[derive(Clone, Debug)]
struct Wrong {
    failure: Failure,
    /// Since when it has had no answer, whatever the reasons.
    since: Now,
    /// Since when it is this server that gives none.
    there_since: Now,
}

/// What a line is about: a kind of failure, and the server that it is one of.
type Topic = (Kind, Option<String>);

/// What an operator has been told.
#[derive(Clone, Debug, Default)]
struct Told {
    /// What has been told of servers with which something is still wrong.
    present: HashSet<Topic>,
    /// When what was told a moment ago was told.
    last: HashMap<Topic, Now>,
    /// Since when something has been wrong, if that was told and not that it is over.
    owed: Option<Now>,
    deaf: bool,
}

/// One exchange.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    /// How long it took.
    pub(super) took: Duration,
    /// Bytes of keys and arguments.
    pub(super) sent: usize,
    /// Bytes of answers.
    pub(super) received: usize,
    /// The shards that were asked, and what is wrong with each.
    pub(super) asked: &'a [(u8, Option<Failure>)],
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
        figures.received += exchange.received as u64;
        for (shard, failure) in exchange.asked {
            figures.answered(*shard, failure.as_ref(), now);
        }
        figures.servers = exchange.servers;
        figures.deaf = exchange.deaf;
        figures.tell_deaf();
        figures.tell(now);
    }

    /// Forgets what was wrong with shards that are not in use any more.
    pub(super) fn retain(&self, is_used: impl Fn(u8) -> bool, now: Now) {
        let mut figures = self.lock();
        figures.wrong.retain(|shard, _| is_used(*shard));
        figures.tell(now);
    }

    /// Counts a panic of the task that reconciles; `standing` is what it left behind.
    pub(super) fn panicked(&self, standing: Standing, now: Now) {
        self.lock().panics += 1;
        self.stands(standing, now);
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

    /// What is wrong with `shard` now; nothing may be.
    fn answered(&mut self, shard: u8, failure: Option<&Failure>, now: Now) {
        let Some(failure) = failure else {
            self.wrong.remove(&shard);
            return;
        };
        self.count(failure.kind);
        let before = self.wrong.get(&shard);
        let since = before.map_or(now, |wrong| wrong.since);
        let there = before.filter(|wrong| wrong.failure.server == failure.server);
        let there_since = there.map_or(now, |wrong| wrong.there_since);
        self.wrong.insert(shard, Wrong { failure: failure.clone(), since, there_since });
    }

    /// Tells what an operator has to know and has not been told.
    fn tell(&mut self, now: Now) {
        let told = &mut self.told;
        if self.wrong.is_empty() {
            told.present.clear();
            self.wrong_since = None;
            if let Some(since) = told.owed.take() {
                log::info!("Redis is back after {:.1} s", now.since(since).as_secs_f64());
            }
            return;
        }
        let since = *self.wrong_since.get_or_insert(now);
        let is_ill = |server: &Option<String>| {
            self.wrong.values().any(|wrong| wrong.failure.server == *server)
        };
        told.present.retain(|(_, server)| is_ill(server));
        told.last.retain(|_, last| now.since(*last) < SILENCE);
        for Wrong { failure, there_since, .. } in self.wrong.values() {
            let passing = matches!(failure.kind, Kind::NotReady | Kind::Timeout);
            let known = |told: &Told| told.present.iter().any(|(_, it)| *it == failure.server);
            if passing && (now.since(*there_since) < TRANSIENT || known(told)) {
                continue;
            }
            let topic = (failure.kind, failure.server.clone());
            if told.last.contains_key(&topic) || !told.present.insert(topic.clone()) {
                continue;
            }
            told.last.insert(topic, now);
            told.owed = Some(since);
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
        let failure = self.wrong.values().min_by_key(|wrong| wrong.since);
        let failure = failure.map(|Wrong { failure, since, .. }| {
            json!({
                "kind": failure.kind.as_str(), "server": failure.server, "text": failure.text,
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
            "panics": self.panics,
            "hints_failure": self.deaf.as_ref().map(ToString::to_string),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: Kind, server: &str) -> Option<Failure> {
        Some(Failure { kind, server: Some(server.to_owned()), text: "no".to_owned() })
    }

    /// Takes in an exchange; the topics that a line was written of, and whether one said that it
    /// is over.
    fn told(sharing: &Sharing, asked: &[(u8, Option<Failure>)], millis: u64) -> (Vec<Topic>, bool) {
        let now = Now::from_millis(millis);
        let owed = sharing.figures().told.owed.is_some();
        let took = Duration::from_millis(1);
        let (servers, deaf) = (Vec::new(), None);
        sharing.exchanged(Exchange { took, sent: 1, received: 1, asked, servers, deaf }, now);
        let told = sharing.figures().told;
        let mut topics: Vec<Topic> =
            told.last.into_iter().filter(|(_, at)| *at == now).map(|(topic, _)| topic).collect();
        topics.sort_by_key(|(kind, server)| (*kind as usize, server.clone()));
        let over = told.owed.is_none() && (owed || !topics.is_empty());
        (topics, over)
    }

    fn topic(kind: Kind, server: &str) -> Topic {
        (kind, Some(server.to_owned()))
    }

    const SILENT: (Vec<Topic>, bool) = (Vec::new(), false);
    const OVER: (Vec<Topic>, bool) = (Vec::new(), true);

    #[test]
    fn what_comes_and_goes_is_told_once_in_a_while_and_its_end_only_when_it_was_told() {
        let sharing = Sharing::new(Now::from_millis(1));
        let gone = [(0, failure(Kind::Unreachable, "a"))];
        let begins = (vec![topic(Kind::Unreachable, "a")], false);
        assert_eq!(told(&sharing, &[(0, None)], 10), SILENT);
        assert_eq!(told(&sharing, &gone, 100), begins);
        assert_eq!(told(&sharing, &gone, 300), SILENT, "still");
        assert_eq!(told(&sharing, &gone, 60_000), SILENT, "and still");
        assert_eq!(told(&sharing, &[(0, None)], 60_500), OVER);
        assert_eq!(told(&sharing, &gone, 61_000), begins);
        assert_eq!(told(&sharing, &[(0, None)], 62_000), OVER);
        assert_eq!(told(&sharing, &gone, 63_000), SILENT, "again so soon");
        assert_eq!(told(&sharing, &[(0, None)], 64_000), SILENT);
        assert_eq!(told(&sharing, &gone, 65_000), SILENT);
        assert_eq!(told(&sharing, &gone, 71_000), begins, "this time it stays");
    }

    /// As where one node of a Cluster is down: the shards take turns, and some of each exchange are
    /// well.
    #[test]
    fn a_shard_that_is_well_says_nothing_of_one_that_is_not() {
        let sharing = Sharing::new(Now::from_millis(1));
        let gone = || failure(Kind::Unreachable, "a");
        let begins = (vec![topic(Kind::Unreachable, "a")], false);
        assert_eq!(told(&sharing, &[(0, None), (1, gone()), (2, gone())], 100), begins);
        for tick in 1..600 {
            let at = 100 + tick * 100;
            let asked = match tick % 4 {
                0 => vec![(0, None)],
                1 => vec![(1, gone())],
                2 => vec![(0, None), (2, gone())],
                _ => vec![(3, None), (2, gone()), (1, gone())],
            };
            assert_eq!(told(&sharing, &asked, at), SILENT, "after {at} ms");
        }
        let shown = sharing.figures().shown(Now::from_millis(60_100));
        assert_eq!(shown["failure"]["for_ms"], 60_000);
        assert_eq!(told(&sharing, &[(1, None)], 60_200), SILENT, "half of it");
        assert_eq!(told(&sharing, &[(2, None)], 60_300), OVER);
        assert_eq!(sharing.figures().shown(Now::from_millis(60_300))["failure"], Value::Null);
    }

    #[test]
    fn each_server_and_each_kind_is_told_once() {
        let sharing = Sharing::new(Now::from_millis(1));
        let gone = |server| failure(Kind::Unreachable, server);
        let wrong = failure(Kind::WrongType, "a");
        let one = |kind, server| (vec![topic(kind, server)], false);
        let first = told(&sharing, &[(0, gone("a")), (1, None)], 100);
        assert_eq!(first, one(Kind::Unreachable, "a"));
        let second = told(&sharing, &[(1, gone("b"))], 200);
        assert_eq!(second, one(Kind::Unreachable, "b"));
        assert_eq!(told(&sharing, &[(0, wrong.clone())], 300), one(Kind::WrongType, "a"));
        assert_eq!(told(&sharing, &[(0, gone("a"))], 20_000), SILENT, "to and fro");
        assert_eq!(told(&sharing, &[(0, wrong)], 40_000), SILENT);
        assert_eq!(told(&sharing, &[(1, None)], 40_100), SILENT, "the other is still ill");
        let again = told(&sharing, &[(1, gone("b"))], 50_000);
        assert_eq!(again, one(Kind::Unreachable, "b"));
    }

    #[test]
    fn a_server_that_starts_or_is_late_is_given_some_time() {
        let sharing = Sharing::new(Now::from_millis(1));
        let busy = || [(0, failure(Kind::NotReady, "a"))];
        let late = [(0, failure(Kind::Timeout, "a"))];
        assert_eq!(told(&sharing, &busy(), 100), SILENT);
        assert_eq!(told(&sharing, &late, 2_000), SILENT);
        assert_eq!(told(&sharing, &busy(), 2_100), (vec![topic(Kind::NotReady, "a")], false));
        assert_eq!(told(&sharing, &late, 4_100), SILENT, "the same outage");
        let heir = [(0, failure(Kind::NotReady, "b"))];
        assert_eq!(told(&sharing, &heir, 4_200), SILENT, "it has some time of its own");
        assert_eq!(told(&sharing, &heir, 6_200), (vec![topic(Kind::NotReady, "b")], false));
    }

    #[test]
    fn what_was_wrong_with_a_shard_that_is_out_of_use_is_over() {
        let sharing = Sharing::new(Now::from_millis(1));
        told(&sharing, &[(0, None), (5, failure(Kind::Unreachable, "a"))], 100);
        sharing.retain(|shard| shard == 0, Now::from_millis(200));
        assert_eq!(sharing.figures().told.owed, None, "it is told to be over");
    }
}
