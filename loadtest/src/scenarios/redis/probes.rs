//! Many clients of every proxy press on while a breaker is half open: a round is shared by all.

use std::time::Duration;

use serde_json::json;

use super::fleet;
use crate::clock::{self, Nanos};
use crate::expect::Expect;
use crate::load::{Connections, Load, Pace, Request, Running, Trace};
use crate::origin::{Fate, Fault, Hit, Script, Spec};
use crate::redis::Redis;
use crate::report::Limit;
use crate::stage::{Stage, count};

/// How many share.
const SIZE: usize = 3;

/// Permits of a round.
const ROUND: usize = 3;

/// How long it stays open.
const OPEN: Duration = Duration::from_secs(1);

/// A probe takes so long: the time in which others could slip through.
const PROBE: Duration = Duration::from_millis(200);

/// Requests of a round lie closer together than this, those of two rounds do not.
const GAP: Nanos = 500 * clock::MILLI;

pub(super) fn play(stage: &mut Stage) -> Result<(), String> {
    let redis = Redis::start(&stage.load_cores())?;
    let (sick, span) = (stage.seconds(6.0, 3.2), stage.seconds(9.0, 5.5));
    let fault = Fault { delay: crate::origin::Delay::Fixed(PROBE), ..Fault::failing(1.0) };
    let script = Script::default().then(Duration::ZERO, fault).then(sick, Fault::slow(PROBE));
    let origin = stage.origin(Spec { script, trace: Trace::Remember, ..Spec::named("origin") })?;
    let breaker = json!({
        "maxFailures": 10, "resetTimeout": format!("{}ms", OPEN.as_millis()), "timeout": "5s",
        "rejectStatusCode": 503, "halfOpen": { "requests": ROUND, "successes": ROUND },
    });
    let state = fleet::state(redis.port());
    let config = fleet::config(&origin.url("/"), &breaker, &state);
    let proxies = fleet::start(stage, SIZE, &config)?;
    let loads = proxies.iter().map(|proxy| {
        let connections = Connections::Kept(stage.connections(64, 64));
        let plain = stage.load(proxy, "/guarded", Pace::Open(stage.rate(3_000.0, 300.0)), span);
        Load {
            connections,
            request: Request::stamped(proxy.address(), "/guarded"),
            expect: Expect::status(200).or_refused(503),
            trace: Trace::Remember,
            warm_up: Duration::ZERO,
            ..plain
        }
        .start()
    });
    let running: Vec<Running> = loads.collect::<Result<_, _>>()?;
    origin.begin_now();
    let began = clock::now();
    let mut refused = Vec::new();
    for it in running {
        let outcome = it.finish(|_| {})?;
        let first = outcome.seen.iter().find(|seen| seen.status == 503);
        refused.push(first.map_or(Nanos::MAX, |seen| seen.done));
    }
    // From then on all of them refuse.
    let open = refused.into_iter().max().unwrap_or(Nanos::MAX);
    let well = began + clock::nanos(sick);
    let rounds = rounds(&origin.stop(), open, well);
    let most = rounds.iter().copied().max().unwrap_or(0);
    stage.must("probes: rounds that failed", count(rounds.len()), "", Limit::AtLeast(1.0));
    let limit = Limit::AtMost(count(ROUND));
    stage.must("probes: most in one round, of all proxies", count(most), "", limit);
    Ok(())
}

/// How many requests each round let through, of those that were sent when all refused already, up
/// to the first success.
fn rounds(hits: &[Hit], open: Nanos, well: Nanos) -> Vec<usize> {
    let mut rounds: Vec<(Nanos, usize)> = Vec::new();
    for hit in hits.iter().filter(|hit| hit.sent > open && hit.arrived < well) {
        if hit.fate == Fate::Answer {
            break;
        }
        match rounds.last_mut() {
            Some((last, size)) if hit.arrived - *last < GAP => {
                *size += 1;
                *last = hit.arrived;
            }
            _ => rounds.push((hit.arrived, 1)),
        }
    }
    rounds.into_iter().map(|(_, size)| size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_close_together_are_one_round() {
        let hit = |millis: u64| Hit {
            sent: millis * clock::MILLI,
            arrived: millis * clock::MILLI,
            answered: millis * clock::MILLI + 1,
            fate: Fate::Fail,
        };
        let hits = [hit(10), hit(1_000), hit(1_010), hit(2_400), hit(9_000)];
        assert_eq!(rounds(&hits, 100 * clock::MILLI, 5 * clock::SECOND), [2, 1]);
    }
}
