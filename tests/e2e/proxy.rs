//! The real binary as a child process, on ports the system picks.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{self, Response};
use crate::kernel::{self, Signal};
use crate::wait::{self, PATIENCE};

/// A running proxy; dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Proxy {
    child: Child,
    lines: Lines,
    address: SocketAddr,
    admin: SocketAddr,
    directory: TempDir,
}

/// What a process wrote, line by line, while it is still writing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// Standard output and standard error.
    pub(crate) output: String,
}

/// The binary under test.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fusebox"));
    command.env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
#[track_caller]
pub(crate) fn run(arguments: &[&str]) -> Ended {
    end_of(command().args(arguments))
}

/// Runs `command` to its end; one that does not end in time is killed.
#[track_caller]
pub(crate) fn end_of(command: &mut Command) -> Ended {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = Lines::default();
    let readers = lines.collect(&mut child);
    let status = await_end(&mut child, &lines);
    for reader in readers {
        reader.join().unwrap();
    }
    Ended { status, output: lines.text() }
}

/// `document` as this harness runs it: free ports, two workers, the driver under test.
pub(crate) fn complete(mut document: Value) -> Value {
    let driver = std::env::var("FUSEBOX_E2E_DRIVER").unwrap_or_else(|_| "auto".to_owned());
    let object = document.as_object_mut().expect("a document");
    object.entry("listen").or_insert(json!("127.0.0.1:0"));
    object.entry("admin").or_insert(json!({ "listen": "127.0.0.1:0" }));
    object.entry("workers").or_insert(json!(2));
    object.entry("io").or_insert(json!({ "driver": driver }));
    document
}

/// A document whose text is sent as it is, but for the keys that [`complete`] would add: for cases
/// in which the order of keys matters.
pub(crate) fn complete_text(text: &str) -> Value {
    let added = complete(json!({})).to_string();
    let added = added.trim_end_matches('}');
    let rest = text.trim_start().strip_prefix('{').expect("an object");
    Value::String(format!("{added}, {rest}"))
}

impl Proxy {
    /// Starts a proxy with `document`, completed by [`complete`], and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(document: &Value) -> Self {
        Self::start_as(command(), document)
    }

    /// As [`Proxy::start`], with a command of the caller's making.
    #[track_caller]
    pub(crate) fn start_as(mut command: Command, document: &Value) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("fusebox.json");
        write(&path, document);
        command.arg("run").arg(&path).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = Lines::default();
        drop(lines.collect(&mut child));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut proxy = Self { child, lines, address: nowhere, admin: nowhere, directory };
        proxy.address = proxy.await_address("listening");
        proxy.admin = proxy.await_address("admin");
        wait::until("ready", || proxy.ask("/ready").status == 200);
        proxy
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the admin API listens.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The configuration file it runs with.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("fusebox.json")
    }

    /// What it has logged so far.
    pub(crate) fn lines(&self) -> &Lines {
        &self.lines
    }

    /// `GET path` on a fresh connection to the proxy.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Response {
        client::get(self.address, path)
    }

    /// `GET path` of the admin API.
    #[track_caller]
    pub(crate) fn ask(&self, path: &str) -> Response {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.admin);
        client::once(self.admin, &request)
    }

    /// The value of the sample `name` (labels included) of the admin's metrics.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.ask("/metrics");
        let value = text.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no sample {name}"))
    }

    /// How often the timeout or limit `key` hit.
    #[track_caller]
    pub(crate) fn hits(&self, key: &str) -> u64 {
        self.metric(&format!("fusebox_limit_hits_total{{limit=\"{key}\"}}"))
    }

    /// `POST path` of the admin API, without a body.
    #[track_caller]
    pub(crate) fn post(&self, path: &str) -> Response {
        let host = self.admin;
        let request = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
        client::once(self.admin, &request)
    }

    /// The admin's view of breaker `name`.
    #[track_caller]
    pub(crate) fn breaker(&self, name: &str) -> Value {
        let response = self.ask(&format!("/breakers/{}", percent(name)));
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }

    /// The state of breaker `name`.
    #[track_caller]
    pub(crate) fn state(&self, name: &str) -> String {
        self.breaker(name)["state"].as_str().expect("a state").to_owned()
    }

    /// Writes another configuration, without telling the process.
    pub(crate) fn write(&self, document: &Value) {
        write(&self.path(), document);
    }

    /// Bytes of its own memory that have pages behind them.
    #[track_caller]
    pub(crate) fn memory(&self) -> usize {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = std::fs::read_to_string(path).expect("its memory");
        let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        number.and_then(|number| number.parse::<usize>().ok()).expect("a number") * 1024
    }

    /// How long its threads have run so far.
    #[track_caller]
    pub(crate) fn processor_time(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, rest) = text.rsplit_once(") ").expect("a name in brackets");
        let ticks = |nth| rest.split(' ').nth(nth).and_then(|word| word.parse().ok());
        let used: u64 = ticks(11).unwrap_or(0) + ticks(12).unwrap_or(0);
        Duration::from_millis(used * 10)
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kernel::signal(self.child.id(), signal);
    }

    /// The number of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the process to end by itself.
    #[track_caller]
    pub(crate) fn end(mut self) -> ExitStatus {
        await_end(&mut self.child, &self.lines)
    }

    #[track_caller]
    fn await_address(&mut self, word: &str) -> SocketAddr {
        let started = Instant::now();
        loop {
            if let Some(address) = self.lines.find(|line| address_after(line, word)) {
                return address;
            }
            let ended = self.child.try_wait().unwrap();
            let patient = ended.is_none() && started.elapsed() < PATIENCE;
            assert!(patient, "no `{word}` address ({ended:?}); it said:\n{}", self.lines.text());
            wait::pass(Duration::from_millis(2));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            eprintln!("the proxy said:\n{}", self.lines.text());
        }
    }
}

