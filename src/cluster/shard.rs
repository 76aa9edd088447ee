//! The breakers whose keys share a hash tag, and the calls that keep them in step.
//!
//! Enters: the time, and answers. Leaves: at most one call at a time, on a timer or at once where a
//! member is in haste; and the moves that answers bring. Owns how far this instance knows the
//! shard: the version it has seen, and whether the store still is the one that it told everything.
//!
//! Each call says until when the instance counts as alive, and its answer what the one before had
//! said. Another value than this instance's own: the store was flushed, or a replica took over that
//! had not heard; then everything is read and told again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::lease::Table;
use super::member::{self, Haste, Member};
use super::record::{Order, Record};
use super::register::{self, Answer, Entry, Head, PUTS_MAX};
use super::{Ask, Call, LOOK, Malformed, OnLoss, Settings, Told, tally};
use crate::breaker::Transition;
use crate::breaker::circuit::Source;
use crate::breaker::peers::Loss;
use crate::clock::Now;

/// A store that has been silent for this long, and for three intervals, is lost.
const LOST: Duration = Duration::from_secs(1);

/// Of the time between two looks, so much is the store's silence at most: a process that did not
/// run has asked nobody, and has read no answer.
const AWAKE: Duration = Duration::from_millis(100);

/// What the next call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// For its time.
    Tick,
    /// For a pause after the last one.
    Soon,
    /// The same, because of a hint.
    Hinted,
}

/// How much of what the store holds is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Knows {
    /// The store is lost, or was never there: each decides alone.
    Nothing,
    /// What was known is in doubt, and is being read again.
    Part,
    /// All, up to the version seen.
    All,
}

/// A store's clock that is further than this from where it should be has been set (ms). Calls are
/// given up long before they take as long.
const JUMP_MS: u64 = 2000;

#[derive(Debug)]
pub(super) struct Shard {
    number: u8,
    members: Vec<Member>,
    /// Where in `members` a breaker is, by its identity in the store.
    places: BTreeMap<u64, usize>,
    /// Counts calls; the last one is under way if `waits`.
    calls: u64,
    waits: bool,
    sent: Now,
    /// Why it was made.
    source: Source,
    /// When the next call is due, whatever happens.
    tick: Now,
    due: Due,
    seen: u64,
    knows: Knows,
    /// For how long the store has said nothing while this process ran, as of the last look.
    silence: Duration,
    looked: Now,
    pub(super) heard: Option<Now>,
    pub(super) living: u32,
    /// The store's clock (ms) at a moment of ours.
    clock: (u64, Now),
    /// Until when this instance counts as alive, as the store has been told.
    alive_until: Option<u64>,
    /// Members of which something was to be told at the last tick.
    pub(super) dirty: u32,
    /// Where the next call begins, should there be more than fits into one.
    turn: usize,
}

