//! Bytes ↔ messages, used on both sides; no sockets, no clock.

pub mod answer;
