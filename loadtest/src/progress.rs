//! What is under way, for those who watch: one line that is redrawn on a terminal, and one plain
//! line every five seconds elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock;
use crate::load::{Load, interval};
use crate::point::Point;
use crate::report::grouped;

/// Seconds between plain lines.
const PLAIN: f64 = 5.0;

/// The progress of one load.
pub(crate) struct Progress {
    name: String,
    bar: Option<ProgressBar>,
    step: f64,
    told: f64,
}

impl Progress {
    /// The progress of `load`, called `name`.
    pub(crate) fn of(name: &str, load: &Load) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let steps = clock::nanos(load.duration) / interval(load.duration).max(1);
        let bar = is_terminal.then(|| {
            let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{prefix} {elapsed} ▕{bar:24}▏ {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(name.to_owned());
            bar
        });
        let step = clock::seconds(interval(load.duration));
        Self { name: name.to_owned(), bar, step, told: 0.0 }
    }

    /// Another interval is over.
    pub(crate) fn tell(&mut self, point: &Point) {
        let all = point.rate().max(1e-9);
        let line = format!(
            "{}/s  p50 {:.3}  p99 {:.3}  max {:.1} ms  refused {:.1}%  bad {:.1}%",
            grouped(point.rate()),
            point.p50_ms,
            point.p99_ms,
            point.max_ms,
            point.refused / all * 100.0,
            point.bad / all * 100.0
        );
        let at = point.at_s + self.step;
        match &self.bar {
            Some(bar) => {
                bar.inc(1);
                bar.set_message(line);
            }
            None if at >= self.told + PLAIN => {
                self.told = at;
                eprintln!("{} {at:.0} s  {line}", self.name);
            }
            None => {}
        }
    }

    /// It is over.
    pub(crate) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
