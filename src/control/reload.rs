//! The file as it is now → what every core serves, or a reason why not.
//!
//! Enters: an order, by SIGHUP or `POST /reload`; both go the same way, one at a time: read, check,
//! resolve, compile, publish, wait until every core serves it. Leaves: a [`Verdict`]. A refused
//! configuration changes nothing.
//!
//! Owns what a reload changes: the crew's addresses, the running configuration, the admin token,
//! route counters.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::admin::Token;
use super::handlers::Handlers;
use super::names::Names;
use super::plane::Plane;
use super::ports::Ports;
use super::secrets;
use super::source::Source;
use crate::access::Sink;
use crate::breaker::registry::{Draft, Registry};
use crate::clock;
use crate::config::{self, Code, Colour, Complaint, Config};
use crate::stats::Tallies;
use crate::table::Table;
use crate::table::compile::{Kept, compile};
use crate::worker::Crew;

/// How long every core may take to serve a published table: a core is busy for milliseconds.
const SERVED_MAX: Duration = Duration::from_secs(5);

/// What a reload changes.
#[derive(Debug)]
pub struct Reloader {
    /// Shared with the admin API.
    pub plane: Arc<Plane>,
    /// The workers.
    pub crew: Crew,
    /// Where the configuration comes from.
    pub source: Source,
    /// The configuration that is served.
    pub config: Config,
    /// Counters by name.
    pub tallies: Tallies,
    /// What the admin API asks for.
    pub(super) token: Token,
    /// Reads its secret.
    pub(super) secrets: secrets::Reader,
    /// The ports that were picked.
    pub(super) ports: Ports,
}

/// How a reload ended.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Every core serves the new generation.
    Active(Active),
    /// Nothing was changed.
    Refused(Refused),
    /// It is published, and some core does not serve it yet.
    Late {
        /// The generation that was published.
        generation: u64,
    },
}

/// Every core serves the new generation.
#[derive(Clone, Debug, Serialize)]
pub struct Active {
    /// Its number.
    pub generation: u64,
    /// How many cores serve it: all.
    pub cores: usize,
    /// From the order to the last core.
    pub took_ms: f64,
    /// Where it was read.
    pub config: String,
    /// Warnings, as data.
    pub complaints: serde_json::Value,
    /// Warnings, for people.
    pub report: String,
    /// Warnings, for the log.
    #[serde(skip)]
    pub log: String,
}

/// Nothing was changed.
#[derive(Clone, Debug, Serialize)]
pub struct Refused {
    /// Why, in one line.
    pub error: String,
    /// Every complaint, as data.
    pub complaints: serde_json::Value,
    /// Every complaint with its place in the text, for people.
    pub report: String,
    /// The same, for the log.
    #[serde(skip)]
    pub log: String,
}

impl Reloader {
    /// Reloads, and logs how it went.
    pub async fn reload(&mut self) -> Verdict {
        let verdict = match self.attempt().await {
            Ok(verdict) => verdict,
            Err(refused) => Verdict::Refused(refused),
        };
        self.plane.names.retain(&self.config);
        self.plane.reloaded(&verdict);
        verdict.log(self.plane.live.current().generation);
        verdict
    }

    async fn attempt(&mut self) -> Result<Verdict, Refused> {
        let begun = clock::now();
        let Wanted { config, token, sink, text, warnings } =
            Wanted::read(&self.source, &self.config, &self.secrets).await?;
        let name = self.source.to_string();
        let moved = self.plane.names.resolve(&config).await;
        self.crew.lead(&moved.into());
        let generation = self.plane.live.current().generation + 1;

        let Plane { registry, names, .. } = &*self.plane;
        let compiled = Compiled::new(&config, generation, registry, names, self.tallies.next());
        if config.listen != self.config.listen {
            self.listen(&config.listen).map_err(|no| no.refused(&name, &text))?;
        }
        let Plane { names, .. } = &*self.plane;
        let handlers = Handlers::of_config(&config, &self.plane.handlers(), names);
        self.plane.set_handlers(handlers);
        self.plane.series.follow(&config);
        self.plane.live.publish(compiled.table);
        self.plane.registry.commit(compiled.draft);
        self.crew.refresh();
        self.tallies = compiled.tallies;
        crate::log::set_level(config.log.level);
        self.plane.access.change(sink);
        self.token.replace(token);
        self.config = config;

        if !self.served(generation).await {
            return Ok(Verdict::Late { generation });
        }
        self.plane.live.collect();
        Ok(Verdict::Active(Active {
            generation,
            cores: self.plane.registry.cores(),
            took_ms: clock::now().since(begun).as_secs_f64() * 1000.0,
            complaints: as_data(&warnings),
            report: report(&name, &text, &warnings, Colour::Plain),
            log: for_log(&name, &text, &warnings),
            config: name,
        }))
    }

