//! One connection that comes back.
//!
//! Enters: a [`Target`], the time, and word of what failed. Leaves: the open [`Connection`], or why
//! there is none. Dialling happens beside everything else: nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::dial::{Connection, Dialler, Target};
use super::failure::{Failure, Kind};
use crate::clock::Now;

/// The pause after a second failure; it doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// It grows no further: a Redis that is back is found within this time and half of it.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A connection that lasted so long failed by accident: it is tried again at once.
const SOUND: Duration = Duration::from_secs(1);

/// How often something failed in a row, and so how long it is left alone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pause {
    failures: u32,
}

/// A connection, open or on its way.
pub(super) struct Link {
    target: Target,
    state: State,
    pause: Pause,
}

enum State {
    Open { connection: Connection, since: Now },
    Dialling { task: JoinHandle<Result<Connection, Failure>>, before: Failure },
    Closed { why: Failure, until: Now },
}

impl Pause {
    /// How long it is left alone after one more failure; `dice` is any number.
    pub(super) fn next(&mut self, dice: u64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            return Duration::ZERO;
        }
        let doubled = PAUSE_MIN.saturating_mul(1 << (self.failures - 2).min(16));
        // By half, so that a fleet does not come back in one moment.
        let share = u32::try_from(dice % 1_001).unwrap_or(0);
        doubled.min(PAUSE_MAX) / 2 + doubled.min(PAUSE_MAX) / 1_000 * share
    }

    /// It went well.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

impl Link {
    /// A link that is opened when it is first looked after.
    pub(super) fn new(target: Target, now: Now) -> Self {
        let why = Failure::none_yet();
        Self { target, state: State::Closed { why, until: now }, pause: Pause::default() }
    }

    pub(super) const fn target(&self) -> &Target {
        &self.target
    }

    /// Takes what dialling has come to, and dials where it is time to.
    pub(super) async fn look_after(&mut self, dialler: &Arc<Dialler>, now: Now, dice: u64) {
        if let State::Dialling { task, .. } = &mut self.state
            && task.is_finished()
        {
            match task.await {
                Ok(Ok(connection)) => self.state = State::Open { connection, since: now },
                Ok(Err(failure)) => self.close(failure, now, dice),
                Err(error) => {
                    let text = format!("connecting ended: {error}");
                    self.close(Failure::new(Kind::Unreachable, text), now, dice);
                }
            }
        }
        if let State::Closed { why, until } = &self.state
            && *until <= now
        {
            let (dialler, target) = (Arc::clone(dialler), self.target.clone());
            let task = tokio::spawn(async move {
                let dialled = dialler.dial(&target).await;
                dialler.changed.notify_one();
                dialled
            });
            self.state = State::Dialling { task, before: why.clone() };
        }
    }

    /// The open connection, or why there is none.
    pub(super) fn connection(&self) -> Result<&Connection, &Failure> {
        match &self.state {
            State::Open { connection, .. } => Ok(connection),
            State::Dialling { before: why, .. } | State::Closed { why, .. } => Err(why),
        }
    }

    /// The connection failed: it is closed, and opened again after a pause.
    pub(super) fn lost(&mut self, failure: Failure, now: Now, dice: u64) {
        if let State::Open { since, .. } = &self.state {
            if now.since(*since) >= SOUND {
                self.pause.reset();
            }
            self.close(failure, now, dice);
        }
    }

    fn close(&mut self, why: Failure, now: Now, dice: u64) {
        self.state = State::Closed { why, until: now.after(self.pause.next(dice)) };
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let State::Dialling { task, .. } = &self.state {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_differ_by_chance() {
        let mut pause = Pause::default();
        let least: Vec<_> = (0..8).map(|_| pause.next(0).as_millis()).collect();
        assert_eq!(least, [0, 50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(pause.next(1_000).as_millis(), 3000);
        pause.reset();
        assert_eq!(pause.next(7), Duration::ZERO);
        let most: Vec<_> = (0..3).map(|_| pause.next(1_000).as_millis()).collect();
        assert_eq!(most, [150, 300, 600]);
    }
}
