//! The generator against origins of a known kind: what it measures is what was injected.

use std::time::Duration;

use super::*;
use crate::clock::{self, millis};
use crate::origin::{Delay, Fault, Origin, Script, Spec, Trickle};
use crate::tally::Kind;

fn origin(fault: Fault) -> Origin {
    let origin =
        Origin::start(Spec { script: Script::always(fault), ..Spec::named("it") }).unwrap();
    origin.begin_now();
    origin
}

fn load(origin: &Origin, rate: f64, seconds: f64) -> Load {
    let duration = Duration::from_secs_f64(seconds);
    let load = Load::get(origin.address(), "/", Pace::Open(rate), duration);
    Load { expect: Expect::one_of(&["{\"it\":\"/\"}"]), ..load }
}

/// Milliseconds within which that share of good answers came.
fn quantile(outcome: &Outcome, share: f64) -> f64 {
    millis(outcome.total.latency(Kind::Good).unwrap().value_at_quantile(share))
}

#[track_caller]
fn assert_within(found: f64, injected: f64, share: f64) {
    assert!((found / injected - 1.0).abs() <= share, "{found} instead of {injected}");
}

#[test]
fn injected_latencies_are_measured_within_two_percent() {
    let (usual, other) = (Duration::from_millis(200), Duration::from_millis(600));
    let delay = Delay::Either(usual, 0.1, other);
    let origin = origin(Fault { delay, ..Fault::default() });
    let outcome = load(&origin, 200.0, 4.0).run().unwrap();
    assert_eq!((outcome.total.count(Kind::Good), outcome.failures()), (800, 0));
    // The middles of the nine tenths and of the last tenth.
    assert_within(quantile(&outcome, 0.45), 200.0, 0.02);
    assert_within(quantile(&outcome, 0.95), 600.0, 0.02);
}

#[test]
fn a_stall_of_a_second_appears_in_the_percentiles_of_an_open_loop_and_hides_from_a_closed_one() {
    let stalled = |pace| {
        let second = Duration::from_secs(1);
        let script = Script::default().then(second, Fault::stalled()).healthy(second * 2);
        let origin = Origin::start(Spec { script, ..Spec::named("it") }).unwrap();
        let load = Load { pace, ..load(&origin, 500.0, 4.0) };
        let running = Load { connections: Connections::Kept(8), ..load }.start().unwrap();
        origin.begin(running.began());
        running.finish(|_| {}).unwrap()
    };
    // Of four seconds one is lost: 1% of all requests waited for nearly all of it.
    let open = stalled(Pace::Open(500.0));
    assert_eq!(open.total.count(Kind::Good), 2000);
    assert!((900.0..1100.0).contains(&quantile(&open, 0.99)), "{}", quantile(&open, 0.99));
    assert!((400.0..1000.0).contains(&quantile(&open, 0.90)), "{}", quantile(&open, 0.90));
    let closed = stalled(Pace::Closed);
    assert!(quantile(&closed, 0.99) < 400.0, "{}", quantile(&closed, 0.99));
}

#[test]
fn every_request_of_an_open_plan_is_sent_and_the_series_adds_up() {
    let origin = origin(Fault::default());
    let plan = Load { threads: 2, connections: Connections::Kept(5), ..load(&origin, 2000.0, 1.0) };
    let mut seen = Vec::new();
    let outcome = plan.start().unwrap().finish(|point| seen.push(*point)).unwrap();
    assert_eq!((outcome.total.count(Kind::Good), outcome.total.total()), (2000, 2000));
    assert_eq!((origin.requests(), outcome.total.ended), (2000, 0));
    let sum: f64 = seen.iter().map(|point| point.rate() / 10.0).sum();
    assert!((1800.0..=2000.1).contains(&sum), "{sum}");
}

#[test]
fn faults_are_counted_by_their_kind() {
    let origin = origin(Fault { fail: 0.3, reset: 0.1, ..Fault::default() });
    let outcome = load(&origin, 1000.0, 1.0).run().unwrap();
    let (total, resets) = (&outcome.total, outcome.total.failed(Failure::Reset));
    assert!((50..150).contains(&resets), "{resets}");
    assert!((240..360).contains(&(total.count(Kind::Bad) - resets)));
    assert_eq!((total.total(), outcome.failures(), total.ended), (1000, resets, resets));
    let statuses: Vec<_> = total.statuses().map(|(status, _)| status).collect();
    assert_eq!(statuses, [200, 500]);
}

#[test]
fn wrong_content_late_answers_and_absent_peers_are_failures() {
    let origin = origin(Fault::slow(Duration::from_secs(2)));
    let late = Load { timeout: Duration::from_millis(300), ..load(&origin, 50.0, 0.5) };
    let outcome = late.run().unwrap();
    assert_eq!(outcome.total.failed(Failure::TimedOut), 25);
    origin.begin(Nanos::MAX);
    let other = Load { expect: Expect::one_of(&["other"]), ..load(&origin, 50.0, 0.5) };
    assert_eq!(other.run().unwrap().total.failed(Failure::Unexpected), 25);
    let gone = load(&origin, 50.0, 0.5);
    drop(origin);
    assert!(gone.run().unwrap_err().contains("refused"));
}

#[test]
fn a_new_connection_for_each_request_is_opened_and_none_is_left() {
    let origin = origin(Fault::default());
    for pace in [Pace::Open(300.0), Pace::Closed] {
        let plan = load(&origin, 300.0, 0.5);
        let plan = Load { pace, connections: Connections::Fresh(8), ..plan };
        let outcome = plan.run().unwrap();
        let (good, failures) = (outcome.total.count(Kind::Good), outcome.failures());
        assert!(good >= 150 && failures == 0, "{good} {failures}");
        assert_eq!(outcome.total.opened, good);
    }
}

#[test]
fn pipelined_requests_are_answered_in_their_order_and_trickles_are_read_to_their_end() {
    let trickle = Some(Trickle { bytes: 20, pause: Duration::from_millis(1) });
    let origin = origin(Fault { trickle, ..Fault::default() });
    let plan = Load { pace: Pace::Closed, depth: 4, ..load(&origin, 1.0, 0.5) };
    let outcome = Load { connections: Connections::Kept(2), ..plan }.run().unwrap();
    assert!(outcome.total.count(Kind::Good) > 50, "{}", outcome.total.count(Kind::Good));
    assert_eq!((outcome.failures(), outcome.total.opened), (0, 0));
}

#[test]
fn each_request_is_remembered_on_both_sides_with_one_clock() {
    let spec = Spec { trace: Trace::Remember, ..Spec::named("it") };
    let origin = Origin::start(spec).unwrap();
    let plan = load(&origin, 500.0, 0.5);
    let request = Request::stamped(plan.address, "/");
    let outcome = Load { request, trace: Trace::Remember, ..plan }.run().unwrap();
    let mut hits = origin.stop();
    assert_eq!((outcome.seen.len(), hits.len()), (250, 250));
    hits.sort_by_key(|hit| hit.sent);
    let mut seen = outcome.seen;
    seen.sort_by_key(|seen| seen.sent);
    for (seen, hit) in seen.iter().zip(&hits) {
        assert!(seen.planned <= seen.sent && seen.sent == hit.sent, "{seen:?} {hit:?}");
        assert!(hit.sent <= hit.arrived && hit.answered <= seen.done, "{seen:?} {hit:?}");
    }
    assert!(clock::now() > seen.last().unwrap().done);
}