    fn listen(&mut self, wanted: &[SocketAddr]) -> Result<(), Unbound> {
        let known = self.ports.known(wanted);
        let before = self.crew.addresses().to_vec();
        self.crew.listen(&known).map_err(|why| Unbound::of(&known, why.0))?;
        self.ports.note(wanted, &known, (&before, self.crew.addresses()));
        Ok(())
    }

    async fn served(&self, generation: u64) -> bool {
        let deadline = clock::now().after(SERVED_MAX);
        while !self.plane.live.is_served(generation) {
            if clock::now() >= deadline || self.plane.is_draining() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        true
    }
}

/// A configuration that may be taken over.
struct Wanted {
    config: Config,
    token: Option<String>,
    /// The access log, opened anew: its file may have been rotated.
    sink: Sink,
    text: String,
    warnings: Vec<Complaint>,
}

impl Wanted {
    async fn read(
        source: &Source,
        running: &Config,
        secrets: &secrets::Reader,
    ) -> Result<Self, Refused> {
        let bytes = source.read_again().map_err(Refused::because)?;
        let (text, loaded) = config::load_bytes(bytes);
        let name = source.to_string();
        let (config, warnings) =
            loaded.map_err(|complaints| Refused::complaining(&name, &text, &complaints))?;
        let fixed = fixed_at_start(running, &config);
        if !fixed.is_empty() {
            return Err(Refused::restart(&name, &text, &fixed));
        }
        let secret = config.admin.as_ref().and_then(|admin| admin.token.as_ref());
        let token = match secret {
            Some(secret) => Some(secrets.reveal("admin.token", secret).await.map_err(|why| {
                let remedy = "put the secret there, or name the place where it is";
                Refused::at(&name, &text, (Code::Missing, "/admin/token"), why, remedy)
            })?),
            None => None,
        };
        let sink = Sink::open(&config.log).map_err(|error| {
            let why = unwritable(&config.log, &error);
            Refused::at(&name, &text, (Code::OutOfRange, "/log/file"), why, WRITABLE)
        })?;
        Ok(Self { config, token, sink, text, warnings })
    }
}

/// An address that cannot be bound, and why not.
struct Unbound {
    pointer: String,
    why: String,
}

impl Unbound {
    fn of(wanted: &[SocketAddr], why: String) -> Self {
        let nth = wanted.iter().position(|address| why.contains(&format!(" {address}: ")));
        let pointer = match nth {
            Some(nth) if wanted.len() > 1 => format!("/listen/{nth}"),
            _ => "/listen".to_owned(),
        };
        Self { pointer, why }
    }

    fn refused(self, name: &str, text: &str) -> Refused {
        let parts = self.why.split_once("; ");
        let (fault, remedy) = parts.unwrap_or((&self.why, "set `listen` to another address"));
        let found = [(self.pointer, fault.to_owned(), remedy.to_owned())];
        let complaints = config::complaints_at(text, Code::BadAddress, &found);
        Refused { error: self.why, ..Refused::complaining(name, text, &complaints) }
    }
}

/// A table that is not published, with what it takes over.
pub(super) struct Compiled {
    pub(super) table: Table,
    pub(super) draft: Draft,
    pub(super) tallies: Tallies,
}

impl Compiled {
    pub(super) fn new(
        config: &Config,
        generation: u64,
        registry: &Registry,
        names: &Names,
        mut tallies: Tallies,
    ) -> Self {
        let mut draft = Draft::default();
        let kept = Kept { breakers: registry, draft: &mut draft, tallies: &mut tallies };
        let table = compile(config, generation, kept, |host, port| names.addresses(host, port));
        Self { table, draft, tallies }
    }
}

/// The keys that differ and are read at start only.
fn fixed_at_start(running: &Config, wanted: &Config) -> Vec<&'static str> {
    let mut keys = Vec::new();
    if running.workers != wanted.workers {
        keys.push("workers");
    }
    if running.driver != wanted.driver {
        keys.push("io");
    }
    if running.state != wanted.state {
        keys.push("state");
    }
    let same_admin = match (&running.admin, &wanted.admin) {
        (None, None) => true,
        (Some(a), Some(b)) => a.listen == b.listen,
        _ => false,
    };
    if !same_admin {
        keys.push("admin");
    }
    keys
}

