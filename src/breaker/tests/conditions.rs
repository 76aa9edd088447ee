//! What opens a breaker, and what never does.

use super::*;

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
