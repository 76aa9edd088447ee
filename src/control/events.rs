//! What breakers did → log lines, handlers and subscribers.
//!
//! Enters: notices of the cores through a bounded queue (what finds it full is dropped and counted:
//! a core never waits), and the moves that time alone brings, which a timer makes here. Leaves: one
//! log line per transition, and one call of each handler that is configured for it.
//!
//! Owns the queue's end and, per breaker, when it opened and how many refusals were reported.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Mutex, mpsc};

use super::handler::TARGET;
use super::keep::keep;
use super::line::line;
use super::plane::Plane;
use super::source;
use super::view::Counts;
use crate::breaker::Transition;
use crate::breaker::circuit::{Move, State};
use crate::clock::{self, Now};
use crate::table::{Guard, Notice, Report, Table};

/// Notices that wait at most: one per move of a breaker, thousands of breakers at once.
const NOTICES_MAX: usize = 4096;

/// How often refusals are reported and retired tables are freed.
const SECOND: Duration = Duration::from_secs(1);

/// The shortest pause between two looks at the clock.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// The event of every move that opens a breaker.
pub(super) const OPEN: &str = "open";
/// The event of every move that closes one.
pub(super) const CLOSE: &str = "close";

/// The event of what was refused within a second.
pub(super) const REJECT: &str = "reject";

static INSTANCE: LazyLock<String> = LazyLock::new(|| {
    let host = source::read_text("/proc/sys/kernel/hostname".as_ref()).unwrap_or_default();
    format!("{}:{}", host.trim_end(), std::process::id())
});

/// What a handler and a subscriber are told.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// `open`, `close`, `reject`; or `probe`, `recover`, `reset`, which no handler is called for.
    pub event: &'static str,
    /// The breaker's name.
    pub breaker: Box<str>,
    /// Its route.
    pub route: Box<str>,
    /// The state before.
    pub from: &'static str,
    /// The state after.
    pub to: &'static str,
    /// Why.
    pub reason: &'static str,
    /// Whose decision it was: `local`, `admin`, or that of other instances, learnt by asking
    /// (`cluster`) or because of a hint (`hint`).
    pub origin: &'static str,
    /// What it has counted; for `reject`, `refused` is the number within the last second.
    pub counts: Counts,
    /// This process: `host:pid`.
    pub instance: &'static str,
    /// When, by the wall clock.
    pub time: String,
}

/// The core's end of the queue, and the control plane's.
pub fn queue(dropped: Arc<AtomicU64>) -> (Report, mpsc::Receiver<Notice>) {
    let (notices, receiver) = mpsc::channel(NOTICES_MAX);
    let report = move |notice| {
        if notices.try_send(notice).is_err() {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    };
    (Arc::new(report), receiver)
}

/// Watches breakers for as long as the process lives, on a task of its own.
pub fn watch(plane: Arc<Plane>, notices: mpsc::Receiver<Notice>) {
    // What is queued, and what was told already, outlives a panic.
    let kept = Arc::new(Mutex::new((Watcher::new(plane), notices)));
    keep("watching breakers", move || {
        let kept = Arc::clone(&kept);
        async move {
            let (watcher, notices) = &mut *kept.lock().await;
            watch_with(watcher, notices).await;
        }
    });
}

async fn watch_with(watcher: &mut Watcher, notices: &mut mpsc::Receiver<Notice>) {
    let mut second = clock::now().after(SECOND);
    let mut due = second;
    loop {
        let pause = due.since(clock::now()).max(PAUSE_MIN);
        match tokio::time::timeout(pause, notices.recv()).await {
            Ok(Some(notice)) => {
                let next = watcher.hear(&notice);
                due = due.min(next.unwrap_or(due));
                if clock::now() < due {
                    continue;
                }
            }
            Ok(None) => return,
            Err(_) => {}
        }
        let now = clock::now();
        let table = watcher.plane.live.current();
        let whole = now >= second;
        let breadth = if whole { Breadth::All } else { Breadth::Due };
        watcher.tick(&table, now, breadth, notices);
        if whole {
            watcher.report_refused(&table);
            watcher.forget_absent(&table);
            watcher.plane.live.collect();
            second = now.after(SECOND);
        }
        let dues = table.breakers.iter().filter_map(|it| it.breaker.due_at());
        due = dues.min().unwrap_or(second).min(second);
    }
}

/// Which breakers a tick asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breadth {
    /// Those that time alone moves now.
    Due,
    /// All: a share may have been reached by age, a threshold lowered by a reload.
    All,
}

