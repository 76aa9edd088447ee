//! What a breaker promises, transition by transition, with the time passed in.

use super::outcome::Ending;
use super::*;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicUsize;
use std::thread;

fn breaker(trip: Trip, cores: usize) -> Breaker {
    let policy = Policy { trip, failures: policy::StatusSet::server_errors() };
    let memory = Arc::new(Memory::new(&policy, cores));
    Breaker::new(policy, memory)
}

fn seed_a(failures: u32, look_back: u64) -> Breaker {
    let look_back = Duration::from_millis(look_back);
    breaker(Trip::LookBack { failures: NonZeroU32::new(failures).unwrap(), look_back }, 1)
}

fn seed_b(failures: u32, window: Window) -> Breaker {
    breaker(
        Trip::Reset {
            failures: NonZeroU32::new(failures).unwrap(),
            window,
            open_for: Duration::from_millis(1000),
            probe_max: Duration::from_millis(500),
        },
        1,
    )
}

const fn at(millis: u64) -> Now {
    Now::from_millis(millis)
}

fn admitted<'b>(breaker: &'b Breaker, core: &Core, now: u64) -> Ticket<'b> {
    match breaker.admit(core, at(now)).0 {
        Verdict::Admit(ticket) => ticket,
        Verdict::Refuse { .. } => panic!("refused at {now}"),
    }
}

fn refused(breaker: &Breaker, core: &Core, now: u64) -> u64 {
    match breaker.admit(core, at(now)).0 {
        Verdict::Admit(_) => panic!("admitted at {now}"),
        Verdict::Refuse { remaining_ms } => remaining_ms,
    }
}

fn fail(breaker: &Breaker, core: &Core, now: u64) -> Option<Transition> {
    admitted(breaker, core, now).settle(Ending::Answered(500), at(now))
}

#[test]
fn seed_a_opens_at_the_kth_failure_and_heals_as_failures_age_out() {
    let (breaker, core) = (seed_a(3, 150), Core::claim(0));
    assert_eq!(fail(&breaker, &core, 1000), None);
    assert_eq!(fail(&breaker, &core, 1025), None);
    let tripped = fail(&breaker, &core, 1050).unwrap();
    assert_eq!((tripped.step, tripped.failures), (Move::Trip, 3));
    assert_eq!(refused(&breaker, &core, 1075), 75);
    assert_eq!(refused(&breaker, &core, 1149), 1);
    // The first failure, at 1000, has aged out: only two lie inside the last 150 ms.
    let (verdict, moved) = breaker.admit(&core, at(1150));
    assert_eq!(moved.map(|t| t.step), Some(Move::Lapse));
    drop(verdict);
    // A third young failure trips again at once.
    assert_eq!(fail(&breaker, &core, 1160).map(|t| t.step), Some(Move::Trip));
    assert_eq!(refused(&breaker, &core, 1160), 15, "until the failure at 1025 ages out");
}

#[test]
fn seed_a_counts_a_late_failure_and_stays_open_longer_for_it() {
    let (breaker, core) = (seed_a(2, 100), Core::claim(0));
    let late = admitted(&breaker, &core, 1000);
    assert!(fail(&breaker, &core, 1000).is_none());
    assert!(fail(&breaker, &core, 1010).is_some());
    assert_eq!(refused(&breaker, &core, 1050), 50);
    assert_eq!(late.settle(Ending::Answered(503), at(1050)), None);
    assert_eq!(refused(&breaker, &core, 1050), 60, "the second newest is now the one at 1010");
}

#[test]
fn seed_a_is_closed_for_every_reader_once_failures_aged_out() {
    let (breaker, core) = (seed_a(1, 100), Core::claim(0));
    assert!(fail(&breaker, &core, 1000).is_some());
    assert_eq!(breaker.state(at(1099)), State::Open);
    assert_eq!(breaker.lapse(at(1099)), None);
    assert_eq!(breaker.state(at(1100)), State::Closed, "looking does not move it");
    assert_eq!(breaker.word().state(), State::Open);
    assert_eq!(breaker.lapse(at(1100)).map(|t| t.step), Some(Move::Lapse));
    assert_eq!(breaker.word().state(), State::Closed);
}

