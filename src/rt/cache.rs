//! Memory asked for before it is needed.
//!
//! Enters: where it lies. Leaves: nothing; the processor brings it nearer meanwhile. With hundreds
//! of connections under way what one of them needs has left the cache when it is its turn again.
//! Futures in futures are then loaded line by line, each of which has to come before it is known
//! which is next: asked for together they come together. It is a matter of speed alone.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]
#![expect(unsafe_code, reason = "an instruction of the processor, and a pinned field")]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Bytes of a line.
const LINE: usize = 64;

/// How much is asked for of what is used from its beginning: most heads are not longer.
pub(super) const FRONT: usize = 4 * LINE;

/// Asks for `len` bytes at `start`, which may lie anywhere. On x86-64 alone: elsewhere nothing.
#[inline(always)]
pub(super) fn fetch<T>(start: *const T, len: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which reads nothing and never faults, whatever the address.
        let ask = |at| unsafe {
            _mm_prefetch::<_MM_HINT_T0>(start.cast::<i8>().wrapping_add(at));
        };
        for at in (0..len).step_by(LINE) {
            ask(at);
        }
        // What does not begin at the border of a line ends in one more.
        if let Some(last) = len.checked_sub(1) {
            ask(last);
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, len);
}

/// A future that asks for all of itself before it runs on.
pub(super) struct Fetched<F>(pub(super) F);

impl<F: Future> Future for Fetched<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: nothing is moved out; the field is pinned as what holds it is. Its address is
        // taken without a shared reference, which would cover what the future borrows of itself.
        let this = unsafe { self.get_unchecked_mut() };
        fetch(std::ptr::from_mut(&mut this.0), size_of::<F>());
        // SAFETY: as above.
        unsafe { Pin::new_unchecked(&mut this.0) }.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn asking_for_memory_that_is_not_there_harms_nobody() {
        fetch(std::ptr::null::<u8>(), 4 * LINE);
        fetch(std::ptr::without_provenance::<u8>(usize::MAX), LINE + 1);
        fetch(std::ptr::dangling::<u8>(), 0);
    }

    #[test]
    fn a_fetched_future_runs_as_it_would() {
        let mut fetched = Box::pin(Fetched(async {
            let held = [7u8; 300];
            let mut turns = 0;
            std::future::poll_fn(|_| {
                turns += 1;
                if turns == 2 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            held.iter().map(|byte| u32::from(*byte)).sum::<u32>()
        }));
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(fetched.as_mut().poll(&mut cx), Poll::Pending);
        assert_eq!(fetched.as_mut().poll(&mut cx), Poll::Ready(2100));
    }
}
