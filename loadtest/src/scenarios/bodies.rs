//! Bodies of all sizes, both ways: answers are compared byte for byte, uploads by a digest of them.

use std::time::Duration;

use super::config;
use crate::expect::Expect;
use crate::load::{Connections, Load, Pace, Request};
use crate::message;
use crate::origin::Spec;
use crate::report::Limit;
use crate::stage::{Scenario, Stage, count};
use crate::tally::Kind;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "bodies",
    about: "answers of 1 KiB to 1 MiB compared byte for byte, and uploads by their digest",
    play,
};

/// Sizes by name.
const SIZES: &[(&str, usize)] =
    &[("/1k", 1 << 10), ("/16k", 1 << 14), ("/64k", 1 << 16), ("/256k", 1 << 18), ("/1m", 1 << 20)];

fn play(stage: &mut Stage) -> Result<(), String> {
    let replies = SIZES.iter().map(|(path, size)| ((*path).to_owned(), body(*size))).collect();
    let origin = stage.origin(Spec { replies, ..Spec::named("origin") })?;
    let proxy = stage.proxy(&config::all_to(&origin))?;
    let span = stage.seconds(4.0, 0.25);
    let mut not_good = 0;
    for (path, size) in SIZES {
        let name = path.trim_start_matches('/');
        let plain = stage.load(&proxy, path, Pace::Closed, span);
        let warm_up = Duration::from_millis(50);
        let load = Load { connections: Connections::Kept(8), warm_up, ..plain };
        // Comparing costs the generator time, so speed is measured apart from it.
        let compared = Expect { bodies: vec![body(*size)], ..Expect::status(200) };
        let compared = Load { expect: compared, duration: span / 2, ..load.clone() };
        let content = stage.run(&format!("{name}, compared"), &proxy, &compared, |_| {})?;
        let timed = Load {
            expect: Expect::length(200, *size as u64),
            connections: Connections::Kept(stage.connections(32, 8)),
            ..load.clone()
        };
        let timed = stage.run(name, &proxy, &timed, |_| {})?;
        let host = proxy.address().to_string();
        let digest = message::digest(message::NOTHING, &body(*size));
        let told = Spec::echo_to("origin", "/up", *size as u64, digest);
        let upload = Load {
            request: Request::new("POST", &host, "/up", &body(*size), ""),
            expect: Expect::one_of(&[&told]),
            ..load
        };
        let upload = stage.run(&format!("{name}, uploaded"), &proxy, &upload, |_| {})?;
        for played in [&content, &timed, &upload] {
            let total = &played.outcome.total;
            not_good += total.total() - total.count(Kind::Good);
        }
        let gigabits = timed.outcome.rate() * count(*size) * 8.0 / 1e9;
        stage.tell(&format!("{name}: answered each second"), gigabits, "Gbit");
        stage.tell(&format!("{name}: processor time of the proxy for each"), timed.cpu_us, "us");
    }
    stage.must("bodies that were not as sent", count(not_good), "", Limit::AtMost(0.0));
    Ok(())
}

/// Bytes that are no repetition of a short part, so that a shift is noticed.
fn body(size: usize) -> Vec<u8> {
    (0..size).map(|nth| (nth ^ (nth >> 8) ^ (nth >> 16)).to_le_bytes()[0] | 1).collect()
}
