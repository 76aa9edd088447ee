//! A process that we started, and what the kernel tells of it.
//!
//! Enters: a command. Leaves: its lines, its processor time and its memory. Owns the process and
//! its children: dropping it asks them to end, and kills them if they do not.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Signal, kill_process};

use crate::clock::{self, Nanos};
use crate::cores;

/// How long a process may take to end when it is asked to.
const PATIENCE: Nanos = 5 * clock::SECOND;

/// Lines of a process that are kept: the last ones.
const LINES_MAX: usize = 1000;

/// A process; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

/// Memory of a process and its children, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// In memory now.
    pub(crate) resident: u64,
    /// Of that, what no other process shares: what the process itself has written.
    pub(crate) private: u64,
}

impl Process {
    /// Starts `command` on `cores`; what it prints is kept.
    pub(crate) fn start(command: &mut Command, cores: &[usize]) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // An interrupt from the terminal is for us, who end what we started.
        command.process_group(0);
        let spawned = cores::within(cores, || command.spawn());
        let name = command.get_program().display();
        let mut child = spawned.map_err(|error| format!("cannot start {name}: {error}"))?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        if let Some(output) = child.stdout.take() {
            follow(output, &lines);
        }
        if let Some(errors) = child.stderr.take() {
            follow(errors, &lines);
        }
        Ok(Self { child, lines })
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first of its lines in which `pick` finds something.
    pub(crate) fn find<T>(&self, pick: impl Fn(&str) -> Option<T>) -> Option<T> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().find_map(|line| pick(line))
    }

    /// All it has said.
    pub(crate) fn said(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Whether it still runs.
    pub(crate) fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        tell(self.pid(), signal);
    }

    /// Processor time that it and its children have used, all threads.
    pub(crate) fn cpu(&self) -> Duration {
        self.used().iter().sum()
    }

    /// The same by who ran: their own code, and the kernel for them.
    pub(crate) fn used(&self) -> [Duration; 2] {
        let all = family(self.pid()).into_iter().map(ticks);
        let ticks = all.fold([0, 0], |[user, system], [u, s]| [user + u, system + s]);
        let each = u32::try_from(clock_ticks_per_second()).unwrap_or(100);
        ticks.map(|ticks| Duration::from_secs(ticks) / each)
    }

    /// Memory that it and its children have.
    pub(crate) fn memory(&self) -> Memory {
        memory_of(self.pid())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let family = family(self.pid());
        for signal in [Signal::TERM, Signal::KILL] {
            self.signal(signal);
            let until = clock::now() + PATIENCE;
            while clock::now() < until {
                if !self.lives() {
                    // A parent that was killed leaves its children to us.
                    let left = family.iter().filter(|pid| **pid != self.pid() && runs(**pid));
                    left.for_each(|pid| tell(*pid, Signal::KILL));
                    return;
                }
                clock::pass(Duration::from_millis(5));
            }
        }
    }
}

/// Memory that process `pid` and its children have.
pub(crate) fn memory_of(pid: u32) -> Memory {
    let mut sum = Memory::default();
    for pid in family(pid) {
        let text = read(&format!("/proc/{pid}/smaps_rollup"));
        sum.resident += kibibytes(&text, &["Rss:"]);
        sum.private += kibibytes(&text, &["Private_Clean:", "Private_Dirty:"]);
    }
    sum
}

/// Busy time of one processor so far, whoever used it: also what no process is charged for.
pub(crate) fn core_time(core: usize) -> Duration {
    let text = read("/proc/stat");
    let name = format!("cpu{core} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq
    let busy: u64 = [0, 1, 2, 5, 6].iter().filter_map(|nth| fields.get(*nth)).sum();
    Duration::from_secs(busy) / u32::try_from(clock_ticks_per_second()).unwrap_or(100)
}

/// Keeps the lines of `source` until it ends.
fn follow(source: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == LINES_MAX {
                lines.remove(LINES_MAX / 2); // the first ones tell the addresses
            }
            lines.push(line);
        }
    });
}

fn tell(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        kill_process(pid, signal).unwrap_or_default();
    }
}

/// Whether a process is there and has not ended.
fn runs(pid: u32) -> bool {
    let text = read(&format!("/proc/{pid}/stat"));
    text.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// A process and its children, and theirs.
fn family(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = read(&task.path().join("children").to_string_lossy());
            found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        next += 1;
    }
    found
}

/// User and system time of a process, all its threads.
fn ticks(pid: u32) -> [u64; 2] {
    let text = read(&format!("/proc/{pid}/stat"));
    // The name, in parentheses, may hold anything; time is the 14th and 15th field.
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = rest.split_whitespace().skip(11).map(|field| field.parse().unwrap_or(0));
    [0, 1].map(|_| fields.next().unwrap_or(0))
}

fn kibibytes(text: &str, names: &[&str]) -> u64 {
    let value = |line: &str| {
        let (name, rest) = line.split_once(char::is_whitespace)?;
        let number = rest.trim().strip_suffix(" kB")?;
        names.contains(&name).then(|| number.trim().parse::<u64>().ok()).flatten()
    };
    text.lines().filter_map(value).sum::<u64>() * 1024
}

/// A file of the kernel; empty when it is gone.
#[expect(clippy::disallowed_methods, reason = "files of the kernel do not block")]
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_and_its_children_are_measured_and_ended() {
        let script = "sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done; \
                      sleep 60' & echo started; wait";
        let mut command = Command::new("sh");
        let process = Process::start(command.args(["-c", script]), &cores::allowed()).unwrap();
        let until = clock::now() + 20 * clock::SECOND;
        while process.find(|line| (line == "done").then_some(())).is_none() {
            assert!(clock::now() < until, "{}", process.said());
            clock::pass(Duration::from_millis(5));
        }
        assert!(process.cpu() > Duration::ZERO);
        let memory = process.memory();
        assert!(memory.private > 0 && memory.resident >= memory.private, "{memory:?}");
        let family = family(process.pid());
        assert!(family.len() >= 2, "{family:?}");
        drop(process);
        while family.iter().any(|pid| runs(*pid)) {
            assert!(clock::now() < until, "{family:?}");
            clock::pass(Duration::from_millis(5));
        }
        assert!(core_time(cores::allowed()[0]) > Duration::ZERO);
    }
}
