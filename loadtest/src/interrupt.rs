//! SIGINT and SIGTERM: loads end early, and what was started is stopped in order.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on the first signal ends loads, and a second one the process.
pub(crate) fn install() -> io::Result<()> {
    let raised = Arc::clone(FLAG.get_or_init(Arc::default));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&raised))?;
        flag::register(signal, Arc::clone(&raised))?;
    }
    Ok(())
}

/// Whether somebody wants an end.
pub(crate) fn is_raised() -> bool {
    FLAG.get().is_some_and(|raised| raised.load(Ordering::Relaxed))
}