struct Watcher {
    plane: Arc<Plane>,
    /// Breakers that are not closed: since when, and what they had refused by then.
    opened: BTreeMap<Box<str>, (Now, u64)>,
    /// What each breaker had refused when it was last reported.
    refused: BTreeMap<Box<str>, u64>,
    /// The generation whose breakers these are.
    generation: u64,
}

impl Watcher {
    fn new(plane: Arc<Plane>) -> Self {
        Self { plane, opened: BTreeMap::new(), refused: BTreeMap::new(), generation: 0 }
    }

    /// Whether what happened to `breaker` of `table` happened to a breaker that is served: a late
    /// verdict may move one that a reload has replaced or taken away.
    fn is_served(&self, table: &Table, breaker: &Guard) -> bool {
        let served = self.plane.live.current();
        if served.generation == table.generation {
            return true;
        }
        let found = served.breakers.iter().find(|it| it.name == breaker.name);
        found.is_some_and(|it| it.breaker.shares_memory_with(&breaker.breaker))
    }

    /// Tells of a move that a core has made, and when that breaker is next moved by time alone.
    fn hear(&mut self, notice: &Notice) -> Option<Now> {
        let breaker = notice.table.breakers.get(notice.breaker.at())?;
        if !self.is_served(&notice.table, breaker) {
            return None;
        }
        self.tell(breaker, notice.transition);
        breaker.breaker.due_at()
    }

    fn tick(
        &mut self,
        table: &Table,
        now: Now,
        breadth: Breadth,
        notices: &mut mpsc::Receiver<Notice>,
    ) {
        for breaker in &table.breakers {
            let due = || breaker.breaker.due_at().is_some_and(|due| due <= now);
            if breadth == Breadth::Due && !due() {
                continue;
            }
            // What the cores did comes first: nobody is told "closed" before "open".
            for _ in 0..NOTICES_MAX {
                let Ok(notice) = notices.try_recv() else { break };
                self.hear(&notice);
            }
            if let Some(transition) = breaker.breaker.tick(now) {
                self.tell(breaker, transition);
            }
        }
    }

    fn tell(&mut self, breaker: &Guard, transition: Transition) {
        let refused = breaker.breaker.totals().all_refused();
        let name = &breaker.name;
        self.plane.journal.note(name, &transition);
        if transition.from == State::Closed && transition.to() == State::Open {
            self.opened.insert(name.clone(), (transition.at, refused));
        }
        let opened = match transition.to() {
            State::Closed => self.opened.remove(name),
            State::Open | State::HalfOpen | State::Recovering => None,
        };
        let open = opened
            .map(|(since, before)| (transition.at.since(since), refused.saturating_sub(before)));
        let opens = transition.to() == State::Open;
        let level = if opens { log::Level::Warn } else { log::Level::Info };
        log::log!(target: TARGET, level, "{}", line(name, &breaker.breaker, transition, open));

        let event = Arc::new(event(breaker, transition));
        self.plane.series.note(name, event.event, 1, clock::wall());
        // A move that others made first has been told by them.
        if !matches!(transition.step, Move::Follow(..)) {
            self.plane.handlers().call(&event);
        }
        // Refused only when nobody has subscribed.
        let _ = self.plane.events.send(event);
    }

