//! What the contract has and this version does not serve yet.
//!
//! Enters: a key, and its value as JSON. Leaves: the row that says it is not built. Owns the one
//! list of such keys; the manual is checked against it.

/// A key, or some of its values, that this version does not serve yet.
#[derive(Clone, Copy, Debug)]
pub struct NotBuilt {
    /// The object it is a key of, as the schema names it; `document`: the top level.
    pub section: &'static str,
    /// The key.
    pub key: &'static str,
    /// What comes later.
    pub says: &'static str,
    /// What to write until then.
    pub remedy: &'static str,
    /// Whether a value, as compact JSON, is served already.
    served: fn(&str) -> bool,
}

/// Every key, or value of a key, that is not built yet.
#[must_use]
pub const fn not_built() -> &'static [NotBuilt] {
    &ROWS
}

/// The row that refuses `key` of `section` with the value `json`.
pub(super) fn row(section: &str, key: &str, json: &str) -> Option<&'static NotBuilt> {
    ROWS.iter().find(|row| row.section == section && row.key == key && !(row.served)(json))
}

/// Unix sockets among the addresses.
pub(super) const UNIX: NotBuilt = NotBuilt {
    section: "document",
    key: "listen",
    says: "listening on unix sockets comes later",
    remedy: r#"write an address and port, as in "127.0.0.1:8080""#,
    served: told_elsewhere,
};

/// TLS towards services.
pub(super) const HTTPS: NotBuilt = NotBuilt {
    section: "service",
    key: "url",
    says: "TLS towards services comes later",
    remedy: "write an http: URL",
    served: told_elsewhere,
};

const fn row_of(
    section: &'static str,
    key: &'static str,
    says: &'static str,
    remedy: &'static str,
    served: fn(&str) -> bool,
) -> NotBuilt {
    NotBuilt { section, key, says, remedy, served }
}

const LEAVE_OUT: &str = "leave it out";

/// Refused where the value is read: it takes more than a look at its JSON.
const fn told_elsewhere(_: &str) -> bool {
    true
}

/// Served in no value.
const fn never(_: &str) -> bool {
    false
}

const ROWS: [NotBuilt; 11] = [
    UNIX,
    HTTPS,
    row_of("handler", "url", HTTPS.says, HTTPS.remedy, HTTPS.served),
    row_of("admin", "listen", UNIX.says, UNIX.remedy, UNIX.served),
    row_of(
        "handler",
        "type",
        "handlers that publish on Redis come later",
        "write \"log\", \"webhook\" or \"exec\"",
        |json| json != "\"redis\"",
    ),
    row_of("service", "type", "services behind Redis come later", "write \"http\"", |json| {
        json == "\"http\""
    }),
    row_of("service", "stage", "stages come later", LEAVE_OUT, never),
    row_of("service", "mergeField", "merge fields come later", LEAVE_OUT, never),
    row_of("service", "awaitResponse", "sending without waiting comes later", LEAVE_OUT, |json| {
        json == "true"
    }),
    row_of("service", "onError", "stand-ins for a failed service come later", LEAVE_OUT, |json| {
        json == "\"fail\""
    }),
    row_of("service", "mapping", "mapping of requests comes later", LEAVE_OUT, never),
];
