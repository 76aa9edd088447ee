//! One instance's part in its cluster: what the control plane drives.
//!
//! Enters: the breakers that are served, the time, answers and hints. Leaves: the next call that is
//! due, and moves to be told. Owns the shards, and the bell that cores ring.
//!
//! ```text
//! every LOOK: look(now) → moves
//!             while ask(now) → a call: the store → hear(…) → moves, or miss(…)
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use super::member::Member;
use super::shard::{Shard, loss};
use super::{Ask, Call, Malformed, SHARDS, Settings, Standing, Told};
use crate::breaker::Breaker;
use crate::breaker::peers::Bell;
use crate::clock::Now;

/// One instance's part in its cluster.
#[derive(Debug)]
pub struct Machine {
    settings: Settings,
    channel: String,
    bell: Arc<Bell>,
    shards: Vec<Shard>,
    /// By the group that cores ring for: shard and place of its breakers.
    groups: BTreeMap<u32, Vec<(usize, usize)>>,
    well_since: Option<Now>,
}

/// Groups that a bell tells apart.
const GROUPS: usize = 64;

impl Machine {
    /// An instance that has heard nothing, and whose breakers decide alone until it has.
    #[must_use]
    pub fn new(settings: Settings, now: Now) -> Self {
        let channel = format!("{}:hint", settings.prefix);
        let shards = (0..SHARDS).map(|number| Shard::new(number, now)).collect();
        let bell = Bell::new();
        Self { settings, channel, bell, shards, groups: BTreeMap::new(), well_since: None }
    }

