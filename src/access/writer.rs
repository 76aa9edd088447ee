//! The one thread that writes the access log.
//!
//! Enters: the rings of all cores, and words from the control plane. Leaves: batches of rendered
//! lines in the sink. Looks at the rings on a timer, so that no core spends a system call to wake
//! it; while the sink takes nothing, the rings fill and the cores drop and count.

#![allow(clippy::disallowed_types, clippy::disallowed_macros, reason = "cold: off the cores")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use super::render::{self, Calendar, LINE_MAX};
use super::ring::Enough;
use super::{Rings, Sink};
use crate::clock::{self, Now};
use crate::config::Access;

/// Between two looks while lines come: a core fills an eighth of its ring in it.
const BUSY: Duration = Duration::from_millis(10);

/// Between two looks while none come: short enough for the first burst to find room.
const QUIET: Duration = Duration::from_millis(50);

/// Between two looks while none are wanted.
const OFF: Duration = Duration::from_secs(1);

/// Rendered bytes of one core that are written at once.
const BATCH: usize = 64 * 1024;

/// How often it is found out whether the file was rotated.
const FOLLOW: Duration = Duration::from_secs(1);

/// How often a sink that cannot be written is complained of.
const COMPLAIN: Duration = Duration::from_secs(60);

/// How long an exit waits for a sink that takes nothing.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// The control plane's end of the thread.
#[derive(Debug)]
pub struct Writer {
    jobs: Sender<Job>,
    rings: Arc<Rings>,
    lost: Arc<AtomicU64>,
}

enum Job {
    Change(Box<Sink>),
    Flush(SyncSender<()>),
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(rings: Arc<Rings>, sink: Sink) -> io::Result<Self> {
        let (jobs, hears) = channel();
        let lost = Arc::new(AtomicU64::new(0));
        let mut thread = Thread {
            rings: Arc::clone(&rings),
            lost: Arc::clone(&lost),
            sink,
            batch: String::with_capacity(BATCH + LINE_MAX),
            written: 0,
            torn: false,
            calendar: Calendar::new(),
            complained: None,
            followed: clock::now(),
        };
        let builder = std::thread::Builder::new().name("access".to_owned());
        builder.spawn(move || thread.run(&hears))?;
        Ok(Self { jobs, rings, lost })
    }

    /// From now on lines go to `sink`.
    pub fn change(&self, sink: Sink) {
        // Unbounded, as the reloads that come through here are one at a time. Refused only when the
        // thread is gone, and the process with it.
        let _ = self.jobs.send(Job::Change(Box::new(sink)));
    }

    /// Waits until every line that was put before is written, at most a second.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.jobs.send(Job::Flush(done)).is_ok() {
            let _ = written.recv_timeout(FLUSH_MAX);
        }
    }

    /// Counts the lines that were dropped: their ring was full, or they could not be written.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.rings.dropped() + self.lost.load(Ordering::Relaxed)
    }
}

struct Thread {
    rings: Arc<Rings>,
    lost: Arc<AtomicU64>,
    sink: Sink,
    batch: String,
    /// How much of the batch has been.
    written: usize,
    /// Whether the last line in the sink is half a one: the next must not go on in it.
    torn: bool,
    calendar: Calendar,
    complained: Option<Now>,
    followed: Now,
}

/// What a look at the rings came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    /// Lines, and all of them were written.
    Lines,
    /// Lines, and there are more than a batch of a core.
    More,
    /// The sink takes no more now.
    Blocked,
}

