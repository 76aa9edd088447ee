//! Event handlers: webhooks and programs, as their receivers meet them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Client;
use crate::document::{guarded, with};
use crate::origin::{Origin, Reply, Request};
use crate::proxy::Proxy;
use crate::wait::{self, Gate, pass};

const NAME: &str = "GET /guarded";

/// `GET /guarded` to an origin that fails its first call, with a breaker that opens at once and
/// calls `handlers` of these names for everything.
fn watched(origin: &Origin, handlers: Value, names: &[&str]) -> Value {
    let call = |name: &&str| json!({ "name": name, "options": { "channel": "ops" } });
    let calls: Vec<Value> = names.iter().map(call).collect();
    let breaker = json!({
        "maxFailures": 1, "resetTimeout": "300ms",
        "onOpen": calls, "onClose": calls, "onRejected": calls,
    });
    with(guarded(origin, breaker), "/http/handlers", handlers)
}

fn sick_once() -> Origin {
    Origin::start(|_, nth| Reply::text(if nth == 0 { 500 } else { 200 }, "so"))
}

fn webhook(receiver: &Origin) -> Value {
    json!({ "type": "webhook", "url": receiver.url("/hook?key=1"), "timeout": "10s" })
}

fn called(proxy: &Proxy, handler: &str, result: &str) -> u64 {
    let labels = format!("{{handler=\"{handler}\",result=\"{result}\"}}");
    proxy.metric(&format!("fusebox_handler_calls_total{labels}"))
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).expect("JSON")
}

/// The letter for the state of process `pid`; `None`: there is no such process.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
}

