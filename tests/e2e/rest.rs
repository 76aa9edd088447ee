//! What connections cost while nothing happens on them, and that none of them loses a byte by it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Asked, Client};
use crate::document::{all_to, with};
use crate::kernel;
use crate::origin::{Origin, Reply};
use crate::proxy::Proxy;
use crate::wait::{self, pass};

/// How long the proxy takes, at most, to put a quiet connection to rest.
const REST: Duration = Duration::from_millis(2_200);

fn document(origin: &Origin) -> Value {
    with(
        with(all_to(origin), "/workers", json!(1)),
        "/http/limits",
        json!({ "connections": 15_000 }),
    )
}

fn echoing() -> Origin {
    Origin::start(|request, _| Reply::text(200, &request.target))
}

/// Opens `count` connections, lets `begin` loose on each, and waits until none of them costs the
/// proxy more than `most` bytes; fewer where this process may not open as many.
#[track_caller]
fn cost_at_most(proxy: &Proxy, most: usize, count: usize, begin: fn(&mut Client)) -> Vec<Client> {
    for _ in 0..100 {
        begin(&mut Client::connect(proxy.address()));
    }
    pass(REST);
    let before = proxy.memory();
    let files = usize::try_from(kernel::raise_file_limit()).unwrap().saturating_sub(1_500);
    let mut clients: Vec<_> =
        (0..count.min(files)).map(|_| Client::connect(proxy.address())).collect();
    clients.iter_mut().for_each(begin);
    let each = || proxy.memory().saturating_sub(before) / clients.len();
    let mut least = usize::MAX;
    let patience = std::time::Instant::now() + wait::PATIENCE;
    while least > most && std::time::Instant::now() < patience {
        pass(Duration::from_millis(100));
        least = least.min(each());
    }
    println!("{} connections: {least} bytes each", clients.len());
    assert!(least <= most, "{least} bytes each");
    clients
}

#[test]
fn ten_thousand_connections_at_rest_cost_at_most_a_kibibyte_each() {
    let origin = echoing();
    let proxy = Proxy::start(&document(&origin));
    let used = |client: &mut Client| assert_eq!(client.get("/a").text(), "/a");
    let mut clients = cost_at_most(&proxy, 1024, 10_000, used);
    for client in clients.iter_mut().step_by(100) {
        assert_eq!(client.get("/again").text(), "/again");
    }
}

#[test]
fn who_rests_between_requests_waits_without_a_buffer_from_the_first_moment() {
    const CLIENTS: usize = 1_000;
    let origin = echoing();
    let proxy = Proxy::start(&document(&origin));
    let ask = |client: &mut Client| assert_eq!(client.get("/a").text(), "/a");
    let asking = || {
        let mut client = Client::connect(proxy.address());
        ask(&mut client);
        client
    };
    let _warm: Vec<_> = (0..100).map(|_| asking()).collect();
    let before = proxy.memory();
    // A page of a buffer alone is 4,096.
    let each = || proxy.memory().saturating_sub(before) / CLIENTS;
    let cheap = |when: &str| assert!(each() < 3 * 1024, "{when}: {} bytes each", each());
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| asking()).collect();
    cheap("who has sent but one");
    // Without a rest between them: now a buffer waits with each, until it is quiet.
    clients.iter_mut().for_each(|client| (0..2).for_each(|_| ask(client)));
    wait::until("their buffers are given back", || each() < 3 * 1024);
    clients.iter_mut().for_each(ask);
    cheap("who was silent before its last");
}

#[test]
fn two_thousand_half_heads_cost_at_most_six_kibibytes_each() {
    let origin = echoing();
    let proxy = Proxy::start(&document(&origin));
    let begun = |client: &mut Client| client.send(b"GET /slow HTTP/1.1\r\nHost: te");
    let mut clients = cost_at_most(&proxy, 6 * 1024, 2_000, begun);
    for client in clients.iter_mut().step_by(100) {
        client.send(b"st\r\n\r\n");
        assert_eq!(client.response().text(), "/slow");
    }
}

