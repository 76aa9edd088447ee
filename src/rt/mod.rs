//! The only room that names monoio, and the only home of `unsafe`.
//!
//! Enters: sockets and time. Leaves: [`stream::Stream`], [`buffer::Buf`], deadlines, a mailbox, a
//! running core. The traps of the runtime below (leaked sockets on a dropped accept, boxed
//! operations on a dropped read, a closing ring for every close, a panic that ends the core) are
//! met here, once, so that no other room has to know them.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

pub mod buffer;
mod cache;
pub mod child;
pub mod deadline;
pub mod driver;
pub mod listen;
pub mod mailbox;
mod memory;
pub mod nest;
mod quiet;
mod socket;
pub mod stream;
mod wheel;
