//! An event → a program that runs.
//!
//! Enters: an event. Leaves: the command, started without a shell, with the event as JSON on its
//! standard input and its main fields in its environment; or why that was in vain. Owns the time
//! it has: when that is over, the program is killed with all that it has started.
//!
//! It inherits no descriptor but its own three. What it writes to standard output is nobody's; the
//! first line on standard error is told where it fails. It is awaited until it has ended and its
//! standard error is closed: what it leaves behind in the background has to let go of that.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::join;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::handler::Told;
use crate::config::units::shown;
use crate::rt::child;

/// Characters of a complaint that are told.
const COMPLAINT_MAX: usize = 200;

/// See the file.
pub(super) struct Program {
    command: Vec<String>,
    timeout: Duration,
}

impl Program {
    pub(super) fn new(command: &[String], timeout: Duration) -> Self {
        Self { command: command.to_vec(), timeout }
    }

    /// Runs it once.
    pub(super) async fn run(&self, told: &Told) -> Result<(), String> {
        let mut child = self.start(told)?;
        let leader = child.id();
        match timeout(self.timeout, attend(&mut child, &told.payload)).await {
            Ok(Ok((status, _))) if status.success() => Ok(()),
            Ok(Ok((status, complaint))) => Err(failure(status, &complaint)),
            Ok(Err(error)) => Err(format!("it was lost: {error}")),
            Err(_) => {
                if let Some(leader) = leader {
                    child::kill_group(leader);
                }
                // It has been killed: this ends.
                let _ = child.wait().await;
                Err(format!("it was killed after {}", shown(self.timeout)))
            }
        }
    }

    fn start(&self, told: &Told) -> Result<Child, String> {
        let event = &told.event;
        let (program, arguments) = self.command.split_first().ok_or("there is no command")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("FUSEBOX_EVENT", event.event)
            .env("FUSEBOX_BREAKER", &*event.breaker)
            .env("FUSEBOX_ROUTE", &*event.route)
            .env("FUSEBOX_FROM", event.from)
            .env("FUSEBOX_TO", event.to)
            .env("FUSEBOX_REASON", event.reason)
            .env("FUSEBOX_INSTANCE", event.instance)
            .env("FUSEBOX_TIME", &event.time)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        child::keep_descriptors();
        command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))
    }
}

/// Tells `child` the event and waits until it has ended; what it complained of.
async fn attend(child: &mut Child, payload: &str) -> std::io::Result<(ExitStatus, Vec<u8>)> {
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let telling = async move {
        if let Some(mut stdin) = stdin {
            // One that does not read may have no need to.
            let _ = stdin.write_all(payload.as_bytes()).await;
        }
    };
    let listening = async move {
        let (mut said, mut chunk) = (Vec::new(), [0; 1024]);
        let Some(mut stderr) = stderr else { return said };
        while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
            if said.len() < COMPLAINT_MAX {
                said.extend_from_slice(chunk.get(..read).unwrap_or_default());
            }
        }
        said
    };
    let ((), said) = join(telling, listening).await;
    // Last: once it has been waited for, its number, which is that of its group, may be another's.
    // What cuts this short finds it not waited for.
    Ok((child.wait().await?, said))
}

fn failure(status: ExitStatus, complaint: &[u8]) -> String {
    let said = String::from_utf8_lossy(complaint);
    let line: String =
        said.lines().next().unwrap_or_default().trim().chars().take(COMPLAINT_MAX).collect();
    let line = line.escape_debug();
    if complaint.trim_ascii().is_empty() { status.to_string() } else { format!("{status}: {line}") }
}
