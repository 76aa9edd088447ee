//! The buffers that the kernel fills: one ring of them for all sockets of a thread.
//!
//! A socket at rest holds no buffer, and a few buffers in turn stay in the cache however many
//! sockets there are. Owns the memory until the ring that uses it has ended.

#![expect(unsafe_code, reason = "the ring of buffers is shared with the kernel")]

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use super::slot::Bytes;

/// How many: more than the answers of one turn, as a rule. A power of two.
const COUNT: u16 = 128;

/// Of how many bytes: a body of a megabyte takes 32 turns of them.
pub(super) const SIZE: usize = 32 * 1024;

/// The number under which the kernel knows these buffers.
pub(super) const GROUP: u16 = 0;

/// A page, as the kernel wants the ring of entries aligned.
#[repr(C, align(4096))]
struct Page([u8; 4096]);

/// A filled buffer; to be given back.
#[derive(Debug)]
#[must_use = "a buffer that is not given back is lost to all sockets"]
pub(crate) struct Lent {
    number: u16,
    len: usize,
}

/// All buffers of one ring.
pub(super) struct Pool {
    entries: Box<Page>,
    memory: Box<[u8]>,
    tail: u16,
    /// How many the kernel has filled and we have not given back.
    lent: u16,
}

impl Pool {
    /// Registers buffers with `io`.
    pub(super) fn register(io: &IoUring) -> io::Result<Self> {
        let memory = vec![0; SIZE * usize::from(COUNT)].into_boxed_slice();
        let mut pool = Self { entries: Box::new(Page([0; 4096])), memory, tail: 0, lent: 0 };
        let address = pool.entries.0.as_ptr() as u64;
        // SAFETY: the page is aligned, holds `COUNT` entries of 16 bytes, and outlives the ring:
        // `Ring` drops its pool after its descriptor, or never.
        unsafe { io.submitter().register_buf_ring(address, COUNT, GROUP) }?;
        for number in 0..COUNT {
            pool.offer(number);
        }
        Ok(pool)
    }

    /// What the kernel wrote.
    pub(super) fn bytes(&self, lent: &Lent) -> &[u8] {
        let start = usize::from(lent.number) * SIZE;
        self.memory.get(start..start + lent.len.min(SIZE)).unwrap_or_default()
    }

    /// What is to be sent.
    pub(super) fn of<'b>(&'b self, bytes: &'b Bytes) -> &'b [u8] {
        match bytes {
            Bytes::Shared(bytes) => bytes,
            Bytes::Lent(lent) => self.bytes(lent),
        }
    }

    /// A buffer that the kernel has filled.
    pub(super) fn lend(&mut self, number: u16, len: usize) -> Lent {
        self.lent += 1;
        Lent { number, len }
    }

    /// Whether the kernel has a buffer to fill.
    pub(super) const fn has_buffers(&self) -> bool {
        self.lent < COUNT
    }

    /// Takes a buffer back.
    #[expect(clippy::needless_pass_by_value, reason = "who gives it back no longer has it")]
    pub(super) fn give_back(&mut self, lent: Lent) {
        self.lent -= 1;
        self.offer(lent.number);
    }

    fn offer(&mut self, number: u16) {
        let base = self.entries.0.as_mut_ptr().cast::<BufRingEntry>();
        let place = usize::from(self.tail & (COUNT - 1));
        let start = usize::from(number) * SIZE;
        let address = self.memory.as_mut_ptr().wrapping_add(start) as u64;
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `place` is one of the `COUNT` entries of the page; the kernel reads an entry only
        // after the tail has passed it, which the release store below makes it do.
        unsafe {
            let entry = &mut *base.add(place);
            entry.set_addr(address);
            entry.set_len(u32::try_from(SIZE).unwrap_or(u32::MAX));
            entry.set_bid(number);
            let tail = BufRingEntry::tail(base).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}
