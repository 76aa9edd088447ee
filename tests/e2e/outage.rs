//! A Redis that is away, wrong or slow: the proxies go on, say so once, and lose nothing.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::deployment::cluster;
use crate::document::{guarded, with};
use crate::fleet::{Fleet, NAME, failing, redis, settle, standing};
use crate::kernel::Signal;
use crate::origin::Origin;
use crate::ports;
use crate::proxy::{self, Proxy};
use crate::server::Server;
use crate::wait;

/// What `/status` says is wrong.
fn wrong(proxy: &Proxy) -> Value {
    standing(proxy)["failure"]["kind"].clone()
}

#[track_caller]
fn await_wrong(proxy: &Proxy, kind: &str) {
    wait::until_seen(&json!(kind), || wrong(proxy));
}

#[track_caller]
fn await_up(proxy: &Proxy) {
    wait::until("Redis is back", || standing(proxy)["up"] == json!(true));
}

#[test]
fn a_process_without_redis_serves_at_once_and_finds_it_later() {
    let port = ports::hold().port();
    let origin = failing();
    let breaker = json!({ "maxFailures": 2, "resetTimeout": "1 minute" });
    let document = with(guarded(&origin, breaker), "/state", redis(port, json!({})));
    let proxy = Proxy::start(&document);
    await_wrong(&proxy, "unreachable");
    assert_eq!(proxy.metric("fusebox_store_up"), 0);
    for status in [500, 500, 503] {
        assert_eq!(proxy.get("/guarded").status, status, "it decides alone");
    }
    wait::pass(Duration::from_secs(1));
    assert_eq!(proxy.lines().count("state is not shared"), 1, "said once");
    let server = Server::start_at(port);
    await_up(&proxy);
    proxy.lines().await_line("Redis is back");
    wait::until("it tells what it knows", || !server.keys().is_empty());
    assert_eq!(proxy.state(NAME), "open");
}

/// Twenty requests, and the slowest of them.
fn slowest(proxy: &Proxy) -> Duration {
    let one = |_| {
        let began = Instant::now();
        assert_eq!(proxy.get("/guarded").status, 200);
        began.elapsed()
    };
    (0..20).map(one).max().unwrap()
}

#[test]
fn no_request_waits_for_a_redis_that_is_silent() {
    let (server, origin) = (Server::start(), Origin::saying("well"));
    // An answer of Redis is waited for an interval: who waits with it takes as long at least.
    let state = redis(server.port(), json!({ "interval": "1s" }));
    let fleet = Fleet::start(2, &origin, &json!({}), &state);
    slowest(&fleet.0[0]);
    server.stall();
    // Longer than any answer is waited for, and than all is well.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        for proxy in &fleet.0 {
            let slowest = slowest(proxy);
            assert!(slowest < Duration::from_millis(800), "{slowest:?}");
        }
    }
    for proxy in &fleet.0 {
        await_wrong(proxy, "timeout");
        let state = standing(proxy);
        assert_eq!((&state["up"], &state["shards_lost"]), (&json!(false), &json!(1)), "{state}");
    }
    server.resume();
    fleet.await_whole();
    let degraded = standing(&fleet.0[0])["degraded_ms"].as_u64().unwrap();
    assert!((500..20_000).contains(&degraded), "{degraded}");
}

/// Every shard is asked on its own: those of the nodes that are well must not hide the others.
#[test]
fn a_node_of_a_cluster_that_dies_is_named_once_and_its_return_once() {
    const BREAKERS: usize = 40;
    let (mut nodes, origin) = (cluster(), Origin::saying("well"));
    let route = json!({ "GET": {
        "services": { "origin": { "url": origin.url("/") } }, "circuitBreaker": {},
    } });
    let routes = (0..BREAKERS).map(|nth| (format!("/{nth}"), route.clone()));
    let routes: serde_json::Map<String, Value> = routes.collect();
    let state = json!({ "type": "redis", "interval": "200ms", "cluster": [nodes[0].url()] });
    let proxy = Proxy::start(&json!({ "state": state, "http": { "routes": routes } }));
    await_up(&proxy);
    let used = nodes.iter().filter(|node| !node.keys().is_empty()).count();
    assert!(used >= 2, "all shards lie at one node");
    let victim = nodes.iter_mut().find(|node| !node.keys().is_empty()).unwrap();
    victim.kill();
    await_wrong(&proxy, "unreachable");
    let line = proxy.lines().await_line("state is not shared");
    assert!(line.contains(&victim.url()), "{line}");
    // Some dozens of exchanges, well and not.
    wait::pass(Duration::from_secs(2));
    let state = standing(&proxy);
    let lost = state["shards_lost"].as_u64().unwrap();
    assert!((1..state["shards"].as_u64().unwrap()).contains(&lost), "{state}");
    assert_eq!(proxy.lines().count("Redis is back"), 0, "{}", proxy.lines().text());
    assert_eq!(state["failure"]["server"], json!(victim.url()));
    victim.restart();
    await_up(&proxy);
    proxy.lines().await_line("Redis is back");
    wait::pass(Duration::from_millis(500));
    for said in ["state is not shared", "Redis is back"] {
        assert_eq!(proxy.lines().count(said), 1, "{}", proxy.lines().text());
    }
}