    fn report_refused(&mut self, table: &Table) {
        let handlers = self.plane.handlers();
        for breaker in &table.breakers {
            let total = breaker.breaker.totals().all_refused();
            let before = match self.refused.get_mut(&breaker.name) {
                Some(known) => std::mem::replace(known, total),
                None => self.refused.insert(breaker.name.clone(), total).unwrap_or_default(),
            };
            if total <= before {
                continue;
            }
            self.plane.series.note(&breaker.name, REJECT, total - before, clock::wall());
            let calls = handlers.of(&breaker.name, |calls| &calls.on_rejected);
            if !calls.is_empty() {
                let event = Arc::new(rejection(breaker, total - before));
                calls.iter().for_each(|planned| planned.call(&event));
            }
        }
    }

    /// Forgets breakers that left the table.
    fn forget_absent(&mut self, table: &Table) {
        if self.generation == table.generation {
            return;
        }
        self.generation = table.generation;
        let present: BTreeSet<&str> = table.breakers.iter().map(|it| &*it.name).collect();
        self.refused.retain(|name, _| present.contains(&**name));
        self.opened.retain(|name, _| present.contains(&**name));
        self.plane.journal.retain(&present);
    }
}

fn event(guard: &Guard, transition: Transition) -> Event {
    let Guard { name, route, breaker, .. } = guard;
    let Transition { from, step, at, failures, .. } = transition;
    let to = transition.to();
    Event {
        event: match to {
            State::Open => OPEN,
            // An operator reset what was closed.
            State::Closed if from == State::Closed => "reset",
            State::Closed => CLOSE,
            State::HalfOpen => "probe",
            State::Recovering => "recover",
        },
        breaker: name.clone(),
        route: route.clone(),
        from: from.as_str(),
        to: to.as_str(),
        reason: step.reason(),
        origin: step.origin(),
        // What counted when it moved: the move itself has begun anew.
        counts: Counts { failures, ..Counts::of(breaker, at) },
        instance: &INSTANCE,
        time: crate::log::rfc3339(clock::wall()),
    }
}

