//! What a scenario plays on: the settings of this run, and the report it fills.
//!
//! Enters: settings, a scenario. Leaves: its report. Starts origins, proxies and loads where the
//! settings want them, so that a scenario says only what is its own.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::load::{Connections, Load, Outcome, Pace};
use crate::origin::{Origin, Spec};
use crate::progress::Progress;
use crate::proxy::Proxy;
use crate::proxy::watch::Watch;
use crate::report::{Figure, Limit, Machine, Report, Section, Table, Weight};
use crate::sink::Sink;
use crate::{clock, cores, interrupt};

/// The settings of a run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) proxy: PathBuf,
    pub(crate) proxy_cores: Vec<usize>,
    pub(crate) load_cores: Vec<usize>,
    /// What is asked for instead of a scenario's own.
    pub(crate) rate: Option<f64>,
    pub(crate) duration: Option<Duration>,
    pub(crate) connections: Option<usize>,
    pub(crate) count: Option<usize>,
    pub(crate) size: Size,
}

/// How much of a scenario is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// All of it: for numbers.
    Full,
    /// A few seconds: for correctness.
    Smoke,
}

/// A scenario: its name, what it shows, and how it is played.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) play: fn(&mut Stage) -> Result<(), String>,
}

/// A scenario under way.
pub(crate) struct Stage {
    settings: Settings,
    report: Report,
    name: &'static str,
}

/// A load that is over, with what was measured beside it.
pub(crate) struct Played {
    pub(crate) outcome: Outcome,
    /// Processor time of the proxy for each request, in microseconds.
    pub(crate) cpu_us: f64,
}

impl Scenario {
    /// Plays it.
    pub(crate) fn play(&self, settings: &Settings) -> Result<Report, String> {
        let report = Report {
            name: self.name.to_owned(),
            about: self.about.to_owned(),
            machine: Machine::here(),
            settings: vec![
                ("proxy".to_owned(), settings.proxy.display().to_string()),
                ("proxy on processors".to_owned(), format!("{:?}", settings.proxy_cores)),
                ("load and origin on".to_owned(), format!("{:?}", settings.load_cores)),
            ],
            ..Report::default()
        };
        let mut stage = Stage { settings: settings.clone(), report, name: self.name };
        let played = (self.play)(&mut stage);
        if interrupt::is_raised() {
            return Err(format!("{}: interrupted", self.name));
        }
        played.map_err(|error| format!("{}: {error}", self.name))?;
        Ok(stage.report)
    }
}

impl Stage {
    /// `smoke` in a smoke test, otherwise `full`.
    pub(crate) fn pick<T>(&self, full: T, smoke: T) -> T {
        match self.settings.size {
            Size::Full => full,
            Size::Smoke => smoke,
        }
    }

    /// Requests each second: as asked for, or one of these.
    pub(crate) fn rate(&self, full: f64, smoke: f64) -> f64 {
        self.settings.rate.unwrap_or(self.pick(full, smoke))
    }

    /// Seconds: as asked for, or one of these.
    pub(crate) fn seconds(&self, full: f64, smoke: f64) -> Duration {
        self.settings.duration.unwrap_or(Duration::from_secs_f64(self.pick(full, smoke)))
    }

    /// Connections: as asked for, or one of these.
    pub(crate) fn connections(&self, full: usize, smoke: usize) -> usize {
        self.settings.connections.unwrap_or(self.pick(full, smoke))
    }

    /// How many of what the scenario counts: as asked for, or one of these.
    pub(crate) fn count(&self, full: usize, smoke: usize) -> usize {
        self.settings.count.unwrap_or(self.pick(full, smoke))
    }

    /// Connections that are to stand at one time: as [`Stage::count`], but no more than the limit
    /// on open files allows, which the proxy, the load and ourselves share.
    pub(crate) fn standing(&mut self, full: usize, smoke: usize) -> usize {
        let wanted = self.count(full, smoke);
        let most = cores::raise_file_limit().saturating_sub(2000) / 2;
        if most < wanted {
            self.note("fewer connections than planned: the limit on open files is too low");
        }
        wanted.min(most)
    }

    /// Starts an origin on the load's processors: on the last of them, as loads begin at the first.
    pub(crate) fn origin(&self, spec: Spec) -> Result<Origin, String> {
        let cores = self.settings.load_cores.iter().rev().copied().collect();
        Origin::start(Spec { cores, ..spec })
    }

    /// Starts the proxy on its processors.
    pub(crate) fn proxy(&self, config: &Value) -> Result<Proxy, String> {
        Proxy::start(&self.settings.proxy, &self.settings.proxy_cores, config)
    }

    /// Starts a sink on the proxy's processors, as who bears a crowd does so there.
    pub(crate) fn sink(&self, hold: Duration) -> Result<Sink, String> {
        Sink::start(hold, &self.settings.proxy_cores)
    }

