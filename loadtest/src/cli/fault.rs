//! `loadtest origin`: an origin that is sick on command, to try a configuration with.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::parse_span;
use crate::origin::{Delay, Fault, Origin, Script, Spec};
use crate::{clock, interrupt};

#[derive(Debug, Args)]
pub(super) struct SickOrigin {
    /// Where it listens
    #[arg(long, default_value = "127.0.0.1:6666")]
    listen: SocketAddr,
    /// Bytes of an answer; without, it tells what it was asked
    #[arg(long)]
    body: Option<usize>,
    /// The share of requests answered 500, in percent
    #[arg(long, default_value_t = 0.0)]
    fail: f64,
    /// The share of requests answered by a reset, in percent
    #[arg(long, default_value_t = 0.0)]
    reset: f64,
    /// How long an answer takes
    #[arg(long, value_parser = parse_span)]
    delay: Option<Duration>,
    /// When it becomes sick
    #[arg(long, value_parser = parse_span)]
    from: Option<Duration>,
    /// When it is well again
    #[arg(long, value_parser = parse_span)]
    until: Option<Duration>,
    /// Threads
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
}

impl SickOrigin {
    /// Serves until it is interrupted.
    pub(super) fn serve(&self) -> Result<(), String> {
        let fault = Fault {
            fail: self.fail / 100.0,
            reset: self.reset / 100.0,
            delay: self.delay.map_or(Delay::None, Delay::Fixed),
            ..Fault::default()
        };
        let script = Script::default().then(self.from.unwrap_or_default(), fault);
        let script = match self.until {
            Some(until) => script.healthy(until),
            None => script,
        };
        let origin = Origin::start(Spec {
            replies: self.body.map(|body| ("/".to_owned(), vec![b'a'; body])).into_iter().collect(),
            script,
            threads: usize::from(self.threads),
            address: self.listen,
            ..Spec::named("origin")
        })?;
        origin.begin_now();
        println!("listening {}", origin.address());
        while !interrupt::is_raised() {
            clock::pass(Duration::from_millis(100));
        }
        println!("{} requests", origin.requests());
        Ok(())
    }
}