/// What the system says of the file of the access log.
pub(super) fn unwritable(log: &config::Log, error: &std::io::Error) -> String {
    let file = log.file.as_deref().unwrap_or(std::path::Path::new("")).display();
    format!("cannot write the access log to {file}: {error}")
}

/// What to do about it.
pub(super) const WRITABLE: &str = "name a file that this process may append to in `log.file`";

/// Complaints for people; nothing where there are none.
#[must_use]
pub fn report(name: &str, text: &str, complaints: &[Complaint], colour: Colour) -> String {
    if complaints.is_empty() {
        return String::new();
    }
    config::render(name, text, complaints, colour)
}

/// Complaints as the log tells them: drawn where people read it, a line for each elsewhere.
#[must_use]
pub fn for_log(name: &str, text: &str, complaints: &[Complaint]) -> String {
    if crate::log::is_for_people() {
        return report(name, text, complaints, Colour::Plain);
    }
    complaints.iter().map(|complaint| complaint.line(name) + "\n").collect()
}

/// A report is many lines, a log line is one.
pub(super) fn log_report(level: log::Level, report: &str) {
    let lines = report.lines().filter(|line| !line.trim().is_empty());
    lines.for_each(|line| log::log!(level, "{line}"));
}

fn as_data(complaints: &[Complaint]) -> serde_json::Value {
    serde_json::to_value(complaints).unwrap_or_default()
}

impl Refused {
    fn because(why: String) -> Self {
        let report = format!("error: {why}\n");
        let log = report.clone();
        Self { error: why, complaints: serde_json::Value::Array(Vec::new()), report, log }
    }

    fn complaining(name: &str, text: &str, complaints: &[Complaint]) -> Self {
        Self {
            error: format!("{name} is refused"),
            complaints: as_data(complaints),
            report: report(name, text, complaints, Colour::Plain),
            log: for_log(name, text, complaints),
        }
    }

    fn restart(name: &str, text: &str, keys: &[&str]) -> Self {
        const REMEDY: &str = "restart fusebox to apply it, or put the old value back";
        let fault = |key: &str| format!("`{key}` cannot change while the process runs");
        let found = keys.iter().map(|key| (format!("/{key}"), fault(key), REMEDY.to_owned()));
        let found: Vec<_> = found.collect();
        let complaints = config::complaints_at(text, Code::FixedAtStart, &found);
        let error = format!("{}: {REMEDY}", fault(&keys.join("`, `")));
        Self { error, ..Self::complaining(name, text, &complaints) }
    }

    /// For what the system says of the value at `pointer`.
    fn at(
        name: &str,
        text: &str,
        (code, pointer): (Code, &str),
        why: String,
        remedy: &str,
    ) -> Self {
        let found = [(pointer.to_owned(), why.clone(), remedy.to_owned())];
        let complaints = config::complaints_at(text, code, &found);
        Self { error: why, ..Self::complaining(name, text, &complaints) }
    }
}

impl Verdict {
    fn log(&self, serving: u64) {
        match self {
            Self::Active(active) => {
                log_report(log::Level::Warn, &active.log);
                log::info!("{}", active.line());
            }
            Self::Refused(refused) => {
                log_report(log::Level::Error, &refused.log);
                log::error!("reload refused, generation {serving} goes on: {}", refused.error);
            }
            Self::Late { generation } => log::error!("{}", late(*generation)),
        }
    }
}

impl Active {
    /// The line that says so.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { generation, cores, took_ms, .. } = self;
        format!("generation {generation} active on {cores} of {cores} cores after {took_ms:.1} ms")
    }
}

