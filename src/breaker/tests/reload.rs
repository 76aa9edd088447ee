//! What a changed policy keeps of what was remembered.

use super::*;

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
