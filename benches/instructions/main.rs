//! How many instructions a request takes, and each of its parts, beside what is on record.
//!
//! Counted by callgrind, so that a busy machine changes nothing: the same code on the same
//! toolchain executes the same number anywhere (on x86-64 with AVX2, by which some libraries choose
//! their code). Everything is run twice, the second time with twice as many repetitions; the
//! difference is what one repetition takes, without beginning and end.
//!
//! What the system's libraries execute is not seen: a copy that grows, an allocation, a system call
//! more. `tests/allocations.rs` counts allocations, `cargo load compare` times the whole.
//!
//! A count that is more than 3% above its record fails; `UPDATE=1` writes the record anew, in a
//! commit of its own that says why.

mod callgrind;
#[path = "../heads/mod.rs"]
mod heads;
mod part;
mod request;
#[path = "../shops/mod.rs"]
mod shops;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::path::Path;
use std::process::{ExitCode, Stdio};

/// The binary whose requests are counted, unless `--proxy PATH` names another.
const PROXY: &str = env!("CARGO_BIN_EXE_fusebox");

/// Percent that a count may be above its record.
const ABOVE: f64 = 3.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).filter(|it| it != "--bench").collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["play", name, times] => play(name, times),
        ["--proxy", proxy, names @ ..] => compare(Path::new(proxy), names),
        names => compare(Path::new(PROXY), names),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("instructions: {why}");
            ExitCode::FAILURE
        }
    }
}

fn play(name: &str, times: &str) -> Result<(), String> {
    let part = part::ALL.iter().find(|part| part.name == name).ok_or("no such part")?;
    (part.play)(times.parse().map_err(|_| "not a number")?)
}

/// Counts everything whose name contains one of `names`, or everything, and compares it with what
/// is on record.
fn compare(proxy: &Path, names: &[&str]) -> Result<(), String> {
    callgrind::find_it()?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/record.txt");
    let text = callgrind::text(&path).unwrap_or_default();
    let recorded: BTreeMap<&str, u64> = text.lines().filter_map(row).collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|it| name.contains(it));
    let (mut counted, mut above) = (Vec::new(), Vec::new());
    let parts = part::ALL.iter().map(|it| (it.name, Counted::Part(it)));
    let requests = request::ALL.iter().map(|it| (it.name, Counted::Request(it)));
    for (name, what) in requests.chain(parts).filter(|(name, _)| wanted(name)) {
        let count = what.count(proxy).map_err(|why| format!("{name}: {why}"))?;
        let before = recorded.get(name).copied();
        println!("{}", line(name, count, before));
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let allowed =
            before.is_some_and(|most| count as f64 <= most as f64 * (1.0 + ABOVE / 100.0));
        if !allowed {
            above.push(name);
        }
        counted.push((name, count));
    }
    if env::var_os("UPDATE").is_some() && names.is_empty() {
        return std::fs::write(&path, record(&counted)).map_err(|error| error.to_string());
    }
    if above.is_empty() {
        return Ok(());
    }
    Err(format!("more than {ABOVE}% above {}, or not on it: {}", path.display(), above.join(", ")))
}

/// What is counted.
enum Counted {
    Part(&'static part::Part),
    Request(&'static request::Case),
}

impl Counted {
    /// Instructions of one repetition.
    fn count(&self, proxy: &Path) -> Result<u64, String> {
        let once = self.run(proxy, 1)?;
        let twice = self.run(proxy, 2)?;
        let times = match self {
            Self::Part(part) => u64::from(part.times),
            Self::Request(case) => (case.connections * case.times) as u64,
        };
        Ok(twice.saturating_sub(once) / times)
    }

    /// Instructions of `factor` times as many repetitions as it takes.
    fn run(&self, proxy: &Path, factor: u32) -> Result<u64, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        match self {
            Self::Part(part) => {
                let own = env::current_exe().map_err(|error| error.to_string())?;
                let times = (part.times * factor).to_string();
                let mut command = callgrind::under(&own, directory.path());
                let child = command.args(["play", part.name, &times]).stdin(Stdio::null()).spawn();
                callgrind::end(child.map_err(|error| error.to_string())?)?;
                callgrind::counted(&own, directory.path(), "main")
            }
            Self::Request(case) => {
                request::run(proxy, case, case.times * factor as usize, directory.path())?;
                callgrind::counted(proxy, directory.path(), "fusebox::exchange::run")
            }
        }
    }
}

fn line(name: &str, count: u64, before: Option<u64>) -> String {
    let mut line = format!("{name:<38} {count:>10}");
    if let Some(before) = before {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let change = (count as f64 / before.max(1) as f64 - 1.0) * 100.0;
        let _ = write!(line, "   {change:>+6.1}%");
    }
    line
}

/// `name  count`
fn row(line: &str) -> Option<(&str, u64)> {
    let (name, count) = line.trim().rsplit_once(' ')?;
    Some((name.trim(), count.parse().ok()?))
}

fn record(counted: &[(&str, u64)]) -> String {
    let mut text = String::from(
        "# Instructions of our own code for each, as `cargo count` counts them.\n\
         # Raised in a commit of its own, with the reason.\n",
    );
    for (name, count) in counted {
        let _ = writeln!(text, "{name:<38} {count:>10}");
    }
    text
}
