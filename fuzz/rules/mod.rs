//! What must hold for any bytes at all: one `check` per target, which panics where it does not.
//!
//! The fuzzer calls them with what it makes up, `tests/seeds.rs` with what is in `corpus/`. They
//! use the library as anyone could, and judge it by `reader`, which shares no code with it.

#![allow(
    dead_code,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a rule that is broken stops the run; each target uses its own rules only"
)]

pub mod chunks;
pub mod config;
pub mod framing;
pub mod head;
pub mod path;
pub mod reader;
pub mod rewrite;

use fusebox::http1::head::Bounds;

/// The limits of a proxy whose configuration names none.
pub const BOUNDS: Bounds = Bounds { bytes: 16 * 1024, fields: 100, target: 8 * 1024 };

/// The offsets at which `bytes` are cut: every one of a short message, a hundred of a long one,
/// and always its end.
pub fn cuts(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let step = (bytes.len() / 100).max(1);
    let step = if bytes.len() <= 512 { 1 } else { step };
    (1..bytes.len()).step_by(step).chain([bytes.len()])
}
