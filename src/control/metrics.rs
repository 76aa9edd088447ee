//! Counters → the Prometheus text format, from one table of metrics.
//!
//! Enters: a [`Scrape`], where the numbers are. Leaves: text, one family after the other in the
//! order of [`METRICS`], every label value escaped. The table is the interface: a golden test holds
//! its names, types and help, and the documentation is made from it.

use super::exposition::{Family, push_all};
use super::handler::Tally as HandlerTally;
use super::sharing::Figures;
use super::{gauges, shares};
use crate::clock::Now;
use crate::stats::{Bound, Connections, Count, Process, Retries, ServiceTally, Tally, TargetTally};
use crate::table::Guard;

/// Where the numbers of one scrape are.
#[derive(Debug)]
pub struct Scrape<'a> {
    /// Process counters.
    pub process: &'a Process,
    /// Every route by name.
    pub routes: Vec<(&'a str, &'a Tally)>,
    /// Every service by name.
    pub services: Vec<(String, &'a ServiceTally)>,
    /// Every target.
    pub targets: Vec<Reached<'a>>,
    /// Every host name, with the number of its look-ups that failed.
    pub names: Vec<(&'a str, u64)>,
    /// Every breaker.
    pub breakers: Vec<&'a Guard>,
    /// The served generation.
    pub generation: u64,
    /// 1, or 0 when the last reload was refused.
    pub last_reload_success: u64,
    /// Log lines that found the queue full.
    pub log_lines_dropped: u64,
    /// Lines of the access log that were not written.
    pub access_dropped: u64,
    /// Notices of the cores that found the queue full.
    pub events_dropped: u64,
    /// Every event handler by name.
    pub handlers: Vec<(&'a str, &'a HandlerTally)>,
    /// The driver the workers run on.
    pub driver: &'a str,
    /// Which fusebox this is.
    pub version: &'a str,
    /// How this process stands to others; `None`: state is in memory.
    pub sharing: Option<&'a Figures>,
    /// When.
    pub now: Now,
}

/// A target and where it is reached.
#[derive(Debug)]
pub struct Reached<'a> {
    /// `host:port`.
    pub name: &'a str,
    /// Its connections.
    pub tally: &'a TargetTally,
    /// How many addresses it has; none: it is down.
    pub addresses: usize,
}

/// One family of samples.
#[derive(Debug)]
pub struct Metric {
    /// Its name, with the unit and `_total` of its kind.
    pub name: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// What it says, in one sentence.
    pub help: &'static str,
    /// Appends its samples.
    pub(super) write: fn(&Scrape<'_>, &mut Family<'_>),
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How many were within each bound.
    Histogram,
}

