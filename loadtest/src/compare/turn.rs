//! One program's turn: started, measured in its cases, and ended.

use std::net::SocketAddr;
use std::time::Duration;

use super::program::{ANSWER, Behind, Part, Program, REFUSED, Started};
use super::sample::{Measured, Sample, Samples};
use super::{Case, Judge, Plan, wrk};
use crate::expect::Expect;
use crate::interrupt;
use crate::load::{Connections, Load, Pace};

/// What load and origin are called without a program between them.
pub(super) const ALONE: &str = "(nothing)";

/// What a program is measured at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// As much as there can be.
    Full,
    /// A rate that fills nobody.
    Calm,
    /// As much as there can be of what an open breaker refuses.
    Refused,
    /// As much as there can be of what is answered without anybody behind.
    Answered,
}

/// What all turns share.
pub(super) struct Turn<'p> {
    pub(super) plan: &'p Plan,
    pub(super) behind: Behind,
    pub(super) samples: Samples,
}

impl Turn<'_> {
    /// Load and origin alone: more than that no program can be seen to do.
    pub(super) fn alone(&mut self, round: usize) -> Result<(), String> {
        for case in &self.plan.cases {
            let load = self.load(self.behind.origin, case, Pass::Full, Pace::Closed);
            let outcome = load.run()?;
            let measured = Measured { rate: outcome.rate(), ..Measured::default() };
            self.keep(ALONE, case, Pass::Full, measured, None, round);
        }
        Ok(())
    }

    /// `program` in all its cases, full.
    pub(super) fn full(&mut self, program: &Program, round: usize) -> Result<(), String> {
        let running = self.start(program)?;
        let first = self.plan.cases.get(..1).unwrap_or_default();
        let (cases, pass) = match program.part {
            Part::All => (self.plan.cases.as_slice(), Pass::Full),
            Part::First => (first, Pass::Full),
            Part::Answer => (first, Pass::Answered),
        };
        for (nth, case) in cases.iter().enumerate() {
            self.measure(program, &running, case, pass, Pace::Closed, round)?;
            if nth == 0 && program.name == "fusebox" {
                self.measure(program, &running, case, Pass::Refused, Pace::Closed, round)?;
            }
        }
        Ok(())
    }

    /// `program` at `rate`.
    pub(super) fn calm(
        &mut self,
        program: &Program,
        case: &Case,
        rate: f64,
        round: usize,
    ) -> Result<(), String> {
        let running = self.start(program)?;
        self.measure(program, &running, case, Pass::Calm, Pace::Random(rate), round)
    }

    fn start(&self, program: &Program) -> Result<Started, String> {
        let settings = &self.plan.settings;
        let started = program.start(&settings.proxy, &settings.proxy_cores, self.behind);
        started.map_err(|error| format!("{}: {error}", program.name))
    }

    fn load(&self, address: SocketAddr, case: &Case, pass: Pass, pace: Pace) -> Load {
        let (path, expect) = match pass {
            Pass::Full | Pass::Calm => (case.path(), Expect::length(200, case.body as u64)),
            // The first of them, before anything is counted, open the breaker.
            Pass::Refused => (REFUSED.to_owned(), Expect::status(503)),
            Pass::Answered => ("/".to_owned(), Expect::length(200, ANSWER)),
        };
        let plain = Load::get(address, &path, pace, self.plan.duration);
        Load {
            expect,
            connections: Connections::Kept(case.connections),
            threads: self.plan.client_cores().len().max(1),
            cores: self.plan.client_cores(),
            warm_up: (self.plan.duration / 5).min(Duration::from_secs(1)),
            ..plain
        }
    }

    fn measure(
        &mut self,
        program: &Program,
        running: &Started,
        case: &Case,
        pass: Pass,
        pace: Pace,
        round: usize,
    ) -> Result<(), String> {
        if interrupt::is_raised() {
            return Err("interrupted".to_owned());
        }
        let cores = &self.plan.settings.proxy_cores;
        let wrong = |error: String| format!("{}: {error}", program.name);
        let load = self.load(running.address, case, pass, pace);
        let ours = Measured::of(&running.process, cores, || {
            let started = load.start()?;
            started.warm_up();
            Ok(started)
        });
        let ours = ours.map_err(wrong)?;
        let wrk = match (self.plan.judge, pass) {
            (Judge::Wrk, Pass::Full) => {
                let core = &self.plan.settings.load_cores;
                let measured = wrk::measure(running, case, self.plan.duration, core);
                Some(measured.map_err(wrong)?)
            }
            _ => None,
        };
        self.keep(program.name, case, pass, ours, wrk, round);
        Ok(())
    }

    fn keep(
        &mut self,
        program: &'static str,
        case: &Case,
        pass: Pass,
        ours: Measured,
        wrk: Option<f64>,
        round: usize,
    ) {
        let what = match pass {
            Pass::Full => "",
            Pass::Calm => "calm",
            Pass::Refused => "refused",
            Pass::Answered => "answered",
        };
        let (rate, cpu) = (ours.rate, ours.cpu_us);
        eprintln!("round {round}  {program:<10} {case:<9} {what:<8} {rate:>9.0}/s  {cpu:>8.2} us");
        self.samples.0.push(Sample { program, case: case.clone(), pass, ours, wrk });
    }
}
