//! System calls that the standard library does not offer; the only unsafe code of the harness.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Signals a test sends to a proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    /// Reload.
    Hangup = libc::SIGHUP as isize,
    /// Drain and end.
    Terminate = libc::SIGTERM as isize,
    /// Drain and end, from a terminal.
    Interrupt = libc::SIGINT as isize,
    /// Stand still.
    Stop = libc::SIGSTOP as isize,
    /// Go on.
    Continue = libc::SIGCONT as isize,
}

/// Sends `signal` to the child process `pid`.
#[expect(unsafe_code, reason = "kill(2) has no safe form in the standard library")]
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).unwrap();
    // SAFETY: kill takes two integers; the caller holds the child, so its pid is not reused.
    let sent = unsafe { libc::kill(pid, signal as i32) };
    assert_eq!(sent, 0, "kill: {}", io::Error::last_os_error());
}

/// Lets the child process `pid` have descriptors below `count` only.
#[expect(unsafe_code, reason = "prlimit(2) has no safe form in the standard library")]
pub(crate) fn limit_files(pid: u32, count: usize) {
    let pid = i32::try_from(pid).unwrap();
    let limit = libc::rlimit { rlim_cur: count as u64, rlim_max: count as u64 };
    // SAFETY: the call reads one `rlimit`; the caller holds the child, so its pid is not reused.
    let set =
        unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(set, 0, "prlimit: {}", io::Error::last_os_error());
}

/// Starts the process of `command` with descriptors below `count` only.
#[expect(unsafe_code, reason = "limits must be set between fork and exec")]
pub(crate) fn start_with_files(command: &mut Command, count: usize) {
    let limit = libc::rlimit { rlim_cur: count as u64, rlim_max: count as u64 };
    let set = move || {
        // SAFETY: the call reads one `rlimit`.
        let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: the closure runs in the forked child, allocates nothing and makes one system call.
    unsafe { command.pre_exec(set) };
}

/// Makes a named pipe.
#[expect(unsafe_code, reason = "mkfifo(3) has no safe form in the standard library")]
pub(crate) fn make_pipe(path: &std::ffi::CStr) {
    // SAFETY: the call reads a string that ends in a zero byte.
    let made = unsafe { libc::mkfifo(path.as_ptr(), 0o600) };
    assert_eq!(made, 0, "mkfifo: {}", io::Error::last_os_error());
}

/// Ends the connection so that the peer sees a reset, whoever else holds the socket.
#[expect(unsafe_code, reason = "the standard library cannot dissolve a connection")]
pub(crate) fn reset(stream: TcpStream) {
    // SAFETY: an address of all zeros is of no family, which dissolves the connection.
    let done = unsafe {
        let address: libc::sockaddr = std::mem::zeroed();
        let length = libc::socklen_t::try_from(size_of::<libc::sockaddr>()).unwrap();
        libc::connect(stream.as_raw_fd(), &raw const address, length)
    };
    assert_eq!(done, 0, "connect: {}", io::Error::last_os_error());
}

/// Raises the limit on open files as far as this process may, and returns it.
#[expect(unsafe_code, reason = "setrlimit(2) has no safe form in the standard library")]
pub(crate) fn raise_file_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or write one live `rlimit`.
    let done = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0
        }
    };
    assert!(done, "setrlimit: {}", io::Error::last_os_error());
    limit.rlim_cur
}

/// Makes `io_uring_setup` fail with `EPERM` in the process that `command` starts, as the seccomp
/// profile of a container does.
#[expect(unsafe_code, reason = "a seccomp filter must be set between fork and exec")]
pub(crate) fn refuse_uring(command: &mut Command) {
    // SAFETY: the closure runs in the forked child, allocates nothing and makes two prctl calls.
    unsafe { command.pre_exec(install_filter) };
}

/// Installs the filter in this process.
#[expect(unsafe_code, reason = "prctl(2) has no safe form in the standard library")]
fn install_filter() -> io::Result<()> {
    let number = u32::try_from(libc::SYS_io_uring_setup).map_err(|_| io::ErrorKind::Other)?;
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    let step = |code: u32, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let mut program = [
        // The system call's number is the first word of seccomp_data.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, number),
        step(libc::BPF_RET | libc::BPF_K, 0, refuse),
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: both calls read their arguments only; `filter` points at `program`, which lives on.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}
