//! fusebox: an HTTP reverse proxy built around the circuit breaker. This is the map.

// argv → command → exit code.
pub mod cli;
// Everything that is neither a request nor a tick.
pub mod control;

// May this request go, and what did it teach us? Pure.
pub mod breaker;
// The only reader of the clock.
pub mod clock;
// What the operator wrote → what we promise.
pub mod config;
// Bytes ↔ messages, used on both sides.
pub mod http1;
// Lines from anywhere → one writer of standard error.
pub mod log;
// Counters with one writer per core.
pub mod stats;
// What we promise → the fixed plan every core reads.
pub mod table;

// One thread, one core, everything that core owns.
pub mod worker;