/// Every metric of this process alone, in the order of the text.
pub const METRICS: &[Metric] = &[
    counter(
        "fusebox_requests_total",
        "Finished requests by route and class of the status sent.",
        requests,
    ),
    counter(
        "fusebox_connections_accepted_total",
        "Connections accepted from clients.",
        |scrape, family| family.count(scrape, Count::Accepted),
    ),
    counter(
        "fusebox_connections_evicted_total",
        "Connections of clients at rest that were closed to make room for others.",
        |scrape, family| family.count(scrape, Count::Evicted),
    ),
    gauge("fusebox_connections_open", "Connections of clients that are open.", |scrape, family| {
        let accepted = scrape.process.total(Count::Accepted);
        family.sample(&[], accepted.saturating_sub(scrape.process.total(Count::Closed)));
    }),
    counter(
        "fusebox_bad_requests_total",
        "Requests that broke a rule of HTTP or a limit.",
        |scrape, family| family.count(scrape, Count::BadRequest),
    ),
    counter(
        "fusebox_limit_hits_total",
        "How often a timeout or limit cut short, refused or closed something, by its key.",
        |scrape, family| {
            for bound in Bound::ALL {
                family.sample(&[("limit", bound.key())], scrape.process.bounds(bound));
            }
        },
    ),
    counter("fusebox_not_found_total", "Requests whose path no route serves.", |scrape, family| {
        family.count(scrape, Count::NotFound)
    }),
    counter(
        "fusebox_wrong_method_total",
        "Requests whose path is served, but not with their method.",
        |scrape, family| family.count(scrape, Count::WrongMethod),
    ),
    counter(
        "fusebox_upstream_connections_total",
        "Connections opened to upstreams.",
        |scrape, family| family.count(scrape, Count::Connected),
    ),
    counter(
        "fusebox_upstream_reused_total",
        "Exchanges on a pooled upstream connection.",
        |scrape, family| family.count(scrape, Count::Reused),
    ),
    counter(
        "fusebox_upstream_retries_total",
        "Exchanges repeated because their pooled upstream connection was stale.",
        |scrape, family| family.count(scrape, Count::Retried),
    ),
    counter(
        "fusebox_upstream_no_room_total",
        "Exchanges for which this process had no place, descriptor or port.",
        |scrape, family| family.count(scrape, Count::NoRoom),
    ),
    gauge(
        "fusebox_target_connections",
        "Connections to each target, as each core saw them within the last second.",
        |scrape, family| {
            let states = [("in_use", Connections::InUse), ("idle", Connections::Idle)];
            for (state, slot) in states {
                family.per_target(scrape, &[("state", state)], |it| it.tally.sum(slot as usize));
            }
        },
    ),
    counter(
        "fusebox_target_connects_total",
        "Connections opened to each target.",
        |scrape, family| {
            family.per_target(scrape, &[], |it| it.tally.sum(Connections::Opened as usize));
        },
    ),
    counter(
        "fusebox_target_connect_failures_total",
        "Connections to each target that were refused, came too late, or had no address to go to.",
        |scrape, family| {
            family.per_target(scrape, &[], |it| it.tally.sum(Connections::Failed as usize));
        },
    ),
    gauge(
        "fusebox_target_addresses",
        "Addresses of each target; 0 when its name does not resolve.",
        |scrape, family| family.per_target(scrape, &[], |it| it.addresses as u64),
    ),
    counter(
        "fusebox_dns_failures_total",
        "Look-ups of each host name that failed.",
        |scrape, family| {
            for (name, count) in &scrape.names {
                family.sample(&[("name", name)], *count);
            }
        },
    ),
    counter("fusebox_retries_total", "Attempts after the first, by service.", |scrape, family| {
        family.per_service(scrape, Retries::Made)
    }),
    counter(
        "fusebox_retry_budget_exhausted_total",
        "Attempts after the first that the budget of the service did not allow.",
        |scrape, family| family.per_service(scrape, Retries::OverBudget),
    ),
    counter(
        "fusebox_fallback_total",
        "Requests that went to each service instead of being refused by a breaker.",
        |scrape, family| family.per_service(scrape, Retries::StoodIn),
    ),
    counter(
        "fusebox_handler_calls_total",
        "Calls of each event handler by what became of them.",
        |scrape, family| {
            for (name, tally) in &scrape.handlers {
                for (result, count) in tally.results() {
                    family.sample(&[("handler", name), ("result", result)], count);
                }
            }
        },
    ),
    counter(
        "fusebox_tunnels_total",
        "Connections that went on in another protocol.",
        |scrape, family| family.count(scrape, Count::TunnelOpened),
    ),
    gauge(
        "fusebox_tunnels_open",
        "Connections in another protocol that are open.",
        |scrape, family| {
            let opened = scrape.process.total(Count::TunnelOpened);
            family.sample(&[], opened.saturating_sub(scrape.process.total(Count::TunnelClosed)));
        },
    ),
    counter("fusebox_panics_total", "Connection tasks that panicked.", |scrape, family| {
        family.count(scrape, Count::Panicked);
    }),
    gauge(
        "fusebox_breaker_state",
        "State of each breaker: 1 for the state it is in, 0 for the others.",
        gauges::state,
    ),
    gauge(
        "fusebox_breaker_effective",
        "What clients feel of each breaker, after override and mode: 1 for that state.",
        gauges::effective,
    ),
    gauge(
        "fusebox_breaker_override",
        "Whether an operator overrides each breaker: 1 for the order that holds.",
        gauges::overrides,
    ),
    gauge("fusebox_breaker_mode", "Mode of each breaker: 1 for the one it has.", gauges::modes),
    gauge(
        "fusebox_breaker_open_remaining_seconds",
        "Seconds until each open breaker may stop refusing; 0 in any other state.",
        gauges::open_remaining,
    ),
    counter(
        "fusebox_breaker_transitions_total",
        "Moves of each breaker between states.",
        gauges::transitions,
    ),
    counter(
        "fusebox_breaker_outcomes_total",
        "Exchanges by what each breaker learnt from them.",
        gauges::outcomes,
    ),
    counter(
        "fusebox_breaker_rejected_total",
        "Requests each breaker refused, by reason.",
        gauges::refused,
    ),
    counter(
        "fusebox_breaker_would_reject_total",
        "Requests that mode or override let through where the state would have refused them.",
        gauges::spared,
    ),
    counter(
        "fusebox_breaker_slow_total",
        "Exchanges that each breaker found slow, whether they failed or not.",
        gauges::slow,
    ),
    counter(
        "fusebox_breaker_stale_results_total",
        "Results that arrived after the state they were admitted in, and counted for nothing.",
        gauges::stale,
    ),
    gauge(
        "fusebox_config_generation",
        "Generation of the configuration that is served.",
        |scrape, family| family.sample(&[], scrape.generation),
    ),
    gauge(
        "fusebox_config_last_reload_success",
        "1 when the last reload was taken over, 0 when it was refused.",
        |scrape, family| family.sample(&[], scrape.last_reload_success),
    ),
    counter(
        "fusebox_log_lines_dropped_total",
        "Log lines dropped because the queue of the writer was full.",
        |scrape, family| family.sample(&[], scrape.log_lines_dropped),
    ),
    counter(
        "fusebox_access_dropped_total",
        "Lines of the access log dropped because a ring was full or nothing could be written.",
        |scrape, family| family.sample(&[], scrape.access_dropped),
    ),
    counter(
        "fusebox_events_dropped_total",
        "Breaker events dropped because the queue of the control plane was full.",
        |scrape, family| family.sample(&[], scrape.events_dropped),
    ),
    gauge("fusebox_driver_info", "The I/O driver the workers run on.", |scrape, family| {
        family.sample(&[("driver", scrape.driver)], 1);
    }),
    gauge("fusebox_build_info", "Which fusebox this is.", |scrape, family| {
        family.sample(&[("version", scrape.version)], 1);
    }),
];

