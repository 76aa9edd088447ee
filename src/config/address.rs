//! Addresses that the process itself listens on.
//!
//! Enters: `listen` and `admin` as written. Leaves: socket addresses, each once, and the rule that
//! an admin API which others can reach has a token. Resolves no names.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::complaint::{Code, quoted};
use super::document::{self, OneOrMany, WordOr};
use super::place::At;
use super::report::Report;
use super::unbuilt::UNIX;
use super::{Admin, Secret};

const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

type Listen = OneOrMany<WordOr<String, document::Listener>>;

/// The addresses to serve.
pub(super) fn listen(listen: Option<&Listen>, report: &mut Report) -> Vec<SocketAddr> {
    let Some(listen) = listen else {
        return vec![LISTEN];
    };
    let root = At::ROOT.key("listen");
    let mut found: Vec<(SocketAddr, String)> = Vec::new();
    let mut written = 0;
    for (nth, listener) in listen.iter() {
        written += 1;
        let entry = nth.map_or(root, |nth| root.nth(nth));
        let (at, text) = match listener {
            WordOr::Word(text) => (entry, Some(text)),
            WordOr::Object(listener) => (entry.key("address"), listener.address.as_ref()),
        };
        let Some(address) = text.and_then(|text| address(text, &at, report)) else {
            continue;
        };
        let twin = found.iter().find(|(other, _)| clash(*other, address));
        if let Some((twin, other)) = twin {
            let (twin, other) = (*twin, other.clone());
            let message = if twin == address {
                format!("`{address}` is listened on twice")
            } else {
                both(address, twin)
            };
            report.value(Code::BadAddress, &at, message, "keep one of the two");
            report.point_at(other, "first written here");
            continue;
        }
        found.push((address, at.to_string()));
    }
    if written == 0 {
        let message = "the list of addresses is empty".to_owned();
        report.value(Code::Missing, &root, message, "add an address, or leave `listen` out");
    }
    found.into_iter().map(|(address, _)| address).collect()
}

/// The admin API; `None`: it is off.
pub(super) fn admin(
    admin: Option<&WordOr<document::Off, document::Admin>>,
    served: &[SocketAddr],
    report: &mut Report,
) -> Option<Admin> {
    let root = At::ROOT.key("admin");
    let at = root.key("listen");
    let document = match admin {
        None => {
            apart(ADMIN, &At::ROOT.key("listen"), served, report);
            return Some(Admin { listen: ADMIN, token: None });
        }
        Some(WordOr::Word(document::Off)) => return None,
        Some(WordOr::Object(admin)) => admin,
    };
    let token = document.token.as_ref().and_then(|token| secret(token, &root.key("token"), report));
    let listen = match &document.listen {
        None => ADMIN,
        Some(text) => address(text, &at, report)?,
    };
    if !listen.ip().is_loopback() && document.token.is_none() {
        let message = format!("the admin API on `{listen}` can be reached from elsewhere");
        report.value(Code::BadAddress, &at, message, "add a `token`, or listen on 127.0.0.1");
    }
    apart(listen, &at, served, report);
    Some(Admin { listen, token })
}

/// Complains at `at` where the admin API would listen on what is served.
fn apart(admin: SocketAddr, at: &At<'_>, served: &[SocketAddr], report: &mut Report) {
    let Some(&served) = served.iter().find(|served| clash(**served, admin)) else {
        return;
    };
    let message = if served == admin {
        format!("`{admin}` is in `listen` already")
    } else {
        format!("{}, where the admin API listens", both(admin, served))
    };
    report.value(Code::BadAddress, at, message, "give the admin API its own port");
}

/// Whether the system binds only one of the two. Port 0 asks for any free port: twice is two ports.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    // `[::]` takes IPv4 too.
    let takes = |all: IpAddr, ip: IpAddr| all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4());
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port() && one.port() != 0 && (one == other || takes(a, b) || takes(b, a))
}

/// What to say of two addresses of which one takes the other's port.
fn both(one: SocketAddr, other: SocketAddr) -> String {
    let (all, taken) = if one.ip().is_unspecified() { (one, other) } else { (other, one) };
    format!("`{all}` takes `{taken}` too")
}

fn address(text: &str, at: &At<'_>, report: &mut Report) -> Option<SocketAddr> {
    if text.starts_with("unix:") {
        let message = format!("`unix:` is not built yet: {}", UNIX.says);
        report.value(Code::NotBuilt, at, message, UNIX.remedy);
        return None;
    }
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Ok(ip) = text.parse() {
        let message = format!("{} has no port", quoted(text));
        let remedy = format!("write `{}`", SocketAddr::new(ip, 8080));
        report.value(Code::BadAddress, at, message, &remedy);
        return None;
    }
    let remedy = match text.rsplit_once(':') {
        Some(("", port)) => format!("write {}", quoted(&format!("0.0.0.0:{port}"))),
        Some(("localhost", port)) => {
            let address = quoted(&format!("127.0.0.1:{port}"));
            format!("write {address}: names are not looked up")
        }
        _ => "write an IP address and port, as in `0.0.0.0:8080` or `[::]:8080`".to_owned(),
    };
    let message = format!("{} is not an address and port", quoted(text));
    report.value(Code::BadAddress, at, message, &remedy);
    None
}

/// Where a secret is.
pub(super) fn secret(
    secret: &WordOr<String, document::Secret>,
    at: &At<'_>,
    report: &mut Report,
) -> Option<Secret> {
    let empty = |text: &str| text.is_empty();
    let found = match secret {
        WordOr::Word(text) if !empty(text) => Secret::Literal(text.clone()),
        WordOr::Object(document::Secret { env: Some(env), file: None }) if !empty(env) => {
            Secret::Env(env.clone())
        }
        WordOr::Object(document::Secret { env: None, file: Some(file) }) if !empty(file) => {
            Secret::File(file.clone())
        }
        _ => {
            let message = "a secret needs exactly one source, and not an empty one".to_owned();
            let remedy = r#"write a string, {"env": "NAME"} or {"file": "path"}"#;
            report.value(Code::Missing, at, message, remedy);
            return None;
        }
    };
    Some(found)
}
