//! URLs of Redis servers.
//!
//! Enters: `redis://host[:port][/db]`, `rediss://…` or `unix:/path` as written. Leaves: a [`Node`],
//! or why nothing can be reached there. Looks up no names.

use std::fmt;
use std::path::PathBuf;

use super::complaint::{Code, quoted};
use super::pattern::Flaw;
use super::url::{self, bad};

/// A Redis server, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// Over TCP.
    Tcp {
        /// A name in lower case, or an address without brackets.
        host: String,
        /// Its port.
        port: u16,
        /// Whether inside TLS.
        wire: Wire,
    },
    /// Through a socket of this machine.
    Unix(PathBuf),
}

/// What a TCP connection to Redis carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// The protocol as it is.
    Plain,
    /// TLS around it; the server's certificate is verified.
    Tls,
}

/// What a URL says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) node: Node,
    /// The database behind the host, if one is written.
    pub(super) db: Option<u32>,
}

/// As a URL.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, wire } => {
                let scheme = if *wire == Wire::Tls { "rediss" } else { "redis" };
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                write!(f, "{scheme}://{open}{host}{close}:{port}")
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Reads a URL; `port` is the one that is meant where none is written.
pub(super) fn written(text: &str, port: u16) -> Result<Written, (Code, Flaw)> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path.strip_prefix("//").unwrap_or(path));
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let wire = match scheme.to_ascii_lowercase().as_str() {
        "redis" | "valkey" => Wire::Plain,
        "rediss" | "valkeys" => Wire::Tls,
        _ => {
            // Not shown: what has no scheme may be anything, a secret too.
            let fault = "this is not a URL of Redis";
            return Err(bad(fault, "write `redis://host:6379`, `rediss://…` or `unix:/path`"));
        }
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') {
        let remedy = "write `username` and `password` beside it; a password may be a reference";
        return Err(bad("a user or password in a URL would be seen wherever it is named", remedy));
    }
    if let Some(odd) = rest.chars().find(|c| !c.is_ascii_graphic() || "?#".contains(*c)) {
        let fault = format!("{} cannot stand in a URL of Redis", quoted(&odd.to_string()));
        return Err(bad(fault, "write host, port and database only"));
    }
    let (host, port) = url::authority_of(authority, port)?;
    let db = match path.trim_end_matches('/') {
        "" => None,
        digits => Some(database(digits)?),
    };
    Ok(Written { node: Node::Tcp { host, port, wire }, db })
}

fn unix(path: &str) -> Result<Written, (Code, Flaw)> {
    /// What the system takes as the name of a socket, with the zero behind it.
    const PATH_BYTES_MAX: usize = 107;
    let good = path.starts_with('/') && path.len() <= PATH_BYTES_MAX && !path.contains('\0');
    if !good {
        let fault = "this is not the path of a socket";
        return Err(bad(fault, "write `unix:/path`, absolute, of at most 107 bytes"));
    }
    Ok(Written { node: Node::Unix(PathBuf::from(path)), db: None })
}

fn database(digits: &str) -> Result<u32, (Code, Flaw)> {
    let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok());
    number.flatten().ok_or_else(|| {
        let fault = format!("{} is not the number of a database", quoted(digits));
        bad(fault, "write a number behind the host, as in `redis://host:6379/2`, or nothing")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, Option<u32>), Code> {
        let written = written(text, 6379);
        written.map(|it| (it.node.to_string(), it.db)).map_err(|(code, _)| code)
    }

    #[test]
    fn urls_of_redis_are_read_and_shown() {
        for (text, shown, db) in [
            ("redis://Cache", "redis://cache:6379", None),
            ("REDIS://cache:7000/", "redis://cache:7000", None),
            ("valkey://10.0.0.1/3", "redis://10.0.0.1:6379", Some(3)),
            ("rediss://[::1]:6380/0", "rediss://[::1]:6380", Some(0)),
            ("valkeys://cache.internal.", "rediss://cache.internal.:6379", None),
            ("unix:/run/redis.sock", "unix:/run/redis.sock", None),
            ("unix:///run/redis.sock", "unix:/run/redis.sock", None),
        ] {
            assert_eq!(read(text), Ok((shown.to_owned(), db)), "{text}");
        }
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        for text in [
            "",
            "cache",
            "cache:6379",
            "http://cache",
            "redis://",
            "redis://:6379",
            "redis://a b",
            "redis://a:0",
            "redis://a:65536",
            "redis://a/x",
            "redis://a/-1",
            "redis://a/1/2",
            "redis://a?db=1",
            "redis://a#insecure",
            "redis://u:p@a",
            "unix:",
            "unix:redis.sock",
            "redis://a/99999999999",
            "redis://1.2.3",
        ] {
            assert_eq!(read(text), Err(Code::BadUrl), "{text}");
        }
    }

    #[test]
    fn a_secret_in_a_url_is_not_repeated() {
        for text in ["redis://user:hunter2@cache", "hunter2@cache", "hunter2"] {
            let (_, flaw) = written(text, 6379).unwrap_err();
            assert!(!format!("{} {}", flaw.fault, flaw.remedy).contains("hunter2"), "{text}");
        }
    }
}