impl Thread {
    fn run(&mut self, jobs: &Receiver<Job>) {
        let mut waiting: Vec<SyncSender<()>> = Vec::new();
        let mut wait = BUSY;
        loop {
            match jobs.recv_timeout(wait) {
                Ok(Job::Change(sink)) => self.change(*sink),
                Ok(Job::Flush(done)) => waiting.push(done),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.follow();
            let found = self.empty();
            if matches!(found, Found::Nothing | Found::Lines) {
                waiting.drain(..).for_each(|done| done.try_send(()).unwrap_or_default());
            }
            wait = match (found, self.sink.access) {
                (Found::More, _) => Duration::ZERO,
                (Found::Lines | Found::Blocked, _) => BUSY,
                (Found::Nothing, Access::Off) => OFF,
                (Found::Nothing, Access::Errors | Access::All) => QUIET,
            };
        }
    }

    fn change(&mut self, sink: Sink) {
        // Of a line that stands half in the old sink the rest is of no use in the new one.
        let (there, rest) = self.batch.as_bytes().split_at(self.written);
        if !there.is_empty() && !there.ends_with(b"\n") {
            self.written += rest.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            self.lose(1);
        }
        self.sink = sink;
        self.torn = false;
    }

    fn follow(&mut self) {
        let now = clock::now();
        if now.since(self.followed) >= FOLLOW {
            self.followed = now;
            if let Err(error) = self.sink.follow() {
                self.complain(&error);
            }
        }
    }

    /// Writes what is in the rings, of each at most a batch. Goes round once: where lines never
    /// cease to come, the file is followed and words are heard in between.
    fn empty(&mut self) -> Found {
        if !self.write() {
            return Found::Blocked;
        }
        self.calendar.set(clock::now(), clock::wall());
        let rings = Arc::clone(&self.rings);
        let mut found = Found::Lines;
        for ring in rings.each() {
            let start = self.batch.len();
            let enough = ring.drain(|line| {
                render::line(&mut self.batch, line, self.sink.format, &mut self.calendar);
                if self.batch.len() - start < BATCH { Enough::No } else { Enough::Yes }
            });
            if enough == Enough::Yes {
                found = Found::More;
            }
        }
        if self.batch.is_empty() {
            return Found::Nothing;
        }
        if self.torn {
            self.batch.insert(0, '\n');
        }
        if self.write() { found } else { Found::Blocked }
    }

    /// Writes the batch; whether all of it went, or is lost.
    fn write(&mut self) -> bool {
        while self.written < self.batch.len() {
            let rest = self.batch.as_bytes().get(self.written..).unwrap_or_default();
            match self.sink.write(rest) {
                Ok(0) => return false,
                Ok(count) => self.written += count,
                Err(error) => {
                    self.tear();
                    self.complain(&error);
                    return true;
                }
            }
        }
        self.torn &= self.written == 0;
        self.batch.clear();
        self.written = 0;
        true
    }

    /// Loses what is left of the batch; the first line of it may stand half in the sink.
    fn tear(&mut self) {
        let (there, rest) = self.batch.as_bytes().split_at(self.written);
        // The first line end may be the one that ends a line torn before.
        let ends = usize::from(self.torn && there.is_empty());
        let lines = memchr::memchr_iter(b'\n', rest).count() - ends;
        self.torn = there.last().map_or(self.torn, |byte| *byte != b'\n');
        self.lose(lines as u64);
        self.batch.clear();
        self.written = 0;
    }

    fn lose(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }

    /// Says what is wrong, once in a while.
    fn complain(&mut self, error: &io::Error) {
        let now = clock::now();
        if self.complained.is_none_or(|before| now.since(before) >= COMPLAIN) {
            self.complained = Some(now);
            log::warn!("the access log cannot be written, and lines are dropped: {error}");
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests read files")]
mod tests {
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

    use super::super::record::tests::sample;
    use super::*;
    use crate::breaker::Core;
    use crate::config::{LineFormat, Log};

    fn sink(path: &Path) -> Sink {
        Sink::open(&Log {
            level: log::LevelFilter::Info,
            access: Access::All,
            format: LineFormat::Common,
            file: Some(path.to_owned()),
        })
        .unwrap()
    }

    #[test]
    fn lines_of_all_cores_are_there_after_a_flush_and_follow_a_change() {
        let directory = tempfile::TempDir::new().unwrap();
        let (old, new) = (directory.path().join("old"), directory.path().join("new"));
        let rings = Arc::new(Rings::new(2));
        let writer = Writer::start(Arc::clone(&rings), sink(&old)).unwrap();
        rings.put(&Core::claim(0), &sample());
        rings.put(&Core::claim(1), &sample());
        writer.flush();
        writer.change(sink(&new));
        rings.put(&Core::claim(1), &sample());
        writer.flush();
        let count = |path| std::fs::read(path).unwrap().split(|byte| *byte == b'\n').count() - 1;
        assert_eq!((count(&old), count(&new), writer.dropped()), (2, 1, 0));
    }

    #[test]
    fn while_lines_never_cease_a_change_is_taken_and_a_flush_ends() {
        let directory = tempfile::TempDir::new().unwrap();
        let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
        let rings = Arc::new(Rings::new(2));
        let writer = Writer::start(Arc::clone(&rings), sink(&old)).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for core in 0..2 {
                let (rings, over) = (&rings, &over);
                scope.spawn(move || {
                    let core = Core::claim(core);
                    while !over.load(Ordering::Relaxed) {
                        // One after the other without end, and fewer than can be written.
                        rings.put(&core, &sample());
                        let paused = clock::now();
                        while clock::now().since(paused) < Duration::from_micros(10) {}
                    }
                });
            }
            let began = clock::now();
            let waited = |what| {
                let spent = clock::now().since(began);
                assert!(spent < Duration::from_secs(20), "{what} after {spent:?}");
                std::thread::sleep(Duration::from_millis(5));
            };
            let written = |path| std::fs::metadata(path).unwrap().len();
            while written(&old) == 0 {
                waited("no line");
            }
            writer.change(sink(&new));
            while written(&new) == 0 {
                waited("no change");
            }
            let (done, flushed) = sync_channel(1);
            writer.jobs.send(Job::Flush(done)).unwrap();
            while flushed.try_recv().is_err() {
                waited("no flush");
            }
            over.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn of_a_line_that_was_cut_in_the_old_file_no_rest_stands_in_the_new_one() {
        let directory = tempfile::TempDir::new().unwrap();
        let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
        for (written, expected, lost) in [(0, "one\ntwo\n", 0), (2, "two\n", 1), (4, "two\n", 0)] {
            std::fs::write(&new, "").unwrap();
            let mut thread = Thread {
                rings: Arc::new(Rings::new(1)),
                lost: Arc::default(),
                sink: sink(&old),
                batch: "one\ntwo\n".to_owned(),
                written,
                torn: false,
                calendar: Calendar::new(),
                complained: None,
                followed: clock::now(),
            };
            thread.change(sink(&new));
            assert!(thread.write());
            assert_eq!(std::fs::read_to_string(&new).unwrap(), expected);
            assert_eq!(thread.lost.load(Ordering::Relaxed), lost);
        }
    }

    #[test]
    fn behind_a_line_that_was_cut_the_next_begins_a_line_of_its_own() {
        let directory = tempfile::TempDir::new().unwrap();
        let rings = Arc::new(Rings::new(1));
        let mut thread = Thread {
            rings: Arc::clone(&rings),
            lost: Arc::default(),
            sink: sink(Path::new("/dev/full")),
            batch: "one\ntwo\n".to_owned(),
            written: 2,
            torn: false,
            calendar: Calendar::new(),
            complained: None,
            followed: clock::now(),
        };
        assert!(thread.write() && thread.torn);
        assert_eq!(thread.lost.load(Ordering::Relaxed), 2);
        rings.put(&Core::claim(0), &sample());
        assert!(thread.empty() == Found::Lines && thread.torn, "full still");
        assert_eq!(thread.lost.load(Ordering::Relaxed), 3);
        // There is room again.
        let path = directory.path().join("log");
        thread.sink = sink(&path);
        (0..2).for_each(|_| rings.put(&Core::claim(0), &sample()));
        assert!(thread.empty() == Found::Lines && !thread.torn);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().map(str::is_empty).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(thread.lost.load(Ordering::Relaxed), 3);
    }
}
