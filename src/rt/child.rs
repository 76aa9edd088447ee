//! What a program that we start gets of this process: nothing but what it is given.
//!
//! Enters: the wish to start one, or its process group when its time is over. Leaves: descriptors
//! that it does not inherit; a signal. Owns nothing.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]
#![expect(unsafe_code, reason = "direct system calls")]

/// The first descriptor that a child is not given on purpose.
const FIRST: libc::c_uint = 3;

/// From now on no descriptor is inherited that is open by now: a ring accepts connections without
/// that mark, and a client would not see its connection end while a program runs that has a copy of
/// it. To be called before a program is started; what a core accepts in between stays open for as
/// long as the program runs, which is bounded.
///
/// One call, which only marks: it takes microseconds, whatever is open. Where the kernel is older
/// than 5.11 it does nothing, and there is no ring that would need it.
pub fn keep_descriptors() {
    let (first, last) = (FIRST, libc::c_uint::MAX);
    // SAFETY: it takes no pointer, closes nothing, and changes only what an exec does later.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
}

/// Kills every process of group `leader`, which must be a child that we have not waited for yet:
/// until then its number is nobody else's.
pub fn kill_group(leader: u32) {
    if let Ok(group) = libc::pid_t::try_from(leader)
        && group > 1
    {
        // SAFETY: it takes no pointer; the group is that of a child of ours, see above.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, RawFd};

    use super::*;

    #[test]
    fn what_is_open_is_not_inherited() {
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        let flags = |fd: RawFd| {
            // SAFETY: it reads the flags of a descriptor that is open.
            unsafe { libc::fcntl(fd, libc::F_GETFD) }
        };
        // SAFETY: as above; the descriptor is ours.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) };
        assert_eq!(flags(file.as_raw_fd()), 0);
        keep_descriptors();
        assert_eq!(flags(file.as_raw_fd()), libc::FD_CLOEXEC);
    }
}
