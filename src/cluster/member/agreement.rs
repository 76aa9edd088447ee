//! What the cluster is agreed on, and this instance's part in it.
//!
//! Enters: the moves that the breaker made by itself, and the records that the store holds.
//! Leaves: the next record, if this instance would have one, and the moves that follow another's.
//! The higher epoch reigns; of two of one epoch, the one that the store holds. Nobody is more than
//! one epoch ahead of what it has heard, so that an instance that was cut off overrules nobody on
//! its return.

use std::time::Duration;

use super::super::record::Record;
use super::super::register::Put;
use super::super::shard::Knows;
use super::{AGREED_TTL, Alone, CAUSES, Member, Shard, millis};
use crate::breaker::Transition;
use crate::breaker::circuit::{Course, Move, Source, State, Word};
use crate::breaker::follow::{Lead, Tallies};
use crate::breaker::policy::Heal;
use crate::clock::Now;

impl Member {
    /// Hears what the store holds as agreed; remaining times are those at `sent`.
    pub(in crate::cluster) fn hear_record(
        &mut self,
        record: Record,
        (sent, now): (Now, Now),
        source: Source,
    ) -> Option<Transition> {
        self.asleep = None;
        self.stored = self.stored.max(record.epoch);
        self.agreed_put = now;
        let same = (record.epoch, record.author) == (self.agreed.epoch, self.agreed.author);
        if record.epoch < self.agreed.epoch || same {
            return None;
        }
        // What the breaker did by itself came before.
        self.count_moves();
        let rival = record.epoch == self.agreed.epoch;
        self.others.prune(record.epoch, self.breaker.policy(), now);
        self.news += 1;
        let remaining = record.remaining.min(self.bound(record.course));
        self.until = sent.after(remaining);
        self.refused = self.breaker.turned_away();
        (self.returned, self.yielding) = (None, None);
        let word = self.breaker.word();
        self.agreed = record;
        if !rival {
            self.kept = Tallies::default();
            self.pushed = Tallies::default();
        }
        if record.author.0 == self.instance && !rival {
            // What this instance proposed: it stands there already, or has moved on since.
            self.base = record.author.1;
            self.counts = Some(self.base);
            self.alone = self.alone.filter(|_| record.course != Course::Open);
            self.is_reset = self.is_reset && self.base != word.epoch();
            self.lend();
            return None;
        }
        if self.is_reset && word.state() == State::Closed && !record.reset {
            // An operator's reset that nobody has heard of yet comes after what all have.
            (self.base, self.counts) = (word.epoch(), Some(word.epoch()));
            self.lend();
            return None;
        }
        let refuses = matches!(word.state(), State::Open | State::HalfOpen);
        if let Some(alone) = &mut self.alone
            && refuses
            && record.course != Course::Open
            && !record.reset
        {
            // The others have healed, or never fell ill: what this one sees itself stands.
            alone.may_lead = false;
            (self.base, self.counts) = (word.epoch(), None);
            self.lend();
            return None;
        }
        let lead =
            Lead { course: record.course, streak: record.streak, remaining: self.until.since(now) };
        let looks_back = matches!(self.breaker.policy().heal, Heal::Age(_));
        let made =
            if looks_back && !record.reset { None } else { self.breaker.follow(lead, source, now) };
        (self.alone, self.is_reset) = (None, false);
        self.base = self.breaker.word().epoch();
        self.counts = Some(self.base);
        self.lend();
        made
    }

    /// The record that the store is to hold: the next one, or the last again before it expires.
    pub(super) fn put_record(&mut self, shard: Shard<'_>, now: Now) -> Option<Put> {
        let ttl = self.ttl();
        let again = self.stored < self.agreed.epoch || now.since(self.agreed_put) >= ttl / 3;
        let record = match self.proposal(shard, now) {
            None if again && self.agreed.epoch > 0 => {
                self.agreed_put = now;
                Record { remaining: self.until.since(now), ..self.agreed }
            }
            proposal => proposal?,
        };
        Some(Put {
            field: format!("r:{:016x}", self.id),
            rank: record.epoch,
            ttl: millis(ttl),
            loud: record.epoch > self.stored,
            value: record.text(&self.name),
        })
    }

    /// How long what is agreed lives in the store.
    pub(super) fn ttl(&self) -> Duration {
        let longest = self.bound(Course::Open).max(self.bound(Course::Ease));
        AGREED_TTL.max(longest.saturating_mul(2))
    }

