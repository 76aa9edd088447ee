//! Proxies on one Redis, and plain requests to them, one at a time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::config;
use crate::clock::{self, Nanos};
use crate::proxy::Proxy;
use crate::stage::Stage;

/// How long proxies may take to know of each other.
const PATIENCE: Nanos = 20 * clock::SECOND;

/// One route `/guarded` with `breaker` to `url`, and state in the Redis that `state` says.
pub(super) fn config(url: &str, breaker: &Value, state: &Value) -> Value {
    let mut config = config::routes(&[("/guarded", config::route(url, breaker))]);
    config["state"] = state.clone();
    config
}

/// `state` of a Redis at this port.
pub(super) fn state(port: u16) -> Value {
    json!({ "type": "redis", "port": port })
}

/// Starts so many proxies, and waits until each knows of all.
pub(super) fn start(stage: &Stage, size: usize, config: &Value) -> Result<Vec<Proxy>, String> {
    let proxies: Vec<Proxy> = (0..size).map(|_| stage.proxy(config)).collect::<Result<_, _>>()?;
    await_all(&proxies)?;
    Ok(proxies)
}

/// Waits until each knows of all.
pub(super) fn await_all(proxies: &[Proxy]) -> Result<(), String> {
    until("the proxies know of each other", || {
        let known = |proxy: &Proxy| {
            let status = proxy.admin().get("/status").unwrap_or_default();
            let status: Value = serde_json::from_slice(&status).unwrap_or_default();
            let state = &status["state"];
            state["up"] == json!(true) && state["instances"] == json!(proxies.len())
        };
        proxies.iter().all(known)
    })
}

/// Waits until `done`.
pub(super) fn until(what: &str, mut done: impl FnMut() -> bool) -> Result<(), String> {
    let until = clock::now() + PATIENCE;
    while !done() {
        if clock::now() > until {
            return Err(format!("waited in vain until {what}"));
        }
        clock::pass(Duration::from_millis(5));
    }
    Ok(())
}

/// A connection on which one request follows the other.
pub(super) struct Asker {
    address: SocketAddr,
    stream: TcpStream,
}

impl Asker {
    pub(super) fn of(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(|error| error.to_string())?;
        Ok(Self { address, stream })
    }

    /// The status of the answer to one request.
    pub(super) fn ask(&mut self, method: &str, path: &str) -> Result<u16, String> {
        let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{length}\r\n", self.address);
        self.stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        loop {
            if let Some(status) = whole(&bytes) {
                return Ok(status);
            }
            let mut block = [0; 16 * 1024];
            match self.stream.read(&mut block) {
                Ok(0) => return Err("the answer ends early".to_owned()),
                Ok(count) => bytes.extend_from_slice(block.get(..count).unwrap_or_default()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

/// The status of an answer, once it is there whole.
fn whole(bytes: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let status = head.split(' ').nth(1)?.parse().ok()?;
    (body.len() >= length.unwrap_or(0)).then_some(status)
}

/// An origin that answers as the query says: `?500`. It is no match for a load.
pub(super) struct Obedient {
    address: SocketAddr,
}

impl Obedient {
    pub(super) fn start() -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || serve(stream));
            }
        });
        Ok(Self { address })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

fn serve(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap_or_default();
    let mut head = Vec::new();
    let mut block = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut block) {
        head.extend_from_slice(block.get(..read).unwrap_or_default());
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let status = if head.windows(4).any(|it| it == b"?500") { 500 } else { 200 };
        head.clear();
        let answer = format!("HTTP/1.1 {status} So\r\nContent-Length: 2\r\n\r\nso");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
