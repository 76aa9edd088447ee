//! Blocks of memory in whole pages, from free lists per core.
//!
//! Enters: a size. Leaves: a [`Block`] of at least that size, zeroed or with what its last owner
//! left in it; dropped, it goes back to this core's list. Owns the address space: it is never given
//! back, but the pages behind blocks that nobody needed lately are ([`trim`]). So a burst costs
//! memory only while it lasts, whatever else was allocated meanwhile: in the allocator's heap one
//! small allocation between two blocks would hold on to both.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]
#![expect(unsafe_code, reason = "maps pages, and hands them out as slices")]

use std::alloc::{Layout, handle_alloc_error};
use std::cell::RefCell;
use std::ptr::NonNull;

use super::cache;

/// Bytes of a page, and of the smallest block.
pub(super) const PAGE: usize = 4096;

/// The sizes that are kept for later. What is larger is mapped for one owner.
const SIZES: [usize; 4] = [PAGE, 2 * PAGE, super::buffer::SMALL, super::buffer::LARGE];

/// Address space is taken in portions of this many bytes.
const PORTION: usize = 1024 * 1024;

/// How many blocks one call of [`trim`] looks after: a core is not to stop for longer than about a
/// tenth of a millisecond.
const SLICE: usize = 64;

thread_local! {
    static FREE: RefCell<Shelves> = const { RefCell::new([const { Shelf::new() }; SIZES.len()]) };
}

/// Memory of one owner.
#[derive(Debug)]
pub(super) struct Block {
    start: NonNull<u8>,
    pages: u32,
    /// The place of its size among [`SIZES`], or [`ALONE`].
    shelf: u32,
}

/// Of a size that is not kept for later.
const ALONE: u32 = u32::MAX;

/// By the place of their size among [`SIZES`].
type Shelves = [Shelf; SIZES.len()];

/// The free blocks of one size, the one used last on top.
struct Shelf {
    blocks: Vec<NonNull<u8>>,
    /// How many of them, from the bottom, have no pages behind them.
    bare: usize,
    /// The fewest there were since the last look: so many nobody needed.
    spare: usize,
}

impl Block {
    /// No memory.
    pub(super) const fn none() -> Self {
        Self { start: NonNull::dangling(), pages: 0, shelf: ALONE }
    }

    /// A block of at least `len` bytes.
    #[inline]
    pub(super) fn of(len: usize) -> Self {
        let Some(shelf) = shelf_for(len) else { return Self::alone(len) };
        let size = SIZES.get(shelf).copied().unwrap_or(0);
        let take = |shelves: &mut Shelves| Some(shelves.get_mut(shelf)?.take(size));
        match FREE.with_borrow_mut(take) {
            Some(start) => Self { start, pages: pages(size), shelf: shelf as u32 },
            None => Self::alone(len),
        }
    }

    fn alone(len: usize) -> Self {
        let len = len.next_multiple_of(PAGE);
        Self { start: map(len), pages: pages(len), shelf: ALONE }
    }

    /// Its bytes.
    pub(super) const fn bytes(&self) -> &[u8] {
        // SAFETY: `len` mapped bytes that this block alone owns; pages read as zero until written.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len()) }
    }

    /// Its bytes, to be written.
    pub(super) const fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len()) }
    }

    /// How many bytes it has.
    pub(super) const fn len(&self) -> usize {
        self.pages as usize * PAGE
    }

    /// Where it begins: at the border of a page.
    pub(super) const fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for Block {
    #[inline]
    fn drop(&mut self) {
        // Most buffers that are dropped are what stayed behind where one was taken away.
        if self.pages > 0 {
            self.give_back();
        }
    }
}

impl Block {
    fn give_back(&self) {
        let (start, len) = (self.start, self.len());
        // A thread that is ending has no list any more: what it held stays mapped, as its list.
        let _ = FREE.try_with(|free| match free.borrow_mut().get_mut(self.shelf as usize) {
            Some(shelf) => {
                // It is the next one to be taken.
                cache::fetch(start.as_ptr(), cache::FRONT);
                shelf.blocks.push(start);
            }
            // SAFETY: mapped by `alone` with this length, and no longer anyone's.
            None => drop(unsafe { libc::munmap(start.as_ptr().cast(), len) }),
        });
    }
}

/// So many pages; one owner's memory is less than the 16 TiB that this cannot hold.
fn pages(len: usize) -> u32 {
    u32::try_from(len / PAGE).unwrap_or(u32::MAX)
}

fn shelf_for(len: usize) -> Option<usize> {
    SIZES.iter().position(|size| *size >= len)
}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trimmed {
    /// Some blocks have not been looked after: come again, but let others run first.
    Partly,
    /// All have.
    Whole,
}

