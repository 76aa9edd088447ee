//! fusebox: an HTTP reverse proxy built around the circuit breaker. This is the map.

// May this request go, and what did it teach us? Pure.
pub mod breaker;
// The only reader of the clock.
pub mod clock;
// What the operator wrote → what we promise.
pub mod config;
// The client's side: one task per connection.
pub mod downstream;
// One request, from its head to its settled verdict.
pub mod exchange;
// Bytes ↔ messages, used on both sides.
pub mod http1;
// Sockets, buffers, deadlines: the only room that names the runtime.
pub mod rt;
// Counters with one writer per core.
pub mod stats;
// What we promise → the fixed plan every core reads.
pub mod table;
// The service's side: a leased connection, returned by drop.
pub mod upstream;
// One thread, one core, everything that core owns.
pub mod worker;
