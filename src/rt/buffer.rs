//! Owned byte buffers from a free list per core.
//!
//! Enters: bytes, appended by a socket or copied in. Leaves: the same bytes, to a socket or a
//! parser. Owns its [`Block`]; dropping a buffer puts that back on this core's list. A warm core
//! allocates nothing.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]
#![expect(unsafe_code, reason = "monoio reads and writes through pointers given by `IoBuf`")]

use super::cache;
use super::memory::Block;
pub use super::memory::{Trimmed, trim, trim_heap};

/// Sizes of buffers. One class serves a head or a small body, one a body in bulk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// [`SMALL`] bytes.
    Small,
    /// [`LARGE`] bytes.
    Large,
}

/// Bytes of a small buffer: a head of the default limit fits.
pub const SMALL: usize = 16 * 1024;

/// Bytes of a large buffer: the unit of bulk relaying, and more than the largest head we hold. Half
/// of it costs clearly more CPU time for large bodies, twice of it a little more.
pub const LARGE: usize = 128 * 1024;

/// A buffer with a filled part, from `start` to `end`.
#[derive(Debug)]
pub struct Buf {
    memory: Block,
    // Half a word each: a waiting read of the runtime holds its buffer several times over.
    start: u32,
    end: u32,
}

impl Default for Buf {
    /// A buffer that holds no memory, and takes nothing: what stays where one was taken.
    fn default() -> Self {
        Self { memory: Block::none(), start: 0, end: 0 }
    }
}

impl Buf {
    /// An empty buffer of `class`.
    #[must_use]
    pub fn new(class: Class) -> Self {
        Self::with_room(class, 0)
    }

    /// An empty buffer of `class` whose first `front` bytes stay free for [`Buf::prepend`].
    #[must_use]
    pub fn with_room(class: Class, front: usize) -> Self {
        let memory = Block::of(match class {
            Class::Small => SMALL,
            Class::Large => LARGE,
        });
        let start = narrow(front.min(memory.len()));
        Self { memory, start, end: start }
    }

    /// An empty buffer that takes `len` bytes: of a class if one is large enough.
    #[must_use]
    pub fn sized(len: usize) -> Self {
        match len {
            0 => Self::default(),
            1..=SMALL => Self::new(Class::Small),
            _ => Self { memory: Block::of(len), start: 0, end: 0 },
        }
    }

    /// A copy of `bytes`.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::sized(bytes.len());
        let _ = copy.put(bytes);
        copy
    }

    /// The same bytes in as little memory as holds them and one more: for a part of a head whose
    /// rest may come byte by byte.
    #[must_use]
    pub fn tight(self) -> Self {
        let memory = Block::of(self.len() + 1);
        if self.room() > 0 && self.capacity() <= memory.len() {
            return self;
        }
        let mut tight = Self { memory, start: 0, end: 0 };
        let _ = tight.put(self.filled());
        tight
    }

    /// The same bytes in the next larger class; in the largest there are none.
    #[must_use]
    pub fn larger(&self) -> Option<Self> {
        let class = match self.capacity() {
            0..SMALL => Class::Small,
            SMALL..LARGE => Class::Large,
            _ => return None,
        };
        let mut larger = Self::new(class);
        let _ = larger.put(self.filled());
        Some(larger)
    }

    const fn from(&self) -> usize {
        self.start as usize
    }

    const fn to(&self) -> usize {
        self.end as usize
    }

    /// The filled part.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        self.memory.bytes().get(self.from()..self.to()).unwrap_or_default()
    }

    /// Asks for the first bytes, which are about to be read.
    #[inline]
    pub(super) fn fetch(&self) {
        cache::fetch(self.filled().as_ptr(), cache::FRONT.min(self.len()));
    }

    /// Bytes filled.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.to() - self.from()
    }

    /// Whether nothing is filled.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end == self.start
    }

    /// Bytes that can still be appended.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.memory.len() - self.to()
    }

    /// Bytes the buffer holds at most.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// Appends `bytes`, or nothing if they do not fit.
    pub fn put(&mut self, bytes: &[u8]) -> Fit {
        let end = self.to();
        match self.memory.bytes_mut().get_mut(end..end + bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.end += narrow(bytes.len());
                Fit::Whole
            }
            None => Fit::Nothing,
        }
    }

    /// Puts `bytes` in front of the filled part, or nothing if they do not fit.
    pub fn prepend(&mut self, bytes: &[u8]) -> Fit {
        let Some(start) = self.from().checked_sub(bytes.len()) else { return Fit::Nothing };
        match self.memory.bytes_mut().get_mut(start..self.start as usize) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.start = narrow(start);
                Fit::Whole
            }
            None => Fit::Nothing,
        }
    }

    /// Takes `count` bytes off the front; at most what is filled.
    pub fn consume(&mut self, count: usize) {
        self.start += narrow(count.min(self.len()));
    }

    /// The last `count` bytes taken off the front, if they still lie there: until the buffer is
    /// emptied, moved to the front or given something to prepend.
    #[must_use]
    pub fn taken(&self, count: usize) -> Option<&[u8]> {
        self.memory.bytes().get(self.from().checked_sub(count)?..self.from())
    }

    /// Empties the buffer; all of it is room again.
    pub const fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Empties the buffer for the next read; one that was taken away or made tight is replaced by a
    /// small one.
    pub fn renew(&mut self) {
        if self.memory.len() < SMALL {
            *self = Self::new(Class::Small);
        }
        self.clear();
    }

    /// Lets `write` fill the room; it says how many bytes it wrote, `None` if it gave up.
    pub fn fill(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Fit {
        let room = self.memory.bytes_mut().get_mut(self.end as usize..).unwrap_or_default();
        let len = room.len();
        match write(room) {
            Some(written) if written <= len => {
                self.end += narrow(written);
                Fit::Whole
            }
            _ => Fit::Nothing,
        }
    }

    /// Keeps the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.end = self.start + narrow(len.min(self.len()));
    }

    /// Moves the filled part to the front, so that all room lies behind it.
    pub fn compact(&mut self) {
        if self.start == 0 {
            return;
        }
        self.memory.bytes_mut().copy_within(self.start as usize..self.end as usize, 0);
        self.end -= self.start;
        self.start = 0;
    }
}

