//! A warm request from end to end, through the real binary on one core.
//!
//! Enters: a case, and how many requests each connection makes. Leaves: nothing; what the worker
//! executes is counted from outside. Owns the proxy, its origin and its clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::callgrind;
use crate::heads::RESPONSE;

/// A kind of request.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) connections: usize,
    /// Requests on each of them.
    pub(crate) times: usize,
    path: &'static str,
    status: u16,
}

pub(crate) const ALL: [Case; 3] = [
    Case { name: "proxied request, of 32", connections: 32, times: 60, path: "/well", status: 200 },
    Case { name: "proxied request", connections: 1, times: 1_000, path: "/well", status: 200 },
    Case { name: "refused request", connections: 1, times: 1_000, path: "/sick", status: 503 },
];

/// Requests before those that are counted: pools fill, and a connection is known as a busy one.
const WARM: usize = 100;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `case` through `proxy` with `times` requests on each connection, counted in `directory`.
/// Says so where the core does not run on the ring whose use is counted.
pub(crate) fn run(proxy: &Path, case: &Case, times: usize, directory: &Path) -> Result<(), String> {
    let wrong = |error: std::io::Error| error.to_string();
    let origin = origin().map_err(wrong)?;
    let file = directory.join("fusebox.json");
    std::fs::write(&file, config(origin)).map_err(wrong)?;
    let mut command = callgrind::under(proxy, directory);
    callgrind::preload(&mut command, directory)?;
    command.arg("run").arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.stderr(Stdio::piped()).spawn().map_err(wrong)?;
    let outcome = serving(&mut child).and_then(|address| drive(case, times, address));
    if outcome.is_err() {
        // It has ended, or is of no use.
        drop(child.kill());
    }
    let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    outcome.and(asked.map(drop).map_err(wrong)).and(callgrind::end(child))
}

/// One core; one route that works, and one that its first failure closes.
fn config(origin: SocketAddr) -> String {
    let route = |path: &str, breaker: &str| {
        format!(
            r#""/{path}": {{ "GET": {{ "services": {{ "o": {{ "url": "http://{origin}/{path}" }} }},
               "circuitBreaker": {{ {breaker}, "resetTimeout": "1 hour", "timeout": "30s" }} }} }}"#
        )
    };
    let (well, sick) = (r#""maxFailures": 10, "timeWindow": "10s""#, r#""maxFailures": 1"#);
    format!(
        r#"{{ "listen": "127.0.0.1:0", "admin": false, "workers": 1, "log": {{ "access": "off" }},
              "http": {{ "routes": {{ {}, {} }} }} }}"#,
        route("well", well),
        route("sick", sick),
    )
}

/// Reads what the proxy says until it serves; the rest goes nowhere.
fn serving(child: &mut Child) -> Result<SocketAddr, String> {
    let stderr = child.stderr.take().ok_or("no standard error")?;
    let mut said = String::new();
    let mut lines = BufReader::new(stderr).lines();
    let mut address = None;
    for line in lines.by_ref().map_while(Result::ok) {
        said = said + &line + "\n";
        if let Some((_, rest)) = line.split_once("listening ") {
            address = rest.split([' ', '"']).next().and_then(|text| text.parse().ok());
            break;
        }
    }
    thread::spawn(move || lines.for_each(drop));
    if said.contains("running on") {
        return Err(format!("the ring whose use is counted is not to be had here:\n{said}"));
    }
    address.ok_or(said)
}

/// Answers with 1 KiB, or with a failure.
fn origin() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let good = [RESPONSE, &[b'a'; 1024]].concat();
    let (mut held, mut room) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut room)?;
        if read == 0 {
            return Ok(());
        }
        held.extend_from_slice(room.get(..read).unwrap_or_default());
        while let Some(end) = head_end(&held) {
            let sick = held.starts_with(b"GET /sick ");
            held.drain(..end);
            let bad = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(if sick { bad } else { &good })?;
        }
    }
}

fn drive(case: &Case, times: usize, address: SocketAddr) -> Result<(), String> {
    let connect = |_| {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    let clients: std::io::Result<Vec<TcpStream>> = (0..case.connections).map(connect).collect();
    let mut clients = clients.map_err(|error| error.to_string())?;
    let request = format!("GET {} HTTP/1.1\r\nHost: {address}\r\n\r\n", case.path);
    let mut room = [0; 8192];
    for nth in 0..WARM + times {
        for client in &mut clients {
            client.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        }
        for client in &mut clients {
            let status = status(client, &mut room)?;
            // The first failures open the breaker.
            if status != case.status && nth >= WARM {
                return Err(format!("{}: {status}", case.path));
            }
        }
    }
    Ok(())
}

/// Reads one response; returns its status.
fn status(client: &mut TcpStream, room: &mut [u8]) -> Result<u16, String> {
    let mut len = 0;
    loop {
        let read = client.read(room.get_mut(len..).unwrap_or_default());
        match read.map_err(|error| error.to_string())? {
            0 => return Err("the proxy closed a connection".to_owned()),
            read => len += read,
        }
        let read = room.get(..len).unwrap_or_default();
        let Some(end) = head_end(read) else { continue };
        let head = String::from_utf8_lossy(read.get(..end).unwrap_or_default()).to_lowercase();
        let field = |name: &str| head.split_once(name)?.1.split(['\r', ' ']).next()?.parse().ok();
        let (status, body) = (field("http/1.1 "), field("content-length: "));
        let (Some(status), Some(body)) = (status, body) else { return Err(head) };
        if len == end + usize::from(body) {
            return Ok(status);
        }
    }
}

/// Where the first head ends.
fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}
