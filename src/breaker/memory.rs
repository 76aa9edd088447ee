//! What a breaker remembers, kept across reloads.
//!
//! Enters: the policy's shape. Leaves: the state word, the counters and the tallies that `admit`
//! and `settle` work on. A reload keeps each of them where its geometry fits the new policy, and
//! begins a new one where it does not; the state word, its epochs, the override and the tallies fit
//! every policy, so both generations look at the same ones while one replaces the other.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::atomics::{AtomicU64, Ordering};
use super::buckets::Buckets;
use super::circuit::Circuit;
use super::policy::{Policy, Window};
use super::probes::Probes;
use super::run::Run;
use super::window::{Counted, Moments};

/// What a breaker remembers, kept across reloads by `registry`. A copy is the same memory.
#[derive(Clone, Debug)]
pub struct Memory {
    pub(super) circuit: Arc<Circuit>,
    pub(super) tallies: Arc<[CachePadded<Tally>]>,
    /// Failures that count together, in a fixed window or since the last close.
    pub(super) counted: Option<Arc<Counted>>,
    /// The same, within the last span exactly.
    pub(super) moments: Option<Arc<Moments>>,
    /// Exchanges within the last span.
    pub(super) buckets: Option<Arc<Buckets>>,
    /// Failures in a row.
    pub(super) run: Option<Arc<Run>>,
    /// The permits of a half-open round.
    pub(super) probes: Option<Arc<Probes>>,
    geometry: Geometry,
}

/// What one core has seen; only that core writes it. Two lines at most.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) success: AtomicU64,
    pub(super) failure: AtomicU64,
    pub(super) neutral: AtomicU64,
    pub(super) slow: AtomicU64,
    pub(super) stale: AtomicU64,
    /// By [`super::Reason`].
    pub(super) refused: [AtomicU64; 4],
    pub(super) spared: [AtomicU64; 4],
    /// What this core's share of a ramp has added up to, in parts of a million of a request.
    pub(super) ramp: AtomicU64,
}

/// The shape of a breaker's counters, where they have more than one; equal ones are shared across a
/// reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Geometry {
    /// Slots per core.
    moments: Option<usize>,
    /// Microseconds of a bucket.
    bucket_width: Option<u64>,
    /// Slots.
    probes: Option<usize>,
}

impl Geometry {
    const NONE: Self = Self { moments: None, bucket_width: None, probes: None };

    fn of(policy: &Policy) -> Self {
        let logged = policy.trip.failures.filter(|it| matches!(it.window, Window::Log(_)));
        Self {
            moments: logged.map(|failures| Moments::slots(failures.count.get())),
            bucket_width: policy.bucket_span().map(Buckets::width),
            probes: policy.recovery().map(|recovery| Probes::slots(recovery.requests.get())),
        }
    }
}

impl Memory {
    /// A closed breaker that has seen nothing, for `cores` cores; `seed` is what chance is made of.
    #[must_use]
    pub fn new(policy: &Policy, cores: usize, seed: u64) -> Self {
        let tallies = (0..cores).map(|_| CachePadded::new(Tally::default())).collect();
        let empty = Self {
            circuit: Arc::new(Circuit::new(seed)),
            tallies,
            counted: None,
            moments: None,
            buckets: None,
            run: None,
            probes: None,
            geometry: Geometry::NONE,
        };
        empty.fit(policy)
    }

    /// This memory for `policy`: what fits is kept, the rest begins anew.
    #[must_use]
    pub fn fit(&self, policy: &Policy) -> Self {
        let (old, new) = (self.geometry, Geometry::of(policy));
        let cores = self.tallies.len();
        let count = policy.trip.failures.map_or(0, |failures| failures.count.get());
        let requests = policy.recovery().map_or(1, |recovery| recovery.requests.get());
        let span = policy.bucket_span().unwrap_or_default();
        let counts = policy.trip.failures.map(|failures| failures.window);
        let counts = matches!(counts, Some(Window::Fixed(_) | Window::Cumulative));
        let moments = self.moments.clone().filter(|_| old.moments == new.moments);
        let buckets = self.buckets.clone().filter(|_| old.bucket_width == new.bucket_width);
        let probes = self.probes.clone().filter(|_| old.probes == new.probes);
        Self {
            circuit: Arc::clone(&self.circuit),
            tallies: Arc::clone(&self.tallies),
            counted: counts.then(|| keep(self.counted.clone(), || Counted::new(cores))),
            moments: new.moments.map(|_| keep(moments, || Moments::new(cores, count))),
            buckets: new.bucket_width.map(|_| keep(buckets, || Buckets::new(cores, span))),
            run: policy.trip.run.map(|_| keep(self.run.clone(), Run::new)),
            probes: new.probes.map(|_| keep(probes, || Probes::new(requests))),
            geometry: new,
        }
    }

    /// Whether both share the state.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.circuit, &other.circuit)
    }

    /// Adds one to this core's counter.
    #[inline]
    pub(super) fn tally(&self, core: usize, which: impl Fn(&Tally) -> &AtomicU64) {
        if let Some(tally) = self.tallies.get(core) {
            let counter = which(tally);
            // Relaxed load and store, no read-modify-write: this core is the only writer.
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }
}

fn keep<T>(old: Option<Arc<T>>, new: impl FnOnce() -> T) -> Arc<T> {
    old.unwrap_or_else(|| Arc::new(new()))
}
