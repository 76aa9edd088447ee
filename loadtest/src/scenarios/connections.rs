//! A new connection for each request.

use super::config;
use crate::load::{Connections, Load, Pace, Request};
use crate::origin::Spec;
use crate::report::Limit;
use crate::stage::{Scenario, Stage, count, quantile};
use crate::tally::Kind;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "connections",
    about: "clients that open a connection for every request and ask for its end",
    play,
};

fn play(stage: &mut Stage) -> Result<(), String> {
    let origin = stage.origin(Spec::named("origin"))?;
    let proxy = stage.proxy(&config::all_to(&origin))?;
    let (rate, span) = (stage.rate(2_000.0, 300.0), stage.seconds(10.0, 1.5));
    let plain = stage.load(&proxy, "/", Pace::Open(rate), span);
    let host = proxy.address().to_string();
    let load = Load {
        request: Request::new("GET", &host, "/", &[], "Connection: close\r\n"),
        connections: Connections::Fresh(stage.connections(256, 64)),
        ..plain
    };
    let played = stage.run("new connections", &proxy, &load, |_| {})?;
    let total = &played.outcome.total;
    let not_good = count(total.total() - total.count(Kind::Good));
    stage.must("requests without a good answer", not_good, "", Limit::AtMost(0.0));
    let left = proxy.admin().metrics()?.sum("fusebox_connections_open", &[]);
    stage.must("connections that the proxy still holds", left, "", Limit::AtMost(0.0));
    let p99 = total.latency(Kind::Good).map_or(0.0, |latency| quantile(latency, 0.99));
    stage.should("p99, the connection included", p99, "ms", Limit::AtMost(10.0));
    stage.tell("processor time of the proxy for each", played.cpu_us, "us");
    Ok(())
}