/// The text of one scrape.
#[must_use]
pub fn text(scrape: &Scrape<'_>) -> String {
    let mut out = String::new();
    for metric in METRICS.iter().chain(shares::METRICS) {
        let (name, kind) = (metric.name, metric.kind.as_str());
        out.push_str("# HELP ");
        push_all(&mut out, &[name, " ", metric.help, "\n# TYPE ", name, " ", kind, "\n"]);
        (metric.write)(scrape, &mut Family { name, out: &mut out });
    }
    out
}

fn requests(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    const CODES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
    for (route, tally) in &scrape.routes {
        for (slot, code) in CODES.into_iter().enumerate() {
            family.sample(&[("route", route), ("code", code)], tally.sum(slot));
        }
    }
}

impl Family<'_> {
    fn count(&mut self, scrape: &Scrape<'_>, count: Count) {
        self.sample(&[], scrape.process.total(count));
    }

    fn per_target(
        &mut self,
        scrape: &Scrape<'_>,
        labels: &[(&str, &str)],
        read: impl Fn(&Reached<'_>) -> u64,
    ) {
        for target in &scrape.targets {
            let labels = [&[("target", target.name)], labels].concat();
            self.sample(&labels, read(target));
        }
    }

    fn per_service(&mut self, scrape: &Scrape<'_>, slot: Retries) {
        for (name, tally) in &scrape.services {
            self.sample(&[("service", name)], tally.sum(slot as usize));
        }
    }
}

pub(super) const fn counter(
    name: &'static str,
    help: &'static str,
    write: fn(&Scrape<'_>, &mut Family<'_>),
) -> Metric {
    Metric { name, kind: Kind::Counter, help, write }
}

pub(super) const fn gauge(
    name: &'static str,
    help: &'static str,
    write: fn(&Scrape<'_>, &mut Family<'_>),
) -> Metric {
    Metric { name, kind: Kind::Gauge, help, write }
}

impl Kind {
    /// The word of the text format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::handler::Called;
    use super::super::view::tests::{exchange, guard, reset};
    use super::*;
    use crate::breaker::Core;
    use crate::breaker::outcome::Ending;

    #[test]
    fn the_text_is_the_golden_one() {
        let process = Process::new(1);
        let core = Core::claim(0);
        for count in Count::ALL {
            (0..=Count::ALL.len() - count as usize).for_each(|_| process.count(&core, count));
        }
        for (nth, bound) in (1..).zip(Bound::ALL) {
            process.bounded(&core, bound, nth);
        }
        let tally = Tally::new(1);
        tally.finished(&core, 200);
        tally.finished(&core, 503);
        let breaker = reset(1);
        let now = Now::from_millis(1_000);
        exchange(&breaker, Ending::Answered(200), now);
        exchange(&breaker, Ending::Answered(500), now);
        exchange(&breaker, Ending::Answered(200), now);
        let guard = guard(&breaker);
        let (service, target) = (ServiceTally::new(1), TargetTally::new(1));
        (1..=3).for_each(|slot| service.add(&core, slot - 1, slot as u64));
        (1..=4).for_each(|slot| target.add(&core, slot - 1, slot as u64));
        let figures = shares::tests::figures(now);
        let called = HandlerTally::default();
        called.note(Called::Failed);
        let scrape = Scrape {
            process: &process,
            routes: vec![("GET /a\"b\\c\nd", &tally)],
            services: vec![("GET /users#user".to_owned(), &service)],
            targets: vec![Reached { name: "users:80", tally: &target, addresses: 2 }],
            names: vec![("users", 7)],
            breakers: vec![&guard],
            generation: 3,
            last_reload_success: 1,
            log_lines_dropped: 0,
            access_dropped: 6,
            events_dropped: 0,
            handlers: vec![("ops", &called)],
            driver: "io_uring",
            version: "0.0.0",
            sharing: Some(&figures),
            now,
        };
        let text = text(&scrape);
        if std::env::var_os("UPDATE").is_some() {
            let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/control/metrics.golden");
            std::fs::write(golden, &text).unwrap();
        }
        assert_eq!(text, include_str!("metrics.golden"));
    }

    #[test]
    fn names_follow_the_rules_of_their_kind() {
        for metric in METRICS.iter().chain(shares::METRICS) {
            assert!(metric.name.starts_with("fusebox_"), "{}", metric.name);
            let counts = metric.name.ends_with("_total");
            assert_eq!(counts, metric.kind == Kind::Counter, "{}", metric.name);
            assert!(metric.help.ends_with('.') && !metric.help.contains(['\\', '\n']));
        }
    }
}
