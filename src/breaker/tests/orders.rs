//! Who stands above the state: a mode, an operator; and who only looks at it.

use super::*;

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
fn switched_off_while_open_nothing_is_due() {
    let mut policy = looking_back(1, 100);
    let (earnest, core) = (breaker(policy.clone(), 1), Core::claim(0));
    assert!(fail(&earnest, &core, 1000).is_some());
    assert_eq!(earnest.due_at(), Some(at(1100)));
    policy.mode = Mode::Off;
    let off = carried(policy.clone(), &earnest);
    assert_eq!((off.due_at(), off.tick(at(1100))), (None, None));
    policy.mode = Mode::Enforce;
    assert_eq!(carried(policy, &off).due_at(), Some(at(1100)), "once it is on again");
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
