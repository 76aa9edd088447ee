//! Seed A's vocabulary: open exactly while enough failures are young enough.

use super::*;

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
fn the_words_of_a_look_back_trip_for_other_reasons_for_one_duration() {
    let mut policy = looking_back(3, 1000);
    policy.trip.run = Some(count(2));
    let (breaker, core) = (breaker(policy, 1), Core::claim(0));
    assert_eq!(fail(&breaker, &core, 1000), None);
    assert_eq!(fail(&breaker, &core, 1100).map(|t| t.step), Some(Move::Trip(Cause::Run)));
    assert_eq!(refused(&breaker, &core, 1101), 999);
    assert_eq!(breaker.tick(at(2100)).map(|t| t.step), Some(Move::Lapse));
}
