//! Where a configuration comes from, and reading it.
//!
//! Enters: the argument of a command, or a path named in a configuration. Leaves: text, read once
//! and whole, at most 16 MiB of it; or one line that says why not.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The largest file that is read: ten times a configuration of 10,000 routes.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, read again by every reload.
    File(PathBuf),
    /// Standard input, which can be read once.
    Stdin,
    /// The program itself.
    Builtin,
}

impl Source {
    /// What a command's argument names: `-` is standard input.
    #[must_use]
    pub fn named(argument: &Path) -> Self {
        if argument == Path::new("-") { Self::Stdin } else { Self::File(argument.to_owned()) }
    }

    /// Reads it for the first time.
    pub fn read(&self) -> Result<String, String> {
        let bytes = match self {
            Self::File(path) => File::open(path).and_then(capped),
            Self::Stdin => capped(io::stdin().lock()),
            Self::Builtin => return Err("the configuration is built in".to_owned()),
        };
        text(bytes).map_err(|why| format!("cannot read {self}: {why}"))
    }

    /// Reads it for a reload: only a regular file says the same, or better, every time.
    pub fn read_again(&self) -> Result<String, String> {
        let Self::File(path) = self else {
            return Err(format!("the configuration came from {self}, which cannot be read again"));
        };
        match path.metadata() {
            Ok(metadata) if !metadata.is_file() => {
                Err(format!("cannot read {self} again: it is not a regular file"))
            }
            Ok(_) | Err(_) => self.read(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stdin => f.write_str("standard input"),
            Self::Builtin => f.write_str("built in"),
        }
    }
}

/// Reads a small text file: a secret, or a fact of the system.
pub fn read_text(path: &Path) -> Result<String, String> {
    text(File::open(path).and_then(capped))
}

fn capped(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(bytes: io::Result<Vec<u8>>) -> Result<String, String> {
    let bytes = bytes.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err("it is larger than 16 MiB".to_owned());
    }
    String::from_utf8(bytes)
        .map_err(|error| format!("byte {} is not UTF-8", error.utf8_error().valid_up_to()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_again_says_why() {
        let said = Source::named(Path::new("-")).read_again().unwrap_err();
        assert_eq!(said, "the configuration came from standard input, which cannot be read again");
        let said = Source::named(Path::new("/dev/null")).read_again().unwrap_err();
        assert_eq!(said, "cannot read /dev/null again: it is not a regular file");
        let said = Source::named(Path::new("/nowhere/a.json")).read_again().unwrap_err();
        assert!(said.starts_with("cannot read /nowhere/a.json: No such file"), "{said}");
    }

    #[test]
    fn endless_and_foreign_bytes_are_refused() {
        let said = Source::named(Path::new("/dev/zero")).read().unwrap_err();
        assert_eq!(said, "cannot read /dev/zero: it is larger than 16 MiB");
        assert_eq!(text(Ok(vec![b'a', 0xff])).unwrap_err(), "byte 1 is not UTF-8");
    }
}
