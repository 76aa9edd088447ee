//! fusebox: an HTTP reverse proxy built around the circuit breaker. This is the map.

// One line per request, written by one thread, dropped and counted when it cannot keep up.
pub mod access;
// May this request go, and what did it teach us? Pure.
pub mod breaker;
// argv → command → exit code.
pub mod cli;
// The only reader of the clock.
pub mod clock;
// Many proxies, one opinion: what is shared through a store. Pure.
pub mod cluster;
// What the operator wrote → what we promise.
pub mod config;
// Everything that is not a request: start, reload, admin, events, shutdown.
pub mod control;
// Two origins and a client around the real proxy, for the first minute.
pub mod demo;
// The client's side: one task per connection.
pub mod downstream;
// One request, from its head to its settled verdict.
pub mod exchange;
// Bytes ↔ messages, used on both sides.
pub mod http1;
// Lines to one writer thread, dropped and counted when it cannot keep up.
pub mod log;
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
