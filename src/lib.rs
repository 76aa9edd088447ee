//! fusebox: an HTTP reverse proxy built around the circuit breaker. This is the map.

// May this request go, and what did it teach us? Pure.
pub mod breaker;
// The only reader of the clock.
pub mod clock;
// What the operator wrote → what we promise.
pub mod config;
// argv → command → exit code.
pub mod cli;
// One request from head to settled.
pub mod exchange;
// Bytes ↔ messages, used on both sides.
pub mod http1;
// Counters with one writer per core.
pub mod stats;
// What we promise → the fixed plan every core reads.
pub mod table;

// One thread, one core, everything that core owns.
pub mod worker;
