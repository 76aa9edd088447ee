//! What a refusal costs, beside a request that is proxied: both on one proxy, in turns.

use std::net::{Ipv4Addr, TcpListener};

use serde_json::json;

use super::config;
use crate::expect::Expect;
use crate::load::{Load, Pace};
use crate::origin::Spec;
use crate::report::Limit;
use crate::stage::{Played, Scenario, Stage, count, median};
use crate::tally::Kind;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "refusals",
    about: "as many refusals as there can be, and as many proxied requests, in turns",
    play,
};

/// Bytes of a proxied body.
const BODY: usize = 1024;

fn play(stage: &mut Stage) -> Result<(), String> {
    let replies = vec![("/1k".to_owned(), vec![b'a'; BODY])];
    let origin = stage.origin(Spec { replies, ..Spec::named("origin") })?;
    // Where nobody listens: the first request fails, which opens the breaker for good.
    let nowhere = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr());
    let nowhere = nowhere.map_err(|error| format!("no port: {error}"))?;
    let shut = json!({ "maxFailures": 1, "timeWindow": "1 hour", "resetTimeout": "1 hour" });
    let proxy = stage.proxy(&config::routes(&[
        ("/1k", config::guarded(&origin.url("/1k"))),
        ("/shut", config::route(&format!("http://{nowhere}/"), &shut)),
    ]))?;
    let span = stage.seconds(3.0, 0.5);
    let proxied = stage.load(&proxy, "/1k", Pace::Closed, span);
    let proxied = Load { expect: Expect::length(200, BODY as u64), ..proxied };
    let refused = stage.load(&proxy, "/shut", Pace::Closed, span);
    let refused = Load { expect: Expect::status(503), ..refused };

    let (mut through, mut refusals) = (Vec::new(), Vec::new());
    for round in 1..=stage.count(5, 1) {
        through.push(stage.run(&format!("proxied {round}"), &proxy, &proxied, |_| {})?);
        refusals.push(stage.run(&format!("refused {round}"), &proxy, &refused, |_| {})?);
    }
    let all = || through.iter().chain(&refusals);
    let other = |it: &Played| it.outcome.total.total() - it.outcome.total.count(Kind::Good);
    let other = count(all().map(other).sum::<u64>());
    stage.must("answers that were not the expected one", other, "", Limit::AtMost(0.0));
    let middle =
        |all: &[Played], of: fn(&Played) -> f64| median(&all.iter().map(of).collect::<Vec<_>>());
    let cpu = |all: &[Played]| middle(all, |it| it.cpu_us);
    let rate = |all: &[Played]| middle(all, |it| it.outcome.rate());
    stage.tell("processor time of a proxied request", cpu(&through), "us");
    stage.tell("processor time of a refusal", cpu(&refusals), "us");
    let share = cpu(&refusals) / cpu(&through);
    stage.should("of that of a proxied request", share, "", Limit::AtMost(0.40));
    stage.tell("proxied requests a second", rate(&through), "/s");
    stage.tell("refusals a second", rate(&refusals), "/s");
    let times = rate(&refusals) / rate(&through);
    stage.should("refusals for each proxied request", times, "", Limit::AtLeast(2.5));
    stage.note("medians of all rounds; the client has to make as many requests as are refused");
    Ok(())
}
