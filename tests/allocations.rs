//! A warm proxied request allocates nothing and touches no shared reference count; and what
//! breakers hold of memory is what the documentation says.
//!
//! For the first a real worker, a real origin and a real client in this process, over loopback: a
//! counting allocator watches the worker's thread alone, a sampler the table's reference count. For
//! the second a table of ten thousand breakers, and the same allocator.

#![expect(unsafe_code, reason = "an allocator is an unsafe trait")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise and reads files"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fusebox::access::Rings;
use fusebox::breaker::registry::{Draft, Registry};
use fusebox::config::{self, Driver};
use fusebox::stats::{Process, Tallies};
use fusebox::table::compile::{Kept, compile};
use fusebox::table::live::Live;
use fusebox::worker::{Crew, Plan};

struct Counting;

/// The thread that is watched; 0: none.
static WATCHED: AtomicI32 = AtomicI32::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static TID: Cell<i32> = const { Cell::new(0) };
    /// Bytes that this thread has allocated, less those that it has freed.
    static HELD: Cell<i64> = const { Cell::new(0) };
}

fn hold(bytes: usize, sign: i64) {
    HELD.set(HELD.get() + sign * i64::try_from(bytes).unwrap_or(i64::MAX));
}

fn tid() -> i32 {
    TID.with(|tid| {
        if tid.get() == 0 {
            // SAFETY: a system call without arguments.
            tid.set(unsafe { libc::gettid() });
        }
        tid.get()
    })
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if WATCHED.load(Ordering::Relaxed) == tid() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        hold(layout.size(), 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        hold(layout.size(), -1);
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: o\r\nContent-Length: 5\r\n\r\nhello";

/// How many connections the origin has accepted.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// Answers every request head it reads with [`RESPONSE`].
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            CONNECTIONS.fetch_add(1, Ordering::Relaxed);
            thread::spawn(move || {
                let (mut held, mut buf) = (Vec::new(), [0; 4096]);
                while let Ok(read @ 1..) = stream.read(&mut buf) {
                    held.extend_from_slice(&buf[..read]);
                    while let Some(end) = held.windows(4).position(|w| w == b"\r\n\r\n") {
                        held.drain(..end + 4);
                        stream.write_all(RESPONSE).unwrap();
                    }
                }
            });
        }
    });
    address
}

fn start(origin: SocketAddr) -> (Crew, Arc<Live>) {
    let text = format!(
        r#"{{ "listen": "127.0.0.1:0", "log": {{ "access": "all" }}, "http": {{
            "circuitBreaker": {{ "maxFailures": 3, "timeWindow": "10s", "timeout": "30s" }},
            "routes": {{ "/users/:id": {{ "GET": {{ "services": {{
                "users": {{ "url": "http://{origin}/people/:id" }} }} }} }} }} }} }}"#
    );
    let (config, _) = config::load(&text).unwrap();
    let registry = Registry::new(1);
    let (mut draft, mut tallies) = (Draft::default(), Tallies::default());
    let kept = Kept { breakers: &registry, draft: &mut draft, tallies: &mut tallies };
    let table = compile(&config, 1, kept, |_, _| vec![origin]);
    let live = Live::new(table, 1);
    let plan = Plan {
        listen: config.listen,
        workers: 1,
        driver: Driver::Auto,
        live: Arc::clone(&live),
        process: Arc::new(Process::new(1)),
        report: Arc::new(|_| {}),
        access: Arc::new(Rings::new(1)),
    };
    (Crew::start(&plan).unwrap(), live)
}

/// One client: `count` requests, one after the other, each checked.
fn request(stream: &mut TcpStream, count: usize) {
    let mut buf = [0; 4096];
    for _ in 0..count {
        stream
            .write_all(b"GET /users/7?x=1 HTTP/1.1\r\nHost: shop\r\nAccept: text/html\r\n\r\n")
            .unwrap();
        let mut len = 0;
        while !buf[..len].ends_with(b"\r\n\r\nhello") {
            let read = stream.read(&mut buf[len..]).unwrap();
            assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&buf[..len]));
            len += read;
        }
    }
}

/// Runs requests on all clients at once until as many upstream connections exist: from then on the
/// pool and the free lists hold what that many exchanges need.
fn warm(clients: &mut [TcpStream]) {
    let wanted = clients.len() as u64;
    for _ in 0..2_000 {
        thread::scope(|scope| {
            for client in clients.iter_mut() {
                scope.spawn(move || request(client, 5));
            }
        });
        if CONNECTIONS.load(Ordering::Relaxed) >= wanted {
            return;
        }
    }
    panic!("never {wanted} requests at once");
}

fn worker_tid() -> i32 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(Result::ok)
        .find(|task| {
            std::fs::read_to_string(task.path().join("comm")).unwrap_or_default().trim()
                == "worker-0"
        })
        .and_then(|task| task.file_name().to_str()?.parse().ok())
        .expect("the worker's thread")
}

