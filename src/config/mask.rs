//! What a diagnostic may show of a document.
//!
//! Enters: the text of a document. Leaves: the same text, byte for byte in place, with every secret
//! written over: a diagnostic draws whole lines, and a log outlives the terminal. Works on text,
//! since what is drawn may not even be JSON: what could be a secret is taken for one.

use std::ops::{Range, RangeInclusive};

use super::complaint::nearest;

/// The keys whose values are secrets.
const SECRETS: [&str; 2] = ["token", "password"];

/// The keys that name where a secret is.
const PLACES: [&str; 2] = ["env", "file"];

/// The lengths of keys that a slip may make of those.
const SLIP_BYTES: RangeInclusive<usize> = 4..=12;

/// Longer comments are not skipped: no line as long is drawn.
const COMMENT_BYTES_MAX: usize = 4096;

/// The text with its secrets written over. Places in it stay what they were.
pub(super) fn masked(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for range in secrets(text).into_iter().chain(users(text)) {
        // One byte for each keeps every later place where it is.
        if let Some(hidden) = bytes.get_mut(range) {
            hidden.fill(b'*');
        }
    }
    // Ranges begin and end at ASCII characters, so what was UTF-8 still is.
    String::from_utf8(bytes).unwrap_or_default()
}

/// The text without the users and passwords of its URLs.
pub(super) fn without_users(text: &str) -> String {
    let mut shown = text.to_owned();
    for range in users(text).into_iter().rev() {
        shown.replace_range(range, "…");
    }
    shown
}

/// User and password of every URL, in their order.
fn users(text: &str) -> Vec<Range<usize>> {
    let behind_scheme = text.match_indices("://").map(|(at, mark)| at + mark.len());
    let info = |start: usize| {
        let rest = text.get(start..)?;
        let authority = rest.split(['/', '"', '\n', ' ']).next()?;
        authority.rfind('@').map(|len| start..start + len)
    };
    behind_scheme.filter_map(info).collect()
}

/// The scalars under every key of a secret, strings without their quotes.
///
/// A key is what stands before a colon, in a comment too, and any quote may begin one: where one is
/// missing, the inside of strings cannot be told from the outside.
fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = text.get(at..).and_then(|rest| rest.find(begins_word)) {
        at += next;
        let word = Word::at(text, at);
        let behind = gap(text, word.end);
        let value = match rest(text, behind).chars().next() {
            Some(':' | '=') => Some(gap(text, behind + 1)),
            // Two strings in a row: the colon was forgotten.
            Some('"' | '\'') if word.is_string => Some(behind),
            // The quote before it was.
            Some('"' | '\'') if text[..at].trim_end().ends_with(['{', ',']) => {
                let colon = gap(text, behind + 1);
                rest(text, colon).starts_with(':').then(|| gap(text, colon + 1))
            }
            _ => None,
        };
        at = match value.filter(|_| is_secret(word.text(text))) {
            Some(value) => hide(text, value, &mut found).max(word.end),
            None if word.is_string => word.inner.start,
            None => word.end,
        };
    }
    found
}

/// A string, or a bare word.
struct Word {
    /// Without its quotes.
    inner: Range<usize>,
    /// Behind its last quote.
    end: usize,
    is_string: bool,
}

impl Word {
    /// The one that begins at `at`. A string that is not ended ends with its line.
    fn at(text: &str, at: usize) -> Self {
        let Some(quote) = rest(text, at).chars().next().filter(|c| is_quote(*c)) else {
            let end = at + up_to(rest(text, at), |c| !is_bare(c));
            return Self { inner: at..end, end, is_string: false };
        };
        let mut escaped = false;
        let len = up_to(rest(text, at + 1), |c| {
            let ends = (c == quote && !escaped) || c == '\n';
            escaped = c == '\\' && !escaped;
            ends
        });
        let inner = at + 1..at + 1 + len;
        let end = inner.end + usize::from(rest(text, inner.end).starts_with(quote));
        Self { inner, end, is_string: true }
    }

    fn text<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.inner.clone()).unwrap_or_default()
    }
}

