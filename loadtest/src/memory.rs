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
    /// The last.
    pub(crate) fn last(&self) -> u64 {
        self.0.last().copied().unwrap_or(0)
    }

    /// Percent by which the last is more than the one in the middle: by then everything that is
    /// kept has been taken once.
    #[expect(clippy::cast_precision_loss, reason = "numbers for people")]
    pub(crate) fn growth(&self) -> f64 {
        let middle = self.0.get(self.0.len() / 2).copied().unwrap_or(0).max(1);
        (self.last() as f64 / middle as f64 - 1.0) * 100.0
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

    #[test]
    fn growth_is_that_of_the_second_half() {
        let looks = Looks(vec![10, 50, 100, 102, 104]);
        assert_eq!((looks.last(), looks.growth().round()), (104, 4.0));
        assert_eq!(looks.table().rows.len(), 5);
        assert_eq!(Looks(vec![1; 100]).table().rows.len(), 12);
        assert_eq!(Looks(Vec::new()).table().rows.len(), 0);
    }
}
