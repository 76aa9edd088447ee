//! Secrets by reference → their values.
//!
//! Enters: a [`Secret`] of the configuration. Leaves: its value, or one line that names what is
//! missing and never what was found.

use std::path::Path;

use super::source;
use crate::config::Secret;

/// The value of `secret`; `what` names it in the refusal.
pub fn reveal(what: &str, secret: &Secret) -> Result<String, String> {
    let (value, place) = match secret {
        Secret::Literal(value) => (value.clone(), "the configuration".to_owned()),
        Secret::Env(name) => {
            let place = format!("environment variable {name}");
            let value = std::env::var(name)
                .map_err(|_| format!("{what}: {place} is not set, or is not UTF-8"))?;
            (value, place)
        }
        Secret::File(path) => {
            let value = source::read_text(Path::new(path))
                .map_err(|why| format!("{what}: cannot read {path}: {why}"))?;
            // Editors and `echo` end a file with a line end that nobody means.
            (value.trim_end_matches(['\r', '\n']).to_owned(), path.clone())
        }
    };
    if value.is_empty() {
        return Err(format!("{what}: {place} is empty"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_secret_is_named() {
        let said = reveal("admin.token", &Secret::Env("FUSEBOX_NO_SUCH".to_owned())).unwrap_err();
        let expected =
            "admin.token: environment variable FUSEBOX_NO_SUCH is not set, or is not UTF-8";
        assert_eq!(said, expected);
        let said = reveal("admin.token", &Secret::File("/nowhere".to_owned())).unwrap_err();
        assert!(said.starts_with("admin.token: cannot read /nowhere: No such file"), "{said}");
        let said = reveal("admin.token", &Secret::Literal(String::new())).unwrap_err();
        assert_eq!(said, "admin.token: the configuration is empty");
    }

    #[test]
    fn the_line_end_of_a_secret_file_is_not_part_of_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\n").unwrap();
        let secret = Secret::File(file.path().to_str().unwrap().to_owned());
        assert_eq!(reveal("admin.token", &secret).unwrap(), "s3cret");
    }
}
