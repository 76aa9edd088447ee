//! The bundled load tests: argv → command → exit code.
//!
//! Everything runs in one process and on one clock: clients, origins, and the watchers of the
//! programs under test, which are children.

mod breaker;
mod cli;
mod client;
mod clock;
mod compare;
mod cores;
mod crowd;
mod dice;
mod expect;
mod interrupt;
mod load;
mod memory;
mod message;
mod origin;
mod own;
mod point;
mod process;
mod progress;
mod proxy;
mod redis;
mod report;
mod ring;
mod scenarios;
mod schedule;
mod sink;
mod stage;
mod tally;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
