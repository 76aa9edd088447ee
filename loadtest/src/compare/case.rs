//! One case of a comparison: how many connections, and how long a body.

use std::fmt::{Display, Formatter, Result as Written};
use std::str::FromStr;

/// The longest body.
const BODY_MAX: usize = 64 << 20;

/// A case, written `64:1k`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) connections: usize,
    /// The body's length as it is written.
    pub(crate) name: String,
    /// The body's length.
    pub(crate) body: usize,
}

impl Case {
    /// Where the origin has such a body.
    pub(super) fn path(&self) -> String {
        format!("/{}", self.name)
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no case, such as 64:1k (connections, body)");
        let (connections, name) = text.split_once(':').ok_or_else(wrong)?;
        let number = name.trim_end_matches(['k', 'm']);
        let unit = match name.get(number.len()..) {
            Some("") => 1,
            Some("k") => 1 << 10,
            Some("m") => 1 << 20,
            _ => return Err(wrong()),
        };
        let connections = connections.parse().map_err(|_| wrong())?;
        let body = number.parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
        match body {
            Some(body) if body <= BODY_MAX && (1..=20_000).contains(&connections) => {
                Ok(Self { connections, name: name.to_owned(), body })
            }
            _ => Err(wrong()),
        }
    }
}

impl Display for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        f.pad(&format!("{}:{}", self.connections, self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_read_as_it_is_written() {
        for (text, connections, body) in [("64:1k", 64, 1024), ("2:1m", 2, 1 << 20), ("1:0", 1, 0)]
        {
            let case: Case = text.parse().unwrap();
            assert_eq!(
                (case.connections, case.body, case.to_string()),
                (connections, body, text.into())
            );
        }
        for text in ["", "64", "0:1k", "64:1g", "x:1k", "64:1kk", "1:99999m"] {
            assert!(text.parse::<Case>().is_err(), "{text}");
        }
    }
}
