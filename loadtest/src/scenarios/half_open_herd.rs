//! Many clients wait for an open time to end: one request may try, and no other.

use std::time::Duration;

use serde_json::json;

use super::breaker::{figures, traced};
use super::config;
use crate::breaker::{self, Policy};
use crate::clock;
use crate::load::{Connections, Load, Pace, Trace};
use crate::origin::{Fault, Script, Spec};
use crate::report::Limit;
use crate::stage::{Scenario, Stage, count};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "half-open-herd",
    about: "many clients when the open time ends, while the one probe takes its time",
    play,
};

const FAILURES: usize = 5;

fn play(stage: &mut Stage) -> Result<(), String> {
    let millis = |full, smoke| Duration::from_millis(stage.pick(full, smoke));
    let (sick, open, probe) = (millis(1000, 200), millis(1000, 400), millis(500, 200));
    // Sick until well before the probe; slow while the probe is there; then well.
    let slow = sick + open / 2;
    let well = sick + open + probe / 2;
    let script = Script::default()
        .then(sick, Fault::failing(1.0))
        .then(slow, Fault::slow(probe))
        .healthy(well);
    let origin = stage.origin(Spec { script, trace: Trace::Remember, ..Spec::named("origin") })?;
    let breaker = json!({
        "maxFailures": FAILURES, "timeWindow": "1 minute", "rejectStatusCode": 503,
        "resetTimeout": format!("{}ms", open.as_millis()), "timeout": "5s",
    });
    let route = config::route(&origin.url("/"), &breaker);
    let proxy = stage.proxy(&config::routes(&[("/", route)]))?;
    let span = sick + open + probe * 2 + millis(2000, 400);
    let pace = Pace::Random(stage.rate(10_000.0, 1000.0));
    let connections = Connections::Kept(stage.connections(512, 64));
    let load = Load { connections, ..traced(stage, &proxy, pace, span) };
    let outcome = stage.run("herd", &proxy, &load, |began| origin.begin(began))?.outcome;
    stage.marks(&[
        (sick.as_secs_f64(), "sick"),
        ((sick + open).as_secs_f64(), "open time over"),
        (well.as_secs_f64(), "well"),
    ]);
    let policy = Policy {
        failures: FAILURES,
        open: clock::nanos(open).saturating_sub(clock::MILLI),
        timeout: clock::nanos(Duration::from_secs(5)),
        refused: 503,
    };
    let conduct = breaker::conduct(&outcome.seen, &origin.stop(), &policy);
    figures(stage, "herd", &conduct, 1, &outcome);
    stage.must("herd: let through in half-open", count(conduct.probes), "", Limit::AtMost(1.0));
    Ok(())
}