impl Shard {
    pub(super) const fn new(number: u8, now: Now) -> Self {
        Self {
            number,
            members: Vec::new(),
            places: BTreeMap::new(),
            calls: 0,
            waits: false,
            sent: now,
            source: Source::Poll,
            tick: now,
            due: Due::Tick,
            seen: 0,
            knows: Knows::Nothing,
            silence: Duration::ZERO,
            looked: now,
            heard: None,
            living: 1,
            clock: (0, now),
            alive_until: None,
            dirty: 0,
            turn: 0,
        }
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Takes in a member; its place.
    pub(super) fn add(&mut self, member: Member) -> usize {
        self.places.insert(member.id, self.members.len());
        self.members.push(member);
        self.members.len() - 1
    }

    /// Hands all members out.
    pub(super) fn clear(&mut self) -> Vec<Member> {
        self.places.clear();
        std::mem::take(&mut self.members)
    }

    /// Begins anew, but for the number of its next call.
    pub(super) fn forget(&mut self, now: Now) {
        *self = Self { calls: self.calls, ..Self::new(self.number, now) };
    }

    /// Whether the store is lost, or was never there.
    pub(super) fn is_lost(&self) -> bool {
        self.knows == Knows::Nothing
    }

    /// Reads everything again, and tells it.
    pub(super) fn doubt(&mut self) {
        self.seen = 0;
        self.knows = self.knows.min(Knows::Part);
        self.due = self.due.max(Due::Soon);
        self.alive_until = None;
        self.members.iter_mut().for_each(Member::doubt);
    }

    /// Somebody changed something.
    pub(super) const fn hint(&mut self) {
        self.due = Due::Hinted;
    }

    /// Looks at member `nth`, or at all.
    pub(super) fn look(&mut self, settings: &Settings, nth: Option<usize>, now: Now) {
        let view = self.view(settings, now);
        let range = nth.map_or(0..self.members.len(), |nth| nth..nth + 1);
        for member in self.members.get_mut(range).into_iter().flatten() {
            if member.notice(view, now) == Haste::Now && self.knows > Knows::Nothing {
                self.due = self.due.max(Due::Soon);
            }
        }
    }

    /// Whether a store that has been silent for too long is lost from now on.
    pub(super) fn watch(&mut self, settings: &Settings, now: Now) {
        self.silence += now.since(self.looked).min(AWAKE);
        self.looked = now;
        if self.silence >= patience(settings) && !self.is_lost() {
            self.doubt();
            self.knows = Knows::Nothing;
            let loss = loss(settings.on_loss);
            self.members.iter_mut().for_each(|member| member.lose(Some(loss)));
        }
    }

    pub(super) fn ask(&mut self, settings: &Settings, channel: &str, now: Now) -> Option<Ask> {
        let ticks = now >= self.tick;
        let due = ticks || self.due > Due::Tick && now >= self.sent.after(LOOK);
        if self.members.is_empty() || self.waits || !due {
            return None;
        }
        if ticks {
            self.look(settings, None, now);
            let view = self.view(settings, now);
            let dirty = self.members.iter().filter(|member| member.is_dirty(view, now)).count();
            self.dirty = u32::try_from(dirty).unwrap_or(u32::MAX);
            self.tick = now.after(swayed(settings, self.number, self.calls));
        }
        self.calls += 1;
        (self.waits, self.sent) = (true, now);
        self.source = if self.due == Due::Hinted { Source::Hint } else { Source::Poll };
        self.due = Due::Tick;
        let view = self.view(settings, now);
        let mut puts = Vec::new();
        let members = self.members.len();
        for step in 0..members {
            if puts.len() + 4 > PUTS_MAX {
                self.turn = (self.turn + step) % members;
                self.due = Due::Soon;
                break;
            }
            // Of one instance, each call has a higher rank than the one before.
            let rank = self.calls;
            if let Some(member) = self.members.get_mut((self.turn + step) % members) {
                let again = member.puts(view, now, rank, &mut puts);
                self.due = self.due.max(if again == Haste::Now { Due::Soon } else { Due::Tick });
            }
        }
        let head = Head {
            prefix: &settings.prefix,
            shard: self.number,
            instance: settings.instance,
            alive: alive_ms(settings),
            seen: self.seen,
            channel: if settings.hints { channel } else { "" },
        };
        Some(Ask { shard: self.number, number: self.calls, call: register::call(head, &puts) })
    }

    /// Whether `ask` is the one under way.
    pub(super) const fn awaits(&self, ask: &Ask) -> bool {
        self.waits && self.calls == ask.number
    }

    /// Nobody knows what became of the call, nor of the store meanwhile: all is read and told
    /// again.
    pub(super) fn miss(&mut self) {
        self.waits = false;
        self.doubt();
        self.due = Due::Tick; // soon enough for a store that is not there
    }

    pub(super) fn hear(
        &mut self,
        settings: &Settings,
        sent: Now,
        bytes: &[u8],
        now: Now,
    ) -> Result<Vec<Told>, Malformed> {
        let answer = register::answer(bytes).inspect_err(|_| self.miss())?;
        self.waits = false;
        let forgot = self.alive_until.is_some_and(|until| until != answer.before);
        // What was written by the old clock is told by the new one.
        let jumped = self.heard.is_some() && self.clock(sent).abs_diff(answer.now) > JUMP_MS;
        let forgot = forgot || jumped || answer.version < self.seen;
        if forgot {
            self.doubt();
        } else {
            self.seen = answer.version;
            if answer.more {
                self.due = self.due.max(Due::Soon);
            }
        }
        let whole = !forgot && !answer.more;
        self.alive_until = Some(answer.now.saturating_add(alive_ms(settings)));
        self.clock = (answer.now, sent);
        self.living = answer.living.max(1);
        (self.heard, self.silence) = (Some(now), Duration::ZERO);
        let mut told = Vec::new();
        for entry in &answer.entries {
            // What cannot be read is another version's; it is not ours to judge.
            let made = self.take(settings, entry, &answer, (sent, now));
            told.extend(made.flatten());
        }
        if whole && self.is_lost() {
            self.members.iter_mut().for_each(|member| member.lose(None));
        }
        if whole {
            self.knows = Knows::All;
        }
        let view = self.view(settings, now);
        for member in &mut self.members {
            let made = member.enlighten(view, now);
            if let Some(made) = made {
                told.push((member.name.clone(), made));
                self.due = self.due.max(Due::Soon);
            }
        }
        let told = told.into_iter().filter(|(_, it)| it.from != it.to());
        Ok(told.map(|(breaker, transition)| Told { breaker, transition }).collect())
    }

    /// Takes a register. `None`: it cannot be read, or concerns nobody here.
    fn take(
        &mut self,
        settings: &Settings,
        entry: &Entry,
        answer: &Answer,
        (sent, now): (Now, Now),
    ) -> Option<Option<(Box<str>, Transition)>> {
        let mut parts = entry.field.split(':');
        let kind = parts.next()?;
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let id = number()?;
        let view = self.view(settings, now);
        let nth = *self.places.get(&id)?;
        let member = self.members.get_mut(nth)?;
        let old = Duration::from_millis(answer.now.saturating_sub(entry.at));
        let made = match kind {
            "r" => {
                let record = Record::read(entry.rank, &entry.value)?;
                let remaining = record.remaining.saturating_sub(old);
                let record = Record { remaining, ..record };
                member.hear_record(record, (sent, now), self.source)
            }
            "l" => {
                let table = Table::read(entry.rank, &entry.value)?;
                let here =
                    |at: u64| sent.after(Duration::from_millis(at.saturating_sub(answer.now)));
                member.hear_table(table, here, view, now)
            }
            "o" => {
                let order = Order::read(entry.rank, &entry.value)?;
                let remaining = order.remaining.map(|left| left.saturating_sub(old));
                member.hear_order(Order { remaining, ..order }, sent, now);
                None
            }
            "c" => {
                let geometry = number()?;
                let (epoch, instance) = (parts.next()?.parse().ok()?, parts.next()?);
                let instance = u64::from_str_radix(instance, 16).ok()?;
                if instance != settings.instance {
                    let tallies = tally::read(&entry.value, sent.before(old))?;
                    member.hear_counts((geometry, epoch, instance), entry.rank, tallies);
                }
                None
            }
            _ => None,
        };
        // What was heard may call for an answer.
        if kind != "c" && member.notice(view, now) == Haste::Now {
            self.due = self.due.max(Due::Soon);
        }
        Some(made.map(|made| (member.name.clone(), made)))
    }

    /// The last call of an instance that ends: permits go back, and what happened since the last
    /// call is told, as far as it fits.
    pub(super) fn leave(&mut self, settings: &Settings, channel: &str, now: Now) -> Option<Call> {
        if self.members.is_empty() || self.is_lost() {
            return None;
        }
        self.look(settings, None, now);
        self.calls += 1;
        let (view, rank) = (self.view(settings, now), self.calls);
        let back = self.members.iter().filter_map(Member::hand_back);
        let mut puts: Vec<_> = back.take(PUTS_MAX).collect();
        for member in &mut self.members {
            member.last_puts(view, now, rank, &mut puts);
        }
        puts.truncate(PUTS_MAX);
        let head = Head {
            prefix: &settings.prefix,
            shard: self.number,
            instance: settings.instance,
            alive: 0,
            seen: self.seen,
            channel: if settings.hints { channel } else { "" },
        };
        Some(register::call(head, &puts))
    }

    /// What the store's clock says at `now` (ms), as far as can be known.
    fn clock(&self, now: Now) -> u64 {
        let since = now.since(self.clock.1).as_millis();
        self.clock.0.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }

    fn view<'s>(&self, settings: &'s Settings, now: Now) -> member::Shard<'s> {
        member::Shard { settings, knows: self.knows, living: self.living, clock: self.clock(now) }
    }
}

/// How long an instance counts as alive after a call (ms): three of them may be missed.
fn alive_ms(settings: &Settings) -> u64 {
    u64::try_from(patience(settings).as_millis()).unwrap_or(u64::MAX)
}

fn patience(settings: &Settings) -> Duration {
    (settings.interval * 3).max(LOST)
}

/// The interval, a tenth more or less: so that instances which start together do not ask together.
fn swayed(settings: &Settings, shard: u8, calls: u64) -> Duration {
    let seed = settings.instance ^ u64::from(shard) << 56 ^ calls;
    let chance = member::hash(seed.to_le_bytes().into_iter()) % 1000;
    // At most the interval: bounds on how soon news arrive are made of it.
    settings.interval * u32::try_from(900 + chance / 10).unwrap_or(1000) / 1000
}

/// What becomes of a breaker while the store is away.
pub(super) const fn loss(on_loss: OnLoss) -> Loss {
    match on_loss {
        OnLoss::Local => Loss::None,
        OnLoss::Freeze => Loss::Freeze,
        OnLoss::Closed => Loss::Closed,
    }
}
