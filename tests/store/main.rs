//! The client of Redis, against real servers: every way to reach one, and every way it fails.
//!
//! Harness: `server` runs redis-server, `deployment` several that are one, on `ports` that are held
//! for them; `relay` stands before one, `bench` holds a store and speaks to it from a test's
//! thread. The other modules are tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    reason = "a test stops at the first surprise, sleeps and reads files on its own threads, \
              and hands over JSON it has just written"
)]

mod bench;
mod deployment;
mod ports;
mod relay;
mod server;

mod failures;
mod modes;
