//! What a diagnostic may show of a document.
//!
//! Enters: the text of a document. Leaves: the same text, byte for byte in place, with every secret
//! written over: a diagnostic draws whole lines, and a log outlives the terminal. Works on text,
//! since what is drawn may not even be JSON.

use std::ops::Range;

/// The keys whose values are secrets.
const SECRETS: &[&str] = &["token", "password"];

/// The text with its secrets written over. Places in it stay what they were.
pub(super) fn masked(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let hidden = SECRETS.iter().flat_map(|key| values_of(key, text)).chain(userinfo(text));
    for range in hidden.collect::<Vec<_>>() {
        // One byte for each keeps every later place where it is.
        if let Some(hidden) = bytes.get_mut(range) {
            hidden.fill(b'*');
        }
    }
    // Ranges begin and end at ASCII characters, so what was UTF-8 still is.
    String::from_utf8(bytes).unwrap_or_default()
}

/// The strings that stand behind `"key":`, without their quotes.
fn values_of(key: &str, text: &str) -> Vec<Range<usize>> {
    let quoted = format!("\"{key}\"");
    let behind_key = text.match_indices(&quoted).map(|(at, _)| at + quoted.len());
    behind_key.filter_map(|at| string_after_colon(text, at)).collect()
}

fn string_after_colon(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = text.get(at..)?.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let start = text.len() - rest.len();
    let mut escaped = false;
    let len = rest.find(|c| {
        let ends = (c == '"' && !escaped) || c == '\n';
        escaped = c == '\\' && !escaped;
        ends
    });
    Some(start..start + len.unwrap_or(rest.len()))
}

/// User and password of every URL.
fn userinfo(text: &str) -> Vec<Range<usize>> {
    let behind_scheme = text.match_indices("://").map(|(at, mark)| at + mark.len());
    let info = |start: usize| {
        let rest = text.get(start..)?;
        let authority = rest.split(['/', '"', '\n', ' ']).next()?;
        authority.rfind('@').map(|len| start..start + len)
    };
    behind_scheme.filter_map(info).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_written_over_and_nothing_moves() {
        for (text, shown) in [
            (r#"{"token": "se\"same", "a": "b"}"#, r#"{"token": "********", "a": "b"}"#),
            (r#"{"token":{"env":"NAME"}}"#, r#"{"token":{"env":"NAME"}}"#),
            (r#""password"  :"öäü" x"#, r#""password"  :"******" x"#),
            (r#""password": "unended"#, r#""password": "*******"#),
            ("redis://user:p@ss@host/0 http://a/b@c", "redis://*********@host/0 http://a/b@c"),
            ("token: none", "token: none"),
        ] {
            assert_eq!(masked(text), shown);
            assert_eq!(masked(text).len(), text.len());
        }
    }
}
