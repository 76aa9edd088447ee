//! Real Redis servers as child processes, on ports that are held for them.
//!
//! Each is killed when it is dropped. `redis-server` (or `valkey-server`) has to be installed, or
//! named by `FUSEBOX_REDIS`: without it a test fails and says so.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::ports;

/// How long a server may take for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    port: u16,
    arguments: Vec<String>,
    directory: TempDir,
}

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Text(String),
    Number(i64),
    Nothing,
    List(Vec<Reply>),
    Error(String),
}

/// A connection that is spoken to in commands.
#[derive(Debug)]
pub(crate) struct Talk {
    stream: BufReader<TcpStream>,
}

impl Server {
    /// An empty server that keeps nothing.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with further arguments; `{dir}` stands for a directory of its own.
    #[track_caller]
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        Self::start_in(directory, arguments)
    }

    #[track_caller]
    pub(crate) fn start_in(directory: TempDir, arguments: &[&str]) -> Self {
        let inside = directory.path().to_str().unwrap();
        let own = |text: &&str| text.replace("{dir}", inside);
        let arguments: Vec<String> = arguments.iter().map(own).collect();
        Self::listening(ports::hold().port(), arguments, directory)
    }

    /// An empty server at this port, which is held.
    #[allow(dead_code, reason = "not every test that has servers asks")]
    #[track_caller]
    pub(crate) fn start_at(port: u16) -> Self {
        Self::listening(port, Vec::new(), TempDir::new().unwrap())
    }

    #[track_caller]
    fn listening(port: u16, arguments: Vec<String>, directory: TempDir) -> Self {
        let mut child = spawn(port, &arguments, directory.path());
        assert!(
            comes_up(&mut child, port),
            "no redis-server comes up at {port} with {arguments:?}"
        );
        Self { child, port, arguments, directory }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The URL of its plain port.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    #[allow(dead_code, reason = "not every test that has servers asks")]
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Starts it again where it was, as empty as at first.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.port, &self.arguments, self.directory.path());
        assert!(comes_up(&mut self.child, self.port), "it does not come up again");
    }

    /// Leaves its connections open and answers nothing.
    pub(crate) fn stall(&self) {
        signal(self.child.id(), "STOP");
    }

    /// Goes on.
    pub(crate) fn resume(&self) {
        signal(self.child.id(), "CONT");
    }

    /// What it answers to `words`.
    #[track_caller]
    pub(crate) fn tell(&self, words: &[&str]) -> Reply {
        self.talk().ask(words)
    }

    /// A connection of its own.
    #[track_caller]
    pub(crate) fn talk(&self) -> Talk {
        Talk::with(self.port).expect("a connection")
    }

    /// The value of `field` in what it tells of `section`. None of a server that hangs up, as one
    /// does that becomes a master.
    pub(crate) fn info(&self, section: &str, field: &str) -> Option<String> {
        let told = Talk::with(self.port).and_then(|mut talk| talk.try_ask(&["INFO", section]));
        let Ok(Reply::Text(text)) = told else { return None };
        let value = |line: &str| Some(line.strip_prefix(field)?.strip_prefix(':')?.to_owned());
        text.lines().find_map(value)
    }

    /// Every key, in every database.
    #[track_caller]
    pub(crate) fn keys(&self) -> Vec<String> {
        match self.tell(&["KEYS", "*"]) {
            Reply::List(keys) => keys.iter().map(Reply::text).collect(),
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = std::fs::read_to_string(self.directory.path().join("log"));
            eprintln!("redis-server {} said:\n{}", self.port, log.unwrap_or_default());
        }
    }
}

impl Reply {
    /// The text, or the number as text.
    #[track_caller]
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            other => panic!("{other:?} is no text"),
        }
    }
}

impl Talk {
    pub(crate) fn with(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, words: &[&str]) -> Reply {
        self.try_ask(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    pub(crate) fn try_ask(&mut self, words: &[&str]) -> std::io::Result<Reply> {
        let mut text = format!("*{}\r\n", words.len());
        for word in words {
            write!(text, "${}\r\n{word}\r\n", word.len()).unwrap();
        }
        self.stream.get_mut().write_all(text.as_bytes())?;
        self.reply()
    }

    /// The next reply, asked for or not.
    pub(crate) fn reply(&mut self) -> std::io::Result<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        let (kind, rest) = line.split_at(1);
        let number = || rest.parse::<i64>().expect("a number");
        Ok(match kind {
            "+" => Reply::Text(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Number(number()),
            "$" | "*" if number() < 0 => Reply::Nothing,
            "$" => {
                let mut bytes = vec![0; usize::try_from(number()).unwrap() + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Reply::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
            "*" => Reply::List((0..number()).map(|_| self.reply()).collect::<Result<_, _>>()?),
            _ => panic!("{line:?} is no reply"),
        })
    }
}

/// Waits until `done`.
#[track_caller]
pub(crate) fn until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn spawn(port: u16, arguments: &[String], directory: &Path) -> Child {
    let mut command = Command::new(program());
    // A configuration file comes first.
    let (files, options): (Vec<_>, Vec<_>) = arguments
        .iter()
        .partition(|argument| argument.ends_with(".conf") && argument.contains("sentinel"));
    command.args(files).args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    command.arg("--dir").arg(directory).arg("--logfile").arg(directory.join("log"));
    if !options.iter().any(|option| *option == "--sentinel") {
        command.args(["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]);
    }
    command.args(options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server starts")
}

fn program() -> PathBuf {
    if let Some(asked) = std::env::var_os("FUSEBOX_REDIS") {
        return asked.into();
    }
    let known = ["/usr/bin/redis-server", "/usr/bin/valkey-server", "/usr/local/bin/redis-server"];
    let found = known.into_iter().map(PathBuf::from).find(|path| path.exists());
    found.expect("redis-server is missing: apt-get install redis-server")
}

/// Whether it answers; not when it ends.
fn comes_up(child: &mut Child, port: u16) -> bool {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        let pong = Talk::with(port).and_then(|mut talk| talk.try_ask(&["PING"]));
        match pong {
            Ok(Reply::Text(_)) => return true,
            Ok(Reply::Error(why)) if why.starts_with("NOAUTH") => return true,
            _ => thread::sleep(Duration::from_millis(5)),
        }
    }
    drop(child.kill());
    false
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill -s {name} {pid}");
}
