//! Idle connections: what each costs in memory.

use std::time::Duration;

use super::config;
use crate::clock;
use crate::crowd::{Crowd, Manner, Until};
use crate::load::{Load, Pace, Request};
use crate::origin::Spec;
use crate::report::Limit;
use crate::stage::{Scenario, Stage, count, quantile};
use crate::tally::Kind;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "idle",
    about: "keep-alive connections at rest: the memory that each costs the proxy",
    play,
};

fn play(stage: &mut Stage) -> Result<(), String> {
    let origin = stage.origin(Spec::named("origin"))?;
    let proxy = stage.proxy(&config::all_to(&origin))?;
    // Touches the code and the pools once, so that they are not counted as connections.
    let span = stage.seconds(2.0, 0.5);
    let load = stage.load(&proxy, "/", Pace::Open(stage.rate(1000.0, 200.0)), span);
    stage.run("before", &proxy, &load, |_| {})?;
    // A connection that rests for seconds gives its buffers back: those of the load too.
    let rests = Duration::from_secs_f64(stage.pick(5.0, 3.0));
    clock::pass(rests);
    let before = proxy.process().memory();

    let wanted = stage.standing(8_000, 500);
    let request = Request::get(proxy.address(), "/").bytes;
    let cores = stage.load_cores();
    let (spread, until) = (Duration::ZERO, Until::Answered);
    let manner = Manner { spread, bytes: request.to_vec(), trickle: None, until };
    let crowd = Crowd::gather(proxy.address(), wanted, manner, &cores)?;
    clock::pass(rests);
    let after = proxy.process().memory();
    let (cpu, rest) = (proxy.process().cpu(), Duration::from_secs_f64(stage.pick(5.0, 0.5)));
    clock::pass(rest);
    let cpu = proxy.process().cpu().saturating_sub(cpu).as_secs_f64() / rest.as_secs_f64();
    let load = Load { warm_up: Duration::ZERO, ..load };
    let beside = stage.run("beside them", &proxy, &load, |_| {})?;

    let each = |after: u64, before: u64| count(after.saturating_sub(before)) / count(wanted);
    let all = Limit::AtLeast(count(wanted));
    stage.must("connections that stand", count(crowd.standing()), "", all);
    stage.must("connections ended by the proxy", count(crowd.ended()), "", Limit::AtMost(0.0));
    let private = each(after.private, before.private);
    stage.should("user memory of a connection, private", private, "B", Limit::AtMost(1024.0));
    let resident = each(after.resident, before.resident);
    stage.tell("user memory of a connection, resident", resident, "B");
    stage.should("processor, with nothing to do", cpu * 100.0, "%", Limit::AtMost(1.0));
    let total = &beside.outcome.total;
    let not_good = count(total.total() - total.count(Kind::Good));
    stage.must("requests beside them without a good answer", not_good, "", Limit::AtMost(0.0));
    let p99 = total.latency(Kind::Good).map_or(0.0, |latency| quantile(latency, 0.99));
    stage.tell("p99 of requests beside them", p99, "ms");
    Ok(())
}