/// Whether process `pid` runs; one that nobody has waited for does not.
fn lives(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// Milliseconds of the day at which `event` was made.
fn moment(event: &Value) -> i64 {
    let time = event["time"].as_str().unwrap();
    let (_, clock) = time.trim_end_matches('Z').split_once('T').unwrap();
    let parts: Vec<f64> = clock.split(':').map(|part| part.parse().unwrap()).collect();
    ((parts[0] * 3600.0 + parts[1] * 60.0 + parts[2]) * 1000.0).round() as i64
}

#[test]
fn refusals_are_told_by_the_second_and_each_of_them_once() {
    const DAY: i64 = 24 * 3600 * 1000;
    let origin = Origin::start(|_, _| Reply::text(500, "no"));
    let receiver = Origin::saying("thanks");
    let document = watched(&origin, json!({ "hook": webhook(&receiver) }), &["hook"]);
    let document =
        with(document, "/http/routes/~1guarded/GET/circuitBreaker/resetTimeout", json!("1m"));
    let proxy = Proxy::start(&document);
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/guarded").status, 500);
    let (began, mut refused) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_millis(2_500) {
        assert_eq!(client.get("/guarded").status, 503);
        refused += 1;
        pass(Duration::from_millis(1)); // a connection has 10,000 requests in all
    }
    let told = || -> Vec<Value> {
        receiver.seen().iter().map(body).filter(|it| it["event"] == "reject").collect()
    };
    let sum = |told: &[Value]| -> u64 {
        told.iter().map(|it| it["counts"]["refused"].as_u64().unwrap()).sum()
    };
    wait::until("all are told", || sum(&told()) >= refused);
    pass(Duration::from_millis(1_200)); // time for an event too many
    let told = told();
    assert_eq!(sum(&told), refused);
    assert!((2..=5).contains(&told.len()), "{} events of {refused} refusals", told.len());
    for pair in told.windows(2) {
        let gap = (moment(&pair[1]) - moment(&pair[0])).rem_euclid(DAY);
        assert!(gap >= 950, "{gap} ms from one event to the next");
    }
}

#[test]
fn a_webhook_is_told_every_move_once_and_all_refusals() {
    let (origin, receiver) = (sick_once(), Origin::saying("thanks"));
    let handlers = json!({ "hook": webhook(&receiver) });
    let proxy = Proxy::start(&watched(&origin, handlers, &["hook"]));
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/guarded").status, 500);
    let mut refused = 0;
    wait::until("it has closed", || match client.get("/guarded").status {
        200 => true,
        status => {
            assert_eq!(status, 503);
            refused += 1;
            false
        }
    });
    wait::until("all events", || {
        let told = receiver.seen().iter().filter(|it| body(it)["event"] == "reject").count();
        told > 0 && receiver.count() >= 3
    });
    pass(Duration::from_millis(1_200)); // time for an event too many
    let seen = receiver.seen();
    let of = |event: &str| -> Vec<Value> {
        seen.iter().map(body).filter(|it| it["event"] == event).collect()
    };
    let (open, close) = (of("open"), of("close"));
    assert_eq!((open.len(), close.len()), (1, 1), "{seen:?}");
    let sum: u64 = of("reject").iter().map(|it| it["counts"]["refused"].as_u64().unwrap()).sum();
    assert_eq!(sum, refused);

    let first = &seen[0];
    assert_eq!((first.method.as_str(), first.target.as_str()), ("POST", "/hook?key=1"));
    assert_eq!(first.values("content-type"), ["application/json"]);
    assert!(first.values("user-agent")[0].starts_with("fusebox/"), "{}", first.head);
    let open = &open[0];
    assert_eq!((&open["breaker"], &open["route"]), (&json!(NAME), &json!(NAME)));
    assert_eq!((&open["from"], &open["to"]), (&json!("closed"), &json!("open")));
    assert_eq!((&open["reason"], &open["counts"]["failures"]), (&json!("failures"), &json!(1)));
    assert_eq!(open["options"], json!({ "channel": "ops" }));
    assert!(open["instance"].as_str().unwrap().ends_with(&format!(":{}", proxy.pid())));
    assert!(open["time"].as_str().unwrap().ends_with('Z'), "{open}");
    assert_eq!((&close[0]["from"], &close[0]["to"]), (&json!("half_open"), &json!("closed")));
    assert_eq!(close[0]["reason"], json!("probe_succeeded"));
    assert!(called(&proxy, "hook", "ok") >= 3);
}

#[test]
fn what_a_webhook_does_not_take_it_is_told_again_with_pauses() {
    let origin = Origin::start(|_, _| Reply::text(500, "no"));
    let receiver = Origin::start(|_, nth| match nth {
        0 => Reply::nothing().then_close(),
        1 => Reply::text(503, "later"),
        _ => Reply::text(204, ""),
    });
    let handlers = json!({ "hook": webhook(&receiver) });
    let document = watched(&origin, handlers, &["hook"]);
    let breaker = "/http/routes/~1guarded/GET/circuitBreaker";
    let document = with(document, &format!("{breaker}/resetTimeout"), json!("1 minute"));
    let proxy = Proxy::start(&document);
    assert_eq!(proxy.get("/guarded").status, 500);
    wait::until("it is taken", || called(&proxy, "hook", "ok") == 1);
    let bodies: Vec<Value> = receiver.seen().iter().map(body).collect();
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().all(|it| *it == bodies[0]), "one event, and the same each time");
    assert_eq!(called(&proxy, "hook", "failed"), 0, "it was taken in the end");
    assert_eq!(proxy.lines().count("handler hook failed"), 0);
}

#[test]
fn a_failing_webhook_is_told_in_the_log_once_until_it_works_again() {
    let origin = Origin::start(|_, _| Reply::text(500, "no"));
    let receiver = Origin::start(|_, nth| Reply::text(if nth < 3 { 404 } else { 200 }, "so"));
    let handlers = json!({ "hook": webhook(&receiver) });
    let document = watched(&origin, handlers, &["hook"]);
    let document =
        with(document, "/http/routes/~1guarded/GET/circuitBreaker/resetTimeout", json!(10));
    let proxy = Proxy::start(&document);
    wait::until("it is taken at last", || {
        let _ = proxy.get("/guarded");
        called(&proxy, "hook", "ok") > 0
    });
    assert_eq!(called(&proxy, "hook", "failed"), 3, "a 404 is not tried again");
    assert_eq!(proxy.lines().count("handler hook failed: the answer was 404"), 1);
    assert_eq!(proxy.lines().count("handler hook works again"), 1);
}

