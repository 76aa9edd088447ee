//! A watcher beside a load: the state of every breaker, and the proxy's memory, over time.
//!
//! Enters: the admin API and the process. Leaves: [`Sighting`]s in their order. Owns a thread that
//! asks some fifty times a second, which is what an operator's page could show at best; exact times
//! come from clients and origin.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Proxy;
use super::admin::{Admin, Breaker};
use crate::clock::{self, Nanos};

/// How often breakers are looked at.
const PERIOD: Duration = Duration::from_millis(20);

/// A span in which a breaker was seen in one state, in seconds of the load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bar {
    pub(crate) breaker: String,
    pub(crate) state: String,
    pub(crate) from_s: f64,
    pub(crate) to_s: f64,
}

/// What was seen at one moment.
type Sighting = (Nanos, Vec<Breaker>);

/// A watcher at work.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Sighting>>,
}

impl Watch {
    /// Begins to watch `proxy`.
    pub(crate) fn start(proxy: &Proxy) -> Self {
        let (admin, stop) = (proxy.admin(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || watch(admin, &stopped));
        Self { stop, thread }
    }

    /// Ends, and tells what was seen from `began` on.
    pub(crate) fn stop(self, began: Nanos) -> Vec<Bar> {
        self.stop.store(true, Ordering::Relaxed);
        bars(&self.thread.join().unwrap_or_default(), began)
    }
}

fn watch(admin: Admin, stop: &AtomicBool) -> Vec<Sighting> {
    let mut sightings = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        // Under full load an answer may fail to come; the next look tells more.
        if let Ok(breakers) = admin.breakers() {
            sightings.push((clock::now(), breakers));
        }
        clock::pass(PERIOD);
    }
    sightings
}

/// The spans of one state, breaker by breaker.
fn bars(sightings: &[Sighting], began: Nanos) -> Vec<Bar> {
    let mut bars: Vec<Bar> = Vec::new();
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, breakers) in sightings.iter().filter(|(at, _)| *at >= began) {
        let at_s = clock::seconds(at - began);
        for breaker in breakers {
            let open = last.get(breaker.name.as_str()).copied();
            if let Some(bar) = open.and_then(|nth| bars.get_mut(nth)) {
                bar.to_s = at_s;
                if bar.state == breaker.state {
                    continue;
                }
            }
            last.insert(&breaker.name, bars.len());
            bars.push(Bar {
                breaker: breaker.name.clone(),
                state: breaker.state.clone(),
                from_s: at_s,
                to_s: at_s,
            });
        }
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sightings_of_one_state_become_one_bar() {
        let seen = |at: u64, state: &str| {
            let breaker = Breaker { name: "GET /".into(), state: state.into() };
            (at * clock::SECOND, vec![breaker])
        };
        let all = [
            seen(1, "open"),
            seen(3, "closed"),
            seen(4, "closed"),
            seen(5, "open"),
            seen(6, "closed"),
        ];
        let found: Vec<_> = bars(&all, 2 * clock::SECOND)
            .into_iter()
            .map(|bar| (bar.state, bar.from_s, bar.to_s))
            .collect();
        let expected = [("closed", 1.0, 3.0), ("open", 3.0, 4.0), ("closed", 4.0, 4.0)];
        assert_eq!(found, expected.map(|(state, from, to)| (state.to_owned(), from, to)));
    }
}
