//! Futures whose state lies in pooled memory while they run.
//!
//! Enters: a future. Leaves: the same, to be awaited, with its state in a [`Block`]. What awaits it
//! is smaller by that state, and the state itself lies where the last one lay: warm, and owed to
//! those that run, not to all that might.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]
#![expect(unsafe_code, reason = "places a value in a block and pins it there")]

use std::future::Future;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use super::cache;
use super::memory::{Block, PAGE};

/// A future that lies in a block of its own.
pub struct Nest<F> {
    future: NonNull<F>,
    /// Held for the memory: given back behind the future in it.
    _block: Block,
}

impl<F: Future> Nest<F> {
    /// Places the future that `make` makes. It is made in its place: handed over as a value, all of
    /// the room that it will ever need would be copied, which costs more than all the rest here.
    #[inline(always)]
    #[must_use]
    pub fn new(make: impl FnOnce() -> F) -> Self {
        const { assert!(align_of::<F>() <= PAGE, "a block begins at a page") };
        let block = Block::of(size_of::<F>().max(1));
        let place = block.start().cast::<F>();
        // SAFETY: the block is ours, large enough, and aligned as its page is.
        unsafe { place.write(make()) };
        Self { future: place, _block: block }
    }
}

impl<F: Future> Future for Nest<F> {
    type Output = F::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        cache::fetch(self.future.as_ptr(), size_of::<F>());
        // SAFETY: the future stays in its block until it is dropped there, so it is pinned.
        unsafe { Pin::new_unchecked(self.future.as_mut()) }.poll(cx)
    }
}

impl<F> Drop for Nest<F> {
    fn drop(&mut self) {
        // SAFETY: placed by `new`, and dropped here alone; its block is given back after it.
        unsafe { self.future.drop_in_place() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;
    use std::task::Waker;

    #[test]
    fn a_nested_future_runs_and_is_dropped_once_whether_or_not_it_ended() {
        let held = Rc::new(7);
        for ends in [true, false] {
            let inner = Rc::clone(&held);
            let nest = Nest::new(|| async move {
                if !ends {
                    std::future::pending::<()>().await;
                }
                *inner
            });
            assert_eq!(size_of_val(&nest), 3 * size_of::<usize>());
            let mut nest = Box::pin(nest);
            let polled = nest.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(polled, if ends { Poll::Ready(7) } else { Poll::Pending });
            drop(nest);
            assert_eq!(Rc::strong_count(&held), 1);
        }
    }
}
