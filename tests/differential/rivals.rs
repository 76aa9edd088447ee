//! The proxies: started on free ports, each lane in front of a recorder of its own.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use crate::document;
use crate::proxy::Proxy;
use crate::recorder::Recorder;
use crate::wait;

/// A way through a proxy, for one message at a time.
pub(crate) struct Lane {
    pub(crate) address: SocketAddr,
    pub(crate) recorder: Recorder,
    _proxy: Arc<Running>,
}

/// What runs behind a lane.
enum Running {
    Ours(Proxy),
    Theirs(Process),
}

struct Process {
    child: Child,
    _directory: TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The proxies we are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rival {
    Nginx,
    Haproxy,
}

/// One process of ours for each lane.
pub(crate) fn fusebox(lanes: usize) -> Vec<Lane> {
    let lane = |_| {
        let recorder = Recorder::start();
        let url = format!("http://{}/:rest", recorder.address());
        let document = document::one_route("/*rest", "ALL", &url, json!({}));
        let proxy = Proxy::start(&document::with(document, "/workers", json!(1)));
        let address = proxy.address();
        Lane { address, recorder, _proxy: Arc::new(Running::Ours(proxy)) }
    };
    (0..lanes).map(lane).collect()
}

/// One process of theirs with a port for each lane; `None` where it is not installed in the version
/// on record, and need not be.
pub(crate) fn start(rival: Rival, lanes: usize) -> Option<Vec<Lane>> {
    let (program, flag, version) = match rival {
        Rival::Nginx => ("/usr/sbin/nginx", "-v", "nginx/1.22."),
        Rival::Haproxy => ("/usr/sbin/haproxy", "-v", "version 2.6."),
    };
    let wish = std::env::var("FUSEBOX_RIVALS").unwrap_or_default();
    if wish == "none" {
        return None;
    }
    let said = Command::new(program).arg(flag).output().map(|output| {
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    });
    if !said.as_ref().is_ok_and(|said| said.contains(version)) {
        let missing = format!(
            "{rival:?} is compared by what is on record only: there is no `{version}` at \
             {program}; on Debian 12, `apt-get install nginx-light haproxy` as root\n"
        );
        let needed = wish == "required" || crate::is_update();
        assert!(!needed, "{missing}{said:?}");
        // Past the capture of tests: it is worth a line.
        let _ = std::io::stderr().write_all(missing.as_bytes());
        return None;
    }
    let directory = TempDir::new().unwrap();
    let recorders: Vec<_> = (0..lanes).map(|_| Recorder::start()).collect();
    let held: Vec<_> = (0..lanes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<_> = held.iter().map(|listener| listener.local_addr().unwrap()).collect();
    drop(held);
    let pairs: Vec<_> =
        ports.iter().copied().zip(recorders.iter().map(Recorder::address)).collect();
    let text = match rival {
        Rival::Nginx => nginx(directory.path(), &pairs),
        Rival::Haproxy => haproxy(&pairs),
    };
    let path = directory.path().join("rival.conf");
    fs::write(&path, text).unwrap();
    let mut command = Command::new(program);
    match rival {
        Rival::Nginx => command.arg("-c").arg(&path).arg("-p").arg(directory.path()),
        Rival::Haproxy => command.arg("-db").arg("-f").arg(&path),
    };
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let process = Arc::new(Running::Theirs(Process { child, _directory: directory }));
    for port in &ports {
        wait::until("a rival to listen", || TcpStream::connect(port).is_ok());
    }
    let lane = |(address, recorder)| Lane { address, recorder, _proxy: Arc::clone(&process) };
    Some(ports.into_iter().zip(recorders).map(lane).collect())
}

/// As much like fusebox as it can be: HTTP/1.1 to the origin, bodies passed on as they come.
fn nginx(directory: &Path, pairs: &[(SocketAddr, SocketAddr)]) -> String {
    let directory = directory.display();
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {directory}/{name};\n"))
        .concat();
    let servers = pairs.iter().map(|(port, origin)| {
        format!(
            "server {{ listen {port}; location / {{ proxy_pass http://{origin}; \
             proxy_http_version 1.1; proxy_set_header Connection \"\"; \
             proxy_set_header Host $http_host; proxy_request_buffering off; }} }}\n"
        )
    });
    format!(
        "daemon off; master_process off; pid {directory}/pid; error_log /dev/null crit;\n\
         events {{ worker_connections 512; }}\n\
         http {{ access_log off;\n{paths}{} }}\n",
        servers.collect::<String>()
    )
}

fn haproxy(pairs: &[(SocketAddr, SocketAddr)]) -> String {
    let ways = pairs.iter().enumerate().map(|(nth, (port, origin))| {
        format!(
            "frontend f{nth}\n  bind {port}\n  default_backend b{nth}\n\
             backend b{nth}\n  server s {origin}\n"
        )
    });
    format!(
        "global\n  nbthread 1\n  maxconn 500\ndefaults\n  mode http\n  timeout client 60s\n  \
         timeout server 60s\n  timeout connect 5s\n{}",
        ways.collect::<String>()
    )
}
