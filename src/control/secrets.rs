//! Secrets by reference → their values.
//!
//! Enters: a [`Secret`] of the configuration. Leaves: its value, or one line that names what is
//! missing and never what was found. Owns how long a file may take: one on a mount that hangs, or a
//! FIFO that nobody writes to, must not stop the control plane.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::source;
use crate::config::Secret;

/// How long a file is waited for: as long as a connection to Redis, which may need what it holds.
const READ_MAX: Duration = Duration::from_secs(1);

/// Reads secrets without ever blocking its caller. Clones are one reader.
#[derive(Clone, Debug, Default)]
pub struct Reader(Arc<Mutex<()>>);

impl Reader {
    /// The value of `secret`, if it is there within a second; `what` names it in the refusal.
    ///
    /// A file is read on a thread that may block, and one at a time: nothing ends a read that
    /// hangs, so who comes next waits for it in vain, but takes no thread more.
    pub async fn reveal(&self, what: &'static str, secret: &Secret) -> Result<String, String> {
        let Secret::File(path) = secret else { return reveal(what, secret) };
        let (turn, secret) = (Arc::clone(&self.0), secret.clone());
        let read = async {
            let turn = turn.lock_owned().await;
            let read = move || {
                let value = reveal(what, &secret);
                drop(turn);
                value
            };
            spawn_blocking(read).await.unwrap_or_else(|error| Err(format!("{what}: {error}")))
        };
        timeout(READ_MAX, read).await.unwrap_or_else(|_| {
            Err(format!("{what}: {path} cannot be read to its end within {} s", READ_MAX.as_secs()))
        })
    }
}

/// The value of `secret`; `what` names it in the refusal. Takes as long as its file takes.
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
    use futures_util::future::join_all;
    use tokio::runtime::Builder;

    use super::*;
    use crate::clock;

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
    fn a_file_that_nobody_writes_to_is_given_up_and_takes_one_thread() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let secret = Secret::File(path.to_str().unwrap().to_owned());
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(2).build().unwrap();
        let reader = Reader::default();
        let read = || reader.reveal("state.password", &secret);
        runtime.block_on(async {
            let began = clock::now();
            let all = join_all((0..8).map(|_| read())).await;
            let took = clock::now().since(began);
            // Should every read hang on a thread of its own, none is left for this.
            let other = timeout(READ_MAX, spawn_blocking(|| 7)).await;
            // The first read gets this, too late; the next one has the FIFO for itself.
            std::fs::write(&path, "late").unwrap();
            drop(timeout(READ_MAX, reader.0.lock()).await.expect("it has ended"));
            let writer = spawn_blocking(move || std::fs::write(path, "s3cret\n").unwrap());
            assert_eq!(read().await.unwrap(), "s3cret");
            writer.await.unwrap();

            assert_eq!(other.expect("a thread").unwrap(), 7);
            assert!(took < READ_MAX * 3, "{took:?}");
            for said in all {
                let said = said.unwrap_err();
                assert!(said.ends_with("fifo cannot be read to its end within 1 s"), "{said}");
            }
        });
    }

    #[test]
    fn the_line_end_of_a_secret_file_is_not_part_of_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\n").unwrap();
        let secret = Secret::File(file.path().to_str().unwrap().to_owned());
        assert_eq!(reveal("admin.token", &secret).unwrap(), "s3cret");
    }
}