    /// A load of `path` on `proxy`, on the load's processors.
    pub(crate) fn load(&self, proxy: &Proxy, path: &str, pace: Pace, span: Duration) -> Load {
        let cores = self.settings.load_cores.clone();
        let threads = cores.len().max(1);
        let connections = Connections::Kept(self.connections(64, 16));
        let warm_up = Duration::from_millis(self.pick(1000, 100));
        let plain = Load::get(proxy.address(), path, pace, span);
        Load { cores, threads, connections, warm_up, ..plain }
    }

    /// Runs `load` and reports it as `name`; `begin` is told when counting begins.
    pub(crate) fn run(
        &mut self,
        name: &str,
        proxy: &Proxy,
        load: &Load,
        begin: impl FnOnce(clock::Nanos),
    ) -> Result<Played, String> {
        if interrupt::is_raised() {
            return Err("interrupted".to_owned());
        }
        let watch = Watch::start(proxy);
        let mut progress = Progress::of(&format!("{} {name}", self.name), load);
        let running = load.clone().start()?;
        begin(running.began());
        running.warm_up();
        let before = proxy.process().cpu();
        let outcome = running.finish(|point| progress.tell(point))?;
        let used = proxy.process().cpu().saturating_sub(before);
        progress.end();
        let mut section = Section::of(name, load, &outcome);
        section.bars = watch.stop(outcome.began);
        self.report.sections.push(section);
        let asked = count(outcome.total.total().max(1));
        Ok(Played { cpu_us: used.as_secs_f64() * 1e6 / asked, outcome })
    }

    /// The load's processors.
    pub(crate) fn load_cores(&self) -> Vec<usize> {
        self.settings.load_cores.clone()
    }

    /// Adds a table.
    pub(crate) fn table(&mut self, table: Table) {
        self.report.tables.push(table);
    }

    /// Adds a section that is already over.
    pub(crate) fn section(&mut self, name: &str, load: &Load, outcome: &Outcome) {
        self.report.sections.push(Section::of(name, load, outcome));
    }

    /// Writes into the last section what happens when, in seconds.
    pub(crate) fn marks(&mut self, marks: &[(f64, &str)]) {
        if let Some(section) = self.report.sections.last_mut() {
            section.marks = marks.iter().map(|(at, what)| (*at, (*what).to_owned())).collect();
        }
    }

    /// A number that is told.
    pub(crate) fn tell(&mut self, name: &str, value: f64, unit: &str) {
        self.figure(name, value, unit, Limit::None, Weight::Speed);
    }

    /// A number that must be within its limit, or the proxy is wrong.
    pub(crate) fn must(&mut self, name: &str, value: f64, unit: &str, limit: Limit) {
        self.figure(name, value, unit, limit, Weight::Correct);
    }

    /// A number that should be within its limit on a machine that does nothing else.
    pub(crate) fn should(&mut self, name: &str, value: f64, unit: &str, limit: Limit) {
        self.figure(name, value, unit, limit, Weight::Speed);
    }

    fn figure(&mut self, name: &str, value: f64, unit: &str, limit: Limit, weight: Weight) {
        let (name, unit) = (name.to_owned(), unit.to_owned());
        self.report.figures.push(Figure { name, value, unit, limit, weight });
    }

    /// Something one has to know to read the report.
    pub(crate) fn note(&mut self, note: &str) {
        self.report.notes.push(note.to_owned());
    }

    /// A part that cannot be run.
    pub(crate) fn skip(&mut self, reason: &str) {
        self.report.skipped.push(reason.to_owned());
    }
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "numbers for people")]
pub(crate) fn count(number: impl TryInto<u64>) -> f64 {
    number.try_into().unwrap_or(u64::MAX) as f64
}

/// The share in nanoseconds of a histogram, in milliseconds; 0 of an empty one.
pub(crate) fn quantile(histogram: &hdrhistogram::Histogram<u64>, share: f64) -> f64 {
    if histogram.is_empty() { 0.0 } else { clock::millis(histogram.value_at_quantile(share)) }
}

/// The one in the middle; of two, their mean; no number of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle.wrapping_sub(1)), values.get(middle)) {
        (Some(low), Some(high)) if values.len().is_multiple_of(2) => f64::midpoint(*low, *high),
        (_, Some(value)) => *value,
        _ => f64::NAN,
    }
}

/// The processors of a run: the proxy on the first, load and origin on the others, if there are
/// others and nothing else is asked for.
pub(crate) fn share_cores(
    proxy: Option<&str>,
    load: Option<&str>,
) -> Result<(Vec<usize>, Vec<usize>), String> {
    let all = cores::allowed();
    let first: Vec<usize> = all.iter().take(1).copied().collect();
    let rest: Vec<usize> = all.iter().skip(1).copied().collect();
    let proxy = proxy.map_or(Ok(first), cores::parse)?;
    let load = load.map_or(Ok(if rest.is_empty() { all } else { rest }), cores::parse)?;
    Ok((proxy, load))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0])), (2.0, 2.5));
        assert!(median(&[]).is_nan());
    }
}
