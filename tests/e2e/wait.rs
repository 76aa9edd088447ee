//! Waiting for a condition, always with a deadline.

use std::fmt::{Debug, Display};
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
    look_until(span, || if condition() { Ok(()) } else { Err(what) });
}

/// Waits until `look` sees `wanted`; a test that waits in vain fails with what was seen last.
#[track_caller]
pub(crate) fn until_seen<T: PartialEq + Debug>(wanted: &T, mut look: impl FnMut() -> T) {
    look_until(PATIENCE, || {
        let seen = look();
        if seen == *wanted { Ok(()) } else { Err(format!("for {wanted:?}, there is {seen:?}")) }
    });
}

/// Looks again and again until nothing is missing, for `span` at most.
#[track_caller]
fn look_until<W: Display>(span: Duration, mut look: impl FnMut() -> Result<(), W>) {
    let started = Instant::now();
    while let Err(missing) = look() {
        assert!(started.elapsed() < span, "waited in vain: {missing}");
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
