//! A Redis of our own: started, spoken to, stalled, killed and started again.
//!
//! Enters: arguments and processors. Leaves: a port, and answers to commands. Owns the process and
//! its directory: dropping it ends it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::clock::{self, Nanos};
use crate::process::Process;

/// How long a start, or an answer, may take.
const PATIENCE: Nanos = 20 * clock::SECOND;

/// Where distributions put it.
const PROGRAMS: [&str; 3] =
    ["/usr/bin/redis-server", "/usr/bin/valkey-server", "/usr/local/bin/redis-server"];

/// A running server.
pub(crate) struct Redis {
    process: Option<Process>,
    port: u16,
    arguments: Vec<String>,
    cores: Vec<usize>,
    directory: TempDir,
}

/// What there is to start: what `FUSEBOX_REDIS` names, or what the distribution has.
pub(crate) fn program() -> Option<PathBuf> {
    let asked = std::env::var_os("FUSEBOX_REDIS").map(PathBuf::from);
    asked.or_else(|| PROGRAMS.into_iter().map(PathBuf::from).find(|program| program.exists()))
}

impl Redis {
    /// An empty server that keeps nothing, on `cores`.
    pub(crate) fn start(cores: &[usize]) -> Result<Self, String> {
        Self::start_with(cores, &[])
    }

    /// The same, with further arguments.
    pub(crate) fn start_with(cores: &[usize], arguments: &[&str]) -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| format!("no directory: {error}"))?;
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        let cores = cores.to_vec();
        let mut server = Self { process: None, port: 0, arguments, cores, directory };
        for _ in 0..5 {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
            server.port = free.map_err(|error| format!("no port: {error}"))?.port();
            // Somebody may have taken the port meanwhile.
            if server.up().is_ok() {
                return Ok(server);
            }
        }
        Err("redis-server does not come up".to_owned())
    }

    /// A sentinel that watches `master` by the name `shop`.
    pub(crate) fn watching(master: &Self, cores: &[usize]) -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| format!("no directory: {error}"))?;
        let file = directory.path().join("sentinel.conf");
        let text = format!("sentinel monitor shop 127.0.0.1 {} 1\n", master.port);
        std::fs::write(&file, text).map_err(|error| error.to_string())?;
        let file = file.to_string_lossy().into_owned();
        let mut server = Self::start_with(cores, &[&file, "--sentinel"])?;
        // The file lies there as long as the server runs.
        server.directory = directory;
        Ok(server)
    }

    fn up(&mut self) -> Result<(), String> {
        let program = program().ok_or("redis-server is not installed")?;
        let mut command = Command::new(program);
        let (files, options): (Vec<_>, Vec<_>) =
            self.arguments.iter().partition(|argument| argument.ends_with(".conf"));
        command.args(files).args(["--bind", "127.0.0.1", "--port", &self.port.to_string()]);
        command.arg("--dir").arg(self.directory.path());
        if !options.iter().any(|option| *option == "--sentinel") {
            command.args(["--save", "", "--repl-diskless-sync-delay", "0"]);
        }
        let mut process = Process::start(command.args(options), &self.cores)?;
        let until = clock::now() + PATIENCE;
        while self.ask(&["PING"]).as_deref() != Ok("PONG") {
            if clock::now() > until || !process.lives() {
                return Err(format!("redis-server does not come up:\n{}", process.said()));
            }
            clock::pass(Duration::from_millis(5));
        }
        self.process = Some(process);
        Ok(())
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.signal(Signal::KILL);
        }
    }

    /// Starts it again, empty, where it was.
    pub(crate) fn restart(&mut self) -> Result<(), String> {
        self.kill();
        self.up()
    }

    /// Stops it, or lets it go on.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    /// The answer to a command, as text.
    pub(crate) fn ask(&self, words: &[&str]) -> Result<String, String> {
        let text = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(text)?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(text)?;
        let words: Vec<_> =
            words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        let command = format!("*{}\r\n{}", words.len(), words.concat());
        stream.write_all(command.as_bytes()).map_err(text)?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).map_err(text)?;
        let line = line.trim_end();
        match line.strip_prefix('$').and_then(|length| length.parse().ok()) {
            Some(length) => {
                let mut bytes = vec![0; length];
                stream.read_exact(&mut bytes).map_err(text)?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            None => Ok(line.trim_start_matches(['+', ':']).to_owned()),
        }
    }

    /// How many calls of a script it has been sent so far.
    pub(crate) fn calls(&self) -> Result<f64, String> {
        let told = self.ask(&["INFO", "commandstats"])?;
        let calls = |line: &str| {
            let (name, rest) = line.split_once(":calls=")?;
            let counts = ["cmdstat_evalsha", "cmdstat_eval"].contains(&name);
            rest.split(',').next()?.parse::<f64>().ok().filter(|_| counts)
        };
        Ok(told.lines().filter_map(calls).sum())
    }
}