#[test]
fn a_warm_request_allocates_nothing_and_touches_no_shared_count() {
    let (crew, live) = start(origin());
    let address = crew.addresses()[0];
    let mut clients: Vec<TcpStream> =
        (0..4).map(|_| TcpStream::connect(address).unwrap()).collect();
    warm(&mut clients);
    WATCHED.store(worker_tid(), Ordering::Relaxed);
    // The watch itself works: a connection allocates its task.
    let mut fresh = TcpStream::connect(address).unwrap();
    request(&mut fresh, 20);
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > 0, "the watched thread is not the worker's");
    // Those that are quiet now are put to rest, which is no matter of a warm request.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        warm(&mut clients[..3]);
        thread::sleep(Duration::from_millis(50)); // a connection has 10,000 requests in all
    }
    ALLOCATIONS.store(0, Ordering::Relaxed);

    let table = live.current();
    let resting = Arc::strong_count(&table);
    let busy = AtomicBool::new(true);
    thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let (mut samples, mut other) = (0u64, 0u64);
            while busy.load(Ordering::Relaxed) {
                samples += 1;
                other += u64::from(Arc::strong_count(&table) != resting);
            }
            (samples, other)
        });
        let running: Vec<_> =
            clients.iter_mut().take(3).map(|c| scope.spawn(move || request(c, 3_000))).collect();
        for client in running {
            client.join().unwrap();
        }
        busy.store(false, Ordering::Relaxed);
        let (samples, other) = sampler.join().unwrap();
        assert!(samples > 1_000, "sampled only {samples} times");
        assert_eq!(other, 0, "the table's reference count moved under load");
    });
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), 0, "allocations in 9,000 warm requests");
}

const BREAKERS: i64 = 10_000;

/// What the documentation says that a breaker counting `what` holds: bytes, and more per core.
fn documented(what: &str) -> [i64; 2] {
    let text = include_str!("../ARCHITECTURE.md");
    let row = text.lines().find_map(|line| line.strip_prefix(&format!("| {what} | ")));
    let cells: Vec<&str> = row.unwrap_or_else(|| panic!("no row {what}")).split(" | ").collect();
    [0, 1].map(|nth| cells[nth].trim_end_matches(" |").replace(',', "").parse().unwrap())
}

/// Bytes of a table of so many routes, with this default breaker, for so many cores.
fn held(config: &config::Config, cores: usize) -> i64 {
    let before = HELD.get();
    let registry = Registry::new(cores);
    let (mut draft, mut tallies) = (Draft::default(), Tallies::default());
    let kept = Kept { breakers: &registry, draft: &mut draft, tallies: &mut tallies };
    let table = compile(config, 1, kept, |_, port| vec![([127, 0, 0, 1], port).into()]);
    registry.commit(draft);
    let held = HELD.get() - before;
    drop((table, tallies, registry));
    held
}

fn many(breaker: &str) -> config::Config {
    let service = r#""services": { "o": { "url": "http://127.0.0.1:9000/" } }"#;
    let route = |nth| format!(r#""/shop{nth}": {{ "GET": {{ {service} }} }}"#);
    let routes: Vec<String> = (0..BREAKERS).map(route).collect();
    let routes = routes.join(",");
    let text = format!(r#"{{ "http": {{ {breaker} "routes": {{ {routes} }} }} }}"#);
    config::load(&text).unwrap().0
}

/// Against the same table without breakers.
#[test]
fn ten_thousand_breakers_hold_what_is_documented() {
    let none = many("");
    let none = [1, 4].map(|cores| held(&none, cores));
    let mut wrong = Vec::new();
    for (what, breaker) in [
        ("failures, fixed or cumulative", r#""maxFailures": 10, "timeWindow": "10s""#),
        (
            "failures, a run and shares",
            r#""maxFailures": 10, "consecutiveFailures": 5, "failureRate": "50%",
               "minRequests": 20, "timeWindow": "10s""#,
        ),
        ("a look-back of up to 32 failures", r#""maxErrors": 32, "duration": "10s""#),
    ] {
        let config = many(&format!(r#""circuitBreaker": {{ {breaker} }},"#));
        let [one, four] = [(1, none[0]), (4, none[1])]
            .map(|(cores, beside)| (held(&config, cores) - beside) / BREAKERS);
        let per_core = (four - one) / 3;
        let measured = [one - per_core, per_core];
        let documented = documented(what);
        let is_near = |(is, most): (i64, i64)| is <= most && is * 10 >= most * 9;
        if !measured.into_iter().zip(documented).all(is_near) {
            wrong.push(format!("{what}: {measured:?} measured, {documented:?} documented"));
        }
    }
    assert!(wrong.is_empty(), "bytes, and more per core: {wrong:#?}");
}