/// An offset in a buffer; none is as large as what this cannot hold.
fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

/// Whether bytes were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Fit {
    /// All of them.
    Whole,
    /// None: there was no room.
    Nothing,
}

// SAFETY: the memory lies in a block, whose address survives moves of `Buf`; `start <= end <= len`
// always holds, so pointer and length name initialised bytes of it.
unsafe impl monoio::buf::IoBuf for Buf {
    fn read_ptr(&self) -> *const u8 {
        self.filled().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.len()
    }
}

// SAFETY: as above; the room behind `end` is initialised memory that nobody else looks at, and
// `set_init` moves `end` over what the kernel wrote there, never past the end.
unsafe impl monoio::buf::IoBufMut for Buf {
    fn write_ptr(&mut self) -> *mut u8 {
        self.memory.bytes_mut().get_mut(self.end as usize..).unwrap_or_default().as_mut_ptr()
    }

    fn bytes_total(&mut self) -> usize {
        self.room()
    }

    unsafe fn set_init(&mut self, pos: usize) {
        self.end += narrow(pos.min(self.room()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut buf = Buf::with_room(Class::Small, 4);
        assert_eq!(buf.put(b"world"), Fit::Whole);
        assert_eq!(buf.prepend(b"ello "), Fit::Nothing);
        assert_eq!(buf.prepend(b"lo, "), Fit::Whole);
        assert_eq!(buf.filled(), b"lo, world");
        buf.consume(4);
        assert_eq!((buf.taken(2), buf.taken(5)), (Some(&b", "[..]), None));
        buf.truncate(3);
        assert_eq!(buf.filled(), b"wor");
        buf.compact();
        assert_eq!((buf.filled(), buf.room()), (&b"wor"[..], SMALL - 3));
        assert_eq!(buf.taken(1), None);
        buf.consume(99);
        assert!(buf.is_empty());
        assert_eq!(buf.prepend(b"wor"), Fit::Whole, "what was taken off is room in front");
        buf.clear();
        assert_eq!(buf.room(), SMALL);
        assert_eq!(buf.fill(|room| Some(room.len() + 1)), Fit::Nothing);
        let kilo = [7; 1024];
        while buf.put(&kilo) == Fit::Whole {}
        assert_eq!(buf.room(), 0);
    }

    #[test]
    fn a_dropped_buffer_is_the_next_one() {
        let buf = Buf::new(Class::Large);
        let address = buf.memory.start();
        drop(buf);
        assert_eq!(Buf::new(Class::Large).memory.start(), address);
        assert!(Buf::sized(LARGE + 1).capacity() > LARGE);
    }

    #[test]
    fn what_is_kept_for_a_while_takes_little_and_grows_again() {
        let mut buf = Buf::with_room(Class::Small, 4);
        let _ = buf.put(b"GET / HT");
        let tight = buf.tight();
        assert_eq!((tight.filled(), tight.capacity()), (&b"GET / HT"[..], 4096));
        let address = tight.memory.start();
        let mut tight = tight.tight();
        assert_eq!(tight.memory.start(), address, "what is tight already stays where it is");
        while tight.put(b"x") == Fit::Whole {}
        let tight = tight.tight();
        assert_eq!((tight.room(), tight.capacity()), (4096, 8192), "there is room for more");
        let tight = Buf::copy_of(b"GET / HT").tight();
        let small = tight.larger().unwrap();
        assert_eq!((small.filled(), small.capacity()), (&b"GET / HT"[..], SMALL));
        let large = small.larger().unwrap();
        assert_eq!((large.filled(), large.capacity()), (&b"GET / HT"[..], LARGE));
        assert!(large.larger().is_none());
    }
}