#[test]
fn a_webhook_that_hangs_holds_up_neither_requests_nor_another_handler() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let hanging = Origin::start(move |_, _| Reply::text(200, "late").behind(&held));
    let receiver = Origin::saying("thanks");
    let origin = Origin::start(|_, _| Reply::text(500, "no"));
    let handlers = json!({
        "hangs": { "type": "webhook", "url": hanging.url("/"), "timeout": "10s", "retries": 0 },
        "hook": webhook(&receiver),
    });
    let document = watched(&origin, handlers, &["hangs", "hook"]);
    let document =
        with(document, "/http/routes/~1guarded/GET/circuitBreaker/resetTimeout", json!(5));
    let proxy = Proxy::start(&document);
    let mut client = Client::connect(proxy.address());
    // Each opening is an event: more than either queue holds.
    wait::until("one queue is full", || {
        for _ in 0..50 {
            let status = client.get("/guarded").status;
            assert!(matches!(status, 500 | 503), "{status}");
            pass(Duration::from_millis(1));
        }
        called(&proxy, "hangs", "dropped") > 0
    });
    assert_eq!(hanging.count(), 1, "one at a time");
    assert!(called(&proxy, "hook", "ok") > 200, "the other one was told all the while");
    gate.open();
}

#[test]
fn a_program_is_told_the_event_on_its_input_and_in_its_environment() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("told");
    let script = "cat >$1.part; echo \"$FUSEBOX_EVENT|$FUSEBOX_BREAKER|$FUSEBOX_FROM|\
                  $FUSEBOX_TO|$FUSEBOX_REASON|$2\" >>$1.part; ls /proc/self/fd >>$1.part; \
                  mv $1.part $1.$FUSEBOX_EVENT";
    let path = file.to_str().unwrap();
    let command = json!(["/bin/sh", "-c", script, "sh", path, "a $HOME; b"]);
    let origin = sick_once();
    let handlers = json!({ "script": { "type": "exec", "command": command } });
    let proxy = Proxy::start(&watched(&origin, handlers, &["script"]));
    // Connections that a program might inherit.
    let mut idle: Vec<Client> = (0..20).map(|_| Client::connect(proxy.address())).collect();
    idle.iter_mut().for_each(|client| assert_eq!(client.get("/nowhere").status, 404));
    assert_eq!(proxy.get("/guarded").status, 500);
    let told = file.with_extension("open");
    wait::until("it has run", || told.exists());
    let text = std::fs::read_to_string(&told).unwrap();
    let (event, rest) = text.split_once('}').map_or((text.as_str(), ""), |_| {
        let end = text.find("}}").expect("an object") + 2;
        text.split_at(end)
    });
    let event: Value = serde_json::from_str(event).unwrap();
    assert_eq!((&event["event"], &event["options"]["channel"]), (&json!("open"), &json!("ops")));
    let mut lines = rest.lines();
    assert_eq!(
        lines.next(),
        Some("open|GET /guarded|closed|open|failures|a $HOME; b"),
        "no shell of ours has read the arguments"
    );
    // Three of its own, and the directory that it lists.
    let descriptors: Vec<u32> = lines.map(|line| line.parse().unwrap()).collect();
    assert!(descriptors.iter().all(|fd| *fd < 10), "{descriptors:?}");
    wait::until("it counts", || called(&proxy, "script", "ok") > 0);
}

/// A proxy whose breaker has opened and runs `script` with the name of `file`, for three seconds at
/// most; and the origin behind it.
fn running(script: &str, file: &Path) -> (Proxy, Origin) {
    let command = json!(["/bin/sh", "-c", script, "sh", file.to_str().unwrap()]);
    let origin = Origin::start(|_, _| Reply::text(500, "no"));
    let handlers = json!({ "script": { "type": "exec", "command": command, "timeout": "3s" } });
    let document = watched(&origin, handlers, &["script"]);
    let document =
        with(document, "/http/routes/~1guarded/GET/circuitBreaker/resetTimeout", json!("1m"));
    let proxy = Proxy::start(&document);
    assert_eq!(proxy.get("/guarded").status, 500);
    (proxy, origin)
}

