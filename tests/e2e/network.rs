//! A network of a test's own: no route of the machine leads there, and its link may lose packets.
//!
//! [`own`] runs a test on a thread that has left the network and the mounts of the machine; what
//! it starts there (origins, clients, the proxy) lives there too. That takes root and
//! `/dev/net/tun`. Where a system refuses one of them the test is left out and says so, or fails if
//! `FUSEBOX_E2E_NETWORK=required`.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::kernel;

/// Runs `test` in a network of its own, in which only the loopback works.
#[track_caller]
pub(crate) fn own(test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(|| {
        let link = File::open("/dev/net/tun").map(drop);
        let left =
            link.and_then(|()| kernel::leave_the_machine()).and_then(|()| kernel::switch_on("lo"));
        match left {
            Ok(()) => test(),
            Err(error) if std::env::var("FUSEBOX_E2E_NETWORK").as_deref() == Ok("required") => {
                panic!("this test makes a network of its own, and the system refuses that: {error}")
            }
            Err(error) => eprintln!(
                "left out: this test makes a network of its own, which takes root \
                 (CAP_SYS_ADMIN, CAP_NET_ADMIN) and /dev/net/tun: {error}"
            ),
        }
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A link to a neighbour that is ourselves: whoever connects to [`Link::FAR`] arrives at
/// [`Link::NEAR`], and sees the other end as `FAR`. Each packet passes through this process.
#[derive(Debug)]
pub(crate) struct Link(Arc<AtomicU32>);

/// What a link does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Loses so many of a hundred, in both directions.
    Loses(u32),
    /// Answers that the host cannot be reached.
    Unreachable,
}

impl Mood {
    const fn word(self) -> u32 {
        match self {
            Self::Loses(percent) => percent,
            Self::Unreachable => u32::MAX,
        }
    }
}

impl Link {
    /// This end.
    pub(crate) const NEAR: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 1);
    /// The other end.
    pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 2);

    /// A link that works.
    #[track_caller]
    pub(crate) fn new() -> Self {
        let file = near(libc::IFF_TUN);
        let mood = Arc::new(AtomicU32::new(Mood::Loses(0).word()));
        let theirs = Arc::clone(&mood);
        thread::spawn(move || carry(file, &theirs));
        Self(mood)
    }

    /// From now on.
    pub(crate) fn is_now(&self, mood: Mood) {
        self.0.store(mood.word(), Ordering::SeqCst);
    }
}

/// A network of the link layer with nobody in it, as long as the file is held: who is looked for is
/// not found.
#[track_caller]
pub(crate) fn empty() -> File {
    near(libc::IFF_TAP)
}

/// An interface with the address [`Link::NEAR`].
#[track_caller]
fn near(of: libc::c_int) -> File {
    let made = kernel::make_link("link0", of).and_then(|file| {
        kernel::give_address("link0", Link::NEAR)?;
        kernel::switch_on("link0")?;
        Ok(file)
    });
    made.expect("a link of /dev/net/tun")
}

/// Carries packets until the process ends. One comes back with its ends swapped, as if from the
/// other side; its checksums are sums, and stay as they are.
fn carry(mut file: File, mood: &AtomicU32) {
    let mut packet = [0; 2048];
    let mut seed = 7u64;
    while let Ok(length) = file.read(&mut packet) {
        let Some(packet) = packet.get_mut(..length).filter(|it| it.len() >= 20 && it[0] == 0x45)
        else {
            continue; // not IPv4, or with options
        };
        // Knuth's MMIX generator: its high bits.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mood = mood.load(Ordering::SeqCst);
        if mood == Mood::Unreachable.word() {
            drop(file.write_all(&unreachable(packet)));
        } else if (seed >> 33) % 100 >= u64::from(mood) {
            let (from, to) = packet[12..20].split_at_mut(4);
            from.swap_with_slice(to);
            drop(file.write_all(packet));
        }
    }
}

/// What a router says of a packet to a host that it cannot reach (RFC 792).
fn unreachable(packet: &[u8]) -> Vec<u8> {
    let quoted = &packet[..packet.len().min(28)];
    let mut message = [&[3, 1, 0, 0, 0, 0, 0, 0], quoted].concat();
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let length = u16::try_from(20 + message.len()).unwrap();
    let mut head = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0];
    head[2..4].copy_from_slice(&length.to_be_bytes());
    head.extend(Link::FAR.octets());
    head.extend(&packet[12..16]);
    let sum = checksum(&head);
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    [head, message].concat()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|it| u32::from(it[0]) << 8 | u32::from(*it.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
