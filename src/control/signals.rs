//! Signals of the operator → orders.
//!
//! Enters: SIGTERM and SIGINT (drain and end; the second one ends at once), SIGHUP (reload).
//! Leaves: orders for the main task. Installed before anything is bound, so that a signal during
//! the start is kept and obeyed instead of killing the process halfway.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::plane::{Order, Plane};

/// The signals that were asked for, kept until somebody listens.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// From now on the signals do nothing but wait to be obeyed.
pub(super) fn install() -> io::Result<Signals> {
    Ok(Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hangup: signal(SignalKind::hangup())?,
    })
}

impl Signals {
    /// Obeys them.
    pub(super) fn obey(self, plane: &Arc<Plane>) {
        let Self { terminate, interrupt, mut hangup } = self;
        tokio::spawn(end_at("SIGTERM", terminate, Arc::clone(plane)));
        tokio::spawn(end_at("SIGINT", interrupt, Arc::clone(plane)));
        let orders = plane.orders.clone();
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                log::info!("SIGHUP: reloading");
                if orders.send(Order::Reload(None)).is_err() {
                    return;
                }
            }
        });
    }
}

async fn end_at(name: &'static str, mut signal: Signal, plane: Arc<Plane>) {
    while signal.recv().await.is_some() {
        if !plane.stop() {
            log::warn!("{name} again: ending at once");
            crate::log::flush();
            std::process::exit(1);
        }
        log::info!("{name}: draining");
    }
}