/// Notes the scalars of the value at `at`, but for those that name a place, and tells where it
/// ends.
fn hide(text: &str, mut at: usize, found: &mut Vec<Range<usize>>) -> usize {
    let (mut depth, mut place) = (0_u32, false);
    loop {
        at = gap(text, at);
        let Some(first) = rest(text, at).chars().next() else { return at };
        match first {
            '{' | '[' => depth += 1,
            '}' | ']' if depth <= 1 => return at,
            '}' | ']' => depth -= 1,
            ',' if depth == 0 => return at,
            ',' | ':' => {}
            _ => {
                let word = Word::at(text, at);
                let behind = gap(text, word.end);
                if depth > 0 && rest(text, behind).starts_with(':') {
                    place = PLACES.contains(&word.text(text));
                    at = behind;
                    continue;
                }
                let scalar = scalar(text, at);
                let closed = is_quote(first) && rest(text, scalar.end).starts_with(first);
                at = (scalar.end + usize::from(closed)).max(at + first.len_utf8());
                if !std::mem::take(&mut place) {
                    found.push(scalar);
                }
                if depth == 0 {
                    return at;
                }
                continue;
            }
        }
        at += 1;
    }
}

/// What of the scalar at `at` is hidden: a string as far as a quote that may end it, anything else
/// as far as what may follow it.
fn scalar(text: &str, at: usize) -> Range<usize> {
    const ENDS: [char; 4] = [',', '}', ']', '\n'];
    if !rest(text, at).starts_with(is_quote) {
        let all = rest(text, at);
        let bare = &all[..up_to(all, |c| ENDS.contains(&c))];
        let comment = bare.find("//").or_else(|| bare.find("/*")).unwrap_or(bare.len());
        return at..at + bare[..comment].trim_end().len();
    }
    let start = at + 1;
    let mut word = Word::at(text, at);
    loop {
        let behind = rest(text, word.end).trim_start_matches([' ', '\t', '\r']);
        let ends = behind.starts_with(ENDS) || behind.starts_with(['/', ':']);
        if ends || behind.is_empty() || word.end == word.inner.end {
            return start..word.inner.end;
        }
        // That quote was a part of it.
        word = Word::at(text, word.end - 1);
    }
}

/// Where the space and the comments from `at` on end.
fn gap(text: &str, mut at: usize) -> usize {
    loop {
        at += up_to(rest(text, at), |c| !c.is_whitespace());
        let rest = rest(text, at);
        let near = &rest[..rest.floor_char_boundary(COMMENT_BYTES_MAX)];
        let comment = match near.get(..2) {
            Some("/*") => near.find("*/").map(|len| len + 2),
            Some("//") => near.find('\n'),
            _ => None,
        };
        match comment {
            Some(len) => at += len,
            None => return at,
        }
    }
}

/// Whether `key` is one of a secret, or was meant to be.
fn is_secret(key: &str) -> bool {
    // Paths are keys too, and none that we read.
    if key.contains('/') {
        return false;
    }
    // Written with escapes it is the same key.
    let plain = key.contains('\\').then(|| serde_json::from_str(&format!("\"{key}\"")).ok());
    let plain = plain.flatten().unwrap_or_else(|| key.to_owned()).to_lowercase();
    let slip = SLIP_BYTES.contains(&plain.len());
    SECRETS.iter().any(|secret| plain.contains(secret))
        || slip && nearest(&plain, SECRETS).is_some()
}

fn begins_word(c: char) -> bool {
    is_quote(c) || is_bare(c)
}

fn is_bare(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '$')
}

const fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'')
}

fn rest(text: &str, at: usize) -> &str {
    text.get(at..).unwrap_or_default()
}

