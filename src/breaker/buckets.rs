//! Exchanges of the last span by core and tenth of the span: how many, how many failed or were
//! slow.
//!
//! Enters: the end of an exchange, on one core. Leaves: sums over all cores. Each core writes only
//! its own buckets with plain stores, a success as cheaply as a count of its own; who records a
//! failure or a slow exchange then fences and sums (see `window.rs` for why the fence).
//!
//! Exact to one bucket: what is older than the span never counts, what is younger than nine tenths
//! of it always does.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::Core;
use super::atomics::{AtomicU32, AtomicU64, Ordering, fence};
use crate::clock::Now;

/// Into how many buckets a span is cut.
pub(super) const BUCKETS: usize = 10;

/// A stamp packs the number of a bucket (46 bits) above an epoch.
const EPOCH_BITS: u32 = 18;

/// What one exchange adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Good,
    Slow,
    Failed,
    FailedSlowly,
}

impl Entry {
    pub(super) const fn failed(self) -> bool {
        matches!(self, Self::Failed | Self::FailedSlowly)
    }

    pub(super) const fn slow(self) -> bool {
        matches!(self, Self::Slow | Self::FailedSlowly)
    }
}

/// What counts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Exchanges that ended.
    pub requests: u64,
    /// How many of them failed.
    pub failed: u64,
    /// How many of them were slow.
    pub slow: u64,
}

impl Sums {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            failed: self.failed.saturating_add(other.failed),
            slow: self.slow.saturating_add(other.slow),
        }
    }
}

#[derive(Debug)]
pub(super) struct Buckets {
    /// Microseconds of one bucket.
    width: u64,
    shards: Box<[CachePadded<Shard>]>,
}

/// One core's buckets; only that core writes them.
#[derive(Debug, Default)]
struct Shard {
    /// The stamp of the bucket that is written now, and when (microseconds) it ends: for the writer
    /// alone, to spare it a division.
    stamp: AtomicU64,
    end: AtomicU64,
    buckets: [Bucket; BUCKETS],
}

#[derive(Debug, Default)]
struct Bucket {
    /// Zero while it is being emptied.
    stamp: AtomicU64,
    requests: AtomicU32,
    failed: AtomicU32,
    slow: AtomicU32,
}

impl Buckets {
    pub(super) fn new(cores: usize, span: Duration) -> Self {
        let shards = (0..cores).map(|_| CachePadded::new(Shard::default())).collect();
        Self { width: Self::width(span), shards }
    }

    /// Microseconds of one bucket of `span`: its geometry.
    pub(super) fn width(span: Duration) -> u64 {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        (micros / BUCKETS as u64).max(1)
    }

    /// Records the end of an exchange of `epoch`.
    #[inline]
    pub(super) fn record(&self, core: &Core, epoch: u32, now: Now, entry: Entry) {
        let Some(shard) = self.shards.get(core.index()) else { return };
        // Relaxed throughout: this core is the only writer of its shard.
        let stamp = shard.stamp.load(Ordering::Relaxed);
        let current = stamp & EPOCH_MASK == u64::from(epoch)
            && now.micros() < shard.end.load(Ordering::Relaxed);
        let stamp = if current { stamp } else { self.rotate(shard, stamp, epoch, now) };
        let Some(bucket) = shard.buckets.get(place(stamp)) else { return };
        add(&bucket.requests, Ordering::Relaxed);
        if entry.failed() {
            // Release: pairs with the Acquire in `sum`.
            add(&bucket.failed, Ordering::Release);
        }
        if entry.slow() {
            add(&bucket.slow, Ordering::Release);
        }
    }

    /// Records an exchange that may trip, and gives what now counts together.
    #[cold]
    pub(super) fn record_bad(&self, core: &Core, epoch: u32, now: Now, entry: Entry) -> Sums {
        self.record(core, epoch, now, entry);
        fence(Ordering::SeqCst); // pairs with the same fence on every other failing core
        self.sum(epoch, now)
    }

    /// What counts together at `now`.
    pub(super) fn sum(&self, epoch: u32, now: Now) -> Sums {
        let mut sums = Sums::default();
        self.each(epoch, now, |_, bucket| sums = sums.and(bucket));
        sums
    }

