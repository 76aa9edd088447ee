//! Runs a program under callgrind and adds up what it executed.
//!
//! Enters: a command. Leaves: instructions of our own code. What the system's libraries execute is
//! left out: which `memcpy` they choose depends on the processor, and their code on the system. The
//! dynamic loader and the kernel are left out with them.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// `program` as a command, to count what it executes in `directory`. Each thread is counted by
/// itself.
pub(crate) fn under(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new("valgrind");
    let out = directory.join(OUT);
    command
        .args(["--quiet", "--tool=callgrind", "--separate-threads=yes"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program);
    command
}

/// How the files begin that it writes.
const OUT: &str = "profile";

/// Has `command` wait for its ring where its other threads need not wait with it.
pub(crate) fn preload(command: &mut Command, directory: &Path) -> Result<(), String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/wait.c");
    let library = directory.join("wait.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-shared", "-fPIC", "-o"]).args([&library, &source]);
    match compiler.status() {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("cc: {status}")),
        Err(error) => return Err(format!("cc: {error}")),
    }
    command.env("LD_PRELOAD", library);
    Ok(())
}

/// Whether callgrind is there.
pub(crate) fn find_it() -> Result<(), String> {
    let asked = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    match asked {
        Ok(status) if status.success() => Ok(()),
        _ => Err("valgrind is missing; apt-get install valgrind".to_owned()),
    }
}

/// Waits for `child` to end well.
pub(crate) fn end(mut child: Child) -> Result<(), String> {
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("it ended with {status}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Instructions of `program` itself in those threads counted in `directory` that have executed a
/// function of this name.
pub(crate) fn counted(program: &Path, directory: &Path, function: &str) -> Result<u64, String> {
    let name = program.display().to_string();
    let files = fs::read_dir(directory).map_err(|error| error.to_string())?;
    let mut total = 0;
    for file in files.flatten().filter(|it| it.file_name().to_string_lossy().starts_with(OUT)) {
        let profile = text(&file.path())?;
        if profile.contains(function) {
            total += sum(&profile, &name);
        }
    }
    if total == 0 { Err(format!("nothing of {name} was counted")) } else { Ok(total) }
}

#[expect(clippy::disallowed_methods, reason = "nothing is served here")]
pub(crate) fn text(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The cost of all lines of a profile that belong to `object`, but not of those behind `calls=`:
/// they tell again what the called function executed.
fn sum(profile: &str, object: &str) -> u64 {
    let (mut total, mut ours, mut number) = (0, false, None);
    let mut lines = profile.lines();
    while let Some(line) = lines.next() {
        // `ob=(7) name` or, of a function that is called, `cob=(7) name` where the name first
        // comes, `ob=(7)` from then on.
        if let Some((kind @ ("ob" | "cob"), name)) = line.split_once('=') {
            let (place, name) = name.split_once(' ').unwrap_or((name, ""));
            if name == object {
                number = Some(place);
            }
            if kind == "ob" {
                ours = number == Some(place);
            }
        } else if line.starts_with("calls=") {
            lines.next();
        } else if ours
            && line.starts_with(['+', '-', '*', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
        {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok());
            total += cost.unwrap_or(0);
        }
    }
    total
}
