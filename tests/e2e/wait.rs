//! Waiting for a condition, always with a deadline.

use std::fmt::Debug;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for what must happen: far beyond what a loaded machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds; a test that waits in vain fails with `what`.
#[track_caller]
pub(crate) fn until(what: &str, condition: impl FnMut() -> bool) {
    until_at_most(PATIENCE, what, condition);
}

/// The same, for what takes its time: at most `span`.
#[track_caller]
pub(crate) fn until_at_most(span: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < span, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until `look` sees `wanted`; a test that waits in vain fails with what was seen last.
#[track_caller]
pub(crate) fn until_seen<T: PartialEq + Debug>(wanted: &T, mut look: impl FnMut() -> T) {
    let started = Instant::now();
    loop {
        let seen = look();
        if seen == *wanted {
            return;
        }
        let patient = started.elapsed() < PATIENCE;
        assert!(patient, "waited in vain for {wanted:?}, there still is {seen:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Lets `span` pass: for spans that are themselves the subject of a test.
pub(crate) fn pass(span: Duration) {
    thread::sleep(span);
}

/// A door that holds threads until it is opened.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    is_open: Mutex<bool>,
    moved: Condvar,
}

impl Gate {
    /// Lets everyone through from now on.
    pub(crate) fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.moved.notify_all();
    }

    /// Stands before the door; goes on after `PATIENCE` too, so that no thread outlives its test.
    pub(crate) fn enter(&self) {
        let shut = self.is_open.lock().unwrap();
        drop(self.moved.wait_timeout_while(shut, PATIENCE, |is_open| !*is_open).unwrap());
    }
}