#[test]
fn a_connection_wakes_from_rest_as_it_fell_asleep() {
    let origin = echoing();
    let proxy = Proxy::start(&document(&origin));
    let mut used = Client::connect(proxy.address());
    assert_eq!(used.get("/a").text(), "/a");
    let mut fresh = Client::connect(proxy.address());
    let mut half = Client::connect(proxy.address());
    half.send(b"POST /half HTTP/1.1\r\nHost: test\r\nContent-Le");
    pass(REST);
    for _ in 0..3 {
        assert_eq!(used.get("/b").text(), "/b");
    }
    assert_eq!(fresh.get("/c").text(), "/c");
    half.send(b"ngth: 3\r\n\r\nabcGET /next HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(half.response().text(), "/half");
    assert_eq!(half.response().text(), "/next");
    assert_eq!(origin.seen().iter().find(|seen| seen.target == "/half").unwrap().body, b"abc");
    pass(REST);
    assert_eq!(used.get("/d").text(), "/d", "it rests more than once");
}

#[test]
fn a_head_that_trickles_in_is_read_to_its_end_and_not_beyond_its_time() {
    let origin = echoing();
    let timeouts = json!({ "header": "3s" });
    let proxy = Proxy::start(&with(document(&origin), "/http/timeouts", timeouts));
    let mut slow = Client::connect(proxy.address());
    for part in ["GET /sl", "ow HTTP/1.1\r", "\nHos", "t: te", "st\r\n", "\r\n"] {
        slow.send(part.as_bytes());
        pass(Duration::from_millis(400));
    }
    assert_eq!(slow.response().text(), "/slow");
    let mut slower = Client::connect(proxy.address());
    for _ in 0..3 {
        slower.send(b"GET ");
        pass(Duration::from_millis(700));
    }
    let refused = slower.try_response(Asked::Other).expect("an answer");
    assert_eq!(refused.status, 408);
    assert!(slower.is_closed());
}

#[test]
fn a_head_that_comes_in_parts_outgrows_its_memory_and_stays_whole() {
    let origin = echoing();
    let limits = json!({ "headerBytes": 65_536 });
    let proxy = Proxy::start(&with(document(&origin), "/http/limits", limits));
    // As clients that have just come, and as ones that have sent many requests.
    for (served, length) in [(0, 12_000), (100, 12_000), (0, 50_000), (100, 50_000)] {
        let mut client = Client::connect(proxy.address());
        for _ in 0..served {
            assert_eq!(client.get("/before").text(), "/before");
        }
        let long: String = ('a'..='z').cycle().take(length).collect();
        let target = format!("/{served}/{length}");
        let head = format!("GET {target} HTTP/1.1\r\nHost: test\r\nX-Long: {long}\r\n\r\n");
        let next = "GET /next HTTP/1.1\r\nHost: test\r\n\r\n";
        for part in (head + next).as_bytes().chunks(997) {
            client.send(part);
            pass(Duration::from_millis(2));
        }
        assert_eq!(client.response().text(), target);
        assert_eq!(client.response().text(), "/next");
        let seen = origin.seen();
        let seen = seen.iter().find(|seen| seen.target == target).unwrap();
        assert!(seen.head.contains(&format!("X-Long: {long}\r\n")), "{}", seen.head);
    }
}

#[test]
fn more_busy_clients_than_may_keep_a_buffer_are_heard_all_the_same() {
    let origin = echoing();
    let proxy = Proxy::start(&document(&origin));
    let many = "GET /many HTTP/1.1\r\nHost: test\r\n\r\n".repeat(64);
    let mut clients: Vec<_> = (0..600).map(|_| Client::connect(proxy.address())).collect();
    for client in &mut clients {
        client.send(many.as_bytes());
        for _ in 0..64 {
            assert_eq!(client.response().text(), "/many");
        }
    }
    for client in &mut clients {
        client.send(b"GET /half HTTP/1.1\r\nHo");
    }
    // In the order in which they wait: the first have a buffer each, the last have none left.
    for client in &mut clients {
        client.send(b"st: te");
        client.send(b"st\r\n\r\n");
        assert_eq!(client.response().text(), "/half");
    }
    pass(REST);
    for client in &mut clients {
        assert_eq!(client.get("/again").text(), "/again");
    }
}

#[test]
fn a_request_that_comes_just_as_its_connection_goes_to_rest_is_answered() {
    let origin = echoing();
    let proxy = Proxy::start(&document(&origin));
    let mut clients: Vec<_> = (0..200).map(|_| Client::connect(proxy.address())).collect();
    for client in &mut clients {
        assert_eq!(client.get("/a").text(), "/a");
    }
    // The next requests fall around the moment at which reads are called off.
    pass(Duration::from_millis(800));
    for _ in 0..4 {
        for client in &mut clients {
            pass(Duration::from_millis(2));
            client.send(b"GET /b HTTP/1.1\r\nHost: test\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.response().text(), "/b");
        }
    }
}

#[test]
fn a_connection_at_rest_is_closed_in_its_time_and_at_a_drain() {
    let origin = echoing();
    let timeouts = json!({ "idle": "3s" });
    let proxy = Proxy::start(&with(document(&origin), "/http/timeouts", timeouts));
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/a").text(), "/a");
    assert!(client.is_silent_for(Duration::from_millis(2_700)), "closed before its time");
    assert!(client.is_closed());
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/a").text(), "/a");
    pass(REST);
    proxy.signal(kernel::Signal::Terminate);
    assert!(client.is_closed());
    assert_eq!(proxy.end().code(), Some(0));
}