    /// Whether the breaker stands where the cluster is agreed, a round of probes included.
    pub(super) fn in_step(&self, word: Word) -> bool {
        let probing = self.agreed.course == Course::Open && word.state() == State::HalfOpen;
        word.epoch() == self.base || probing && word.epoch() == Word::epoch_after(self.base)
    }

    /// Follows what the breaker did by itself where that is no proposal.
    pub(super) fn drift(&mut self, word: Word) {
        match word.state() {
            State::Closed => self.alone = None,
            // If it was reset, it has opened since.
            State::Open | State::HalfOpen | State::Recovering => self.is_reset = false,
        }
        if self.in_step(word) {
            return;
        }
        let looks_back = matches!(self.breaker.policy().heal, Heal::Age(_));
        let open = self.agreed.course == Course::Open;
        match word.state() {
            _ if self.is_reset && word.state() == State::Closed => {}
            // Open or not: that is what the counts say, and they are shared. Who finds it open
            // tells its own once more, aloud: what made it so may have been told in silence.
            _ if looks_back => {
                if word.state() == State::Open {
                    self.pushed = Tallies::default();
                }
                self.rebase(word);
            }
            State::Open if !open && self.alone.is_none() => {
                self.alone = Some(Alone { cause: self.last_cause, may_lead: true });
            }
            // Probes went out while nobody lent any.
            State::HalfOpen if open => self.base = Word::epoch_before(word.epoch()),
            State::Closed if self.agreed.course == Course::Close => self.rebase(word),
            State::Recovering if !open => {
                self.alone = None;
                self.rebase(word);
            }
            State::Closed | State::Open | State::HalfOpen | State::Recovering => {}
        }
    }

    fn rebase(&mut self, word: Word) {
        (self.base, self.counts) = (word.epoch(), Some(word.epoch()));
        self.news += 1;
    }

    /// What this instance would have the cluster agree on next.
    pub(super) fn proposal(&self, shard: Shard<'_>, now: Now) -> Option<Record> {
        let word = self.breaker.word();
        // Permits of an epoch whose record is lost: none can be had of one before it.
        let held = self.table.as_ref().map_or(0, |it| it.epoch);
        let barred = held > self.agreed.epoch && shard.knows == Knows::All;
        let (course, reset) = match word.state() {
            State::Closed if self.is_reset => (Course::Close, true),
            State::Open if self.leads(shard, now) => (Course::Open, false),
            State::Open | State::HalfOpen if barred && self.agreed.course == Course::Open => {
                (Course::Open, false)
            }
            _ if self.in_step(word) || self.alone.is_some() => return None,
            State::Open if self.agreed.course == Course::Open => (Course::Open, false),
            State::Closed if self.agreed.course != Course::Close => (Course::Close, false),
            State::Recovering if self.agreed.course == Course::Open => (Course::Ease, false),
            State::Open | State::Closed | State::Recovering | State::HalfOpen => return None,
        };
        // A round goes on: what it follows is its open state.
        let probing = word.state() == State::HalfOpen;
        let own = if probing { Word::epoch_before(word.epoch()) } else { word.epoch() };
        Some(Record {
            epoch: self.agreed.epoch.max(held) + 1,
            course,
            streak: word.streak(),
            remaining: Duration::from_millis(self.breaker.left_ms(now)),
            reset,
            author: (shard.settings.instance, own),
        })
    }

    pub(super) fn count_moves(&mut self) {
        let moved = |step| State::ALL.iter().map(|from| self.breaker.moved(*from, step)).sum();
        let trips: [u64; CAUSES.len()] = CAUSES.map(|cause| moved(Move::Trip(cause)));
        let resets: u64 = moved(Move::Reset);
        let grown = CAUSES.iter().zip(trips.iter().zip(&self.trips));
        if let Some((cause, _)) = grown.into_iter().find(|(_, (new, old))| new > old) {
            self.last_cause = *cause;
            // It has begun anew since.
            self.is_reset = false;
        }
        if resets > self.resets {
            self.is_reset = true;
            self.alone = None;
        }
        (self.trips, self.resets) = (trips, resets);
    }

    /// The longest that what is agreed may last.
    pub(super) fn bound(&self, course: Course) -> Duration {
        let recovery = self.breaker.policy().recovery();
        recovery.map_or(Duration::ZERO, |recovery| match course {
            Course::Close => Duration::ZERO,
            Course::Open => recovery.pace.longest(),
            Course::Ease => recovery.ramp.map_or(Duration::ZERO, |ramp| ramp.duration),
        })
    }
}
