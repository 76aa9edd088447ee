//! Where and when a test ran.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::cores;

/// The machine of a test.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) kernel: String,
    /// When, in seconds since 1970.
    pub(crate) unix_seconds: u64,
    /// What it was busy with before: runnable threads, averaged over a minute.
    pub(crate) load: String,
}

impl Machine {
    /// This one, now.
    pub(crate) fn here() -> Self {
        let info = read("/proc/cpuinfo");
        let model = info.lines().find_map(|line| line.strip_prefix("model name"));
        let load = read("/proc/loadavg");
        Self {
            processor: model.unwrap_or("unknown").trim_start_matches(['\t', ':', ' ']).to_owned(),
            processors: cores::allowed().len(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            unix_seconds: clock::unix_seconds(),
            load: load.split(' ').next().unwrap_or("unknown").to_owned(),
        }
    }

    /// In a line.
    pub(crate) fn line(&self) -> String {
        let Self { processor, processors, kernel, load, .. } = self;
        format!("{processors} × {processor}, Linux {kernel}, load {load} before")
    }
}

#[expect(clippy::disallowed_methods, reason = "files of the kernel do not block")]
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
