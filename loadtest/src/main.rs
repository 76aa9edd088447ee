//! Load on one URL over keep-alive connections, and what it measured.
//!
//! Closed loop: each connection asks again when its answer is complete, on a thread of its own. A
//! server that stalls is therefore asked less often, and the percentiles understate what clients
//! that do not wait would have seen; the report says so.

mod bystanders;
mod connection;

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use indicatif::ProgressBar;

use bystanders::Bystanders;
use connection::Connection;

/// Load on one URL over keep-alive connections (closed loop)
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// What to ask for, such as `http://127.0.0.1:8080/users`
    url: String,
    /// Connections, each with one request under way
    #[arg(short, long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// How long
    #[arg(short, long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Connections at rest beside the load; then it is run without them and with them, in turns
    #[arg(long, default_value_t = 0)]
    rest: usize,
    /// Connections beside the load that send a head byte by byte; as with `--rest`
    #[arg(long, default_value_t = 0)]
    slow: usize,
}

/// What one connection, or all of them, have seen.
struct Tally {
    /// Microseconds from the first byte sent to the last byte read.
    latency: Histogram<u64>,
    /// Answers by status, failures by kind.
    ends: BTreeMap<String, u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match (arguments.rest, arguments.slow) {
        (0, 0) => run(&arguments).map(|tally| tally.latency.len()),
        _ => beside(&arguments),
    };
    match outcome {
        Ok(answered) if answered > 0 => ExitCode::SUCCESS,
        Ok(_) => fail("no request was answered"),
        Err(why) => fail(&why),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("loadtest: {why}");
    ExitCode::FAILURE
}

/// Loads without and with bystanders, three times each, and compares.
fn beside(arguments: &Arguments) -> Result<u64, String> {
    let (address, request) = target(&arguments.url)?;
    let (mut alone, mut beside) = (Tally::new()?, Tally::new()?);
    for round in 0..3 {
        println!("\nround {round}, alone");
        alone.add(run(arguments)?)?;
        let (rest, slow) = (arguments.rest, arguments.slow);
        println!("\nround {round}, beside {rest} connections at rest and {slow} slow heads");
        let bystanders = Bystanders::gather(address, &request, rest, slow)?;
        beside.add(run(arguments)?)?;
        println!("slow heads that were cut and begun anew: {}", bystanders.leave());
    }
    let p99 = |tally: &Tally| tally.latency.value_at_quantile(0.99);
    println!("\np99, all rounds together, ms");
    for (name, tally) in [("alone", &alone), ("beside", &beside)] {
        println!("  {name:<20} {:>10.3}", p99(tally) as f64 / 1000.0);
    }
    println!(
        "  {:<20} {:>+9.1}%",
        "change",
        (p99(&beside) as f64 / p99(&alone) as f64 - 1.0) * 100.0
    );
    Ok(alone.latency.len().min(beside.latency.len()))
}

/// Loads, reports, and returns what was seen.
fn run(arguments: &Arguments) -> Result<Tally, String> {
    let (address, request) = target(&arguments.url)?;
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut total = Tally::new()?;
    let began = now();
    thread::scope(|scope| {
        let drive = || drive(address, &request, &stop, &done);
        let drivers: Vec<_> = (0..arguments.connections).map(|_| scope.spawn(drive)).collect();
        watch(began, Duration::from_secs(arguments.seconds), &done);
        stop.store(true, Ordering::Relaxed);
        for driver in drivers {
            total.add(driver.join().map_err(|_| "a connection's thread panicked".to_owned())??)?;
        }
        Ok::<(), String>(())
    })?;
    total.print(arguments, began.elapsed());
    Ok(total)
}

/// Where to connect and what to send.
#[expect(clippy::disallowed_methods, reason = "asked once, before the load begins")]
fn target(url: &str) -> Result<(SocketAddr, Vec<u8>), String> {
    let rest = url.strip_prefix("http://").ok_or(format!("{url}: only http:// is spoken"))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    let (_, port) = authority.rsplit_once(':').unwrap_or_default();
    let place = if port.is_empty() { format!("{authority}:80") } else { authority.to_owned() };
    let mut found = place.to_socket_addrs().map_err(|error| format!("{place}: {error}"))?;
    let address = found.next().ok_or(format!("{place}: no address"))?;
    Ok((address, format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\n\r\n").into_bytes()))
}

/// One connection's requests until `stop`; a broken connection is counted and opened again.
fn drive(
    address: SocketAddr,
    request: &[u8],
    stop: &AtomicBool,
    done: &AtomicU64,
) -> Result<Tally, String> {
    let mut tally = Tally::new()?;
    let mut rested = None;
    while !stop.load(Ordering::Relaxed) {
        let open = rested.take().map_or_else(|| Connection::open(address), Ok);
        let asked = now();
        let end = match open.and_then(|connection| connection.exchange(request)) {
            Ok(answer) => {
                let micros = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
                tally.latency.record(micros).map_err(|error| error.to_string())?;
                done.fetch_add(1, Ordering::Relaxed);
                rested = answer.next;
                answer.status.to_string()
            }
            Err(error) => {
                sleep(Duration::from_millis(10)); // nobody there: not in a tight loop
                error.kind().to_string()
            }
        };
        *tally.ends.entry(end).or_default() += 1;
    }
    Ok(tally)
}

/// Shows progress until `span` is over.
fn watch(began: Instant, span: Duration, done: &AtomicU64) {
    let bar = ProgressBar::new(span.as_secs());
    let mut before = 0;
    while began.elapsed() < span {
        sleep(Duration::from_secs(1).min(span.saturating_sub(began.elapsed())));
        let answers = done.load(Ordering::Relaxed);
        bar.println(format!("{:4} s {:9} answers", began.elapsed().as_secs(), answers - before));
        bar.set_position(began.elapsed().as_secs());
        before = answers;
    }
    bar.finish_and_clear();
}

impl Tally {
    fn new() -> Result<Self, String> {
        let latency = Histogram::new(3).map_err(|error| error.to_string())?;
        Ok(Self { latency, ends: BTreeMap::new() })
    }

    fn add(&mut self, other: Self) -> Result<(), String> {
        self.latency.add(&other.latency).map_err(|error| error.to_string())?;
        for (end, count) in other.ends {
            *self.ends.entry(end).or_default() += count;
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers for people")]
    fn print(&self, arguments: &Arguments, took: Duration) {
        let (answers, seconds) = (self.latency.len(), took.as_secs_f64());
        println!("{}", arguments.url);
        println!("closed loop · {} connections · {seconds:.1} s", arguments.connections);
        println!("  each connection waits for its answer before it asks again: a stall of the");
        println!("  server lowers the rate and hides in the percentiles");
        println!("answers {answers:>12}   {:.0} per second", answers as f64 / seconds);
        for (end, count) in &self.ends {
            println!("  {end:<20} {count:>10}");
        }
        println!("first byte sent to last byte read, ms");
        let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];
        for (name, quantile) in quantiles {
            let millis = self.latency.value_at_quantile(quantile) as f64 / 1000.0;
            println!("  {name:<20} {millis:>10.3}");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread of the load generator is no core")]
fn sleep(span: Duration) {
    thread::sleep(span);
}

#[expect(clippy::disallowed_methods, reason = "the load generator reads its own clock")]
fn now() -> Instant {
    Instant::now()
}
