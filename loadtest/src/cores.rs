//! Processors: which there are, and who runs on which.

use std::num::NonZeroU64;

use rustix::process::{Resource, getrlimit, setpriority_process, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity, set_current_timer_slack};

/// The processors that this process may run on.
pub(crate) fn allowed() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else { return vec![0] };
    (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
}

/// Reads `0,2-3`.
pub(crate) fn parse(text: &str) -> Result<Vec<usize>, String> {
    let number = |text: &str| {
        text.trim().parse::<usize>().map_err(|_| format!("`{text}` is no number of a processor"))
    };
    let mut found = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        found.extend(number(first)?..=number(last)?);
    }
    match found.iter().find(|cpu| !allowed().contains(cpu)) {
        Some(stranger) => Err(format!("processor {stranger} is not ours: {:?}", allowed())),
        None => Ok(found),
    }
}

/// Binds this thread to one of `cores`, each to its `nth`. Without the right to do so, or without
/// cores, it stays where the scheduler puts it.
pub(crate) fn pin_in_turn(cores: &[usize], nth: usize) {
    if let Some(&core) = cores.get(nth % cores.len().max(1)) {
        pin(&[core]);
    }
    // Without it the kernel wakes a thread up to 50 microseconds late.
    set_current_timer_slack(NonZeroU64::new(1)).unwrap_or_default();
}

/// Has this thread give way to those it shares a processor with: it is what they are measured
/// beside, and not to be what they wait for.
pub(crate) fn give_way() {
    // Linux does so for the calling thread alone. To be less kind is everybody's right.
    setpriority_process(None, 10).unwrap_or_default();
}

/// Runs `start` bound to `cores`, which a process started there inherits.
pub(crate) fn within<T>(cores: &[usize], start: impl FnOnce() -> T) -> T {
    let before = allowed();
    if !cores.is_empty() {
        pin(cores);
    }
    let result = start();
    pin(&before);
    result
}

fn pin(cores: &[usize]) {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    sched_setaffinity(None, &set).unwrap_or_default();
}

/// Raises the limit on open files as far as this process may, for itself and what it starts.
/// Returns how many there may be.
pub(crate) fn raise_file_limit() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap_or_default();
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_of_processors_are_read_and_strangers_refused() {
        let first = allowed()[0];
        assert_eq!(parse(&format!("{first}")), Ok(vec![first]));
        assert_eq!(parse(&format!("{first}-{first},{first}")), Ok(vec![first, first]));
        assert!(parse("1000").unwrap_err().contains("1000"));
        assert!(parse("x").unwrap_err().contains("`x`"));
    }

    #[test]
    fn what_is_started_within_cores_runs_there_and_we_run_on_as_before() {
        let before = allowed();
        let inside = within(&before[..1], allowed);
        assert_eq!((inside.as_slice(), allowed()), (&before[..1], before.clone()));
    }
}