impl Lines {
    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }

    /// How many lines contain `needle`.
    pub(crate) fn count(&self, needle: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.contains(needle)).count()
    }

    /// Waits for a line that contains `needle`.
    #[track_caller]
    pub(crate) fn await_line(&self, needle: &str) -> String {
        let found = || self.find(|line| line.contains(needle).then(|| line.to_owned()));
        wait::until(&format!("a line with {needle:?}"), || found().is_some());
        found().unwrap_or_default()
    }

    fn find<T>(&self, pick: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.0.lock().unwrap().iter().find_map(|line| pick(line))
    }

    fn collect(&self, child: &mut Child) -> [thread::JoinHandle<()>; 2] {
        let (output, error) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        [self.follow(output), self.follow(error)]
    }

    fn follow(&self, source: impl Read + Send + 'static) -> thread::JoinHandle<()> {
        let lines = Arc::clone(&self.0);
        thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        })
    }
}

/// Starts a proxy with the sample `name` of `config/`, its text changed by `edit`.
#[track_caller]
pub(crate) fn start_sample(name: &str, edit: impl Fn(String) -> String) -> Proxy {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    Proxy::start(&complete_text(&edit(std::fs::read_to_string(path).expect("a sample"))))
}

/// `name` as one path segment.
pub(crate) fn percent(name: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte| if keep(byte) { char::from(byte).into() } else { format!("%{byte:02X}") };
    name.bytes().map(encode).collect()
}

fn write(path: &Path, document: &Value) {
    let text = match document {
        // A string stands for the text of a document.
        Value::String(text) => text.clone(),
        document => complete(document.clone()).to_string(),
    };
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(&fresh, path).unwrap();
}

/// The first loopback address in `line` after `word`.
fn address_after(line: &str, word: &str) -> Option<SocketAddr> {
    let rest = &line[line.find(word)?..];
    let rest = &rest[rest.find("127.0.0.1:")?..];
    let port = rest["127.0.0.1:".len()..].split(|c: char| !c.is_ascii_digit()).next()?;
    format!("127.0.0.1:{port}").parse().ok()
}

#[track_caller]
fn await_end(child: &mut Child, lines: &Lines) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if started.elapsed() > PATIENCE {
            drop(child.kill());
            panic!("it does not end; it said:\n{}", lines.text());
        }
        wait::pass(Duration::from_millis(2));
    }
}
