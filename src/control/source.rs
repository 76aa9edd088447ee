//! Where a configuration comes from, and reading it.
//!
//! Enters: the argument of a command, or a path named in a configuration. Leaves: what is written
//! there, read once, at most one byte more than it may have; or one line that says why not.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::{DEFAULT, TEXT_BYTES_MAX};

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
    pub fn read(&self) -> Result<Vec<u8>, String> {
        let bytes = match self {
            Self::File(path) => File::open(path).and_then(capped),
            Self::Stdin => capped(io::stdin().lock()),
            Self::Builtin => Ok(DEFAULT.as_bytes().to_vec()),
        };
        bytes.map_err(|why| format!("cannot read {self}: {why}"))
    }

    /// Reads it for a reload: only a regular file says the same, or better, every time.
    pub fn read_again(&self) -> Result<Vec<u8>, String> {
        let path = match self {
            Self::File(path) => path,
            Self::Stdin => {
                let why = "the configuration came from standard input, which cannot be read again";
                return Err(why.to_owned());
            }
            Self::Builtin => {
                return Err("the configuration is built in and cannot be read again".to_owned());
            }
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

/// Bytes of a small text file.
const SMALL_BYTES_MAX: usize = 64 * 1024;

/// Reads a small text file: a secret, or a fact of the system. Takes as long as the file takes.
pub fn read_text(path: &Path) -> Result<String, String> {
    let read = |file| read_most(file, SMALL_BYTES_MAX);
    let bytes = File::open(path).and_then(read).map_err(|error| error.to_string())?;
    if bytes.len() > SMALL_BYTES_MAX {
        return Err("it is larger than 64 KiB".to_owned());
    }
    String::from_utf8(bytes)
        .map_err(|error| format!("byte {} is not UTF-8", error.utf8_error().valid_up_to()))
}

fn capped(reader: impl Read) -> io::Result<Vec<u8>> {
    read_most(reader, TEXT_BYTES_MAX)
}

/// One byte more than `most` says that there are too many.
fn read_most(reader: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_again_says_why() {
        let said = Source::named(Path::new("-")).read_again().unwrap_err();
        assert_eq!(said, "the configuration came from standard input, which cannot be read again");
        let said = Source::Builtin.read_again().unwrap_err();
        assert_eq!(said, "the configuration is built in and cannot be read again");
        let said = Source::named(Path::new("/dev/null")).read_again().unwrap_err();
        assert_eq!(said, "cannot read /dev/null again: it is not a regular file");
        let said = Source::named(Path::new("/nowhere/a.json")).read_again().unwrap_err();
        assert!(said.starts_with("cannot read /nowhere/a.json: No such file"), "{said}");
    }

    #[test]
    fn endless_files_are_cut_one_byte_above_the_limit() {
        let bytes = Source::named(Path::new("/dev/zero")).read().unwrap();
        assert_eq!(bytes.len(), TEXT_BYTES_MAX + 1);
        assert_eq!(read_text(Path::new("/dev/zero")).unwrap_err(), "it is larger than 64 KiB");
    }

    #[test]
    fn foreign_bytes_are_no_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [b'a', 0xff]).unwrap();
        assert_eq!(read_text(file.path()).unwrap_err(), "byte 1 is not UTF-8");
    }

    #[test]
    fn the_program_itself_is_read_without_a_file() {
        assert_eq!(Source::Builtin.read().unwrap(), DEFAULT.as_bytes());
    }
}
