//! wrk as a second opinion: the same program and case, loaded by the generator that others use.

use std::process::Command;
use std::time::Duration;

use super::Case;
use super::program::{Started, find};
use crate::process::Process;
use crate::{clock, cores};

/// Whether it is there.
pub(super) fn find_it() -> Result<(), String> {
    find("wrk").map(drop).ok_or_else(|| "wrk is not on the PATH; apt-get install wrk".to_owned())
}

/// Processor time of the program for each request, in microseconds, while wrk loads it.
pub(super) fn measure(
    running: &Started,
    case: &Case,
    duration: Duration,
    load_cores: &[usize],
) -> Result<f64, String> {
    let process = &running.process;
    let warm_up = (duration / 5).clamp(Duration::from_secs(1), Duration::from_secs(1));
    load(running, case, warm_up, load_cores)?;
    let before = process.cpu();
    let requests = load(running, case, duration.max(Duration::from_secs(1)), load_cores)?;
    let used = process.cpu().saturating_sub(before);
    Ok(used.as_secs_f64() * 1e6 / requests.max(1.0))
}

/// Loads, and returns how many requests were answered.
fn load(
    running: &Started,
    case: &Case,
    duration: Duration,
    load_cores: &[usize],
) -> Result<f64, String> {
    let url = format!("http://{}{}", running.address, case.path());
    let seconds = format!("{}s", duration.as_secs());
    let connections = case.connections.to_string();
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c", &connections, "-d", &seconds, "--timeout", "10s", &url]);
    let mut wrk = cores::within(load_cores, || Process::start(&mut command, load_cores))?;
    let until = clock::now() + clock::nanos(duration) + 30 * clock::SECOND;
    while wrk.lives() {
        if clock::now() > until {
            return Err("wrk does not end".to_owned());
        }
        clock::pass(Duration::from_millis(20));
    }
    clock::pass(Duration::from_millis(20)); // its last lines are still being read
    // "  123456 requests in 5.00s, 1.23GB read"
    let count = |line: &str| line.trim().split_once(" requests in ")?.0.parse::<f64>().ok();
    wrk.find(count).ok_or_else(|| format!("wrk did not say how many:\n{}", wrk.said()))
}
