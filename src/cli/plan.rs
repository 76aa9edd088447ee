//! The text of `fusebox table FILE`: the compiled plan, one route a line.
//!
//! Enters: a configuration and the table compiled from it. Leaves: aligned text for a reader: what
//! goes where, which breaker watches it, when that opens and for how long. Owns nothing; pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::breaker::policy::{Heal, Policy, Share, Window};
use crate::config::{Config, HostPattern};
use crate::table::{Guard, Route, Service, Table, compile};

const COLUMNS: usize = 8;

const TITLES: [&str; COLUMNS] =
    ["#", "method", "path", "services", "breaker", "opens at", "stays open", "timeout"];

/// Writes the plan of `table`, which was compiled from `config`.
#[must_use]
pub fn plan(config: &Config, table: &Table) -> String {
    let mut rows = vec![TITLES.map(str::to_owned)];
    let guards: BTreeMap<&str, &Guard> = table.breakers.iter().map(|it| (&*it.name, it)).collect();
    for (nth, (written, route)) in config.http.routes.iter().zip(&table.routes).enumerate() {
        let method = written.method.as_deref().unwrap_or("ALL").to_owned();
        let path = match &written.host {
            HostPattern::Default => written.path.text.clone(),
            HostPattern::Exact(host) => format!("{host}{}", written.path.text),
            HostPattern::Below(host) => format!("*.{host}{}", written.path.text),
        };
        let services = services(table, route);
        let names: Vec<&str> = services.iter().map(|service| &*service.name).collect();
        let breakers = compile::breakers(written).into_iter();
        let mut breakers = breakers.filter_map(|(name, _)| guards.get(&*name).copied());
        let breaker = breakers.next();
        let [name, opens_at, stays_open] = watched(breaker);
        let timeout = timeout(breaker, services).map_or_else(|| "–".to_owned(), span);
        let mut services = names.join(", ");
        let all = table.all_services_of(route).iter().skip(names.len());
        all.for_each(|stand_in| services += &format!(", else {}", stand_in.name));
        rows.push([nth.to_string(), method, path, services, name, opens_at, stays_open, timeout]);
        // Those that watch attempts, below the first.
        rows.extend(breakers.map(|breaker| {
            let [name, opens_at, stays_open] = watched(Some(breaker));
            let [nth, method, path, services] = [const { String::new() }; 4];
            let timeout = breaker.timeout.map_or_else(|| "–".to_owned(), span);
            [nth, method, path, services, name, opens_at, stays_open, timeout]
        }));
    }
    format!("{}{}\n", aligned(&rows), sums(table))
}

fn services<'t>(table: &'t Table, route: &Route) -> &'t [Service] {
    let first = route.services.first.at();
    table.services.get(first..first + route.services.len as usize).unwrap_or_default()
}

/// The breaker's name, when it opens and for how long.
fn watched(breaker: Option<&Guard>) -> [String; 3] {
    let Some(breaker) = breaker else { return ["none", "", ""].map(str::to_owned) };
    let policy = breaker.breaker.policy();
    let stays_open = match &policy.heal {
        Heal::Age(look_back) => format!("≤ {}", span(*look_back)),
        Heal::Probe(recovery) => span(recovery.pace.first()),
    };
    [breaker.name.to_string(), opens_at(policy), stays_open]
}

/// The conditions, any of which opens it.
fn opens_at(policy: &Policy) -> String {
    let trip = &policy.trip;
    let percent = |share: Share| format!("{}%", f64::from(share.0) / 10_000.0);
    let failures = trip.failures.map(|failures| {
        let count = counted(failures.count.get(), "failure");
        match failures.window {
            Window::Log(window) | Window::Sliding(window) => {
                format!("{count} within {}", span(window))
            }
            Window::Fixed(window) => format!("{count} per {}", span(window)),
            Window::Cumulative => count,
        }
    });
    let run = trip.run.map(|run| format!("{} in a row", counted(run.get(), "failure")));
    let of = |shares: &str, within| format!("{shares} within {}", span(within));
    let failed = trip
        .shares
        .and_then(|shares| Some(of(&format!("{} failed", percent(shares.failed?)), shares.span)));
    let slow = trip
        .shares
        .and_then(|shares| Some(of(&format!("{} slow", percent(shares.slow?.share)), shares.span)));
    [failures, run, failed, slow].into_iter().flatten().collect::<Vec<_>>().join(" or ")
}

