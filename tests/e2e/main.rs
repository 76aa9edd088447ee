//! The binary from outside: started as a process, spoken to over sockets, stopped by signals.
//!
//! Harness: `proxy` runs the binary, `origin` stands behind it, `client` before it; `recorder`
//! writes down what comes through, `corpus` holds what is sent, `reading` what the library takes it
//! for; `kernel` holds the system calls, `wait` the deadlines, `document` writes configurations;
//! `network` makes a network of a test's own, `resolver` answers for names in it; `ports` are held
//! for who is to listen there; `fleet` starts several proxies on one Redis, which `server` and
//! `deployment` run and `relay` stands before.
//! The other modules are tests, one subject each. No fixed ports, loopback only.
//! `FUSEBOX_E2E_DRIVER` picks the driver of every proxy whose document names none.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    reason = "a test stops at the first surprise, sleeps and reads files on its own threads, and \
              hands over JSON it has just written"
)]

mod client;
mod corpus;
#[path = "../store/deployment.rs"]
mod deployment;
mod document;
mod fleet;
mod kernel;
mod network;
mod origin;
#[path = "../store/ports.rs"]
mod ports;
mod proxy;
mod reading;
mod recorder;
#[path = "../store/relay.rs"]
mod relay;
mod resolver;
#[path = "../store/server.rs"]
mod server;
mod wait;

mod abort;
mod access;
mod admin;
mod balance;
mod bodies;
mod bounds;
mod breaker;
mod cli;
mod concurrency;
mod conditions;
mod connections;
mod crowds;
mod drivers;
mod failures;
mod fanout;
mod faults;
mod forwarding;
mod framing;
mod handlers;
mod headers;
mod hops;
mod hostile;
mod interim;
mod lifecycle;
mod limits;
mod links;
mod names;
mod orders;
mod outage;
mod recovery;
mod reload;
mod replies;
mod rest;
mod retry;
mod routing;
mod seeds;
mod series;
mod sharing;
mod sink;
mod smuggling;
mod spread;
mod stand_in;
mod timeouts;
mod trailers;
mod transfers;
mod tunnel;
