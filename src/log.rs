//! Lines from anywhere → one writer of standard error.
//!
//! Enters: records of the `log` facade, from any thread. Leaves: one line each on standard error,
//! for people on a terminal, as JSON otherwise. Owns a bounded queue and the thread that empties
//! it: a stuck standard error costs lines, which are counted, and never blocks whoever logs.
//!
//! A line holds at most 2 KiB of message, and no control byte of it reaches a terminal or starts a
//! line of its own.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use ::log::{Level, LevelFilter, Log, Metadata, Record};

use crate::clock;

/// Lines that wait at most: some seconds of a busy proxy, a few megabytes at worst.
const QUEUE_MAX: usize = 8192;

/// Bytes of one message: enough for any line of ours, short of what log collectors cut.
const MESSAGE_MAX: usize = 2048;

/// How long an exit waits for a standard error that nobody reads.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people, with colours.
    Coloured,
    /// For people.
    Plain,
    /// One JSON object.
    Json,
}

struct Logger {
    queue: SyncSender<Job>,
    format: Format,
    dropped: AtomicU64,
}

/// A line for machines, in the order they are read by people all the same.
#[derive(serde::Serialize)]
struct Fields<'a> {
    time: &'a str,
    level: &'a str,
    target: &'a str,
    message: &'a str,
}

enum Job {
    Line(String),
    Flush(SyncSender<()>),
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Starts the writer, and writes panics as lines from then on. A second call only sets the level.
pub fn start(level: LevelFilter) {
    set_level(level);
    let (queue, jobs) = sync_channel(QUEUE_MAX);
    let logger = Logger { queue, format: format_of_stderr(), dropped: AtomicU64::new(0) };
    if LOGGER.set(logger).is_err() {
        return;
    }
    let writer = std::thread::Builder::new().name("log".to_owned());
    if writer.spawn(move || write_all(&jobs)).is_err() {
        return;
    }
    if let Some(logger) = LOGGER.get() {
        // Refused only where another logger was set before: then that one writes.
        let _ = ::log::set_logger(logger);
    }
    std::panic::set_hook(Box::new(|panic| ::log::error!("a task panicked: {panic}")));
}

/// Lines below `level` are not written from now on.
pub fn set_level(level: LevelFilter) {
    ::log::set_max_level(level);
}

/// Waits until what was logged before is written, at most a second.
pub fn flush() {
    let Some(logger) = LOGGER.get() else { return };
    let (done, written) = sync_channel(1);
    if logger.queue.try_send(Job::Flush(done)).is_ok() {
        let _ = written.recv_timeout(FLUSH_MAX);
    }
}

/// How many lines found the queue full.
#[must_use]
pub fn dropped() -> u64 {
    LOGGER.get().map_or(0, |logger| logger.dropped.load(Ordering::Relaxed))
}

/// Whether diagnostics on standard error may be coloured: a terminal, and `NO_COLOR` is not set.
#[must_use]
pub fn coloured() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !refused
}

/// Whether lines are written for people: standard error is a terminal.
#[must_use]
pub fn is_for_people() -> bool {
    std::io::stderr().is_terminal()
}

fn format_of_stderr() -> Format {
    if !is_for_people() {
        Format::Json
    } else if coloured() {
        Format::Coloured
    } else {
        Format::Plain
    }
}