fn rejection(guard: &Guard, refused: u64) -> Event {
    let Guard { name, route, breaker, .. } = guard;
    let now = clock::now();
    let state = breaker.state(now).as_str();
    Event {
        event: REJECT,
        breaker: name.clone(),
        route: route.clone(),
        from: state,
        to: state,
        reason: "refused",
        origin: "local",
        counts: Counts { refused, ..Counts::of(breaker, now) },
        instance: &INSTANCE,
        time: crate::log::rfc3339(clock::wall()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::handler;
    use super::super::handlers::{Handlers, payload};
    use super::super::line::tests::moved;
    use super::super::names::Names;
    use super::super::view::tests::{exchange, guard, plane, reset};
    use super::*;
    use crate::breaker::circuit::{Cause, Course, Source};
    use crate::breaker::outcome::Ending;
    use crate::breaker::{Core, Verdict};
    use crate::config::{Call, Config, Handler, HandlerKind};
    use crate::table::sample;

    #[test]
    fn a_failed_probe_is_an_open_event_and_the_options_travel_with_it() {
        let breaker = reset(3);
        let said = payload(
            &event(&guard(&breaker), moved(Move::Reopen, 1)),
            &serde_json::json!({"channel": "ops"}),
        );
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["event"], "open");
        assert_eq!((&said["from"], &said["to"]), (&"half_open".into(), &"open".into()));
        assert_eq!(said["reason"], "probe_failed");
        assert_eq!(said["counts"]["threshold"], 3);
        assert_eq!(said["options"]["channel"], "ops");
        assert!(said["instance"].as_str().unwrap().ends_with(&std::process::id().to_string()));
    }

    /// A route whose breaker opens at the first failure, for 30 ms, and calls a handler each time.
    fn fragile() -> Config {
        let call = Call { handler: 0, options: serde_json::json!({}) };
        let breaker = crate::config::BreakerConfig {
            on_open: vec![call.clone()],
            on_rejected: vec![call],
            ..sample::look_back(1, Duration::from_millis(30))
        };
        let route = crate::config::Route { breaker: Some(breaker), ..sample::route("GET /users") };
        let mut config = sample::config(vec![route]);
        let kind = HandlerKind::Log(log::Level::Warn);
        config.http.handlers.push(Handler { name: "ops".to_owned(), kind });
        config
    }

    #[test]
    fn a_breaker_finds_its_handlers_by_the_name_of_its_route() {
        let names = Names::of_system();
        let handlers = Handlers::of_config(&fragile(), &Handlers::default(), &names);
        assert_eq!(handlers.of("GET /users", |calls| &calls.on_open).len(), 1);
        assert_eq!(handlers.of("GET /users", |calls| &calls.on_close).len(), 0);
        assert_eq!(handlers.of("GET /orders", |calls| &calls.on_open).len(), 0);
    }

    #[test]
    fn a_trip_is_told_and_so_is_the_close_that_no_request_brings() {
        let runtime = super::super::runtime().unwrap();
        let said = runtime.block_on(async {
            let (plane, _orders) = plane(&fragile());
            let (report, notices) = queue(Arc::default());
            let mut events = plane.events.subscribe();
            watch(Arc::clone(&plane), notices);
            let table = plane.live.current();
            let breaker = &table.breakers[0].breaker;
            let now = clock::now();
            let Verdict::Admit(ticket) = breaker.admit(&Core::claim(0), now).0 else {
                panic!("refused")
            };
            let transition = ticket.settle(Ending::CutShort, now).unwrap();
            let ix = table.routes[0].breaker.unwrap();
            report(Notice { table: Arc::clone(&table), breaker: ix, transition });
            let deadline = Duration::from_secs(10);
            let open = tokio::time::timeout(deadline, events.recv()).await.unwrap().unwrap();
            let close = tokio::time::timeout(deadline, events.recv()).await.unwrap().unwrap();
            (open.event, open.counts.failures, close.event, close.reason)
        });
        assert_eq!(said, ("open", 1, "close", "failures_aged_out"));
    }

    #[test]
    fn of_many_moves_at_once_no_close_is_told_before_its_open() {
        const ROUTES: usize = 20;
        let runtime = super::super::runtime().unwrap();
        let said = runtime.block_on(async {
            let mut config = fragile();
            let [route] = config.http.routes.as_slice() else { panic!("one route") };
            let breaker = route.breaker.clone();
            let route = |nth| crate::config::Route {
                breaker: breaker.clone(),
                ..sample::route(&format!("GET /{nth}"))
            };
            config.http.routes = (0..ROUTES).map(route).collect();
            let (plane, _orders) = plane(&config);
            let (report, notices) = queue(Arc::default());
            let mut events = plane.events.subscribe();
            let table = plane.live.current();
            // All of them opened, and were due to close, before anybody looked.
            let past = clock::now();
            tokio::time::sleep(Duration::from_millis(50)).await;
            for route in &table.routes {
                let ix = route.breaker.unwrap();
                let breaker = &table.breakers[ix.at()].breaker;
                let Verdict::Admit(ticket) = breaker.admit(&Core::claim(0), past).0 else {
                    panic!("refused")
                };
                let transition = ticket.settle(Ending::CutShort, past).unwrap();
                report(Notice { table: Arc::clone(&table), breaker: ix, transition });
            }
            watch(Arc::clone(&plane), notices);
            let mut said = Vec::new();
            while said.len() < 2 * ROUTES {
                let told = tokio::time::timeout(Duration::from_secs(10), events.recv());
                let told = told.await.unwrap().unwrap();
                said.push((told.breaker.clone(), told.event));
            }
            said
        });
        for nth in 0..ROUTES {
            let name = format!("GET /{nth}");
            let of_it = said.iter().filter(|(breaker, _)| **breaker == *name);
            let events: Vec<_> = of_it.map(|(_, event)| *event).collect();
            assert_eq!(events, ["open", "close"], "{name}");
        }
    }

    #[test]
    fn refusals_are_reported_once_as_their_number_since_the_last_report() {
        let (plane, _orders) = plane(&fragile());
        let table = plane.live.current();
        let breaker = &table.breakers[0].breaker;
        let mut watcher = Watcher::new(plane);
        let now = Now::from_millis(1_000);
        exchange(breaker, Ending::Answered(500), now);
        for total in [2, 4] {
            assert!(exchange(breaker, Ending::Answered(200), now));
            assert!(exchange(breaker, Ending::Answered(200), now));
            watcher.report_refused(&table);
            assert_eq!(watcher.refused["GET /users"], total);
        }
        assert_eq!(rejection(&guard(breaker), 2).counts.refused, 2);
    }

    #[test]
    fn refusals_crowd_no_move_out_of_a_handlers_queue() {
        let runtime = super::super::runtime().unwrap();
        runtime.block_on(async {
            let breaker = reset(1);
            let guard = guard(&breaker);
            let url = "http://127.0.0.1:9/".to_owned();
            let kind = HandlerKind::Webhook { url, timeout: SECOND, retries: 0 };
            let handler = handler::Handler::new(
                &Handler { name: "ops".to_owned(), kind },
                None,
                &Names::of_system(),
            );
            let call = |event: Event| {
                handler.call(handler::Told { event: Arc::new(event), payload: String::new() });
            };
            // Its task has no turn in between: as good as one that hangs.
            for _ in 0..10_000 {
                call(rejection(&guard, 1));
            }
            let dropped = || handler.tally().results()[2].1;
            let refusals = dropped();
            assert!((1..10_000).contains(&refusals), "{refusals}");
            for _ in 0..100 {
                call(event(&guard, moved(Move::Trip(Cause::Failures), 1)));
                call(event(&guard, moved(Move::Heal, 1)));
                call(rejection(&guard, 1));
            }
            assert_eq!(dropped(), refusals + 100, "every move found room");
        });
    }

    #[test]
    fn a_breaker_that_left_the_table_is_forgotten() {
        let (plane, _orders) = plane(&fragile());
        let table = plane.live.current();
        let mut watcher = Watcher::new(plane);
        watcher.tell(&table.breakers[0], moved(Move::Trip(Cause::Failures), 1));
        watcher.report_refused(&table);
        watcher.forget_absent(&table);
        assert_eq!((watcher.opened.len(), watcher.refused.len()), (1, 1));
        watcher.forget_absent(&sample::table(2, Vec::new()));
        assert_eq!((watcher.opened.len(), watcher.refused.len()), (0, 0));
    }

    #[test]
    fn what_happens_to_a_breaker_that_a_reload_replaced_is_not_told() {
        let (plane, _orders) = plane(&fragile());
        let watcher = Watcher::new(Arc::clone(&plane));
        let served = plane.live.current();
        assert!(watcher.is_served(&served, &served.breakers[0]));
        let mut kept = sample::table(0, fragile().http.routes);
        assert!(!watcher.is_served(&kept, &kept.breakers[0]), "another memory");
        kept.breakers[0].breaker = served.breakers[0].breaker.clone();
        assert!(watcher.is_served(&kept, &kept.breakers[0]), "an older table, the same memory");
        kept.breakers[0].name = "GET /gone".into();
        assert!(!watcher.is_served(&kept, &kept.breakers[0]), "it left the table");
    }

    #[test]
    fn an_event_says_whose_decision_a_move_was() {
        let (plane, _orders) = plane(&fragile());
        let table = plane.live.current();
        let mut events = plane.events.subscribe();
        let mut watcher = Watcher::new(plane);
        for (step, origin) in [
            (Move::Trip(Cause::Failures), "local"),
            (Move::Follow(Course::Open, Source::Hint), "hint"),
            (Move::Follow(Course::Close, Source::Poll), "cluster"),
        ] {
            watcher.tell(&table.breakers[0], moved(step, 1));
            assert_eq!(events.try_recv().unwrap().origin, origin);
        }
    }

    #[test]
    fn a_full_queue_drops_notices_and_counts_them() {
        let dropped = Arc::new(AtomicU64::new(0));
        let (report, notices) = queue(Arc::clone(&dropped));
        let table = Arc::new(sample::table(1, fragile().http.routes));
        let breaker = table.routes[0].breaker.unwrap();
        for _ in 0..NOTICES_MAX + 3 {
            let table = Arc::clone(&table);
            report(Notice { table, breaker, transition: moved(Move::Trip(Cause::Failures), 1) });
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
        drop(notices);
    }
}