/// Gives the pages of this core's spare blocks back to the system: of those that lay unused since
/// the last call that ended [`Trimmed::Whole`].
pub fn trim() -> Trimmed {
    FREE.with_borrow_mut(|shelves| {
        let mut left = SLICE;
        for (shelf, size) in shelves.iter_mut().zip(SIZES) {
            left = shelf.trim(size, left);
        }
        if left == 0 {
            return Trimmed::Partly;
        }
        for shelf in shelves {
            shelf.spare = shelf.blocks.len();
        }
        Trimmed::Whole
    })
}

/// Has the allocator give back what it holds for later: the lists that a burst made long. It looks
/// through all there is, so no core may wait for it.
pub fn trim_heap() {
    // SAFETY: a call without memory of ours.
    unsafe { libc::malloc_trim(0) };
}

impl Shelf {
    const fn new() -> Self {
        Self { blocks: Vec::new(), bare: 0, spare: 0 }
    }

    fn take(&mut self, size: usize) -> NonNull<u8> {
        let start = self.blocks.pop().unwrap_or_else(|| self.grow(size));
        let left = self.blocks.len();
        self.bare = self.bare.min(left);
        self.spare = self.spare.min(left);
        start
    }

    /// Takes a portion of address space, no page of which costs memory before it is written.
    #[cold]
    fn grow(&mut self, size: usize) -> NonNull<u8> {
        let first = map(PORTION);
        for nth in 1..PORTION / size {
            // SAFETY: within the portion.
            self.blocks.push(unsafe { first.add(nth * size) });
        }
        self.bare = self.blocks.len();
        first
    }

    /// Gives pages back, of at most `left` blocks; returns how many more may follow.
    fn trim(&mut self, size: usize, left: usize) -> usize {
        let from = self.bare;
        let until = self.spare.min(from + left).max(from);
        for block in self.blocks.get(from..until).unwrap_or_default() {
            // SAFETY: a free block: nobody reads what it held, and later it reads as zero.
            unsafe { libc::madvise(block.as_ptr().cast(), size, libc::MADV_DONTNEED) };
        }
        self.bare = until;
        left - (until - from)
    }
}

/// Maps `len` bytes, or ends the process as every allocation does that finds no memory.
fn map(len: usize) -> NonNull<u8> {
    let (access, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh mapping at a place of the kernel's choice.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), len, access, kind, -1, 0) };
    match NonNull::new(start.cast::<u8>()) {
        Some(found) if start != libc::MAP_FAILED => found,
        _ => handle_alloc_error(Layout::from_size_align(len, PAGE).unwrap_or(Layout::new::<u8>())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of `block` that have pages behind them.
    fn resident(block: NonNull<u8>, len: usize) -> usize {
        let mut pages = [0u8; 32];
        // SAFETY: `len` mapped bytes are at most as many pages as `pages` has places.
        let asked = unsafe { libc::mincore(block.as_ptr().cast(), len, pages.as_mut_ptr()) };
        assert_eq!(asked, 0);
        pages[..len / PAGE].iter().filter(|page| **page & 1 == 1).count() * PAGE
    }

    #[test]
    fn a_dropped_block_is_the_next_one() {
        let block = Block::of(5000);
        assert_eq!(block.len(), 2 * PAGE);
        let start = block.start();
        drop(block);
        assert_eq!(Block::of(2 * PAGE).start(), start);
        assert_eq!(Block::of(200_000).bytes().len(), 49 * PAGE);
    }

    #[test]
    fn spare_blocks_lose_their_pages_and_blocks_in_use_do_not() {
        let mut blocks: Vec<Block> =
            (0..200).map(|_| Block::of(super::super::buffer::SMALL)).collect();
        let len = blocks[0].len();
        for block in &mut blocks {
            block.bytes_mut().fill(7);
        }
        let kept = blocks.pop().unwrap();
        let starts: Vec<_> = blocks.iter().map(Block::start).collect();
        drop(blocks);
        while trim() == Trimmed::Partly {}
        assert!(starts.iter().all(|start| resident(*start, len) == len), "just used");
        // One is used between two looks, again and again: it keeps its pages.
        let used = Block::of(len).start();
        let mut slices = 1;
        while trim() == Trimmed::Partly {
            slices += 1;
        }
        assert!(slices > 1, "a core is not stopped for long");
        let left: usize = starts.iter().map(|start| resident(*start, len)).sum();
        assert_eq!(left, len, "only the one in use");
        assert_eq!(resident(used, len), len);
        assert!(kept.bytes().iter().all(|byte| *byte == 7));
        assert!(Block::of(len).bytes().iter().all(|byte| *byte == 7), "the warm one first");
    }
}