#[test]
fn an_end_is_not_held_up_by_a_redis_that_is_silent() {
    let (server, origin) = (Server::start(), failing());
    // An answer is waited for a second, longer than an end may be held up.
    let state = redis(server.port(), json!({ "interval": "5s" }));
    let document = with(guarded(&origin, json!({ "maxFailures": 3 })), "/state", state);
    let proxy = Proxy::start(&document);
    await_up(&proxy);
    server.stall();
    // Told at once.
    assert_eq!(proxy.get("/guarded").status, 500);
    wait::pass(Duration::from_millis(100));
    let lines = proxy.lines().clone();
    let began = Instant::now();
    proxy.signal(Signal::Terminate);
    assert!(proxy.end().success());
    let took = began.elapsed();
    lines.await_line("Redis was not told that this instance ends");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

/// The file is read on a thread of its own: only the connection that needs it waits.
#[test]
fn a_password_file_that_hangs_stops_nothing() {
    let mut server = Server::start_with(&["--requirepass", "s3cret"]);
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("password");
    std::fs::write(&path, "s3cret\n").unwrap();
    let state = redis(server.port(), json!({ "password": { "file": path } }));
    let proxy = Proxy::start(&with(guarded(&failing(), json!({})), "/state", state));
    await_up(&proxy);
    let fifo = directory.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    std::fs::rename(&fifo, &path).unwrap();
    server.restart();
    await_wrong(&proxy, "denied");
    let line = proxy.lines().await_line("cannot be read to its end within 1 s");
    assert!(line.contains("state.password") && line.contains("`state.password`"), "{line}");
    let threads = || std::fs::read_dir(format!("/proc/{}/task", proxy.pid())).unwrap().count();
    let before = threads();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        let asked = Instant::now();
        assert_eq!(proxy.ask("/live").status, 200);
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        wait::pass(Duration::from_millis(50));
    }
    assert!(threads() <= before, "{} threads were {before}", threads());
    // Open for both, so that it waits for no reader. Who reads it by then may be too late.
    wait::until("the password is read", || {
        let mut fifo = File::options().read(true).write(true).open(&path).unwrap();
        fifo.write_all(b"s3cret\n").unwrap();
        drop(fifo);
        wait::pass(Duration::from_millis(200));
        standing(&proxy)["up"] == json!(true)
    });
}

#[test]
fn a_flush_is_healed_within_some_exchanges() {
    let (server, origin) = (Server::start(), failing());
    let breaker = json!({ "maxFailures": 4, "timeWindow": "1 minute", "resetTimeout": "1 minute" });
    let fleet = Fleet::start(2, &origin, &breaker, &redis(server.port(), json!({})));
    for proxy in fleet.0.iter().cycle().take(3) {
        assert_eq!(proxy.get("/guarded").status, 500);
    }
    settle();
    server.tell(&["FLUSHALL"]);
    server.tell(&["SCRIPT", "FLUSH"]);
    wait::until("they tell again", || !server.keys().is_empty());
    settle();
    assert_eq!(fleet.states(), ["closed"; 2]);
    assert_eq!(fleet.0[1].get("/guarded").status, 500);
    fleet.await_state("open");
    server.tell(&["FLUSHALL"]);
    settle();
    assert_eq!(fleet.states(), ["open"; 2], "what is open stays open");
}

#[test]
fn a_wrong_password_is_named_once_with_the_remedy() {
    let server = Server::start_with(&["--requirepass", "s3cret"]);
    let origin = failing();
    let document = |password: Value| {
        let state = redis(server.port(), json!({ "password": password }));
        with(guarded(&origin, json!({ "maxFailures": 1 })), "/state", state)
    };
    let proxy = Proxy::start(&document(json!("hunter2")));
    await_wrong(&proxy, "denied");
    wait::pass(Duration::from_secs(1));
    let line = proxy.lines().await_line("state is not shared");
    assert!(line.contains("WRONGPASS") && line.contains("`state.password`"), "{line}");
    assert_eq!(proxy.lines().count("state is not shared"), 1, "{}", proxy.lines().text());
    assert!(!proxy.lines().text().contains("hunter2"));
    assert!(!proxy.ask("/status").text().contains("hunter2"));
    assert_eq!(proxy.get("/guarded").status, 500);
    assert_eq!(proxy.get("/guarded").status, 503);

    let mut command = proxy::command();
    command.env("STORE_PASSWORD", "s3cret");
    let proxy = Proxy::start_as(command, &document(json!({ "env": "STORE_PASSWORD" })));
    await_up(&proxy);
}

#[test]
fn a_password_that_is_not_there_is_no_start() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("fusebox.json");
    let state = redis(1, json!({ "password": { "env": "FUSEBOX_NO_SUCH" } }));
    let document = with(guarded(&failing(), json!({})), "/state", state);
    std::fs::write(&path, proxy::complete(document).to_string()).unwrap();
    let ended = proxy::run(&["run", path.to_str().unwrap()]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.output.contains("state.password: environment variable FUSEBOX_NO_SUCH"));
}

