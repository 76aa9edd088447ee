//! Tasks of the control plane that outlive a panic of theirs.
//!
//! Enters: what makes a task. Leaves: the task, begun anew after each panic, a defect of ours, for
//! as long as the process lives: one that had ended would leave a process that looks well and no
//! longer tells what breakers do, or where names lead. Owns nothing.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

/// The pause before it is begun anew: what was wrong may still be.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs what `begin` makes until it ends without a panic. `what` names it in the log, which has the
/// panic itself already.
pub(super) fn keep<F>(what: &'static str, begin: impl Fn() -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        while AssertUnwindSafe(begin()).catch_unwind().await.is_err() {
            log::error!("{what} has ended by a defect of fusebox: report it; it begins anew");
            tokio::time::sleep(PAUSE).await;
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn what_panics_is_begun_anew_and_what_ends_is_not() {
        super::super::runtime().unwrap().block_on(async {
            let begun = Arc::new(AtomicU32::new(0));
            let count = Arc::clone(&begun);
            let (says, mut hears) = tokio::sync::mpsc::channel(1);
            keep("a test", move || {
                let (nth, says) = (count.fetch_add(1, Ordering::Relaxed), says.clone());
                async move {
                    assert!(nth > 0, "a defect");
                    says.send(nth).await.unwrap();
                }
            });
            let anew = tokio::time::timeout(Duration::from_secs(10), hears.recv()).await;
            assert_eq!(anew, Ok(Some(1)));
            let gone = tokio::time::timeout(Duration::from_secs(10), hears.recv()).await;
            assert_eq!(gone, Ok(None), "it is not kept beyond its end");
            assert_eq!(begun.load(Ordering::Relaxed), 2);
        });
    }
}
