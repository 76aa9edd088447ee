//! `loadtest url`: load on any HTTP server.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::output::Output;
use super::{parse_rate, parse_span};
use crate::cores;
use crate::expect::Expect;
use crate::load::{Connections, Load, Pace, Request, Trace};
use crate::progress::Progress;
use crate::report::{Figure, Limit, Machine, Report, Section, Weight};
use crate::stage::{count, quantile};
use crate::tally::Kind;

#[derive(Debug, Args)]
pub(super) struct Target {
    /// What to ask for, such as `http://127.0.0.1:8080/users`
    url: String,
    /// Requests each second
    #[arg(long, value_parser = parse_rate, default_value = "1k")]
    rate: f64,
    /// When requests start; `closed` ignores the rate
    #[arg(long, value_enum, default_value_t = Rhythm::Even)]
    pace: Rhythm,
    /// How long
    #[arg(short, long, value_parser = parse_span, default_value = "10s")]
    duration: Duration,
    /// Not counted, before that
    #[arg(long, value_parser = parse_span, default_value = "1s")]
    warm_up: Duration,
    /// Connections
    #[arg(short, long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// A new connection for each request, so many at once
    #[arg(long)]
    fresh: bool,
    /// Requests under way at once on one connection
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    depth: u16,
    /// The method
    #[arg(short = 'X', long, default_value = "GET")]
    method: String,
    /// A field of the head; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    fields: Vec<String>,
    /// A body of so many bytes
    #[arg(long, default_value_t = 0)]
    body: usize,
    /// The status of a good answer
    #[arg(long, default_value_t = 200)]
    expect: u16,
    /// The status of a refusal, which is counted by itself
    #[arg(long)]
    refused: Option<u16>,
    /// The length of a good answer's body
    #[arg(long)]
    length: Option<u64>,
    /// The text of a good answer's body
    #[arg(long)]
    content: Option<String>,
    /// An answer that takes longer has failed
    #[arg(long, value_parser = parse_span, default_value = "30s")]
    timeout: Duration,
    /// Milliseconds that the p99 of good answers must not exceed
    #[arg(long, value_name = "MS")]
    limit_p99: Option<f64>,
    /// Threads
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Processors of the threads [default: wherever there is room]
    #[arg(long)]
    load_cores: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// When requests start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rhythm {
    /// At the rate, evenly
    Even,
    /// At the rate on average, at random moments, as those of many clients are
    Random,
    /// When the connection has been answered: a stall then hides in the percentiles
    Closed,
}

impl Target {
    /// Loads, and reports; why it failed, if it did.
    pub(super) fn load(&self) -> Result<Vec<String>, String> {
        let load = self.plan()?;
        let mut progress = Progress::of("load", &load);
        let outcome = load.clone().start()?.finish(|point| progress.tell(point))?;
        progress.end();
        let total = &outcome.total;
        let not_good = total.total() - total.count(Kind::Good) - total.count(Kind::Refused);
        let p99 = total.latency(Kind::Good).map_or(0.0, |latency| quantile(latency, 0.99));
        let figure = |name: &str, value, unit: &str, limit| Figure {
            name: name.to_owned(),
            value,
            unit: unit.to_owned(),
            limit,
            weight: Weight::Correct,
        };
        let good = count(total.count(Kind::Good));
        let report = Report {
            name: "url".to_owned(),
            about: self.url.clone(),
            machine: Machine::here(),
            sections: vec![Section::of("load", &load, &outcome)],
            figures: vec![
                figure("good answers", good, "", Limit::AtLeast(1.0)),
                figure("bad answers and failures", count(not_good), "", Limit::AtMost(0.0)),
                figure("p99", p99, "ms", self.limit_p99.map_or(Limit::None, Limit::AtMost)),
                figure(
                    "p99 from the moment of sending",
                    quantile(&total.service, 0.99),
                    "ms",
                    Limit::None,
                ),
            ],
            ..Report::default()
        };
        Output::tell(&report);
        self.output.write(std::slice::from_ref(&report))?;
        Ok(report.failures(|_| true))
    }

    fn plan(&self) -> Result<Load, String> {
        let (address, host, path) = address(&self.url)?;
        let mut fields = String::new();
        for field in &self.fields {
            if !field.contains(':') || field.contains(['\r', '\n']) {
                return Err(format!("`{field}` is no field, such as `Accept: text/plain`"));
            }
            fields += field;
            fields += "\r\n";
        }
        let body = vec![b'x'; self.body];
        let count = usize::try_from(self.connections).unwrap_or(usize::MAX);
        Ok(Load {
            address,
            request: Request::new(&self.method, &host, &path, &body, &fields),
            expect: Expect {
                good: self.expect,
                refused: self.refused,
                length: self.length,
                bodies: self.content.iter().map(|text| text.clone().into_bytes()).collect(),
            },
            pace: match self.pace {
                Rhythm::Even => Pace::Open(self.rate),
                Rhythm::Random => Pace::Random(self.rate),
                Rhythm::Closed => Pace::Closed,
            },
            connections: if self.fresh {
                Connections::Fresh(count)
            } else {
                Connections::Kept(count)
            },
            depth: usize::from(self.depth),
            warm_up: self.warm_up,
            duration: self.duration,
            timeout: self.timeout,
            threads: usize::from(self.threads),
            cores: self.load_cores.as_deref().map_or(Ok(Vec::new()), cores::parse)?,
            trace: Trace::Forget,
        })
    }
}

/// Where to connect, the `Host`, and the path.
#[expect(clippy::disallowed_methods, reason = "asked once, before the load begins")]
fn address(url: &str) -> Result<(SocketAddr, String, String), String> {
    let rest = url.strip_prefix("http://").ok_or(format!("{url}: only http:// is spoken"))?;
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let place = if has_port { host.to_owned() } else { format!("{host}:80") };
    let mut found = place.to_socket_addrs().map_err(|error| format!("{place}: {error}"))?;
    let address = found.next().ok_or(format!("{place}: no address"))?;
    Ok((address, host.to_owned(), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_an_address_a_host_and_a_path() {
        let parts = |url| address(url).map(|(at, host, path)| (at.to_string(), host, path));
        let is = |at: &str, host: &str, path: &str| Ok((at.into(), host.into(), path.into()));
        assert_eq!(parts("http://127.0.0.1:81/a?b"), is("127.0.0.1:81", "127.0.0.1:81", "/a?b"));
        assert_eq!(parts("http://127.0.0.1"), is("127.0.0.1:80", "127.0.0.1", "/"));
        assert_eq!(parts("http://[::1]?x"), is("[::1]:80", "[::1]", "/?x"));
        assert!(parts("https://a/").is_err());
    }
}