/// The line that says that some core does not serve `generation`.
#[must_use]
pub fn late(generation: u64) -> String {
    let seconds = SERVED_MAX.as_secs();
    format!("generation {generation} is published, but not every core serves it after {seconds} s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Admin, Driver, Secret};
    use crate::table::sample;

    fn read(source: &Source, running: &Config) -> Result<Wanted, Refused> {
        let secrets = secrets::Reader::default();
        super::super::runtime().unwrap().block_on(Wanted::read(source, running, &secrets))
    }

    #[test]
    fn a_file_that_is_not_good_is_refused_with_every_complaint() {
        let running = sample::config(Vec::new());
        let refused = read(&Source::Stdin, &running).err().unwrap();
        assert!(refused.error.ends_with("cannot be read again"), "{}", refused.error);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{ \"http\": 1").unwrap();
        let source = Source::named(file.path());
        let refused = read(&source, &running).err().unwrap();
        assert_eq!(refused.error, format!("{source} is refused"));
        assert_eq!(refused.complaints.as_array().unwrap().len(), 1);
        assert!(refused.report.contains(&source.to_string()), "{}", refused.report);
    }

    #[test]
    fn keys_that_are_read_at_start_only_are_found() {
        let running = sample::config(Vec::new());
        let mut wanted = running.clone();
        assert_eq!(fixed_at_start(&running, &wanted), [""; 0]);
        wanted.listen.clear();
        wanted.log.level = log::LevelFilter::Debug;
        assert_eq!(fixed_at_start(&running, &wanted), [""; 0]);
        wanted.driver = Driver::Epoll;
        let listen = "127.0.0.1:9901".parse().unwrap();
        wanted.admin = Some(Admin { listen, token: None });
        assert_eq!(fixed_at_start(&running, &wanted), ["io", "admin"]);
        let mut tokened = wanted.clone();
        tokened.admin = Some(Admin { listen, token: Some(Secret::Env("T".to_owned())) });
        assert_eq!(fixed_at_start(&wanted, &tokened), [""; 0]);
    }

    #[test]
    fn what_is_fixed_at_start_is_named_with_the_remedy() {
        let text = "{ \"workers\": 2,\n  \"admin\": false }";
        let refused = Refused::restart("x.json", text, &["workers", "admin"]);
        assert_eq!(
            refused.error,
            "`workers`, `admin` cannot change while the process runs: restart fusebox to apply it, \
             or put the old value back"
        );
        let second = serde_json::json!({
            "code": "F016", "line": 2, "column": 12, "pointer": "/admin",
            "message": "`admin` cannot change while the process runs",
            "remedy": "restart fusebox to apply it, or put the old value back",
        });
        assert_eq!(refused.complaints[1], second);
        assert!(refused.report.contains("x.json:1:14"), "{}", refused.report);
    }

    #[test]
    fn an_address_that_cannot_be_bound_is_shown_in_the_text() {
        let text = r#"{ "listen": ["127.0.0.1:0", "127.0.0.1:80"] }"#;
        let wanted = ["127.0.0.1:0", "127.0.0.1:80"].map(|it| it.parse().unwrap());
        let why = "cannot listen on 127.0.0.1:80: Permission denied; use a port above 1023";
        let refused = Unbound::of(&wanted, why.to_owned()).refused("x.json", text);
        assert_eq!(refused.error, why);
        let expected = serde_json::json!([{
            "code": "F014", "line": 1, "column": 29, "pointer": "/listen/1",
            "message": "cannot listen on 127.0.0.1:80: Permission denied",
            "remedy": "use a port above 1023",
        }]);
        assert_eq!(refused.complaints, expected);
        assert_eq!(Unbound::of(&wanted[1..], why.to_owned()).pointer, "/listen");
    }

    #[test]
    fn a_token_that_is_gone_refuses_the_reload() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = r#"{ "admin": { "token": { "file": "/nowhere/token" } }, "http": { "routes": {
            "/": { "GET": { "services": { "s": { "url": "http://127.0.0.1" } } } } } } }"#;
        std::fs::write(file.path(), text).unwrap();
        let source = Source::named(file.path());
        let mut running = config::load(text).unwrap().0;
        running.admin.as_mut().unwrap().token = None;
        let refused = read(&source, &running).err().unwrap();
        assert_eq!(refused.complaints[0]["pointer"], "/admin/token");
        assert_eq!(refused.complaints[0]["column"], 23);
    }
}