    /// What it was told.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The breakers that are served from now on, by stable name. Called when the process starts and
    /// after each reload; what left is forgotten and decides alone again.
    pub fn serve<'b>(
        &mut self,
        breakers: impl IntoIterator<Item = (&'b str, &'b Breaker)>,
        now: Now,
    ) {
        let held = self.shards.iter_mut().flat_map(Shard::clear);
        let mut held: BTreeMap<Box<str>, Member> =
            held.map(|member| (member.name.clone(), member)).collect();
        self.groups.clear();
        for (name, breaker) in breakers {
            let known = held.remove(name).filter(|it| it.breaker.shares_memory_with(breaker));
            let (mut member, new) = match known {
                Some(member) => (member, false),
                None => (Member::new(name, breaker, self.settings.instance, now), true),
            };
            // By name, not by place: a breaker that has joined keeps its group for ever.
            let group = u32::try_from(member.id % GROUPS as u64).unwrap_or(0);
            breaker.join(&self.bell, group);
            let anew = member.renew(breaker);
            let place = usize::from(member.shard());
            let Some(shard) = self.shards.get_mut(place) else { continue };
            if new || anew {
                shard.doubt();
            }
            if new {
                member.lose(shard.is_lost().then(|| loss(self.settings.on_loss)));
            }
            let nth = shard.add(member);
            self.groups.entry(group).or_default().push((place, nth));
        }
        held.into_values().for_each(|mut member| member.release());
    }

    /// Whether breakers that are served lie in the shard of this number.
    #[must_use]
    pub fn uses(&self, shard: u8) -> bool {
        self.shards.get(usize::from(shard)).is_some_and(|shard| !shard.members().is_empty())
    }

    /// Forgets breakers and cluster, as they are left by the loss of the store: for one whose state
    /// can no longer be trusted. How many calls it made is not forgotten: by that the store tells
    /// what this instance counts now from what it counted before. Goes on with [`Machine::serve`].
    pub fn forget(&mut self, now: Now) {
        let loss = loss(self.settings.on_loss);
        for shard in &mut self.shards {
            shard.clear().iter_mut().for_each(|member| member.lose(Some(loss)));
            shard.forget(now);
        }
        self.groups.clear();
        self.well_since = None;
    }

    /// Notices what happened on the cores and what time brought. Cheap while nothing happened; to
    /// be called every [`super::LOOK`], and after an operator's order.
    pub fn look(&mut self, now: Now) {
        let rung = self.bell.take();
        for group in (0..GROUPS as u32).filter(|group| rung >> group & 1 == 1) {
            for (place, nth) in self.groups.get(&group).into_iter().flatten() {
                if let Some(shard) = self.shards.get_mut(*place) {
                    shard.look(&self.settings, Some(*nth), now);
                }
            }
        }
        for shard in self.shards.iter_mut().filter(|shard| !shard.members().is_empty()) {
            shard.watch(&self.settings, now);
        }
        let mut used = self.shards.iter().filter(|shard| !shard.members().is_empty());
        if used.any(|shard| shard.is_lost()) {
            self.well_since = None;
        } else {
            self.well_since.get_or_insert(now);
        }
    }

    /// The next call that is due; to be repeated until there is none. Calls of different shards may
    /// be under way together. Each is followed by [`Machine::hear`] or [`Machine::miss`].
    #[must_use]
    pub fn ask(&mut self, now: Now) -> Option<Ask> {
        let (settings, channel) = (&self.settings, &self.channel);
        self.shards.iter_mut().find_map(|shard| shard.ask(settings, channel, now))
    }

    /// Hears the answer to `ask`, which was sent at `sent` and came at `now`.
    ///
    /// # Errors
    ///
    /// The answer is not one of the script's; it counts as missed.
    pub fn hear(
        &mut self,
        ask: &Ask,
        sent: Now,
        answer: &[u8],
        now: Now,
    ) -> Result<Vec<Told>, Malformed> {
        match self.shards.get_mut(usize::from(ask.shard)) {
            Some(shard) if shard.awaits(ask) => shard.hear(&self.settings, sent, answer, now),
            _ => Ok(Vec::new()),
        }
    }

    /// No answer to `ask` came: whether it was carried out is not known.
    pub fn miss(&mut self, ask: &Ask) {
        if let Some(shard) = self.shards.get_mut(usize::from(ask.shard))
            && shard.awaits(ask)
        {
            shard.miss();
        }
    }

    /// Hears a payload of [`Machine::channel`], `shard instance`: somebody changed something, look
    /// at once. Never believed; what is not understood is dropped.
    pub fn hint(&mut self, payload: &[u8]) {
        let text = std::str::from_utf8(payload).unwrap_or_default();
        let Some((shard, author)) = text.split_once(' ') else { return };
        let own = u64::from_str_radix(author, 16) == Ok(self.settings.instance);
        if let Some(shard) = shard.parse().ok().and_then(|nth: usize| self.shards.get_mut(nth))
            && !own
        {
            shard.hint();
        }
    }

    /// The channel that hints are published on.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// The last calls of an instance that ends: what it has not told yet is, its leases go back,
    /// and it is counted no more. Their answers say nothing.
    #[must_use]
    pub fn leave(&mut self, now: Now) -> Vec<Call> {
        let (settings, channel) = (&self.settings, &self.channel);
        self.shards.iter_mut().filter_map(|shard| shard.leave(settings, channel, now)).collect()
    }

    /// How this instance stands to its cluster.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let used = || self.shards.iter().filter(|shard| !shard.members().is_empty());
        let few = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Standing {
            shards: few(used().count()),
            lost: few(used().filter(|shard| shard.is_lost()).count()),
            well_since: self.well_since,
            oldest: used().filter_map(|shard| shard.heard).min(),
            instances: used().map(|shard| shard.living).max().unwrap_or(1),
            dirty: used().map(|shard| shard.dirty).fold(0, u32::saturating_add),
        }
    }
}

#[cfg(test)]
impl Machine {
    fn member(&self, name: &str) -> &Member {
        let members = self.shards.iter().flat_map(Shard::members);
        members.into_iter().find(|member| &*member.name == name).unwrap()
    }

    /// The epoch that `name` is agreed on as far as is known here, and whether it stands there.
    pub(super) fn agreed(&self, name: &str) -> (u64, bool) {
        self.member(name).standing()
    }

    /// The epoch that `name` is agreed on, and how many openings followed each other by then.
    pub(super) fn opened(&self, name: &str) -> (u64, u32) {
        self.member(name).opened()
    }

    /// The last change of the permits of `name` that was heard of here.
    pub(super) fn rank_of_permits(&self, name: &str) -> u64 {
        self.member(name).rank_of_permits()
    }

    /// What is known here of all failures that count together.
    pub(super) fn estimate(&self, name: &str, now: Now) -> u64 {
        self.member(name).estimate(now)
    }
}
