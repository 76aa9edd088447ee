//! Seed B's vocabulary: open for a time, then one probe decides.

use super::*;

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