/// The bytes before the first character that `ends`.
fn up_to(text: &str, ends: impl FnMut(char) -> bool) -> usize {
    text.find(ends).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_written_over_and_nothing_moves() {
        for (text, shown) in [
            (r#"{"token": "se\"same", "a": "b"}"#, r#"{"token": "********", "a": "b"}"#),
            (r#"{"token":{"env":"NAME"}}"#, r#"{"token":{"env":"NAME"}}"#),
            (r#""password"  :"öäü" x"#, r#""password"  :"*********"#),
            (r#""password": "unended"#, r#""password": "*******"#),
            ("redis://user:p@ss@host/0 http://a/b@c", "redis://*********@host/0 http://a/b@c"),
            ("tokens are none", "tokens are none"),
        ] {
            assert_eq!(masked(text), shown);
            assert_eq!(masked(text).len(), text.len());
        }
    }

    #[test]
    fn what_was_meant_to_be_a_secret_is_hidden_whatever_is_wrong_with_it() {
        for (text, shown) in [
            // Keys that nobody reads.
            (r#"{"Token": "x1", "a": 1}"#, r#"{"Token": "**", "a": 1}"#),
            (r#"{"pasword": "x1"}"#, r#"{"pasword": "**"}"#),
            (r#"{"admin_token": "x1"}"#, r#"{"admin_token": "**"}"#),
            (r#"{"tok\u0065n": "x1"}"#, r#"{"tok\u0065n": "**"}"#),
            // Values that are no strings.
            (r#"{"password": 123456, "a": 1}"#, r#"{"password": ******, "a": 1}"#),
            (r#"{"password": -1.5e3}"#, r#"{"password": ******}"#),
            (r#"{"password": true /* b */}"#, r#"{"password": **** /* b */}"#),
            (r#"{"token": ["x1", 2], "a": 1}"#, r#"{"token": ["**", *], "a": 1}"#),
            (r#"{"token": {"is": "x1"}, "a": 1}"#, r#"{"token": {"is": "**"}, "a": 1}"#),
            (r#"{"token": {"env": "A", "b": 1}}"#, r#"{"token": {"env": "A", "b": *}}"#),
            (r#"{"token": {"a": {"b": "x1"}}}"#, r#"{"token": {"a": {"b": "**"}}}"#),
            // Whatever stands between.
            (r#"{"token": /* prod */ "x1"}"#, r#"{"token": /* prod */ "**"}"#),
            ("\"token\": // prod\n \"x1\"", "\"token\": // prod\n \"**\""),
            (r#"{"token" /* is */ : "x1"}"#, r#"{"token" /* is */ : "**"}"#),
            (r#"{"a": 1} // "token": "x1""#, r#"{"a": 1} // "token": "**""#),
            // What is no JSON.
            ("{token: x1, a: 1}", "{token: **, a: 1}"),
            ("{'token': 'x1', 'a': 1}", "{'token': '**', 'a': 1}"),
            (r#"{"token" "x1"}"#, r#"{"token" "**"}"#),
            (r#"{"token" = "x1"}"#, r#"{"token" = "**"}"#),
            (r#"{"token": "x"1"}"#, r#"{"token": "***"}"#),
            (r#"{"token": "x1" "a": 1}"#, r#"{"token": "******": 1}"#),
            (r#"{"a": b", "token": "x1"}"#, r#"{"a": b", "token": "**"}"#),
            (r#"{"token: "x1", "a": 1}"#, r#"{"token: "**", "a": 1}"#),
            (r#"{token": "x1"}"#, r#"{token": "**"}"#),
            (r#"{"token": {"is": "x1", "#, r#"{"token": {"is": "**", "#),
        ] {
            assert_eq!(masked(text), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        let keys = super::super::schema();
        let keys = keys.split('"').filter(|key| !key.is_empty() && key.chars().all(is_bare));
        for key in keys.filter(|key| !SECRETS.contains(key)) {
            assert!(!is_secret(key), "{key}");
        }
        for text in [
            r#"{"/token": {"GET": {"url": "x"}}}"#,
            r#"{"a": "token", "b": "c"}"#,
            r#"["token", "password"]"#,
            r#"{"token": , "a": "b"}"#,
            r#"{"token": }, "a": "b""#,
        ] {
            assert_eq!(masked(text), text);
        }
    }

    #[test]
    fn a_url_is_told_without_its_user() {
        assert_eq!(without_users("http://a:b@c/d redis://e@f"), "http://…@c/d redis://…@f");
    }
}
