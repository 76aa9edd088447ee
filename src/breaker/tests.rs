//! What a breaker promises, transition by transition, with the time passed in.

use super::circuit::Cause;
use super::outcome::Ending;
use super::policy::{Failures, Ramp, Recovery, Share, Shares, Slow, Trip};
use super::*;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicUsize;
use std::thread;

const FAILURES: Move = Move::Trip(Cause::Failures);

const OPEN_FOR: Duration = Duration::from_millis(1000);

fn breaker(policy: Policy, cores: usize) -> Breaker {
    let memory = Memory::new(&policy, cores, 1);
    Breaker::new(policy, memory)
}

fn carried(policy: Policy, old: &Breaker) -> Breaker {
    let memory = old.memory.fit(&policy);
    Breaker::new(policy, memory)
}

fn count(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

fn looking_back(failures: u32, look_back: u64) -> Policy {
    Policy::look_back(count(failures), Duration::from_millis(look_back))
}

/// A probe may take half a second, and all of them together two.
fn resetting(failures: u32, window: Window) -> Policy {
    probing(Policy::reset(count(failures), window, OPEN_FOR), |recovery| {
        recovery.permit = Duration::from_millis(500);
        recovery.max_wait = Duration::from_secs(2);
    })
}

fn probing(mut policy: Policy, change: impl FnOnce(&mut Recovery)) -> Policy {
    if let Heal::Probe(recovery) = &mut policy.heal {
        change(recovery);
    }
    policy
}

fn seed_a(failures: u32, look_back: u64) -> Breaker {
    breaker(looking_back(failures, look_back), 1)
}

fn seed_b(failures: u32, window: Window) -> Breaker {
    breaker(resetting(failures, window), 1)
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
        Verdict::Refuse { remaining_ms, .. } => remaining_ms.unwrap(),
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
    assert_eq!((tripped.step, tripped.failures), (FAILURES, 3));
    assert_eq!(refused(&breaker, &core, 1075), 75);
    assert_eq!(refused(&breaker, &core, 1149), 1);
    // The first failure, at 1000, has aged out: only two lie inside the last 150 ms.
    let (verdict, moved) = breaker.admit(&core, at(1150));
    assert_eq!(moved.map(|t| t.step), Some(Move::Lapse));
    drop(verdict);
    // A third young failure trips again at once.
    assert_eq!(fail(&breaker, &core, 1160).map(|t| t.step), Some(FAILURES));
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
    assert_eq!(breaker.tick(at(1099)), None);
    assert_eq!(breaker.state(at(1100)), State::Closed, "looking does not move it");
    assert_eq!(breaker.word().state(), State::Open);
    assert_eq!(breaker.tick(at(1100)).map(|t| t.step), Some(Move::Lapse));
    assert_eq!(breaker.word().state(), State::Closed);
}

#[test]
fn seed_b_refuses_until_the_open_time_ends_then_one_probe_closes_it() {
    let (breaker, core) = (seed_b(2, Window::Cumulative), Core::claim(0));
    assert!(fail(&breaker, &core, 1000).is_none());
    assert_eq!(fail(&breaker, &core, 1001).map(|t| t.step), Some(FAILURES));
    assert_eq!(refused(&breaker, &core, 1001), 1000);
    assert_eq!(refused(&breaker, &core, 2000), 1);
    let (verdict, moved) = breaker.admit(&core, at(2001));
    assert_eq!(moved.map(|t| t.step), Some(Move::Probe));
    let Verdict::Admit(probe) = verdict else { panic!("the probe was refused") };
    assert_eq!(refused(&breaker, &core, 2002), 0, "one probe at a time");
    let healed = probe.settle(Ending::Answered(404), at(2100)).unwrap();
    assert_eq!(
        (healed.step, healed.from, healed.to()),
        (Move::Heal, State::HalfOpen, State::Closed)
    );
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
fn a_changed_span_holds_at_once_for_a_breaker_that_is_open() {
    let (long, core) = (seed_a(1, 600_000), Core::claim(0));
    assert!(fail(&long, &core, 1000).is_some());
    let short = carried(looking_back(1, 100), &long);
    assert_eq!(refused(&short, &core, 1099), 1);
    drop(admitted(&short, &core, 1100));

    let long = seed_b(1, Window::Cumulative);
    assert!(fail(&long, &core, 1000).is_some());
    let policy = Policy::reset(count(1), Window::Cumulative, Duration::from_millis(100));
    let short = carried(policy, &long);
    assert_eq!(refused(&short, &core, 1099), 1);
    drop(admitted(&short, &core, 1100));
}

#[test]
fn another_kind_of_policy_goes_on_in_the_state_it_finds() {
    let (look_back, core) = (seed_a(1, 2000), Core::claim(0));
    assert!(fail(&look_back, &core, 5000).is_some());
    let reset = carried(resetting(1, Window::Cumulative), &look_back);
    assert_eq!(refused(&reset, &core, 5001), 999, "its own open time, from the failure on");
    assert_eq!(refused(&look_back, &core, 5001), 1999, "the same word, asked by the old policy");

    let probe = admitted(&reset, &core, 6000);
    let back = carried(looking_back(1, 2000), &reset);
    let (verdict, moved) = back.admit(&core, at(6001));
    assert_eq!(moved.map(|t| (t.step, t.to())), Some((Move::Adopt, State::Closed)));
    let Verdict::Admit(ticket) = verdict else { panic!("refused") };
    assert!(ticket.settle(Ending::Answered(500), at(6001)).is_some(), "closed, and able to trip");
    assert_eq!(probe.settle(Ending::Answered(200), at(6002)), None, "its epoch is over");
    assert_eq!(refused(&back, &core, 6002), 1999);
}

#[test]
fn a_reload_keeps_what_was_counted_and_asks_again() {
    let (old, core) = (seed_b(5, Window::Cumulative), Core::claim(0));
    for now in 1000..1003 {
        assert!(fail(&old, &core, now).is_none());
    }
    let new = carried(resetting(4, Window::Cumulative), &old);
    assert_eq!((new.counts(at(1003)).failures, new.tick(at(1003))), (3, None));
    let lower = carried(resetting(3, Window::Cumulative), &new);
    let tripped = lower.tick(at(1004)).unwrap();
    assert_eq!((tripped.step, tripped.failures), (FAILURES, 3));
    assert_eq!(refused(&old, &core, 1004), 1000, "whoever still holds the old table is told too");
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
    assert_eq!(breaker.totals().all_refused(), 100);
    drop(admitted(&breaker, &core, 1100));
}

#[test]
fn failures_racing_on_many_cores_trip_exactly_once_at_the_threshold() {
    const CORES: usize = 4;
    let failures = count(CORES as u32);
    let span = Duration::from_secs(9);
    let run = Trip { run: Some(failures), ..Trip::default() };
    let windows = [Window::Cumulative, Window::Fixed(span), Window::Sliding(span)];
    let mut policies = windows.map(|window| Policy::reset(failures, window, span)).to_vec();
    policies.push(Policy::look_back(failures, span));
    policies.push(Policy { trip: run, ..policies[0].clone() });
    for policy in policies {
        for _ in 0..200 {
            let breaker = breaker(policy.clone(), CORES);
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

fn share(percent: u32) -> Share {
    Share(percent * 10_000)
}

fn sharing(shares: Shares) -> Policy {
    let trip = Trip { shares: Some(shares), ..Trip::default() };
    Policy { trip, ..Policy::reset(count(1), Window::Cumulative, OPEN_FOR) }
}

const SHARES: Shares =
    Shares { span: Duration::from_secs(10), min_requests: 20, failed: None, slow: None };

fn succeed(breaker: &Breaker, core: &Core, now: u64) -> Option<Transition> {
    admitted(breaker, core, now).settle(Ending::Answered(200), at(now))
}

#[test]
fn a_share_of_failures_trips_once_enough_requests_say_so() {
    let policy = sharing(Shares { failed: Some(share(50)), ..SHARES });
    let (breaker, core) = (breaker(policy, 1), Core::claim(0));
    for now in 1000..1010 {
        assert_eq!(fail(&breaker, &core, now), None, "too few requests");
        assert_eq!(succeed(&breaker, &core, now), None, "a success trips nothing");
    }
    let counts = breaker.counts(at(1010));
    assert_eq!((counts.requests, counts.failed), (20, 10));
    let tripped = breaker.tick(at(1010)).unwrap();
    assert_eq!(tripped.step, Move::Trip(Cause::FailureRate));
    assert_eq!((tripped.failures, tripped.requests), (10, 20));
    assert_eq!(refused(&breaker, &core, 1010), 1000);
}

#[test]
fn slow_exchanges_trip_by_their_share_whether_they_fail_or_not() {
    let slow = Slow { after: Duration::from_millis(100), share: share(60) };
    let policy = sharing(Shares { slow: Some(slow), min_requests: 5, ..SHARES });
    let (breaker, core) = (breaker(policy, 1), Core::claim(0));
    let end = |begun: u64, took: u64, status: u16| {
        admitted(&breaker, &core, begun).settle(Ending::Answered(status), at(begun + took))
    };
    assert_eq!((end(1000, 99, 200), end(1100, 99, 500)), (None, None));
    assert_eq!((end(1200, 100, 200), end(1300, 150, 503)), (None, None));
    let tripped = end(1500, 5000, 200).unwrap();
    assert_eq!(tripped.step, Move::Trip(Cause::SlowCalls));
    assert_eq!((tripped.failures, tripped.requests, breaker.totals().slow), (3, 5, 3));
    // A probe that is slow shows the same illness.
    let probe = admitted(&breaker, &core, 7500);
    let reopened = probe.settle(Ending::Answered(200), at(7600));
    assert_eq!(reopened.map(|t| t.step), Some(Move::Reopen));
}

#[test]
fn a_run_of_failures_trips_and_a_success_breaks_it() {
    let trip = Trip { run: Some(count(3)), ..Trip::default() };
    let policy = Policy { trip, ..resetting(1, Window::Cumulative) };
    let (breaker, core) = (breaker(policy, 2), Core::claim(0));
    let other = Core::claim(1);
    assert_eq!((fail(&breaker, &core, 1000), fail(&breaker, &other, 1000)), (None, None));
    assert_eq!(succeed(&breaker, &other, 1001), None);
    assert_eq!((fail(&breaker, &core, 1002), fail(&breaker, &other, 1003)), (None, None));
    let tripped = fail(&breaker, &core, 1004).unwrap();
    assert_eq!((tripped.step, tripped.failures), (Move::Trip(Cause::Run), 3));
}

#[test]
fn a_sliding_window_forgets_what_is_older_than_its_span() {
    let (breaker, core) = (seed_b(3, Window::Sliding(Duration::from_secs(1))), Core::claim(0));
    for now in [1000, 1500, 2000, 2600] {
        assert_eq!(fail(&breaker, &core, now), None, "{now}");
    }
    assert_eq!(fail(&breaker, &core, 2800).map(|t| t.step), Some(FAILURES));
}

#[test]
fn the_words_of_a_look_back_trip_for_other_reasons_for_one_duration() {
    let mut policy = looking_back(3, 1000);
    policy.trip.run = Some(count(2));
    let (breaker, core) = (breaker(policy, 1), Core::claim(0));
    assert_eq!(fail(&breaker, &core, 1000), None);
    assert_eq!(fail(&breaker, &core, 1100).map(|t| t.step), Some(Move::Trip(Cause::Run)));
    assert_eq!(refused(&breaker, &core, 1101), 999);
    assert_eq!(breaker.tick(at(2100)).map(|t| t.step), Some(Move::Lapse));
}

#[test]
fn a_round_closes_after_so_many_successes_and_gives_no_more_permits_than_it_has() {
    let policy = probing(resetting(1, Window::Cumulative), |recovery| {
        (recovery.requests, recovery.successes) = (count(3), count(2));
    });
    let (breaker, core) = (breaker(policy, 1), Core::claim(0));
    assert!(fail(&breaker, &core, 1000).is_some());
    let probes = [0; 3].map(|_| admitted(&breaker, &core, 2000));
    assert_eq!(refused(&breaker, &core, 2000), 0);
    assert_eq!(breaker.totals().refused[Reason::HalfOpen as usize], 1);
    let [first, second, third] = probes;
    drop(first);
    let fourth = admitted(&breaker, &core, 2001);
    assert_eq!(second.settle(Ending::Answered(200), at(2002)), None);
    assert_eq!(refused(&breaker, &core, 2002), 0, "a success keeps its permit");
    assert_eq!(third.settle(Ending::Answered(200), at(2003)).map(|t| t.step), Some(Move::Heal));
    assert_eq!(fourth.settle(Ending::Answered(500), at(2004)), None, "too late");
    assert_eq!(breaker.state(at(2004)), State::Closed);
}

#[test]
fn a_half_open_breaker_that_hears_nothing_opens_again_but_not_for_lack_of_requests() {
    let policy = probing(resetting(1, Window::Cumulative), |recovery| {
        (recovery.requests, recovery.successes) = (count(2), count(2));
    });
    let (breaker, core) = (breaker(policy, 1), Core::claim(0));
    assert!(fail(&breaker, &core, 1000).is_some());
    assert_eq!(succeed(&breaker, &core, 2000), None, "the first of two");
    // Nobody asks for a long time; then one does, and its probe never ends.
    assert_eq!(breaker.tick(at(60_000)), None);
    let silent = admitted(&breaker, &core, 60_000);
    assert_eq!(refused(&breaker, &core, 60_499), 0);
    let second = admitted(&breaker, &core, 60_500);
    assert_eq!(breaker.tick(at(61_999)), None);
    let expired = breaker.tick(at(62_000)).unwrap();
    assert_eq!((expired.step, expired.to()), (Move::Expire, State::Open));
    assert_eq!(silent.settle(Ending::Answered(200), at(62_001)), None);
    assert_eq!(second.settle(Ending::Answered(200), at(62_001)), None);
    assert_eq!(refused(&breaker, &core, 62_001), 999);
}

#[test]
fn a_ramp_admits_a_growing_share_and_closes_at_its_end() {
    let ramp = Ramp { duration: Duration::from_secs(10), start: share(10) };
    let policy = probing(resetting(3, Window::Cumulative), |it| it.ramp = Some(ramp));
    let (breaker, cores) = (breaker(policy, 2), [Core::claim(0), Core::claim(1)]);
    for _ in 0..3 {
        let _ = fail(&breaker, &cores[0], 1000);
    }
    let eased = succeed(&breaker, &cores[0], 2000).unwrap();
    assert_eq!((eased.step, eased.to()), (Move::Ease, State::Recovering));
    let mut shares = Vec::new();
    for tenth in 0..10 {
        let mut let_through = 0;
        for millis in 0..1000 {
            let core = &cores[millis as usize % 2];
            let now = at(2000 + tenth * 1000 + millis);
            if let Verdict::Admit(ticket) = breaker.admit(core, now).0 {
                assert_eq!(ticket.settle(Ending::Answered(200), now), None);
                let_through += 1;
            }
        }
        shares.push(let_through);
    }
    let expected = (0..10).map(|tenth| 145 + 90 * tenth);
    assert!(shares.iter().zip(expected).all(|(got, want): (&i32, i32)| (got - want).abs() <= 2));
    assert!(breaker.totals().refused[Reason::Ramp as usize] > 4000);
    assert_eq!(breaker.state(at(12_000)), State::Closed);
    assert_eq!(breaker.tick(at(12_000)).map(|t| t.step), Some(Move::Settle));
}

#[test]
fn a_recovering_breaker_trips_again_and_its_shares_ask_for_fewer_requests() {
    let ramp = Ramp { duration: Duration::from_secs(10), start: share(20) };
    let policy = sharing(Shares { failed: Some(share(50)), ..SHARES });
    let policy = probing(policy, |it| it.ramp = Some(ramp));
    let (breaker, core) = (breaker(policy, 1), Core::claim(0));
    for _ in 0..20 {
        let _ = fail(&breaker, &core, 1000);
    }
    assert!(succeed(&breaker, &core, 2000).is_some());
    let mut failed = 0;
    let tripped = loop {
        if let Verdict::Admit(ticket) = breaker.admit(&core, at(2001)).0 {
            failed += 1;
            if let Some(tripped) = ticket.settle(Ending::Unreachable, at(2001)) {
                break tripped;
            }
        }
    };
    assert_eq!((tripped.from, tripped.to(), failed), (State::Recovering, State::Open, 5));
}

#[test]
fn open_times_grow_with_each_failed_probe_and_are_forgiven_in_good_health() {
    let second = Duration::from_secs(1);
    let policy = probing(resetting(1, Window::Cumulative), |recovery| {
        recovery.pace = policy::Pace::new(second, 2.0, 5 * second, 0);
    });
    let (breaker, core) = (breaker(policy, 1), Core::claim(0));
    assert_eq!(fail(&breaker, &core, 1000).map(|t| t.open_for), Some(second));
    assert_eq!(fail(&breaker, &core, 2000).map(|t| t.open_for), Some(2 * second));
    assert_eq!(fail(&breaker, &core, 4000).map(|t| t.open_for), Some(4 * second));
    assert_eq!(fail(&breaker, &core, 8000).map(|t| t.open_for), Some(5 * second));
    assert!(succeed(&breaker, &core, 13_000).is_some());
    // Healthy for the fourth and the third step, 5 s and 4 s.
    assert_eq!(fail(&breaker, &core, 22_500).map(|t| t.open_for), Some(4 * second));
    assert_eq!(refused(&breaker, &core, 22_501), 3999);
}

#[test]
fn in_the_shadow_it_makes_the_same_moves_and_refuses_nobody() {
    let mut policy = resetting(2, Window::Cumulative);
    let (earnest, core) = (breaker(policy.clone(), 1), Core::claim(0));
    policy.mode = Mode::Shadow;
    let shadow = breaker(policy, 1);
    let mut moves = [Vec::new(), Vec::new()];
    for (nth, now) in (1000..9000).step_by(7).enumerate() {
        let ending = if now % 3000 < 1500 { Ending::Answered(500) } else { Ending::Answered(200) };
        for (breaker, moves) in [&earnest, &shadow].into_iter().zip(&mut moves) {
            let (verdict, moved) = breaker.admit(&core, at(now));
            moves.extend(moved.map(|t| (nth, t.step)));
            if let Verdict::Admit(ticket) = verdict {
                moves.extend(ticket.settle(ending, at(now)).map(|t| (nth, t.step)));
            }
        }
    }
    assert!(moves[0].len() > 8 && moves[0] == moves[1], "{moves:?}");
    assert_eq!(shadow.totals().all_refused(), 0);
    assert_eq!(shadow.totals().spared, earnest.totals().refused);
    assert_eq!(shadow.effective(at(9000)), State::Closed);
}

#[test]
fn switched_off_it_counts_nothing() {
    let mut policy = resetting(1, Window::Cumulative);
    policy.mode = Mode::Off;
    let (breaker, core) = (breaker(policy, 1), Core::claim(0));
    for _ in 0..5 {
        assert_eq!(fail(&breaker, &core, 1000), None);
        drop(admitted(&breaker, &core, 1000));
    }
    assert_eq!(breaker.totals(), Totals::default());
}

#[test]
fn an_override_stands_above_mode_and_state_until_its_time_ends() {
    let mut policy = resetting(1, Window::Cumulative);
    let (breaker, core) = (breaker(policy.clone(), 1), Core::claim(0));
    let order = |forced, until: Option<u64>| Some(Override { forced, until: until.map(at) });
    breaker.force(order(Forced::Open, Some(2000)));
    assert_eq!(refused(&breaker, &core, 1500), 500);
    policy.mode = Mode::Off;
    assert_eq!(refused(&carried(policy, &breaker), &core, 1500), 500, "even where it is off");
    assert_eq!(breaker.effective(at(1999)), State::Open);
    drop(admitted(&breaker, &core, 2000));
    assert_eq!((breaker.forced(at(2000)), breaker.tick(at(2000))), (None, None));
    assert!(!breaker.word().is_forced(), "the tick takes it away");

    breaker.force(order(Forced::Closed, None));
    assert!(fail(&breaker, &core, 3000).is_some(), "it counts and trips as ever");
    assert_eq!(
        (breaker.state(at(3001)), breaker.effective(at(3001))),
        (State::Open, State::Closed)
    );
    assert_eq!(fail(&breaker, &core, 3001), None);
    assert_eq!(breaker.totals().spared[Reason::Open as usize], 1);
    breaker.force(order(Forced::Open, None));
    let (verdict, _) = breaker.admit(&core, at(9000));
    assert!(matches!(verdict, Verdict::Refuse { reason: Reason::Override, remaining_ms: None }));
    breaker.force(None);
    assert!(succeed(&breaker, &core, 9000).is_some(), "the state went on below");
}

#[test]
fn a_tick_that_takes_an_override_away_makes_its_move_too() {
    let (breaker, core) = (seed_a(1, 100), Core::claim(0));
    assert!(fail(&breaker, &core, 1000).is_some());
    breaker.force(Some(Override { forced: Forced::Closed, until: Some(at(1050)) }));
    assert_eq!(breaker.tick(at(1200)).map(|t| t.step), Some(Move::Lapse));
}

#[test]
fn a_reset_closes_and_forgets_whatever_the_state() {
    for breaker in [seed_a(2, 100_000), seed_b(2, Window::Cumulative)] {
        let core = Core::claim(0);
        let early = admitted(&breaker, &core, 999);
        assert!(fail(&breaker, &core, 1000).is_none());
        assert_eq!(breaker.reset(at(1001)).from, State::Closed);
        assert_eq!(breaker.counts(at(1001)).failures, 0);
        assert!(fail(&breaker, &core, 1002).is_none());
        assert!(fail(&breaker, &core, 1003).is_some());
        let reset = breaker.reset(at(1004));
        assert_eq!((reset.from, reset.to()), (State::Open, State::Closed));
        drop(early);
        assert_eq!((breaker.tick(at(1005)), breaker.state(at(1005))), (None, State::Closed));
    }
}

#[test]
fn ten_thousand_breakers_fit_in_little_memory() {
    let span = Duration::from_secs(10);
    let per_core = |policy: &Policy| {
        let bytes = |cores| Memory::new(policy, cores, 0).bytes();
        (2 * bytes(1) - bytes(2), bytes(2) - bytes(1))
    };
    let plain = per_core(&Policy::reset(count(10), Window::Cumulative, span));
    let all = per_core(&Policy {
        trip: Trip {
            failures: Some(Failures { count: count(10), window: Window::Fixed(span) }),
            run: Some(count(5)),
            shares: Some(Shares { failed: Some(share(50)), ..SHARES }),
        },
        ..Policy::reset(count(10), Window::Cumulative, span)
    });
    let look_back = per_core(&Policy::look_back(count(10), span));
    assert!(plain.0 <= 832 && plain.1 <= 256, "{plain:?}");
    assert!(all.0 <= 1024 && all.1 <= 512, "{all:?}");
    assert!(look_back.0 <= 576 && look_back.1 <= 896, "{look_back:?}");
    assert!(size_of::<Breaker>() <= 512, "{}", size_of::<Breaker>());
}

#[test]
fn whether_it_would_admit_is_said_without_asking() {
    let (breaker, core) = (seed_b(1, Window::Cumulative), Core::claim(0));
    assert!(breaker.would_admit(at(999)));
    assert!(fail(&breaker, &core, 1000).is_some());
    assert!(!breaker.would_admit(at(1999)) && breaker.would_admit(at(2000)));
    let probe = admitted(&breaker, &core, 2000);
    assert!(!breaker.would_admit(at(2001)), "the one permit is out");
    drop(probe);
    assert!(breaker.would_admit(at(2001)));
    let order = |forced| Some(Override { forced, until: Some(at(3000)) });
    breaker.force(order(Forced::Open));
    assert!(!breaker.would_admit(at(2999)) && breaker.would_admit(at(3000)));
    breaker.force(order(Forced::Closed));
    let _probe = admitted(&breaker, &core, 2500);
    assert!(breaker.would_admit(at(2500)));
}
