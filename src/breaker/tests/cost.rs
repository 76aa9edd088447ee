//! What a breaker costs the cores: whose memory is written, and what refusing leaves behind.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::super::atomics::stepped::{Access, announce};
use super::super::peers::{Bell, Peers};
use super::*;

const CORES: usize = 4;

/// Cores fetch memory in lines of 64 bytes, and where they fetch ahead, two at a time.
const LINE: usize = 128;

/// Lines of shared memory that were looked at, and those that were written.
#[derive(Debug, Default)]
struct Touched {
    read: BTreeSet<usize>,
    written: BTreeSet<usize>,
    accesses: usize,
}

thread_local! {
    static TOUCHED: RefCell<Touched> = RefCell::default();
}

fn note(access: Access) {
    TOUCHED.with_borrow_mut(|touched| {
        touched.accesses += 1;
        match access {
            Access::Read(at) => drop(touched.read.insert(at / LINE)),
            Access::Write(at) => drop(touched.written.insert(at / LINE)),
            Access::Fence(order) => assert_ne!(order, Ordering::SeqCst, "it waits for its stores"),
        }
    });
}

/// What `play` touches of shared memory, on a thread of its own.
fn touched(play: impl FnOnce() + Send) -> Touched {
    thread::scope(|scope| {
        let playing = scope.spawn(|| {
            announce(note);
            play();
            TOUCHED.take()
        });
        playing.join().unwrap()
    })
}

/// Exchanges on one core that all end well, over more than a span of every condition.
fn well(breaker: &Breaker, core: usize) {
    let core = Core::claim(core);
    for now in (2_000..30_000).step_by(7) {
        assert_eq!(succeed(breaker, &core, now), None);
    }
}

/// Policies of every way to count, and how many lines each lets cores share, to read.
fn policies() -> [(Policy, usize); 4] {
    let span = Duration::from_secs(10);
    let slow = Slow { after: Duration::from_secs(1), share: share(50) };
    let all = Trip {
        failures: Some(Failures { count: count(9), window: Window::Sliding(span) }),
        run: Some(count(9)),
        shares: Some(Shares { failed: Some(share(50)), slow: Some(slow), ..SHARES }),
    };
    [
        (resetting(9, Window::Cumulative), 1),
        (resetting(9, Window::Fixed(span)), 1),
        (looking_back(9, 10_000), 1),
        // Beside the word the run, which a success ends if there is one.
        (Policy { trip: all, ..resetting(9, Window::Cumulative) }, 2),
    ]
}

#[test]
fn what_ends_well_writes_no_memory_that_another_core_touches() {
    for (policy, shared) in policies() {
        let breaker = breaker(policy, CORES);
        // In the middle of its life: it has failed before, and other proxies share it.
        breaker.memory.circuit.join(|| Peers::new(Bell::new(), 0));
        for core in 0..CORES {
            let core = Core::claim(core);
            assert_eq!((fail(&breaker, &core, 1000), succeed(&breaker, &core, 1000)), (None, None));
        }
        let by_core = [0, 1, 2, 3].map(|core| touched(|| well(&breaker, core)));
        for (nth, own) in by_core.iter().enumerate() {
            assert!(!own.written.is_empty(), "nothing was seen");
            for other in by_core.iter().enumerate().filter(|it| it.0 != nth).map(|it| it.1) {
                let theirs: BTreeSet<_> = other.read.union(&other.written).copied().collect();
                assert!(own.written.is_disjoint(&theirs), "{:?}: {by_core:?}", breaker.policy);
                let read = own.read.intersection(&other.read).count();
                assert_eq!(read, shared, "lines that cores share to read: {by_core:?}");
            }
        }
    }
}

/// One load of the state word, and this core's count: read and written.
#[test]
fn what_ends_well_costs_three_accesses_where_nothing_else_is_asked() {
    for window in [Window::Cumulative, Window::Fixed(OPEN_FOR)] {
        let breaker = breaker(resetting(9, window), CORES);
        let once = touched(|| assert_eq!(succeed(&breaker, &Core::claim(1), 1000), None));
        assert_eq!(once.accesses, 3, "{once:?}");
    }
}

#[test]
fn a_refusal_writes_no_memory_that_another_core_touches() {
    for (policy, _) in policies() {
        let breaker = breaker(policy, CORES);
        while fail(&breaker, &Core::claim(0), 1000).is_none() {}
        let by_core = [0, 1, 2, 3].map(|core| {
            touched(|| {
                let core = Core::claim(core);
                (1000..1500).for_each(|now| assert!(refused(&breaker, &core, now) > 0));
            })
        });
        for (nth, own) in by_core.iter().enumerate() {
            for other in by_core.iter().enumerate().filter(|it| it.0 != nth).map(|it| it.1) {
                assert!(own.written.is_disjoint(&other.read), "{by_core:?}");
                assert!(own.written.is_disjoint(&other.written), "{by_core:?}");
            }
        }
    }
}

/// Refusals while it is open: nothing that is counted moves, and what comes after is what would
/// have come without them.
#[test]
fn a_storm_of_refusals_leaves_nothing_behind() {
    for (mut policy, _) in policies() {
        policy = probing(policy, |it| {
            it.pace = policy::Pace::new(OPEN_FOR, 2.0, 10 * OPEN_FOR, 0);
        });
        let breakers = [0; 2].map(|_| breaker(policy.clone(), CORES));
        let cores: Vec<Core> = (0..CORES).map(Core::claim).collect();
        let after = breakers.each_ref().map(|breaker| {
            while fail(breaker, &cores[0], 1000).is_none() {}
            let storm = if std::ptr::eq(breaker, &breakers[0]) { 0 } else { 10_000 };
            let before = (breaker.word(), breaker.counts(at(1500)), breaker.totals().failure);
            for nth in 0..storm {
                assert!(refused(breaker, &cores[nth % CORES], 1000 + nth as u64 / 20) > 0);
            }
            let then = (breaker.word(), breaker.counts(at(1500)), breaker.totals().failure);
            assert_eq!(before, then);
            assert_eq!(breaker.totals().all_refused(), storm as u64);
            assert_eq!(breaker.totals().neutral, 0);
            // The first that may go fails again, wherever that leads; later ones end well.
            let later = (11_000..40_000).step_by(500);
            let moves = later.enumerate().map(|(nth, now)| {
                let (verdict, asked) = breaker.admit(&cores[1], at(now));
                let ending = Ending::Answered(if nth < 3 { 500 } else { 200 });
                match verdict {
                    Verdict::Admit(ticket) => (now, asked, ticket.settle(ending, at(now))),
                    Verdict::Refuse { .. } => (now, asked, None),
                }
            });
            (moves.collect::<Vec<_>>(), breaker.word())
        });
        assert_eq!(after[0], after[1]);
    }
}