/// The longest a request may take: the breaker's limit, or that of the slowest service.
fn timeout(breaker: Option<&Guard>, services: &[Service]) -> Option<Duration> {
    let limits: Option<Vec<Duration>> = services.iter().map(|service| service.timeout).collect();
    let slowest = limits.and_then(|limits| limits.into_iter().max());
    [breaker.and_then(|breaker| breaker.timeout), slowest].into_iter().flatten().min()
}

fn aligned(rows: &[[String; COLUMNS]]) -> String {
    let width = |text: &String| text.chars().count();
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (widest, text) in widths.iter_mut().zip(row) {
            *widest = width(text).max(*widest);
        }
    }
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(text, width)| format!("{text:<width$}"));
        out += cells.collect::<Vec<_>>().join("  ").trim_end();
        out.push('\n');
    }
    out
}

fn sums(table: &Table) -> String {
    let sums = [
        (table.routes.len(), "route"),
        (table.breakers.len(), "breaker"),
        (table.services.len(), "service"),
        (table.targets.len(), "target"),
    ];
    let sums = sums.map(|(count, noun)| counted(count, noun)).join(" · ");
    format!("{sums} · no match 404 · other method 405")
}

fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn span(span: Duration) -> String {
    crate::config::units::shown(span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::registry::{Draft, Registry};
    use crate::config::{BreakerConfig, Scope};
    use crate::stats::Tallies;
    use crate::table::compile::{Kept, compile};
    use crate::table::sample::{config, look_back, reset, route, service};

    #[test]
    fn every_condition_that_opens_a_breaker_is_told() {
        use crate::breaker::policy::{Shares, Slow, Trip};

        let ten = std::num::NonZeroU32::MIN.saturating_add(9);
        let policy = Policy::reset(ten, Window::Cumulative, Duration::from_secs(5));
        let half = Share::of(0.5);
        let shares = Shares {
            span: Duration::from_secs(10),
            min_requests: 20,
            failed: Some(half),
            slow: Some(Slow { after: Duration::from_secs(1), share: Share::of(0.125) }),
        };
        let trip = Trip { run: Some(ten), shares: Some(shares), ..policy.trip };
        assert_eq!(
            opens_at(&Policy { trip, ..policy }),
            "10 failures or 10 failures in a row or 50% failed within 10s or 12.5% slow within 10s"
        );
    }

    #[test]
    fn a_plan_says_what_goes_where_and_what_opens_when() {
        let mut users = route("GET /u/:id");
        users.breaker = Some(look_back(3, Duration::from_secs(10)));
        let mut orders = route("a.io POST /new");
        orders.breaker = Some(reset(10, Window::Fixed(Duration::from_secs(90))));
        orders.services.push(service("audit", "127.0.0.1", 9001));
        let mut report = route("*.a.io ALL /(.*)");
        report.services[0].timeout = Some(Duration::from_secs(60));
        let mut once = route("GET /once");
        once.breaker = Some(reset(1, Window::Cumulative));
        let mut tasks = route("GET /t");
        let first = BreakerConfig { scope: Scope::Service, ..reset(2, Window::Cumulative) };
        tasks.services[0].breaker = Some(first);
        tasks.services.push(service("more", "127.0.0.1", 9002));
        let second = BreakerConfig { scope: Scope::Service, ..reset(5, Window::Cumulative) };
        tasks.services[1].breaker = Some(second);
        let config = config([users, orders, report, once, tasks].into());
        let kept = Kept {
            breakers: &Registry::new(1),
            draft: &mut Draft::default(),
            tallies: &mut Tallies::default(),
        };
        let table = compile(&config, 1, kept, |_, _| Vec::new());
        let expected = "\
#  method  path         services    breaker         opens at                stays open  timeout
0  GET     /u/:id       one         GET /u/:id      3 failures within 10s   ≤ 10s       –
1  POST    a.io/new     one, audit  a.io POST /new  10 failures per 1m 30s  2m          30s
2  ALL     *.a.io/(.*)  one         none                                                1m
3  GET     /once        one         GET /once       1 failure               2m          30s
4  GET     /t           one, more   GET /t#one      2 failures              2m          30s
                                    GET /t#more     5 failures              2m          30s
5 routes · 5 breakers · 7 services · 3 targets · no match 404 · other method 405
";
        assert_eq!(plan(&config, &table), expected);
    }
}