fn write_all(jobs: &Receiver<Job>) {
    let mut stderr = std::io::stderr();
    while let Ok(job) = jobs.recv() {
        match job {
            // Nobody is left to tell when standard error itself fails.
            Job::Line(line) => drop(stderr.write_all(line.as_bytes())),
            Job::Flush(done) => drop(done.try_send(())),
        }
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= ::log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let message = record.args().to_string();
        let line = line(self.format, clock::wall(), record.level(), record.target(), &message);
        if self.queue.try_send(Job::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        flush();
    }
}

/// One line, with its line end.
fn line(format: Format, wall: Duration, level: Level, target: &str, message: &str) -> String {
    let message = cut(message);
    let time = rfc3339(wall);
    if format == Format::Json {
        let level = level.as_str().to_ascii_lowercase();
        let fields = Fields { time: &time, level: &level, target, message };
        // A struct of strings always has a JSON form.
        return serde_json::to_string(&fields).unwrap_or_default() + "\n";
    }
    let time_of_day = time.get(11..).unwrap_or_default();
    let (colour, word) = match level {
        Level::Error => ("\x1b[1;31m", "error: "),
        Level::Warn => ("\x1b[1;33m", "warning: "),
        Level::Info => ("", ""),
        Level::Debug => ("\x1b[2m", "debug: "),
        Level::Trace => ("\x1b[2m", "trace: "),
    };
    let message = escaped(message);
    if format == Format::Plain {
        return format!("{time_of_day}  {word}{message}\n");
    }
    format!("\x1b[2m{time_of_day}\x1b[0m  {colour}{word}\x1b[0m{message}\n")
}

fn cut(message: &str) -> &str {
    message.get(..message.floor_char_boundary(MESSAGE_MAX)).unwrap_or(message)
}

/// Control characters as escapes: no message forges a line or moves a cursor.
fn escaped(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for c in message.chars() {
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

/// A point of wall time as `2026-01-31T12:00:04.112Z`.
#[must_use]
pub fn rfc3339(wall: Duration) -> String {
    let (days, seconds) = (wall.as_secs() / 86_400, wall.as_secs() % 86_400);
    let (year, month, day) = clock::civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let millis = wall.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// A point of wall time as access logs write it: `31/Jan/2026:12:00:04 +0000`.
#[must_use]
pub fn clf(wall: Duration) -> String {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let (year, month, day) = clock::civil(wall.as_secs() / 86_400);
    let at = usize::try_from(month.saturating_sub(1) * 3).unwrap_or(0);
    let (month, seconds) = (MONTHS.get(at..at + 3).unwrap_or_default(), wall.as_secs() % 86_400);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Duration = Duration::from_millis(951_825_604_112); // 2000-02-29T12:00:04.112Z

    #[test]
    fn dates_are_right_around_leap_days_and_centuries() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_798_761_600, "2027-01-01T00:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_secs(seconds)), expected);
        }
        assert_eq!(rfc3339(NOON), "2000-02-29T12:00:04.112Z");
        assert_eq!(clf(NOON), "29/Feb/2000:12:00:04 +0000");
        assert_eq!(clf(Duration::from_secs(1_798_761_599)), "31/Dec/2026:23:59:59 +0000");
    }

    #[test]
    fn a_line_for_people_carries_no_control_byte_of_the_message() {
        let line = line(Format::Plain, NOON, Level::Warn, "t", "a\nerror: forged\x1b[2J\u{9b}b→c");
        let expected = "12:00:04.112Z  warning: a\\nerror: forged\\u{1b}[2J\\u{9b}b→c\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn a_line_for_machines_is_one_json_object() {
        let line = line(Format::Json, NOON, Level::Error, "fusebox", "a \"b\"\n\0");
        let expected = "{\"time\":\"2000-02-29T12:00:04.112Z\",\"level\":\"error\",\
                        \"target\":\"fusebox\",\"message\":\"a \\\"b\\\"\\n\\u0000\"}\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let message = "é".repeat(MESSAGE_MAX);
        assert_eq!(cut(&message).len(), MESSAGE_MAX);
        let message = format!("x{message}");
        assert_eq!(cut(&message).len(), MESSAGE_MAX - 1);
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_never_blocks() {
        let (queue, jobs) = sync_channel(2);
        let logger = Logger { queue, format: Format::Json, dropped: AtomicU64::new(0) };
        ::log::set_max_level(LevelFilter::Info);
        for _ in 0..5 {
            logger.log(&Record::builder().level(Level::Info).args(format_args!("x")).build());
            logger.log(&Record::builder().level(Level::Debug).args(format_args!("x")).build());
        }
        assert_eq!(logger.dropped.load(Ordering::Relaxed), 3);
        drop(jobs);
    }
}
