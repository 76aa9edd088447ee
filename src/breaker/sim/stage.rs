//! One thread runs at a time, and a seed says which.
//!
//! Enters: threads that announce each access to shared memory. Leaves: an order of those accesses
//! that depends on the seed alone. Owns the turn: who has it runs until its next access, then hands
//! it to whom the dice say; between batches the judge, the last of them, has it.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};

use super::super::atomics::stepped::Access;

/// Dice with a seed: splitmix64.
#[derive(Clone, Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        super::super::pace::mix(self.0) % sides
    }

    pub(super) fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.roll(all.len() as u64)).unwrap()]
    }
}

#[derive(Debug)]
pub(super) struct Stage {
    turn: AtomicUsize,
    over: AtomicBool,
    threads: Mutex<Vec<Option<Thread>>>,
    /// Held by who has the turn only, so never waited for.
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    dice: Dice,
    /// Who is within an operation.
    busy: Vec<bool>,
    /// Operations that may still begin in this batch.
    left: usize,
    steps: u64,
}

thread_local! {
    static ROLE: RefCell<Option<(Arc<Stage>, usize)>> = const { RefCell::new(None) };
}

/// What each thread does ahead of an access.
pub(super) fn before(_: Access) {
    let role = ROLE.with_borrow(Clone::clone);
    if let Some((stage, me)) = role {
        stage.step(me);
    }
}

impl Stage {
    /// A stage for so many actors; the judge has the turn.
    pub(super) fn new(actors: usize, dice: Dice) -> Arc<Self> {
        let book = Book { dice, busy: vec![false; actors], left: 0, steps: 0 };
        let threads = (0..actors).map(|_| None).chain([Some(thread::current())]);
        Arc::new(Self {
            turn: AtomicUsize::new(actors),
            over: AtomicBool::new(false),
            threads: Mutex::new(threads.collect()),
            book: Mutex::new(book),
        })
    }

    /// Makes this thread actor `me`.
    pub(super) fn enter(self: &Arc<Self>, me: usize) {
        self.threads.lock().unwrap()[me] = Some(thread::current());
        ROLE.set(Some((Arc::clone(self), me)));
    }

    /// The judge: lets `left` operations run to their end.
    pub(super) fn batch(&self, left: usize) {
        let judge = self.threads.lock().unwrap().len() - 1;
        self.book.lock().unwrap().left = left;
        self.pass(judge);
        self.wait(judge);
    }

    /// The judge: sends everyone home.
    pub(super) fn close(&self) {
        self.over.store(true, Ordering::SeqCst);
        for thread in self.threads.lock().unwrap().iter().flatten() {
            thread.unpark();
        }
    }

    /// An actor: waits for an operation to begin; false: there will be none.
    pub(super) fn begin(&self, me: usize) -> bool {
        self.wait(me);
        if self.over.load(Ordering::SeqCst) {
            return false;
        }
        let mut book = self.book.lock().unwrap();
        book.left -= 1;
        book.busy[me] = true;
        true
    }

    /// An actor: its operation has ended.
    pub(super) fn end(&self, me: usize) {
        self.book.lock().unwrap().busy[me] = false;
        self.pass(me);
    }

    pub(super) fn dice<T>(&self, throw: impl FnOnce(&mut Dice) -> T) -> T {
        throw(&mut self.book.lock().unwrap().dice)
    }

    pub(super) fn steps(&self) -> u64 {
        self.book.lock().unwrap().steps
    }

    fn step(&self, me: usize) {
        {
            let mut book = self.book.lock().unwrap();
            book.steps += 1;
            // Half of the time it goes on: long stretches find other faults than short ones.
            if book.dice.one_in(2) {
                return;
            }
        }
        self.pass(me);
        self.wait(me);
    }

    /// Gives the turn to someone who can use it.
    fn pass(&self, me: usize) {
        let next = {
            let mut book = self.book.lock().unwrap();
            let may = |who: &usize| book.busy[*who] || book.left > 0;
            let able: Vec<usize> = (0..book.busy.len()).filter(may).collect();
            if able.is_empty() { book.busy.len() } else { book.dice.pick(&able) }
        };
        if next != me {
            self.turn.store(next, Ordering::SeqCst);
            self.wake(next);
        }
    }

    fn wake(&self, who: usize) {
        // An actor that has not entered yet looks before it waits.
        if let Some(thread) = &self.threads.lock().unwrap()[who] {
            thread.unpark();
        }
    }

    fn wait(&self, me: usize) {
        while self.turn.load(Ordering::SeqCst) != me && !self.over.load(Ordering::SeqCst) {
            thread::park();
        }
    }
}

/// Ends the play when an actor panics, so that nobody waits for it.
pub(super) struct Curtain(pub(super) Arc<Stage>);

impl Drop for Curtain {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.close();
        }
    }
}