#[test]
fn seed_b_refuses_until_the_open_time_ends_then_one_probe_closes_it() {
    let (breaker, core) = (seed_b(2, Window::Cumulative), Core::claim(0));
    assert!(fail(&breaker, &core, 1000).is_none());
    assert_eq!(fail(&breaker, &core, 1001).map(|t| t.step), Some(Move::Trip));
    assert_eq!(refused(&breaker, &core, 1001), 1000);
    assert_eq!(refused(&breaker, &core, 2000), 1);
    let (verdict, moved) = breaker.admit(&core, at(2001));
    assert_eq!(moved.map(|t| t.step), Some(Move::Probe));
    let Verdict::Admit(probe) = verdict else { panic!("the probe was refused") };
    assert_eq!(refused(&breaker, &core, 2002), 0, "one probe at a time");
    let healed = probe.settle(Ending::Answered(404), at(2100)).unwrap();
    assert_eq!(healed.step, Move::Heal);
    assert!(fail(&breaker, &core, 2101).is_none(), "counting starts anew after a close");
}

#[test]
fn seed_b_opens_again_when_the_probe_fails() {
    let (breaker, core) = (seed_b(1, Window::Cumulative), Core::claim(0));
    assert!(fail(&breaker, &core, 1000).is_some());
    let probe = admitted(&breaker, &core, 2000);
    assert_eq!(probe.settle(Ending::TimedOut, at(2010)).map(|t| t.step), Some(Move::Reopen));
    assert_eq!(refused(&breaker, &core, 2010), 1000, "a whole open time again");
}

#[test]
fn seed_b_counts_in_a_fixed_window_and_its_end_does_not_close_an_open_breaker() {
    let window = Window::Fixed(Duration::from_millis(100));
    let (breaker, core) = (seed_b(2, window), Core::claim(0));
    assert!(fail(&breaker, &core, 1000).is_none());
    assert!(fail(&breaker, &core, 1100).is_none(), "the first window is over");
    assert!(fail(&breaker, &core, 1199).is_some());
    assert_eq!(refused(&breaker, &core, 1350), 849);
}

#[test]
fn what_remains_is_never_more_than_what_was_asked_for() {
    let (breaker, core) = (seed_b(1, Window::Cumulative), Core::claim(0));
    let tripped = Now::from_micros(1_000_700);
    let (verdict, _) = breaker.admit(&core, tripped);
    let Verdict::Admit(ticket) = verdict else { panic!("refused") };
    assert!(ticket.settle(Ending::Answered(500), tripped).is_some());
    assert_eq!(breaker.remaining_ms(tripped), 1000);
    assert_eq!(breaker.remaining_ms(Now::from_micros(1_001_701)), 999);
}

#[test]
fn a_changed_look_back_holds_at_once_for_a_breaker_that_is_open() {
    let (long, core) = (seed_a(1, 600_000), Core::claim(0));
    assert!(fail(&long, &core, 1000).is_some());
    let look_back = Duration::from_millis(100);
    let trip = Trip::LookBack { failures: NonZeroU32::MIN, look_back };
    let policy = Policy { trip, failures: policy::StatusSet::server_errors() };
    let short = Breaker::new(policy, Arc::clone(&long.memory));
    assert_eq!(refused(&short, &core, 1099), 1);
    drop(admitted(&short, &core, 1100));
}

#[test]
fn another_kind_of_policy_goes_on_in_the_state_it_finds() {
    let (look_back, core) = (seed_a(1, 1000), Core::claim(0));
    let reset = seed_b(1, Window::Cumulative);
    assert!(fail(&look_back, &core, 5000).is_some());
    let memory = Arc::new(Memory::succeed(&reset.policy, 1, &look_back.memory));
    let carried = Breaker::new(reset.policy.clone(), memory);
    assert_eq!(refused(&carried, &core, 5001), 999, "its own open time, from the failure on");

    assert!(fail(&reset, &core, 7000).is_some());
    let memory = Arc::new(Memory::succeed(&look_back.policy, 1, &reset.memory));
    let carried = Breaker::new(look_back.policy.clone(), memory);
    assert_eq!(refused(&carried, &core, 7500), 500, "the open time that had begun");

    let probe = admitted(&reset, &core, 8000);
    let memory = Arc::new(Memory::succeed(&look_back.policy, 1, &reset.memory));
    let carried = Breaker::new(look_back.policy, memory);
    assert!(fail(&carried, &core, 8001).is_some(), "closed, and able to trip");
    drop(probe);
}

