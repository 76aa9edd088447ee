//! What is logged: the process' own lines, and those about requests.
//!
//! Enters: `log` as written. Leaves: [`Log`]. Owns its defaults, and the rule which requests are
//! errors.

use std::path::PathBuf;

use super::complaint::Code;
use super::document;
use super::place::At;
use super::report::Report;

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Lines of the process itself below this level are not written.
    pub level: log::LevelFilter,
    /// Which requests are logged.
    pub access: Access,
    /// How they are.
    pub format: LineFormat,
    /// The file their lines are appended to; `None`: standard error.
    pub file: Option<PathBuf>,
}

/// Which requests are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// None.
    Off,
    /// Those that were refused or cut short, and a service's 5xx.
    Errors,
    /// All.
    All,
}

/// How a request ended, as far as that decides whether it is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A service's response, of this status, was passed on whole.
    Relayed(u16),
    /// Otherwise: by an answer of our own, or cut short.
    Otherwise,
}

/// How a request is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// One JSON object a line.
    Json,
    /// The common log format, then referer and user agent.
    Combined,
    /// The common log format of the first web servers.
    Common,
}

impl Access {
    /// Whether a request is logged that ended so. A service's 4xx is between it and its client, and
    /// no error of either's making here.
    #[inline]
    #[must_use]
    pub const fn wants(self, ended: Ended) -> bool {
        match (self, ended) {
            (Self::Off, _) => false,
            (Self::Errors, Ended::Relayed(status)) => status >= 500,
            (Self::Errors, Ended::Otherwise) | (Self::All, _) => true,
        }
    }
}

pub(super) fn log(document: Option<&document::Log>, report: &mut Report) -> Log {
    let default = document::Log::default();
    let own = document.unwrap_or(&default);
    let file = own.file.as_deref();
    if file.is_some_and(|file| file.is_empty() || file.ends_with('/') || file.contains('\0')) {
        let message = "this is not the path of a file".to_owned();
        let remedy = "write one, as in \"/var/log/fusebox/access.log\"";
        report.value(Code::OutOfRange, &At::ROOT.key("log").key("file"), message, remedy);
    }
    Log {
        level: own.level.map_or(log::LevelFilter::Info, filter),
        access: match own.access {
            Some(document::Access::Off) => Access::Off,
            None | Some(document::Access::Errors) => Access::Errors,
            Some(document::Access::All) => Access::All,
        },
        format: match own.format {
            None | Some(document::AccessFormat::Json) => LineFormat::Json,
            Some(document::AccessFormat::Combined) => LineFormat::Combined,
            Some(document::AccessFormat::Common) => LineFormat::Common,
        },
        file: file.map(PathBuf::from),
    }
}

pub(super) const fn filter(level: document::Level) -> log::LevelFilter {
    match level {
        document::Level::Off => log::LevelFilter::Off,
        document::Level::Error => log::LevelFilter::Error,
        document::Level::Warn => log::LevelFilter::Warn,
        document::Level::Info => log::LevelFilter::Info,
        document::Level::Debug => log::LevelFilter::Debug,
        document::Level::Trace => log::LevelFilter::Trace,
    }
}
