//! The proxy under test: `fusebox run` as a child on free ports.
//!
//! Enters: a binary and a configuration. Leaves: addresses, its state by the admin API, and reloads
//! by SIGHUP. Owns the process and the directory of its configuration.

pub(crate) mod admin;
pub(crate) mod binary;
pub(crate) mod watch;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clock::{self, Nanos};
use crate::process::Process;
use admin::Admin;

/// How long a start or a reload may take.
const PATIENCE: Nanos = 20 * clock::SECOND;

/// A running proxy; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Proxy {
    process: Process,
    address: SocketAddr,
    admin: Admin,
    directory: TempDir,
    cores: usize,
}

impl Proxy {
    /// Starts `binary` on `cores` with `config`, to which addresses and workers are added, and
    /// waits until it is ready.
    pub(crate) fn start(binary: &Path, cores: &[usize], config: &Value) -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| format!("no directory: {error}"))?;
        let path = directory.path().join("fusebox.json");
        write(&path, &complete(config, cores.len()))?;
        let mut process = Process::start(Command::new(binary).arg("run").arg(&path), cores)?;
        let until = clock::now() + PATIENCE;
        let mut address = |word| loop {
            if let Some(found) = process.find(|line| address_after(line, word)) {
                return Ok(found);
            }
            if clock::now() > until || !process.lives() {
                return Err(format!("{} does not serve:\n{}", binary.display(), process.said()));
            }
            clock::pass(Duration::from_millis(2));
        };
        let (address, admin) = (address("listening")?, address("admin")?);
        let proxy =
            Self { process, address, admin: Admin::at(admin), directory, cores: cores.len() };
        while proxy.admin.get("/ready").is_err() {
            if clock::now() > until {
                return Err(format!("the proxy is not ready:\n{}", proxy.process.said()));
            }
            clock::pass(Duration::from_millis(2));
        }
        Ok(proxy)
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its admin API.
    pub(crate) fn admin(&self) -> Admin {
        self.admin
    }

    /// Its process.
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Makes it serve `config`, by its file and SIGHUP, and waits until it does.
    pub(crate) fn reload(&self, config: &Value) -> Result<(), String> {
        let before = self.admin.generation()?;
        write(&self.path(), &complete(config, self.cores))?;
        self.process.signal(Signal::HUP);
        let until = clock::now() + PATIENCE;
        while self.admin.generation()? <= before {
            if clock::now() > until {
                return Err(format!("the reload is not served:\n{}", self.process.said()));
            }
            clock::pass(Duration::from_micros(500));
        }
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("fusebox.json")
    }
}

/// `config` with free ports and as many workers as cores.
pub(crate) fn complete(config: &Value, workers: usize) -> Value {
    let mut config = config.clone();
    if let Some(object) = config.as_object_mut() {
        object.entry("listen").or_insert(json!("127.0.0.1:0"));
        object.entry("admin").or_insert(json!({ "listen": "127.0.0.1:0" }));
        object.entry("workers").or_insert(json!(workers.max(1)));
        object.entry("log").or_insert(json!({ "level": "info", "access": "off" }));
    }
    config
}

/// Replaces the file at `path` in one step.
fn write(path: &Path, config: &Value) -> Result<(), String> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, config.to_string())
        .and_then(|()| fs::rename(&fresh, path))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// The first loopback address in `line` after `word`.
fn address_after(line: &str, word: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(word)?;
    let (_, rest) = rest.split_once("127.0.0.1:")?;
    let port = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    format!("127.0.0.1:{port}").parse().ok()
}