#[test]
fn success_while_closed_forgives_nothing() {
    let (breaker, core) = (seed_b(2, Window::Cumulative), Core::claim(0));
    assert!(fail(&breaker, &core, 1000).is_none());
    assert_eq!(admitted(&breaker, &core, 1001).settle(Ending::Answered(200), at(1001)), None);
    assert!(fail(&breaker, &core, 1002).is_some());
}

#[test]
fn a_result_from_before_the_trip_moves_nothing() {
    let (breaker, core) = (seed_b(1, Window::Cumulative), Core::claim(0));
    let (early_success, early_failure) =
        (admitted(&breaker, &core, 999), admitted(&breaker, &core, 999));
    assert!(fail(&breaker, &core, 1000).is_some());
    assert_eq!(early_success.settle(Ending::Answered(200), at(1100)), None);
    assert_eq!(refused(&breaker, &core, 1100), 900, "still open");
    assert_eq!(early_failure.settle(Ending::Answered(500), at(1100)), None);
    assert_eq!(breaker.totals().stale, 1);
}

#[test]
fn an_abandoned_probe_frees_its_place_and_blames_nobody() {
    let (breaker, core) = (seed_b(1, Window::Cumulative), Core::claim(0));
    assert!(fail(&breaker, &core, 1000).is_some());
    drop(admitted(&breaker, &core, 2000));
    let second = admitted(&breaker, &core, 2000);
    assert_eq!(second.settle(Ending::ClientGone, at(2001)), None);
    let third = admitted(&breaker, &core, 2001);
    assert_eq!(third.settle(Ending::Answered(200), at(2002)).map(|t| t.step), Some(Move::Heal));
    assert_eq!(breaker.totals().neutral, 2);
}

#[test]
fn a_lost_probe_is_replaced_and_its_late_verdict_is_fenced() {
    let (breaker, core) = (seed_b(1, Window::Cumulative), Core::claim(0));
    assert!(fail(&breaker, &core, 1000).is_some());
    let lost = admitted(&breaker, &core, 2000);
    assert_eq!(refused(&breaker, &core, 2499), 0);
    let replacement = admitted(&breaker, &core, 2500);
    assert_eq!(lost.settle(Ending::Answered(200), at(2501)), None);
    assert_eq!(breaker.state(at(2501)), State::HalfOpen);
    assert!(replacement.settle(Ending::Answered(200), at(2502)).is_some());
}

#[test]
fn refusals_and_what_clients_do_never_count() {
    let (breaker, core) = (seed_a(1, 100), Core::claim(0));
    for ending in [Ending::ClientGone, Ending::ClientStalled, Ending::Answered(499)] {
        assert_eq!(admitted(&breaker, &core, 1000).settle(ending, at(1000)), None);
    }
    assert!(fail(&breaker, &core, 1000).is_some());
    for now in 1000..1100 {
        assert_eq!(refused(&breaker, &core, now), 1100 - now, "refusing does not prolong it");
    }
    assert_eq!(breaker.totals().refused, 100);
    drop(admitted(&breaker, &core, 1100));
}

#[test]
fn failures_racing_on_many_cores_trip_exactly_once_at_the_threshold() {
    const CORES: usize = 4;
    for trip in [
        Trip::LookBack {
            failures: NonZeroU32::new(CORES as u32).unwrap(),
            look_back: Duration::from_secs(9),
        },
        Trip::Reset {
            failures: NonZeroU32::new(CORES as u32).unwrap(),
            window: Window::Cumulative,
            open_for: Duration::from_secs(9),
            probe_max: Duration::from_secs(9),
        },
    ] {
        for _ in 0..200 {
            let breaker = breaker(trip, CORES);
            let (gate, trips) = (std::sync::Barrier::new(CORES), AtomicUsize::new(0));
            thread::scope(|scope| {
                for index in 0..CORES {
                    let (breaker, gate, trips) = (&breaker, &gate, &trips);
                    scope.spawn(move || {
                        let core = Core::claim(index);
                        let ticket = admitted(breaker, &core, 1000);
                        gate.wait();
                        if ticket.settle(Ending::Answered(500), at(1000)).is_some() {
                            trips.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            });
            assert_eq!(trips.load(Ordering::Relaxed), 1);
            assert_eq!(breaker.state(at(1001)), State::Open);
        }
    }
}
