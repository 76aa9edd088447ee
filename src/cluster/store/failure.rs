//! What goes wrong with Redis, in words an operator can act on.
//!
//! Enters: errors of the client library, of TLS and of the system, and error replies of a server.
//! Leaves: a [`Failure`]: its kind, what was said, and the remedy. Owns which replies mean what.

use std::fmt;
use std::io;

use redis::{ErrorKind, RedisError, ServerError};

use crate::config::Node;

/// Bytes of a server's words that are repeated: it may say anything.
const WORDS_MAX: usize = 256;

/// What is said of an answer that is cut because it is too long.
pub(super) const ENDLESS: &str = "it answers without end";

/// What is wrong between us and Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of thing.
    pub kind: Kind,
    /// With which server; `None`: with none in particular.
    pub server: Option<String>,
    /// What happened.
    pub text: String,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nobody answers there, or no longer.
    Unreachable,
    /// It does not answer in time.
    Timeout,
    /// No TLS session comes about.
    Tls,
    /// User or password are wrong, or the user may not do this.
    Denied,
    /// A key of ours holds something else.
    WrongType,
    /// The script failed.
    Script,
    /// It is out of memory, or does not write for another reason.
    Full,
    /// It starts, replicates or fails over.
    NotReady,
    /// What it answers is no answer.
    Malformed,
    /// It is another kind of server than we were told.
    Misconfigured,
}

impl Kind {
    /// Every kind, in the order of reports.
    pub const ALL: [Self; 10] = [
        Self::Unreachable,
        Self::Timeout,
        Self::Tls,
        Self::Denied,
        Self::WrongType,
        Self::Script,
        Self::Full,
        Self::NotReady,
        Self::Malformed,
        Self::Misconfigured,
    ];

    /// The word of metrics and of `/status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Denied => "denied",
            Self::WrongType => "wrong_type",
            Self::Script => "script",
            Self::Full => "full",
            Self::NotReady => "not_ready",
            Self::Malformed => "malformed",
            Self::Misconfigured => "misconfigured",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Unreachable => "start Redis, or say in `state` where it is",
            Self::Timeout => "see what keeps Redis busy (SLOWLOG), or whether packets are lost",
            Self::Tls => {
                "compare the host in `state` with the names in the certificate, and install the \
                 authority that signed it, or name its file in SSL_CERT_FILE"
            }
            Self::Denied => {
                "correct `state.username` and `state.password`, and give the user the keys, the \
                 channel and the commands that the manual lists"
            }
            Self::WrongType => {
                "another program uses this key: choose another `state.prefix`, or delete the key"
            }
            Self::Script => "this is a defect of fusebox, or Redis is older than 6.2: report it",
            Self::Full => "give Redis memory (`maxmemory`), or a disk it can write to",
            Self::NotReady => "wait for Redis to load, or to fail over",
            Self::Malformed => "see that what listens there is Redis 6.2 or newer, or Valkey",
            Self::Misconfigured => "say in `state` what this server is: one, a Cluster or Sentinel",
        }
    }

    /// Whether the connection that it came over is no good any more.
    pub(super) const fn ends_connection(self) -> bool {
        matches!(self, Self::Unreachable | Self::Timeout | Self::Tls | Self::Malformed)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(server) = &self.server {
            write!(f, "{server}: ")?;
        }
        write!(f, "{}; {}", self.text, self.kind.remedy())
    }
}

impl Failure {
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, server: None, text: text.into() }
    }

    /// Before anything was tried.
    pub(super) fn none_yet() -> Self {
        Self::new(Kind::NotReady, "not connected yet")
    }

    /// For a server that did not answer `what` in time.
    pub(super) fn late(what: &str) -> Self {
        Self::new(Kind::Timeout, format!("{what} took too long"))
    }

    /// The same, of the server `at`.
    pub(super) fn at(self, at: &Node) -> Self {
        Self { server: Some(at.to_string()), ..self }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let late = error.kind() == io::ErrorKind::TimedOut;
        let kind = if late { Kind::Timeout } else { Kind::Unreachable };
        Self::new(kind, words(&error.to_string()))
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        let kind = match error.kind() {
            ErrorKind::Server(_) | ErrorKind::Extension => {
                let code = error.code().unwrap_or_default();
                return Self::said(code, error.detail().unwrap_or_default());
            }
            ErrorKind::AuthenticationFailed => Kind::Denied,
            // The library keeps the cause to itself.
            ErrorKind::Io if error.to_string() == ENDLESS => Kind::Malformed,
            ErrorKind::Io if error.is_timeout() => Kind::Timeout,
            ErrorKind::Io => Kind::Unreachable,
            ErrorKind::Parse if error.to_string().contains("end of input") => Kind::Unreachable,
            ErrorKind::RESP3NotSupported | ErrorKind::InvalidClientConfig => Kind::Misconfigured,
            _ => Kind::Malformed,
        };
        Self::new(kind, words(&error.to_string()))
    }
}

