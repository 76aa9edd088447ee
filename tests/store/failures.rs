//! Every way a Redis fails: named, survived, and over when it is over.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fusebox::cluster::store::Kind;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::relay::Relay;
use crate::server::{Reply, Server};

fn state(server: &Server) -> Value {
    json!({ "type": "redis", "port": server.port() })
}

#[test]
fn a_server_that_dies_is_named_and_found_again_when_it_is_back() {
    let mut server = Server::start();
    let mut bench = Bench::of(state(&server));
    bench.answered("{a}");
    server.kill();
    let failure = bench.refused("{a}", Kind::Unreachable);
    assert_eq!(failure.server, Some(server.url()), "{failure}");
    bench.pass(Duration::from_millis(500));
    server.restart();
    assert_eq!(bench.answered("{a}"), "0", "it kept nothing");
}

#[test]
fn a_server_that_is_silent_costs_the_patience_of_one_exchange_and_no_more() {
    let server = Server::start();
    let mut bench = Bench::of(state(&server));
    bench.answered("{a}");
    server.stall();
    let began = Instant::now();
    let answer = bench.add(&["{a}", "{b}"], 1);
    let took = began.elapsed();
    assert!(answer.iter().all(|answer| answer.as_ref().unwrap_err().kind == Kind::Timeout));
    assert!(took < Duration::from_millis(400), "{took:?}");
    // Connecting goes on beside; nobody waits for it.
    let began = Instant::now();
    for _ in 0..20 {
        assert!(bench.add(&["{a}"], 1)[0].is_err());
        bench.pass(Duration::from_millis(20));
    }
    assert!(began.elapsed() < Duration::from_millis(800), "{:?}", began.elapsed());
    server.resume();
    bench.answered("{a}");
}

#[test]
fn a_server_that_is_slow_is_given_up_and_taken_again_when_it_is_fast() {
    let server = Server::start();
    let relay = Relay::to(server.port());
    let mut bench = Bench::of(json!({ "type": "redis", "url": relay.url() }));
    bench.answered("{a}");
    relay.delay(Duration::from_secs(2));
    bench.refused("{a}", Kind::Timeout);
    let before = relay.accepted();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        assert!(bench.add(&["{a}"], 1)[0].is_err());
        bench.pass(Duration::from_millis(50));
    }
    let tried = relay.accepted() - before;
    assert!((2..=8).contains(&tried), "connected {tried} times in five seconds");
    relay.delay(Duration::ZERO);
    bench.answered("{a}");
}

#[test]
fn an_answer_that_is_cut_in_the_middle_costs_the_connection() {
    let server = Server::start();
    let relay = Relay::to(server.port());
    let mut bench = Bench::of(json!({ "type": "redis", "url": relay.url() }));
    bench.answered("{a}");
    relay.cut_after(3);
    assert_eq!(bench.add(&["{a}"], 1)[0].as_ref().unwrap_err().kind, Kind::Unreachable);
    assert_eq!(bench.answered("{a}"), "1", "it was done all the same");
}

#[test]
fn a_key_of_another_program_is_named_left_alone_and_not_asked_for_again_at_once() {
    let server = Server::start();
    let mut bench = Bench::of(state(&server));
    bench.answered("{b}");
    server.tell(&["RPUSH", "{a}", "theirs"]);
    let failure = bench.refused("{a}", Kind::WrongType);
    assert!(failure.to_string().contains("`state.prefix`"), "{failure}");
    let calls = |server: &Server| {
        let told = server.info("commandstats", "cmdstat_evalsha").unwrap();
        let calls = told.trim_start_matches("calls=").split(',').next().unwrap().to_owned();
        calls.parse::<u32>().unwrap()
    };
    let before = calls(&server);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(bench.add(&["{a}"], 1)[0].as_ref().unwrap_err().kind, Kind::WrongType);
        bench.pass(Duration::from_millis(10));
    }
    let asked = calls(&server) - before;
    assert!((2..=10).contains(&asked), "asked {asked} times in three seconds");
    assert!(bench.add(&["{b}"], 1)[0].is_ok(), "the other keys are served");
    assert_eq!(server.tell(&["LLEN", "{a}"]), Reply::Number(1));
    server.tell(&["DEL", "{a}"]);
    bench.answered("{a}");
}

#[test]
fn a_script_that_fails_is_a_failure_and_no_outage() {
    let server = Server::start();
    let mut bench = Bench::running(state(&server), "local none = nil; return none.field");
    let failure = bench.refused("{a}", Kind::Script);
    assert!(failure.text.contains("attempt to index"), "{failure}");
    assert_eq!(bench.store().connected(), [server.url()]);
    let mut bench = Bench::running(state(&server), "return {1, 2}");
    bench.refused("{a}", Kind::Malformed);
}

#[test]
fn a_server_without_memory_and_one_that_is_a_replica_are_told_apart() {
    let server = Server::start();
    let mut bench = Bench::of(state(&server));
    bench.answered("{a}");
    server.tell(&["CONFIG", "SET", "maxmemory", "1"]);
    bench.refused("{a}", Kind::Full);
    server.tell(&["CONFIG", "SET", "maxmemory", "0"]);
    bench.answered("{a}");
    server.tell(&["REPLICAOF", "127.0.0.1", "1"]);
    let failure = bench.refused("{a}", Kind::NotReady);
    assert!(failure.text.contains("READONLY"), "{failure}");
    server.tell(&["REPLICAOF", "NO", "ONE"]);
    bench.answered("{a}");
}

#[test]
fn what_is_no_redis_is_told_of() {
    for (answer, kind) in [
        ("HTTP/1.1 400 Bad Request\r\n\r\n", Kind::Malformed),
        ("-ERR unknown command `HELLO`, with args\r\n", Kind::Misconfigured),
        ("*4294967295\r\n*4294967295\r\n*4294967295\r\n", Kind::Timeout),
    ] {
        // Connecting asks for three things.
        let (port, _) = talker(answer.repeat(3).into_bytes(), 1);
        let state = json!({ "type": "redis", "port": port });
        Bench::of(state).refused("{a}", kind);
    }
}

#[test]
fn an_answer_without_end_costs_the_connection_and_no_memory() {
    for begin in ["$2147483647\r\n", "+", "*1000000000\r\n"] {
        let (port, sent) = talker(begin.as_bytes().to_vec(), 1_000_000);
        let mut bench = Bench::of(json!({ "type": "redis", "port": port }));
        bench.refused("{a}", Kind::Malformed);
        let first = sent.load(Ordering::SeqCst);
        // What the kernel holds of it, and not what the server has.
        assert!(first < 32 << 20, "{first} bytes were taken");
    }
}

/// A server that says `answer` to whatever it is asked first and then, over and over, a line.
fn talker(answer: Vec<u8>, lines: usize) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (answer, count) = (answer.clone(), Arc::clone(&count));
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(&answer);
                let line = [b'0'; 1024];
                for _ in 1..lines {
                    match stream.write(&line) {
                        Ok(bytes) => drop(count.fetch_add(bytes, Ordering::SeqCst)),
                        Err(_) => return,
                    }
                }
                // Open, and silent from now on.
                let _ = stream.read(&mut [0; 4096]);
            });
        }
    });
    (port, sent)
}
