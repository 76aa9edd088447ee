//! One proxy of a play: its machine, its breaker, and a clock that agrees with no other's.
//!
//! Enters: a plan, a breaker, dice. Leaves: what the breaker did and when, for the play to judge.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::{Machine, OnLoss, Settings, Told};
use super::dice::Dice;
use super::world::{CORES, INTERVAL, NAME};
use crate::breaker::Breaker;
use crate::breaker::circuit::State;
use crate::breaker::memory::Memory;
use crate::breaker::policy::{Policy, Share};
use crate::clock::Now;

#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) instances: usize,
    pub(super) hints: bool,
    pub(super) on_loss: OnLoss,
    /// In parts of a million.
    pub(super) quorum: u32,
    /// One way, at most (ms).
    pub(super) way: u64,
    /// How much later than every 10 ms an instance looks, at most (ms).
    pub(super) sway: u64,
}

impl Plan {
    pub(super) const CALM: Self =
        Self { instances: 3, hints: false, on_loss: OnLoss::Local, quorum: 0, way: 1, sway: 0 };
}

#[derive(Debug)]
pub(super) struct Instance<'b> {
    pub(super) machine: Machine,
    pub(super) breaker: &'b Breaker,
    /// What its clock says at the beginning (ms).
    pub(super) offset: u64,
    /// Cut off from the store.
    pub(super) cut: bool,
    /// The whole process is stopped until then (ms of the play).
    pub(super) stopped: u64,
    /// Calls that wait for an answer.
    pub(super) awaited: BTreeSet<(u8, u64)>,
    /// Every state it was seen in, and since when (ms of the play).
    pub(super) states: Vec<(u64, State)>,
    pub(super) told: Vec<Told>,
    /// The highest epoch it was agreed on.
    pub(super) highest: u64,
}

/// What an instance is told, but for what a plan says.
pub(super) fn settings(instance: u64) -> Settings {
    Settings {
        prefix: "t".to_owned(),
        interval: Duration::from_millis(INTERVAL),
        hints: false,
        on_loss: OnLoss::Local,
        quorum: Share(0),
        instance,
    }
}

/// Breakers for a play, one per instance, that outlive it.
pub(super) fn breakers(policy: &Policy, instances: usize) -> Vec<Breaker> {
    let memory = |seed| Memory::new(policy, CORES, seed as u64 * 77 + 1);
    (0..instances).map(|seed| Breaker::new(policy.clone(), memory(seed))).collect()
}

impl<'b> Instance<'b> {
    /// One that begins `now` milliseconds into the play.
    pub(super) fn new(plan: Plan, breaker: &'b Breaker, dice: &mut Dice, now: u64) -> Self {
        let settings = Settings {
            hints: plan.hints,
            on_loss: plan.on_loss,
            quorum: Share(plan.quorum),
            ..settings(dice.roll(u64::MAX) | 1)
        };
        let offset = (1 << 36) + dice.roll(1 << 36);
        let began = Now::from_millis(offset + now);
        let mut machine = Machine::new(settings, began);
        machine.serve([(NAME, breaker)], began);
        Self {
            machine,
            breaker,
            offset,
            cut: false,
            stopped: 0,
            awaited: BTreeSet::new(),
            states: vec![(now, breaker.word().state())],
            told: Vec::new(),
            highest: 0,
        }
    }
}
