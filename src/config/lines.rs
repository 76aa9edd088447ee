//! The lines of a document.
//!
//! Enters: its text. Leaves: the number of the line that a byte is in, and where that line starts.

/// Where each line starts.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|&(_, b)| b == b'\n');
        Self(std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect())
    }

    /// The number of the line that holds byte `at`, from 1, and where it starts.
    pub(super) fn at(&self, at: usize) -> (usize, usize) {
        let line = self.0.partition_point(|&start| start <= at);
        (line, line.checked_sub(1).and_then(|nth| self.0.get(nth)).copied().unwrap_or(0))
    }
}

/// The character boundary at or before `at`.
pub(super) fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at)
}
