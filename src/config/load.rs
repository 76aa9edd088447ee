//! Text → Config, step by step.
//!
//! Enters: the text of a document. Leaves: a [`Config`] with advice, or every complaint at once.
//! Pure: no file, no clock, no network; and no text makes it panic.

use std::borrow::Cow;

use jsonc_parser::common::Range;
use jsonc_parser::errors::ParseError;
use jsonc_parser::{CollectOptions, parse_to_ast};

use super::complaint::{self, Code, Complaint, Fault, Severity};
use super::document::Document;
use super::place::{Index, Part};
use super::report::Report;
use super::strict::STRICT;
use super::{Config, check, walk};

/// Longer texts are refused: the largest table we serve takes a quarter of it.
pub const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A configuration and advice about it, or everything that is wrong with it.
pub type Loaded = Result<(Config, Vec<Complaint>), Vec<Complaint>>;

/// Reads a document as it was found. Gives its text as well, to draw complaints in: where a byte is
/// not UTF-8, with a mark in its place.
pub fn load_bytes(bytes: Vec<u8>) -> (String, Loaded) {
    if bytes.len() > TEXT_BYTES_MAX {
        // Cut short by whoever read it: not even its last character may be whole.
        return (String::new(), Err(complaint::complaints("", vec![too_large()])));
    }
    let (at, bytes) = match String::from_utf8(bytes) {
        Ok(text) => {
            let loaded = load(&text);
            return (text, loaded);
        }
        Err(error) => (error.utf8_error().valid_up_to(), error.into_bytes()),
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let message = match bytes.get(at) {
        Some(byte) => format!("byte 0x{byte:02x} is not UTF-8"),
        None => "the document is not UTF-8".to_owned(),
    };
    let mark = at..at + char::REPLACEMENT_CHARACTER.len_utf8();
    let fault = syntax(mark, message, "save the file as UTF-8");
    let complaints = complaint::complaints(&text, vec![fault]);
    (text, Err(complaints))
}

/// Reads a document. On success the complaints are advice.
///
/// ```
/// let text = r#"{ "http": { "routes": { "/users": { "GET": { "services": {
///     "users": { "url": "http://localhost:6666/users" } } } } } } }"#;
/// let (config, advice) = fusebox::config::load(text).unwrap();
/// assert_eq!((config.http.routes.len(), advice.len()), (1, 0));
/// let complaints = fusebox::config::load("{}").unwrap_err();
/// assert_eq!(complaints[0].code.as_str(), "F008");
/// ```
///
/// # Errors
/// Everything that is wrong with it, sorted by place.
pub fn load(text: &str) -> Loaded {
    let mut faults = Vec::new();
    let config = read(text, &mut faults);
    let (errors, advice): (Vec<Fault>, Vec<Fault>) =
        faults.into_iter().partition(|fault| fault.code.severity() == Severity::Error);
    match config {
        Some(config) if errors.is_empty() => Ok((config, complaint::complaints(text, advice))),
        _ => Err(complaint::complaints(text, errors)),
    }
}

fn read(text: &str, faults: &mut Vec<Fault>) -> Option<Config> {
    if text.len() > TEXT_BYTES_MAX {
        faults.push(too_large());
        return None;
    }
    let source = &*unmarked(text);
    let root = match parse_to_ast(source, &CollectOptions::default(), &STRICT) {
        Ok(parsed) => parsed.value,
        Err(error) => {
            faults.push(refusal(source, &error));
            return None;
        }
    };
    let Some(root) = root else {
        let remedy = r#"write an object, as in { "http": { "routes": { … } } }"#;
        faults.push(syntax(0..0, "the document is empty".to_owned(), remedy));
        return None;
    };
    let clean = walk::walk(&root, faults);
    let document: Document = match serde_json::from_str(&clean.json) {
        Ok(document) => document,
        Err(error) => {
            // Never seen: the walk lets through only what decodes.
            let message = format!("the document cannot be decoded: {error}");
            faults.push(syntax(0..0, message, "compare it with the schema"));
            return None;
        }
    };
    let mut report = Report::default();
    let config = check::config(&document, &mut report);
    faults.extend(report.faults(&root, &clean.faulty));
    Some(config)
}

/// A byte order mark is no part of the document, but positions count it: it is blanked out.
fn unmarked(text: &str) -> Cow<'_, str> {
    match text.strip_prefix('\u{feff}') {
        Some(rest) => Cow::Owned(format!("   {rest}")),
        None => Cow::Borrowed(text),
    }
}

/// Complaints of one kind about a document that loads, found outside of it: what the process
/// cannot follow. Each is a pointer, the fault and the remedy.
#[must_use]
pub fn complaints_at(text: &str, code: Code, found: &[(String, String, String)]) -> Vec<Complaint> {
    let source = unmarked(text);
    let root = parse_to_ast(&source, &CollectOptions::default(), &STRICT);
    let root = root.ok().and_then(|parsed| parsed.value);
    let pointers = || found.iter().map(|(pointer, ..)| pointer.as_str());
    let index = root.as_ref().map(|root| Index::of(root, pointers()));
    let faults = found.iter().map(|(pointer, message, remedy)| Fault {
        code,
        pointer: pointer.clone(),
        range: index.as_ref().map_or(0..0, |index| index.find(pointer, Part::Value)),
        message: message.clone(),
        remedy: remedy.clone(),
        other: None,
    });
    complaint::complaints(text, faults.collect())
}

fn too_large() -> Fault {
    syntax(0..0, "the document is larger than 16 MiB".to_owned(), "keep it below that")
}

fn syntax(range: std::ops::Range<usize>, message: String, remedy: &str) -> Fault {
    Fault {
        code: Code::Syntax,
        pointer: String::new(),
        range,
        message,
        remedy: remedy.to_owned(),
        other: None,
    }
}

fn refusal(text: &str, error: &ParseError) -> Fault {
    let Range { start, end } = error.range();
    let start = start.min(text.len());
    let said = error.kind().to_string();
    let mut letters = said.chars();
    let first = letters.next().map(|c| c.to_lowercase().to_string()).unwrap_or_default();
    let message = format!("this is not JSON: {first}{}", letters.as_str());
    syntax(start..end.clamp(start, text.len()), message, remedy_of(&said))
}

/// What to do about the parser's words.
fn remedy_of(said: &str) -> &'static str {
    const REMEDIES: [(&str, &str); 9] = [
        ("comma", "separate entries with one comma"),
        ("ingle-quoted", "write strings in double quotes"),
        ("nterminated", "close what was opened here"),
        ("string for object property", "write keys in double quotes"),
        ("colon", "write `\"key\": value`"),
        ("word", "write strings in double quotes"),
        ("more than one", "keep one object; all the rest belongs inside it"),
        ("depth", "flatten it: no key of a configuration is that deep"),
        ("close", "remove it, or open it before"),
    ];
    let found = REMEDIES.iter().find(|(part, _)| said.contains(part));
    found.map_or("write JSON; comments and trailing commas are allowed", |(_, remedy)| remedy)
}
