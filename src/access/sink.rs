//! Where lines go: a file, a named pipe, or standard error.
//!
//! Enters: whole lines, many at once. Leaves: what could be written of them without waiting, as far
//! as the system lets one not wait. Owns the file, and opens it anew when its path names another:
//! then it was rotated.

#![allow(clippy::disallowed_types, reason = "cold: the writer's thread")]

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config::{Access, LineFormat, Log};

/// Where lines go, and how they look.
#[derive(Debug)]
pub struct Sink {
    pub(super) format: LineFormat,
    /// Whether any come.
    pub(super) access: Access,
    out: Out,
}

#[derive(Debug)]
enum Out {
    Stderr,
    File { file: File, path: PathBuf },
}

impl Sink {
    /// Opens what `log` names.
    ///
    /// # Errors
    /// The file cannot be opened for appending.
    pub fn open(log: &Log) -> io::Result<Self> {
        let out = match &log.file {
            Some(path) if log.access != Access::Off => {
                Out::File { file: open(path)?, path: path.clone() }
            }
            Some(_) | None => Out::Stderr,
        };
        Ok(Self { format: log.format, access: log.access, out })
    }

    /// Writes as much of `bytes` as goes without waiting; `Ok(0)`: nothing now.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.out {
            // Shared with whoever started us, so it stays as it is: it may block this thread. Its
            // lock keeps a line of the process' own from standing inside one of these.
            Out::Stderr => io::stderr().lock().write_all(bytes).map(|()| bytes.len()),
            Out::File { file, .. } => match file.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                written => written,
            },
        }
    }

    /// Opens the path anew if the file is no longer what it names. A path that cannot be opened is
    /// tried again by the next call; until then the old file takes the lines.
    pub(super) fn follow(&mut self) -> io::Result<()> {
        let Out::File { file, path } = &mut self.out else { return Ok(()) };
        let same = |there: std::fs::Metadata| {
            file.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
        };
        if !path.metadata().is_ok_and(same) {
            *file = open(path)?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // A pipe that is full says so instead of holding the thread; files and disks do not mind.
    options.append(true).create(true).mode(0o640).custom_flags(libc::O_NONBLOCK);
    match options.open(path) {
        // A pipe that nobody reads yet cannot be opened for writing alone; Linux lets one hold both
        // ends.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => options.read(true).open(path),
        opened => opened,
    }
}