    /// Each bucket that counts at `now`, with the microsecond it begins at; several may be of one.
    pub(super) fn each(&self, epoch: u32, now: Now, mut take: impl FnMut(u64, Sums)) {
        let oldest = (now.micros() / self.width).saturating_sub(BUCKETS as u64 - 1);
        for bucket in self.shards.iter().flat_map(|shard| &shard.buckets) {
            // Acquire: pairs with the Release in `rotate`.
            let stamp = bucket.stamp.load(Ordering::Acquire);
            // A bucket ahead of `now` is of a core that read the clock later.
            let counts = stamp & EPOCH_MASK == u64::from(epoch) && stamp >> EPOCH_BITS >= oldest;
            if stamp == 0 || !counts {
                continue;
            }
            // Acquire, and the whole last: whoever is counted as failed is counted as a request, so
            // that no share is found larger than it was.
            let read = |counter: &AtomicU32| u64::from(counter.load(Ordering::Acquire));
            let (failed, slow) = (read(&bucket.failed), read(&bucket.slow));
            let requests = read(&bucket.requests);
            fence(Ordering::Acquire);
            // Taken for another time in between: its core was writing, and will sum after us.
            if bucket.stamp.load(Ordering::Relaxed) == stamp {
                take((stamp >> EPOCH_BITS) * self.width, Sums { requests, failed, slow });
            }
        }
    }

    /// Takes the bucket of `now` into use; the writer's own time never runs back.
    #[cold]
    fn rotate(&self, shard: &Shard, old: u64, epoch: u32, now: Now) -> u64 {
        let id = (now.micros() / self.width).max(old >> EPOCH_BITS);
        let stamp = id << EPOCH_BITS | u64::from(epoch);
        if let Some(bucket) = shard.buckets.get(place(stamp)) {
            bucket.stamp.store(0, Ordering::Relaxed);
            // Release: who sees an emptied counter sees the zero before it, or the new stamp.
            fence(Ordering::Release);
            for counter in [&bucket.requests, &bucket.failed, &bucket.slow] {
                counter.store(0, Ordering::Relaxed);
            }
            bucket.stamp.store(stamp, Ordering::Release);
        }
        shard.stamp.store(stamp, Ordering::Relaxed);
        shard.end.store((id + 1).saturating_mul(self.width), Ordering::Relaxed);
        stamp
    }
}

const EPOCH_MASK: u64 = (1 << EPOCH_BITS) - 1;

const fn place(stamp: u64) -> usize {
    ((stamp >> EPOCH_BITS) % BUCKETS as u64) as usize
}

fn add(counter: &AtomicU32, order: Ordering) {
    // A load and a store: one writer. Four thousand million within a tenth of a span stay so.
    counter.store(counter.load(Ordering::Relaxed).saturating_add(1), order);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_millis(100);

    const fn at(millis: u64) -> Now {
        Now::from_millis(millis)
    }

    #[test]
    fn what_is_older_than_the_span_never_counts_and_what_is_young_always_does() {
        for first in 1000..1010 {
            let (buckets, core) = (Buckets::new(1, SPAN), Core::claim(0));
            buckets.record(&core, 1, at(first), Entry::Failed);
            for later in 0..130 {
                let counted = buckets.sum(1, at(first + later)).failed;
                assert!(counted == 1 || later > 90, "{first}: {later} ms later");
                assert!(counted == 0 || later < 100, "{first}: {later} ms later");
            }
        }
    }

    #[test]
    fn cores_are_summed_and_epochs_kept_apart() {
        let (buckets, a, b) = (Buckets::new(2, SPAN), Core::claim(0), Core::claim(1));
        buckets.record(&a, 1, at(1000), Entry::Failed);
        buckets.record(&b, 1, at(1001), Entry::Slow);
        let sums = buckets.record_bad(&b, 1, at(1002), Entry::FailedSlowly);
        assert_eq!(sums, Sums { requests: 3, failed: 2, slow: 2 });
        buckets.record(&b, 2, at(1003), Entry::Good);
        assert_eq!(buckets.sum(2, at(1003)), Sums { requests: 1, failed: 0, slow: 0 });
        assert_eq!(buckets.sum(1, at(1003)).requests, 1, "the other core's");
    }

    #[test]
    fn a_core_whose_time_stands_still_writes_on() {
        let (buckets, core) = (Buckets::new(1, SPAN), Core::claim(0));
        buckets.record(&core, 1, at(1050), Entry::Failed);
        buckets.record(&core, 1, at(1049), Entry::Failed);
        assert_eq!(buckets.sum(1, at(1050)).failed, 2);
        assert_eq!(Buckets::width(Duration::from_millis(1)), 100);
    }
}
