//! What is measured of the state that is shared.
//!
//! Enters: the figures of a scrape. Leaves: the samples of the metrics whose names begin with
//! `fusebox_store_`, `fusebox_reconcile_` and `fusebox_cluster_`; none while state is in memory.

use std::time::Duration;

use super::exposition::Family;
use super::metrics::{Kind as MetricKind, Metric, Scrape, counter, gauge};
use super::sharing::{BOUNDS_MICROS, Figures};
use crate::cluster::store::Kind;

/// Every metric of the state that is shared, in the order of the text.
pub(super) const METRICS: &[Metric] = &[
    gauge("fusebox_store_up", "1 while every shard of the shared state is heard of.", up),
    counter(
        "fusebox_store_degraded_seconds_total",
        "Seconds without the shared state, or without a shard of it.",
        degraded,
    ),
    gauge(
        "fusebox_cluster_instances",
        "Instances that share state with this one, itself included.",
        instances,
    ),
    Metric {
        name: "fusebox_reconcile_duration_seconds",
        kind: MetricKind::Histogram,
        help: "How long exchanges with the store took.",
        write: durations,
    },
    gauge(
        "fusebox_reconcile_lag_seconds",
        "Seconds since the shard that has been silent for longest was heard of.",
        lag,
    ),
    counter(
        "fusebox_reconcile_errors_total",
        "Calls that the store did not answer, by what was wrong.",
        errors,
    ),
    counter(
        "fusebox_reconcile_bytes_total",
        "Bytes of arguments sent to the store, and of its answers.",
        bytes,
    ),
    counter(
        "fusebox_reconcile_panics_total",
        "How often sharing has ended by a defect and begun anew.",
        panics,
    ),
    gauge(
        "fusebox_reconcile_dirty_breakers",
        "Breakers of which the store has not confirmed the latest.",
        dirty,
    ),
];

fn up(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    one(scrape, family, |it| u64::from(it.is_up()));
}

fn degraded(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    if let Some(figures) = scrape.sharing {
        family.seconds(&[], micros(figures.degraded(scrape.now)));
    }
}

fn instances(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    one(scrape, family, |it| it.standing.instances.into());
}

fn durations(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    if let Some(figures) = scrape.sharing {
        family.histogram(&BOUNDS_MICROS, &figures.durations, figures.duration_micros);
    }
}

fn lag(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    if let Some(lag) = scrape.sharing.and_then(|it| it.lag(scrape.now)) {
        family.seconds(&[], micros(lag));
    }
}

fn errors(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    let Some(figures) = scrape.sharing else { return };
    for (kind, count) in Kind::ALL.into_iter().zip(figures.errors) {
        family.sample(&[("kind", kind.as_str())], count);
    }
}

fn bytes(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    let Some(figures) = scrape.sharing else { return };
    family.sample(&[("direction", "sent")], figures.sent);
    family.sample(&[("direction", "received")], figures.received);
}

fn panics(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    one(scrape, family, |it| it.panics);
}

fn dirty(scrape: &Scrape<'_>, family: &mut Family<'_>) {
    one(scrape, family, |it| it.standing.dirty.into());
}

fn one(scrape: &Scrape<'_>, family: &mut Family<'_>, read: fn(&Figures) -> u64) {
    if let Some(figures) = scrape.sharing {
        family.sample(&[], read(figures));
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::sharing::{Exchange, Sharing};
    use super::*;
    use crate::clock::Now;
    use crate::cluster::Standing;
    use crate::cluster::store::Failure;

    /// Two exchanges, of which the second failed.
    pub(crate) fn figures(now: Now) -> Figures {
        let sharing = Sharing::new(Now::from_millis(now.millis() - 900));
        let server = Some("redis://h:1".to_owned());
        let failed = Failure { kind: Kind::Timeout, server, text: "late".to_owned() };
        for (took, received, failure) in [(700, 7, None), (60_000, 0, Some(failed))] {
            let exchange = Exchange {
                took: Duration::from_micros(took),
                sent: 10,
                received,
                asked: &[(0, failure)],
                servers: vec!["redis://h:1".to_owned()],
                deaf: None,
            };
            sharing.exchanged(exchange, Now::from_millis(now.millis() - 400));
        }
        let oldest = Some(Now::from_millis(now.millis() - 250));
        let well_since = Some(Now::from_millis(now.millis() - 250));
        let standing = Standing { shards: 2, lost: 0, well_since, oldest, instances: 3, dirty: 1 };
        sharing.stands(standing, Now::from_millis(now.millis() - 250));
        sharing.figures()
    }

    #[test]
    fn the_status_says_what_is_wrong_and_what_helps() {
        let now = Now::from_millis(10_000);
        let shown = figures(now).shown(now);
        assert_eq!(shown["up"], true);
        assert_eq!((&shown["instances"], &shown["lag_ms"]), (&3.into(), &250.into()));
        assert_eq!((&shown["degraded_ms"], &shown["exchanges"]), (&650.into(), &2.into()));
        assert_eq!(shown["errors"]["timeout"], 1);
        assert_eq!(shown["failure"]["kind"], "timeout");
        assert_eq!(shown["failure"]["for_ms"], 400);
        assert_eq!(shown["failure"]["server"], "redis://h:1");
        assert_eq!(shown["servers"][0], "redis://h:1");
    }
}
