//! Bytes ↔ messages, used on both sides; no sockets, no clock.
//!
//! Enters: bytes as they arrive. Leaves: heads as spans over those bytes, the place where a body
//! ends, heads for the other side, responses of our own. What is not fully understood is refused.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

mod accept;
pub mod answer;
mod class;
pub mod field;
pub mod forwarding;
pub mod framing;
pub mod head;
mod length;
mod name;
mod ordinary;
pub mod rewrite;
mod target;
mod tokens;
pub mod trailer;
pub mod upgrade;