impl From<&ServerError> for Failure {
    fn from(error: &ServerError) -> Self {
        Self::said(error.code(), error.details().unwrap_or_default())
    }
}

impl Failure {
    /// For an error reply: its first word, and the rest.
    fn said(code: &str, rest: &str) -> Self {
        let kind = match code {
            "NOAUTH" | "WRONGPASS" | "NOPERM" => Kind::Denied,
            "WRONGTYPE" => Kind::WrongType,
            "OOM" | "MISCONF" | "NOREPLICAS" => Kind::Full,
            "LOADING" | "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY"
            | "MOVED" | "ASK" => Kind::NotReady,
            "CROSSSLOT" | "EXECABORT" => Kind::Script,
            // Before version 7 the reason of a script's failure stands within the text.
            _ if rest.contains("WRONGTYPE ") => Kind::WrongType,
            _ if rest.contains("NOPERM ") || rest.contains("permission") => Kind::Denied,
            _ if rest.contains("executing the script can't") => Kind::Denied,
            _ if rest.contains("OOM ") => Kind::Full,
            _ if rest.contains("AUTH") || rest.contains("password") => Kind::Denied,
            _ if rest.contains("cluster support disabled") => Kind::Misconfigured,
            _ if rest.contains("DB index") || rest.contains("SELECT is not") => Kind::Misconfigured,
            _ if rest.contains("unknown command") => Kind::Misconfigured,
            _ => Kind::Script,
        };
        Self::new(kind, words(&format!("{code} {rest}")))
    }
}

/// A server's words, of a length for logs.
fn words(text: &str) -> String {
    let text = text.trim();
    text.get(..text.floor_char_boundary(WORDS_MAX)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_sorted_by_what_helps() {
        let script = "Error running script (call to f_1): @user_script:1: WRONGTYPE Operation";
        for (code, rest, kind) in [
            ("WRONGPASS", "invalid username-password pair or user is disabled.", Kind::Denied),
            ("NOAUTH", "HELLO must be called with the client already authenticated", Kind::Denied),
            ("NOPERM", "this user has no permissions to run the 'eval' command", Kind::Denied),
            ("WRONGTYPE", "Operation against a key holding the wrong kind", Kind::WrongType),
            ("ERR", script, Kind::WrongType),
            ("ERR", "user_script:3: attempt to index a nil value", Kind::Script),
            ("ERR", "DB index is out of range", Kind::Misconfigured),
            ("ERR", "This instance has cluster support disabled", Kind::Misconfigured),
            ("OOM", "command not allowed when used memory > 'maxmemory'.", Kind::Full),
            ("LOADING", "Redis is loading the dataset in memory", Kind::NotReady),
            ("READONLY", "You can't write against a read only replica.", Kind::NotReady),
            ("MOVED", "1234 127.0.0.1:7000", Kind::NotReady),
        ] {
            assert_eq!(Failure::said(code, rest).kind, kind, "{code} {rest}");
        }
    }

    #[test]
    fn a_server_s_words_are_cut() {
        let failure = Failure::said("ERR", &"é".repeat(5_000));
        assert!(failure.text.len() <= WORDS_MAX, "{}", failure.text.len());
        assert!(failure.to_string().ends_with(Kind::Script.remedy()));
    }

    #[test]
    fn every_kind_has_its_own_word_and_a_remedy_without_a_full_stop() {
        for (nth, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, nth, "metrics count by place");
            assert!(!kind.remedy().is_empty() && !kind.remedy().ends_with('.'));
            assert_eq!(Kind::ALL.iter().filter(|it| it.as_str() == kind.as_str()).count(), 1);
        }
    }
}