#[test]
fn a_program_that_does_not_end_is_killed_with_all_it_has_started() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("children");
    let script = "sleep 300 & echo $! >>$1; echo $$ >>$1; sleep 300";
    let (proxy, _origin) = running(script, &file);
    proxy.lines().await_line("handler script failed: it was killed after 3s");
    let children = std::fs::read_to_string(&file).unwrap();
    let children: Vec<u32> = children.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(children.len(), 2);
    for child in children {
        wait::until("it is gone", || !lives(child));
    }
    assert_eq!(called(&proxy, "script", "failed"), 1);
}

/// Its number is that of the group which is killed in the end: nobody else may have it by then.
#[test]
fn a_program_that_has_ended_keeps_its_number_until_what_it_left_behind_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("leader");
    // What is left behind is in a group of its own, and holds standard error for a while.
    let script = "setsid sleep 6 & echo $$ >$1.part; mv $1.part $1";
    let (proxy, _origin) = running(script, &file);
    wait::until("it has run", || file.exists());
    let leader: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    wait::until("it has ended", || !lives(leader));
    pass(Duration::from_millis(300));
    assert_eq!(state(leader), Some('Z'), "nobody has waited for it");
    proxy.lines().await_line("handler script failed: it was killed after 3s");
    wait::until("it is waited for", || state(leader) != Some('Z'));
}

#[test]
fn why_a_program_failed_is_told() {
    let origin = Origin::start(|_, _| Reply::text(500, "no"));
    let handlers = json!({
        "fails": {
            "type": "exec",
            "command": ["/bin/sh", "-c", "echo 'no such pager' >&2; echo x >&2; exit 3"],
        },
        "missing": { "type": "exec", "command": ["/nowhere/notify"] },
    });
    let document = watched(&origin, handlers, &["fails", "missing"]);
    let document =
        with(document, "/http/routes/~1guarded/GET/circuitBreaker/resetTimeout", json!("1m"));
    let proxy = Proxy::start(&document);
    assert_eq!(proxy.get("/guarded").status, 500);
    proxy.lines().await_line("handler fails failed: exit status: 3: no such pager");
    proxy.lines().await_line("handler missing failed: /nowhere/notify cannot be started: No such");
}

#[test]
fn a_reload_replaces_handlers_and_what_is_queued_is_told_all_the_same() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let first = Origin::start(move |_, nth| match nth {
        0 => Reply::text(200, "late").behind(&held),
        _ => Reply::text(200, "thanks"),
    });
    let second = Origin::saying("thanks");
    let origin = Origin::start(|_, _| Reply::text(500, "no"));
    let to = |receiver: &Origin| {
        let hook =
            json!({ "type": "webhook", "url": receiver.url("/"), "timeout": "20s", "retries": 0 });
        let document = watched(&origin, json!({ "hook": hook }), &["hook"]);
        with(document, "/http/routes/~1guarded/GET/circuitBreaker/resetTimeout", json!(20))
    };
    let proxy = Proxy::start(&to(&first));
    let opens = |count: usize| {
        let before = origin.count();
        wait::until("it opens", || {
            let _ = proxy.get("/guarded");
            origin.count() >= before + count
        });
    };
    opens(1);
    first.await_requests(1);
    opens(2);
    proxy.write(&crate::proxy::complete(to(&second)));
    assert_eq!(proxy.post("/reload").status, 200);
    let before = first.count();
    assert_eq!(before, 1, "the others are queued");
    opens(1);
    second.await_requests(1);
    gate.open();
    wait::until("what was queued is told", || {
        let opened = |it: &Request| body(it)["event"] == "open";
        first.seen().iter().filter(|it| opened(it)).count() >= 3
    });
}
