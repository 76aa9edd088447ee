//! System calls that the standard library does not offer; the only unsafe code of the harness.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
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
pub(crate) fn make_pipe(path: &CStr) {
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

/// Gives the calling thread, and all that it starts from now on, a network and mounts of its own.
#[expect(unsafe_code, reason = "unshare(2) and mount(2) have no safe form")]
pub(crate) fn leave_the_machine() -> io::Result<()> {
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: both calls read their arguments only, and strings that end in a zero byte.
    let left = unsafe {
        libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) == 0
            && libc::mount(
                c"none".as_ptr(),
                c"/".as_ptr(),
                std::ptr::null(),
                private,
                std::ptr::null(),
            ) == 0
    };
    if left { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Shows `from` where `to` is. For a thread that has left the machine.
#[expect(unsafe_code, reason = "mount(2) has no safe form")]
pub(crate) fn show(from: &CStr, to: &CStr) {
    let (kind, data) = (std::ptr::null(), std::ptr::null());
    // SAFETY: the call reads its arguments only, and strings that end in a zero byte.
    let shown = unsafe { libc::mount(from.as_ptr(), to.as_ptr(), kind, libc::MS_BIND, data) };
    assert_eq!(shown, 0, "mount: {}", io::Error::last_os_error());
}

/// A request about the network interface `name`.
#[expect(unsafe_code, reason = "an ifreq of zeros is a plain struct")]
fn about(name: &str) -> libc::ifreq {
    // SAFETY: integers and a union of such, for all of which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte.cast_signed();
    }
    request
}

/// Takes `request` to the kernel by way of `file`.
#[expect(unsafe_code, reason = "ioctl(2) has no safe form")]
fn control(file: &impl AsRawFd, what: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: each call of this file reads or writes one `ifreq`.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), what, std::ptr::from_mut(request)) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Any socket, by way of which interfaces are spoken of.
fn any_socket() -> io::Result<UdpSocket> {
    UdpSocket::bind("0.0.0.0:0")
}

/// Switches the interface `name` on.
#[expect(unsafe_code, reason = "flags lie in a union")]
pub(crate) fn switch_on(name: &str) -> io::Result<()> {
    let mut request = about(name);
    let socket = any_socket()?;
    control(&socket, libc::SIOCGIFFLAGS, &mut request)?;
    let up = i16::try_from(libc::IFF_UP).unwrap();
    // SAFETY: the kernel has just written the flags.
    unsafe { request.ifr_ifru.ifru_flags |= up };
    control(&socket, libc::SIOCSIFFLAGS, &mut request)
}

/// Gives the interface `name` an address, in a network of 256.
pub(crate) fn give_address(name: &str, address: Ipv4Addr) -> io::Result<()> {
    let socket = any_socket()?;
    for (what, ip) in
        [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, Ipv4Addr::new(255, 255, 255, 0))]
    {
        let mut request = about(name);
        let family = u16::try_from(libc::AF_INET).unwrap();
        let [a, b, c, d] = ip.octets().map(u8::cast_signed);
        let sa_data = [0, 0, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0];
        request.ifr_ifru.ifru_addr = libc::sockaddr { sa_family: family, sa_data };
        control(&socket, what, &mut request)?;
    }
    Ok(())
}

/// Makes the interface `name`, whose packets (`IFF_TUN`) or frames (`IFF_TAP`) are read from the
/// file and written to it.
pub(crate) fn make_link(name: &str, of: libc::c_int) -> io::Result<File> {
    const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    let mut request = about(name);
    request.ifr_ifru.ifru_flags = i16::try_from(of | libc::IFF_NO_PI).unwrap();
    control(&file, TUNSETIFF, &mut request)?;
    Ok(file)
}

/// Adds a route of this kind (`RTN_UNREACHABLE`, …) to the 256 addresses around `to`.
#[expect(unsafe_code, reason = "the standard library has no netlink sockets")]
pub(crate) fn add_route(kind: u8, to: Ipv4Addr) -> io::Result<()> {
    let mut message = Vec::new();
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_ACK;
    message.extend(36u32.to_ne_bytes());
    message.extend(libc::RTM_NEWROUTE.to_ne_bytes());
    message.extend(u16::try_from(flags).unwrap().to_ne_bytes());
    message.extend([0; 8]); // sequence and sender
    let family = u8::try_from(libc::AF_INET).unwrap();
    message.extend([family, 24, 0, 0, libc::RT_TABLE_MAIN, libc::RTPROT_BOOT, 0, kind, 0, 0, 0, 0]);
    message.extend(8u16.to_ne_bytes());
    message.extend(libc::RTA_DST.to_ne_bytes());
    let [a, b, c, _] = to.octets();
    message.extend([a, b, c, 0]);
    // SAFETY: the new descriptor is nobody else's; `send` and `recv` keep to the lengths they are
    // given.
    let error = unsafe {
        let socket = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE);
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(socket);
        let mut answer = [0u8; 64];
        let number = socket.as_raw_fd();
        let sent = libc::send(number, message.as_ptr().cast(), message.len(), 0);
        if sent < 0 || libc::recv(number, answer.as_mut_ptr().cast(), answer.len(), 0) < 20 {
            return Err(io::Error::last_os_error());
        }
        i32::from_ne_bytes(answer[16..20].try_into().unwrap())
    };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-error)) }
}
