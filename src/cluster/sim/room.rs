//! Machines and a store in one room: no network, no cores, and as many breakers as one likes.
//!
//! Enters: failures, and whose turn it is. Leaves: what each machine knows, and how much was said.

use std::ops::Range;

use super::super::Machine;
use super::fake::Fake;
use super::instance::settings;
use crate::breaker::outcome::Ending;
use crate::breaker::{Breaker, Core, Verdict};
use crate::clock::Now;

#[derive(Debug)]
pub(super) struct Room<'b> {
    machines: Vec<Machine>,
    own: Vec<&'b [Breaker]>,
    pub(super) store: Fake,
    now: u64,
    pub(super) calls: u64,
    /// Registers that were put.
    pub(super) puts: usize,
    /// The most arguments of a call.
    pub(super) largest: usize,
}

fn name(nth: usize) -> String {
    format!("GET /{nth}")
}

const fn at(millis: u64) -> Now {
    Now::from_millis((1 << 36) + millis)
}

impl<'b> Room<'b> {
    /// A machine for each list of breakers.
    pub(super) fn new(own: &[&'b [Breaker]]) -> Self {
        let machine = |nth: usize| Machine::new(settings(nth as u64 + 1), at(0));
        let mut room = Self {
            machines: (0..own.len()).map(machine).collect(),
            own: own.to_vec(),
            store: Fake::default(),
            now: 0,
            calls: 0,
            puts: 0,
            largest: 0,
        };
        (0..own.len()).for_each(|who| room.serve(who, 0..own[who].len()));
        room
    }

    /// Only these breakers are served from now on.
    pub(super) fn serve(&mut self, who: usize, range: Range<usize>) {
        let names: Vec<String> = range.clone().map(name).collect();
        let breakers = names.iter().map(String::as_str).zip(&self.own[who][range]);
        self.machines[who].serve(breakers, at(self.now));
    }

    /// One look's time passes.
    pub(super) fn step(&mut self) {
        self.now += 10;
    }

    /// One machine looks, and makes the calls that are due.
    pub(super) fn turn(&mut self, who: usize) {
        let now = at(self.now);
        let machine = &mut self.machines[who];
        machine.look(now);
        while let Some(ask) = machine.ask(now) {
            self.largest = self.largest.max(ask.call.args.len());
            self.puts += (ask.call.args.len() - 5) / 5;
            self.calls += 1;
            let (answer, _) = self.store.call(&ask.call, 1_000_000 + self.now);
            machine.hear(&ask, now, &answer, now).unwrap();
        }
    }

    /// All take turns for so many milliseconds.
    pub(super) fn run(&mut self, millis: u64) {
        for _ in 0..millis / 10 {
            (0..self.machines.len()).for_each(|who| self.turn(who));
            self.step();
        }
    }

    /// A request to breaker `nth` of `who` fails, if it is let through.
    pub(super) fn fail(&self, who: usize, nth: usize) {
        let now = at(self.now);
        if let Verdict::Admit(ticket) = self.own[who][nth].admit(&Core::claim(0), now).0 {
            let _ = ticket.settle(Ending::Answered(500), now);
        }
    }

    pub(super) fn estimate(&self, who: usize, nth: usize) -> u64 {
        self.machines[who].estimate(&name(nth), at(self.now))
    }
}
