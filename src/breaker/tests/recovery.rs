//! The way back: probes, permits, rounds, ramps, and open times that grow.

use super::*;

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
