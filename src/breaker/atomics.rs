//! The atomics of this room, and the one place where they are exchanged for a test's.
//!
//! Enters: a build. Leaves: the standard library's atomics; loom's, where `loom` explores every
//! order of memory; or, in unit tests, ones that tell a scheduler before each access, so that a
//! simulation can stop a core between any two of them. Owns nothing.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

#[cfg(loom)]
pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, fence};
#[cfg(not(any(loom, test)))]
pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, fence};
#[cfg(test)]
pub(super) use stepped::{AtomicU32, AtomicU64, fence};

pub(super) use std::sync::atomic::Ordering;

#[cfg(test)]
pub(super) mod stepped {
    use super::Ordering;
    use std::cell::Cell;
    use std::sync::atomic;

    thread_local! {
        static BEFORE: Cell<Option<fn(Access)>> = const { Cell::new(None) };
    }

    /// What is about to be done to shared memory, and at which address.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::breaker) enum Access {
        Read(usize),
        Write(usize),
        Fence(Ordering),
    }

    /// From now on `before` is called ahead of every access of this thread.
    pub(in crate::breaker) fn announce(before: fn(Access)) {
        BEFORE.set(Some(before));
    }

    fn step(access: Access) {
        if let Some(before) = BEFORE.get() {
            before(access);
        }
    }

    pub(in crate::breaker) fn fence(order: Ordering) {
        step(Access::Fence(order));
        atomic::fence(order);
    }

    macro_rules! stepped {
        ($name:ident, $number:ty) => {
            #[derive(Debug, Default)]
            pub(in crate::breaker) struct $name(atomic::$name);

            #[allow(dead_code, reason = "not every number needs every access")]
            impl $name {
                pub(in crate::breaker) const fn new(value: $number) -> Self {
                    Self(atomic::$name::new(value))
                }

                fn address(&self) -> usize {
                    std::ptr::from_ref(self).addr()
                }

                pub(in crate::breaker) fn load(&self, order: Ordering) -> $number {
                    step(Access::Read(self.address()));
                    self.0.load(order)
                }

                pub(in crate::breaker) fn store(&self, value: $number, order: Ordering) {
                    step(Access::Write(self.address()));
                    self.0.store(value, order);
                }

                pub(in crate::breaker) fn compare_exchange(
                    &self,
                    seen: $number,
                    next: $number,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$number, $number> {
                    step(Access::Write(self.address()));
                    self.0.compare_exchange(seen, next, success, failure)
                }

                pub(in crate::breaker) fn fetch_add(
                    &self,
                    by: $number,
                    order: Ordering,
                ) -> $number {
                    step(Access::Write(self.address()));
                    self.0.fetch_add(by, order)
                }
            }
        };
    }

    stepped!(AtomicU32, u32);
    stepped!(AtomicU64, u64);
}
