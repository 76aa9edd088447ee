//! More clients than there is room for: who goes, who is told so, and who is still answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Asked, Client};
use crate::document::{all_to, with};
use crate::kernel;
use crate::origin::{Origin, Reply};
use crate::proxy::{self, Proxy};
use crate::wait::{self, Gate};

const EVICTED: &str = "fusebox_connections_evicted_total";
const GET: &[u8] = b"GET /in HTTP/1.1\r\nHost: test\r\n\r\n";

fn room_for(origin: &Origin, connections: usize) -> Value {
    let document = with(all_to(origin), "/workers", json!(1));
    with(document, "/http/limits", json!({ "connections": connections }))
}

/// A client that rests after one request.
#[track_caller]
fn resting(proxy: &Proxy) -> Client {
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/in").status, 200);
    client
}

/// An origin that answers when the gate is open.
fn held() -> (Origin, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let origin = Origin::start(move |request, _| match request.target.as_str() {
        "/in" => Reply::text(200, "ok"),
        _ => Reply::text(200, "ok").behind(&held),
    });
    (origin, gate)
}

#[test]
fn who_rests_longest_makes_room_and_who_is_busy_stays() {
    let (origin, gate) = held();
    let proxy = Proxy::start(&room_for(&origin, 4));
    let mut busy = Client::connect(proxy.address());
    busy.send(b"GET /busy HTTP/1.1\r\nHost: test\r\n\r\n");
    origin.await_requests(1);
    let mut all: Vec<Client> = (0..3).map(|_| resting(&proxy)).collect();
    wait::pass(Duration::from_millis(5));
    // Back from a request, the first is no longer the one that rests longest.
    assert_eq!(all[0].get("/in").status, 200);
    let newer = [resting(&proxy), resting(&proxy)];
    assert!(all[1].is_closed() && all[2].is_closed());
    assert_eq!(all[0].get("/in").status, 200);
    assert_eq!(proxy.metric(EVICTED), 2);
    assert_eq!(proxy.hits("limits.connections"), 0);
    assert_eq!(proxy.hits("timeouts.idle"), 0);
    gate.open();
    assert_eq!(busy.response().status, 200);
    drop(newer);
}

#[test]
fn a_stream_of_newcomers_is_served_while_the_room_is_full_of_resting_ones() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&room_for(&origin, 50));
    let clients: Vec<Client> = (0..500).map(|_| resting(&proxy)).collect();
    assert_eq!(proxy.metric(EVICTED), 450);
    assert!(proxy.metric("fusebox_connections_open") <= 50);
    drop(clients);
}

#[test]
fn rests_are_shorter_where_it_is_crowded() {
    let origin = Origin::saying("ok");
    let document = with(room_for(&origin, 4), "/http/timeouts", json!({ "idle": "8s" }));
    let proxy = Proxy::start(&document);
    let mut few: Vec<Client> = (0..3).map(|_| resting(&proxy)).collect();
    for client in &mut few {
        assert!(client.is_silent_for(Duration::from_millis(1_200)), "there is room");
    }
    let fourth = resting(&proxy);
    let began = Instant::now();
    for client in &mut few {
        assert!(client.is_closed());
    }
    assert!(began.elapsed() < Duration::from_millis(2_500), "{:?}", began.elapsed());
    assert_eq!(proxy.hits("timeouts.idle"), 3);
    drop(fourth);
}

#[test]
fn a_process_with_few_descriptors_answers_what_it_can_and_its_operator_always() {
    let (origin, gate) = held();
    let mut command = proxy::command();
    kernel::start_with_files(&mut command, 96);
    let limits = json!({ "connections": 1000 });
    let proxy = Proxy::start_as(command, &with(all_to(&origin), "/http/limits", limits));
    // Resting ones make room for each other.
    let rested: Vec<Client> = (0..200).map(|_| resting(&proxy)).collect();
    assert!(proxy.metric(EVICTED) > 100);
    // Busy ones do not.
    let mut busy: Vec<Client> = (0..100)
        .map(|_| {
            let mut client = Client::connect(proxy.address());
            client.offer(b"GET /busy HTTP/1.1\r\nHost: test\r\n\r\n");
            client
        })
        .collect();
    wait::until("some are refused", || proxy.hits("files") > 20);
    assert_eq!(proxy.ask("/ready").status, 200);
    gate.open();
    let statuses = busy
        .iter_mut()
        .map(|client| client.try_response(Asked::Other).map_or(0, |response| response.status));
    let served = statuses.filter(|status| *status == 200).count();
    // How many get the two descriptors that each needs hangs on who is faster: clients that are
    // accepted, or upstreams that are dialled.
    assert!(served > 0, "nobody was served");
    drop((busy, rested));
    wait::until("everything is as before", || {
        let mut client = Client::connect(proxy.address());
        client.offer(GET);
        client.try_response(Asked::Other).is_ok_and(|response| response.status == 200)
    });
}

/// Processor time that the process has used.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 =
        rest.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

#[test]
fn without_descriptors_accepting_pauses_and_does_not_spin() {
    let (origin, gate) = held();
    let proxy = Proxy::start(&with(all_to(&origin), "/workers", json!(1)));
    let mut busy: Vec<Client> = (0..10)
        .map(|_| {
            let mut client = Client::connect(proxy.address());
            client.send(b"GET /busy HTTP/1.1\r\nHost: test\r\n\r\n");
            client
        })
        .collect();
    origin.await_requests(10);
    // From now on no descriptor is free but those in gaps, which the first who wait take. A limit
    // within a gap would keep what closes behind it from being used again.
    let is_socket = |fd: &usize| {
        std::fs::read_link(format!("/proc/{}/fd/{fd}", proxy.pid()))
            .is_ok_and(|link| link.to_string_lossy().starts_with("socket:"))
    };
    kernel::limit_files(proxy.pid(), (0..1000).filter(is_socket).max().unwrap() + 1);
    let mut waiting: Vec<Client> = (0..40).map(|_| Client::connect(proxy.address())).collect();
    for client in &mut waiting {
        client.send(GET);
    }
    proxy.lines().await_line("accepting pauses");
    let before = cpu(proxy.pid());
    wait::pass(Duration::from_secs(2));
    let used = cpu(proxy.pid()) - before;
    assert!(used <= Duration::from_millis(100), "{used:?} of processor time in 2 s of nothing");
    gate.open();
    for client in &mut busy {
        assert_eq!(client.response().status, 200);
    }
    // As they rest, they make room for those who wait; an upstream's connection may find none.
    for client in &mut waiting {
        let status = client.response().status;
        assert!([200, 503].contains(&status), "{status}");
    }
    assert_eq!(proxy.lines().count("accepting pauses"), 1);
}

#[test]
fn half_requests_do_not_keep_an_operator_out() {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(&all_to(&origin));
    let mut half: Vec<Client> = (0..128).map(|_| Client::connect(proxy.admin())).collect();
    for client in &mut half {
        client.send(b"GET /ready HTTP/1.1\r\nHo");
    }
    let began = Instant::now();
    let mut operator = Client::connect(proxy.admin());
    operator.send(format!("GET /ready HTTP/1.1\r\nHost: {}\r\n\r\n", proxy.admin()).as_bytes());
    assert_eq!(operator.response().status, 200);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
