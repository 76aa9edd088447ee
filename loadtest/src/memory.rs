//! The proxy's memory over time, and whether it grows.
//!
//! Enters: a process. Leaves: what it has written and nobody shares, look by look. Owns a thread
//! that looks; to look costs the process a lock and some time, so it is not done often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::process::{Process, memory_of};
use crate::report::Table;
use crate::{clock, interrupt};

/// Rows of a table of looks.
const ROWS: usize = 12;

/// A watch at work.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u64>>,
}

/// Bytes, look by look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Looks(Vec<u64>);

impl MemoryWatch {
    /// Looks at `process` every so often.
    pub(crate) fn start(process: &Process, every: Duration) -> Self {
        let (stop, pid) = (Arc::new(AtomicBool::new(false)), process.pid());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = vec![memory_of(pid).private];
            while !stopped.load(Ordering::Relaxed) && !interrupt::is_raised() {
                clock::pass(every);
                seen.push(memory_of(pid).private);
            }
            seen
        });
        Self { stop, thread }
    }

    /// Ends, and tells what was seen.
    pub(crate) fn stop(self) -> Looks {
        self.stop.store(true, Ordering::Relaxed);
        Looks(self.thread.join().unwrap_or_default())
    }
}

impl Looks {
    /// Looks that were made at moments of one's own.
    pub(crate) const fn of(bytes: Vec<u64>) -> Self {
        Self(bytes)
    }

    /// The last.
    pub(crate) fn last(&self) -> u64 {
        self.0.last().copied().unwrap_or(0)
    }

    /// Bytes by which it grows over the whole time, by its trend. Without the first third, in which
    /// everything that is kept is taken once, the time has four parts, each with the middle of its
    /// looks; the trend is the middle of the three steps between them. A buffer more or a list that
    /// doubles is one step; what is lost with every turn is in each of them, however little it is,
    /// where a comparison of two looks shows only what stands out among all.
    #[expect(clippy::cast_precision_loss, reason = "numbers for people")]
    pub(crate) fn trend(&self) -> f64 {
        const PARTS: usize = 4;
        let settled = self.0.get(self.0.len() / 3..).unwrap_or_default();
        let part = |nth: usize| {
            let (from, to) = (nth * settled.len() / PARTS, (nth + 1) * settled.len() / PARTS);
            let mut looks = settled.get(from..to).unwrap_or_default().to_vec();
            looks.sort_unstable();
            looks.get(looks.len() / 2).copied().unwrap_or(0) as f64
        };
        let mut steps = [1, 2, 3].map(|nth| part(nth) - part(nth - 1));
        steps.sort_by(f64::total_cmp);
        let [_, middle, _] = steps;
        middle * (self.0.len() * PARTS) as f64 / settled.len().max(1) as f64
    }

    /// Some of them, evenly chosen, for a report.
    pub(crate) fn table(&self) -> Table {
        let row = |(nth, bytes): (usize, &u64)| vec![nth.to_string(), (bytes / 1024).to_string()];
        let step = self.0.len().div_ceil(ROWS).max(1);
        Table {
            title: "Private memory of the proxy".to_owned(),
            columns: vec!["look".to_owned(), "KiB".to_owned()],
            rows: self.0.iter().enumerate().step_by(step).map(row).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a process of 8 MiB shows that takes buffers and gives them back, at `count` looks.
    fn looks(count: u64, kept: impl Fn(u64) -> u64) -> Looks {
        let warm = |nth: u64| 2_000_000 * nth.min(count / 5) / (count / 5);
        let buffers = |nth: u64| ((nth * 2_654_435_761) >> 7) % 5 * 4096;
        let look = |nth| (6_000_000 + warm(nth) + buffers(nth) + kept(nth)) / 4096 * 4096;
        Looks((0..count).map(look).collect())
    }

    #[test]
    fn what_is_lost_each_time_is_a_trend_however_little_it_is() {
        for bytes in [100, 1000] {
            // Eight reloads from look to look.
            let trend = looks(125, |nth| nth * 8 * bytes).trend() / 1000.0;
            let lost = f64::from(u32::try_from(bytes).unwrap());
            assert!((trend / lost - 1.0).abs() < 0.25, "{bytes}: {trend}");
        }
    }

    #[test]
    fn steps_and_swings_are_no_trend() {
        let step = |at: u64, size: u64| move |nth: u64| if nth < at { 0 } else { size };
        for (at, size) in [(0, 0), (50, 132_000), (80, 1_000_000), (110, 132_000), (124, 4_000_000)]
        {
            let trend = looks(125, step(at, size)).trend();
            assert!(trend.abs() < 32_000.0, "a step of {size} at {at}: {trend}");
        }
        assert_eq!(Looks(Vec::new()).trend(), 0.0);
    }

    #[test]
    fn a_table_is_short() {
        let looks = Looks(vec![10, 50, 100, 102, 104]);
        assert_eq!((looks.last(), looks.table().rows.len()), (104, 5));
        assert_eq!(Looks(vec![1; 100]).table().rows.len(), 12);
        assert_eq!(Looks(Vec::new()).table().rows.len(), 0);
    }
}
