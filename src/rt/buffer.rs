//! Owned byte buffers from a free list per core.
//!
//! Enters: bytes, appended by a socket or copied in. Leaves: the same bytes, to a socket or a
//! parser. Owns the memory; dropping a buffer puts it back on this core's list. A warm core
//! allocates nothing.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]
#![expect(unsafe_code, reason = "monoio reads and writes through pointers given by `IoBuf`")]

use std::cell::RefCell;

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

/// How many buffers of each class a core keeps for later; more are given back to the allocator.
const KEPT: [usize; 2] = [1024, 128];

thread_local! {
    static FREE: RefCell<[Vec<Box<[u8]>>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// A buffer with a filled part, from `start` to `end`.
#[derive(Debug)]
pub struct Buf {
    memory: Box<[u8]>,
    start: usize,
    end: usize,
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
        let (slot, len) = match class {
            Class::Small => (0, SMALL),
            Class::Large => (1, LARGE),
        };
        let kept = FREE.with_borrow_mut(|free| free.get_mut(slot).and_then(Vec::pop));
        let memory = kept.unwrap_or_else(|| Box::from_iter(std::iter::repeat_n(0, len)));
        let start = front.min(len);
        Self { memory, start, end: start }
    }

    /// An empty buffer that takes `len` bytes: of a class if one is large enough.
    #[must_use]
    pub fn sized(len: usize) -> Self {
        match len {
            0 => Self { memory: Box::default(), start: 0, end: 0 },
            1..=SMALL => Self::new(Class::Small),
            _ if len <= LARGE => Self::new(Class::Large),
            _ => Self { memory: Box::from_iter(std::iter::repeat_n(0, len)), start: 0, end: 0 },
        }
    }

    /// The filled part.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        self.memory.get(self.start..self.end).unwrap_or_default()
    }

    /// Bytes filled.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether nothing is filled.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end == self.start
    }

    /// Bytes that can still be appended.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.memory.len() - self.end
    }

    /// Bytes the buffer holds at most.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// Appends `bytes`, or nothing if they do not fit.
    pub fn put(&mut self, bytes: &[u8]) -> Fit {
        match self.memory.get_mut(self.end..self.end + bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.end += bytes.len();
                Fit::Whole
            }
            None => Fit::Nothing,
        }
    }

    /// Puts `bytes` in front of the filled part, or nothing if they do not fit.
    pub fn prepend(&mut self, bytes: &[u8]) -> Fit {
        let Some(start) = self.start.checked_sub(bytes.len()) else { return Fit::Nothing };
        match self.memory.get_mut(start..self.start) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.start = start;
                Fit::Whole
            }
            None => Fit::Nothing,
        }
    }

    /// Takes `count` bytes off the front; at most what is filled.
    pub fn consume(&mut self, count: usize) {
        self.start += count.min(self.len());
    }

    /// The last `count` bytes taken off the front, if they still lie there: until the buffer is
    /// emptied, moved to the front or given something to prepend.
    #[must_use]
    pub fn taken(&self, count: usize) -> Option<&[u8]> {
        self.memory.get(self.start.checked_sub(count)?..self.start)
    }

    /// Empties the buffer; all of it is room again.
    pub const fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Empties the buffer for the next read; one that was taken away is replaced by a small one.
    pub fn renew(&mut self) {
        if self.memory.is_empty() {
            *self = Self::new(Class::Small);
        }
        self.clear();
    }

    /// Lets `write` fill the room; it says how many bytes it wrote, `None` if it gave up.
    pub fn fill(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Fit {
        let room = self.memory.get_mut(self.end..).unwrap_or_default();
        let len = room.len();
        match write(room) {
            Some(written) if written <= len => {
                self.end += written;
                Fit::Whole
            }
            _ => Fit::Nothing,
        }
    }

    /// Keeps the first `len` bytes.
    pub const fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.end = self.start + len;
        }
    }

    /// Moves the filled part to the front, so that all room lies behind it.
    pub fn compact(&mut self) {
        self.memory.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }
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

impl Drop for Buf {
    #[inline]
    fn drop(&mut self) {
        // Most buffers that are dropped are what stayed behind where one was taken away.
        if !self.memory.is_empty() {
            self.give_back();
        }
    }
}

impl Buf {
    fn give_back(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        let slot = match memory.len() {
            SMALL => 0,
            LARGE => 1,
            _ => return,
        };
        // A thread that is ending has no list any more; then the memory is simply freed.
        let _ = FREE.try_with(|free| {
            if let Some(list) = free.borrow_mut().get_mut(slot)
                && KEPT.get(slot).is_some_and(|&kept| list.len() < kept)
            {
                list.push(memory);
            }
        });
    }
}

// SAFETY: the memory is boxed, so its address survives moves of `Buf`; `start <= end <= len` always
// holds, so pointer and length name initialised bytes of it.
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
        self.memory.get_mut(self.end..).unwrap_or_default().as_mut_ptr()
    }

    fn bytes_total(&mut self) -> usize {
        self.room()
    }

    unsafe fn set_init(&mut self, pos: usize) {
        self.end += pos.min(self.room());
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
        let address = buf.memory.as_ptr();
        drop(buf);
        assert_eq!(Buf::new(Class::Large).memory.as_ptr(), address);
        assert_eq!(Buf::sized(LARGE + 1).capacity(), LARGE + 1);
    }
}