#[test]
fn a_key_of_another_program_is_named_and_left_alone() {
    let (server, origin) = (Server::start(), failing());
    let breaker = json!({ "maxFailures": 2, "resetTimeout": "1 minute" });
    let fleet = Fleet::start(1, &origin, &breaker, &redis(server.port(), json!({})));
    fleet.0[0].get("/guarded");
    wait::until("there are keys", || !server.keys().is_empty());
    let proxy = &fleet.0[0];
    // Strings where hashes and sets should be; a moment later than its own last write, perhaps.
    wait::until("it stumbles", || {
        for key in server.keys() {
            server.tell(&["SET", &key, "theirs"]);
        }
        wrong(proxy) == json!("wrong_type")
    });
    let line = proxy.lines().await_line("state is not shared");
    assert!(line.contains("`state.prefix`") && line.contains("{fusebox:"), "{line}");
    assert_eq!(proxy.get("/guarded").status, 500);
    assert_eq!(proxy.get("/guarded").status, 503, "it decides alone");
    assert!(server.keys().iter().any(|key| server.tell(&["TYPE", key]).text() == "string"));
    server.tell(&["FLUSHALL"]);
    await_up(proxy);
}

#[test]
fn tls_is_verified() {
    let certificates = Certificates::make();
    let (tls, file) = (ports::hold().port(), |name: &str| certificates.file(name));
    let server = Server::start_with(&[
        "--tls-port",
        &tls.to_string(),
        "--tls-auth-clients",
        "no",
        "--tls-cert-file",
        &file("server.pem"),
        "--tls-key-file",
        &file("server.key"),
        "--tls-ca-cert-file",
        &file("ca.pem"),
    ]);
    let origin = Origin::saying("well");
    let start = |host: &str, authorities: &str| {
        let url = format!("rediss://{host}:{tls}");
        let state = json!({ "type": "redis", "url": url, "interval": "50ms" });
        let mut command = proxy::command();
        command.env("SSL_CERT_FILE", authorities).env_remove("SSL_CERT_DIR");
        Proxy::start_as(command, &with(guarded(&origin, json!({})), "/state", state))
    };
    await_up(&start("localhost", &file("ca.pem")));
    await_up(&start("127.0.0.1", &file("ca.pem")));
    let stranger = start("localhost", &file("other.pem"));
    await_wrong(&stranger, "tls");
    let line = stranger.lines().await_line("state is not shared");
    assert!(line.contains("SSL_CERT_FILE"), "{line}");
    let misnamed = start("127.0.0.2", &file("ca.pem"));
    wait::until("the name is compared", || {
        let kind = wrong(&misnamed);
        kind == json!("tls") || kind == json!("unreachable")
    });
    assert_eq!(misnamed.metric("fusebox_store_up"), 0);
    drop(server);
}

#[test]
fn where_state_is_cannot_change_while_the_process_runs() {
    let (server, origin) = (Server::start(), Origin::saying("well"));
    let document = |state| with(guarded(&origin, json!({})), "/state", state);
    let proxy = Proxy::start(&document(redis(server.port(), json!({}))));
    proxy.write(&document(json!("memory")));
    let refused = proxy.post("/reload");
    assert_eq!(refused.status, 422);
    assert_eq!(refused.json()["complaints"][0]["pointer"], "/state");
    assert_eq!(
        Proxy::start(&document(json!("memory"))).ask("/status").json()["state"],
        json!({ "type": "memory" })
    );
}

/// An authority, what it signed for `localhost` and 127.0.0.1, and an authority of someone else.
struct Certificates(tempfile::TempDir);

impl Certificates {
    fn make() -> Self {
        let made = Self(tempfile::TempDir::new().unwrap());
        for name in ["ca", "other"] {
            let key = made.file(&format!("{name}.key"));
            made.openssl(&[
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
                "-subj",
                &format!("/CN={name} authority"),
                "-keyout",
                &key,
                "-out",
                &made.file(&format!("{name}.pem")),
            ]);
        }
        made.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            "/CN=redis",
            "-keyout",
            &made.file("server.key"),
            "-out",
            &made.file("server.csr"),
        ]);
        let names = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n";
        std::fs::write(made.0.path().join("names"), names).unwrap();
        made.openssl(&[
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            &made.file("server.csr"),
            "-CA",
            &made.file("ca.pem"),
            "-CAkey",
            &made.file("ca.key"),
            "-CAcreateserial",
            "-extfile",
            &made.file("names"),
            "-out",
            &made.file("server.pem"),
        ]);
        made
    }

    fn file(&self, name: &str) -> String {
        Path::new(self.0.path()).join(name).to_str().unwrap().to_owned()
    }

    #[track_caller]
    fn openssl(&self, arguments: &[&str]) {
        let ran = Command::new("openssl").args(arguments).output();
        let ran = ran.expect("openssl is missing: apt-get install openssl");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
}
