//! The command line, and what each command does.
//!
//! Exit codes are those of the proxy: 0 ok, 1 failed (a limit is broken, or the numbers cannot be
//! trusted), 64 wrong usage.

mod fault;
mod output;
mod target;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use crate::compare;
use crate::report::Weight;
use crate::scenarios;
use crate::stage::{Settings, Size, share_cores};
use crate::{cores, interrupt, proxy};
use fault::SickOrigin;
use output::Output;
use target::Target;

const EXAMPLES: &str = "\
Examples:
  loadtest run steady                       healthy traffic through the proxy
  loadtest run breaker --html breaker.html  with charts, in one offline file
  loadtest run all --smoke                  every scenario for a few seconds
  loadtest compare                          beside nginx, haproxy and envoy
  loadtest url http://127.0.0.1:8080/users --rate 20k --duration 30s

A load is open unless `--pace closed` is given: requests start when they are planned, and their
latency counts from that moment, so that a stall is not hidden by the pause it causes.";

/// Load tests of fusebox, and of what stands beside it
#[derive(Debug, Parser)]
#[command(name = "loadtest", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the scenarios
    List,
    /// Play scenarios: each starts a proxy and origins of its own, on free ports
    Run(Run),
    /// Measure fusebox beside nginx, haproxy, envoy and a bare relay
    Compare(Compare),
    /// Put load on a URL
    Url(Target),
    /// Serve as an origin that is slow, fails or resets on command
    Origin(SickOrigin),
    /// Copy bytes between a port and an origin: what `compare` measures as the least
    #[command(hide = true)]
    Relay { port: u16, origin: SocketAddr },
}

#[derive(Debug, Args)]
struct Run {
    /// Which; `all` for all of them
    #[arg(required = true)]
    scenarios: Vec<String>,
    /// A few seconds each, for correctness: speed is not judged
    #[arg(long)]
    smoke: bool,
    /// Requests each second, instead of the scenario's own
    #[arg(long, value_parser = parse_rate)]
    rate: Option<f64>,
    /// How long a part lasts, instead of the scenario's own
    #[arg(long, value_parser = parse_span)]
    duration: Option<Duration>,
    /// Connections, instead of the scenario's own
    #[arg(long)]
    connections: Option<usize>,
    /// Reloads, idle or slow connections, instead of the scenario's own
    #[arg(long)]
    count: Option<usize>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Compare {
    /// Which, as connections:body, such as 64:1k
    #[arg(long, value_delimiter = ',', default_value = "64:1k,512:1k,32:64k,32:1m")]
    cases: Vec<compare::Case>,
    /// Rounds, in each of which every program has its turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// How long one program is measured in one case
    #[arg(long, value_parser = parse_span, default_value = "5s")]
    duration: Duration,
    /// Only these programs
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Let wrk measure the same pairs too, and fail where it disagrees by more than 5%
    #[arg(long)]
    with_wrk: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

/// Where everything runs.
#[derive(Debug, Args)]
struct Place {
    /// The proxy's binary [default: the workspace's release build, made if it is missing]
    #[arg(long)]
    proxy: Option<PathBuf>,
    /// The proxy's processors, such as 0 or 0-3 [default: the first]
    #[arg(long)]
    proxy_cores: Option<String>,
    /// Processors of load and origins [default: the others]
    #[arg(long)]
    load_cores: Option<String>,
}

/// Reads the command line and does what it says.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let is_answer =
                matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Nobody reads it any more.
            error.print().unwrap_or_default();
            return ExitCode::from(if is_answer { 0 } else { 64 });
        }
    };
    cores::raise_file_limit();
    let outcome = interrupt::install().map_err(|error| error.to_string()).and_then(|()| match &cli
        .command
    {
        Command::List => {
            for scenario in scenarios::ALL {
                println!("{:<16} {}", scenario.name, scenario.about);
            }
            Ok(Vec::new())
        }
        Command::Run(run) => run.play(),
        Command::Compare(compare) => compare.measure(),
        Command::Url(target) => target.load(),
        Command::Origin(origin) => origin.serve().map(|()| Vec::new()),
        Command::Relay { port, origin } => compare::relay::run(*port, *origin).map(|()| Vec::new()),
    });
    match outcome {
        Ok(failures) if failures.is_empty() => ExitCode::SUCCESS,
        Ok(failures) => {
            println!();
            for failure in failures {
                println!("FAILED {failure}");
            }
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("loadtest: {why}");
            ExitCode::FAILURE
        }
    }
}

impl Run {
    /// Plays the scenarios; why they failed, if they did.
    fn play(&self) -> Result<Vec<String>, String> {
        let scenarios = scenarios::named(&self.scenarios)?;
        let size = if self.smoke { Size::Smoke } else { Size::Full };
        let settings = Settings {
            rate: self.rate,
            duration: self.duration,
            connections: self.connections,
            count: self.count,
            size,
            ..self.place.settings()?
        };
        let (mut reports, mut failures) = (Vec::new(), Vec::new());
        for scenario in scenarios {
            let report = scenario.play(&settings)?;
            Output::tell(&report);
            let counts = |weight| size == Size::Full || weight == Weight::Correct;
            failures.extend(report.failures(counts));
            reports.push(report);
        }
        self.output.write(&reports)?;
        Ok(failures)
    }
}

impl Compare {
    fn measure(&self) -> Result<Vec<String>, String> {
        let plan = compare::Plan {
            settings: self.place.settings()?,
            cases: self.cases.clone(),
            rounds: usize::from(self.rounds),
            duration: self.duration,
            only: self.only.clone(),
            judge: if self.with_wrk { compare::Judge::Wrk } else { compare::Judge::None },
        };
        let report = compare::measure(&plan)?;
        Output::tell(&report);
        self.output.write(std::slice::from_ref(&report))?;
        // Our goals are marked in the report: how near a machine comes to them is no failure of it.
        Ok(report.failures(|weight| weight == Weight::Correct))
    }
}

impl Place {
    fn settings(&self) -> Result<Settings, String> {
        let (proxy, load) = (self.proxy_cores.as_deref(), self.load_cores.as_deref());
        let (proxy_cores, load_cores) = share_cores(proxy, load)?;
        Ok(Settings {
            proxy: proxy::binary::locate(self.proxy.as_deref())?,
            proxy_cores,
            load_cores,
            rate: None,
            duration: None,
            connections: None,
            count: None,
            size: Size::Full,
        })
    }
}

/// `500`, `20k`, `1.5k`.
fn parse_rate(text: &str) -> Result<f64, String> {
    let (number, unit) = text.strip_suffix(['k', 'K']).map_or((text, 1.0), |it| (it, 1000.0));
    let rate: f64 = number.parse().map_err(|_| format!("`{text}` is no rate, such as 20k"))?;
    if rate > 0.0 && rate.is_finite() { Ok(rate * unit) } else { Err("more than nothing".into()) }
}

/// `500ms`, `30s`, `30`, `10m`.
fn parse_span(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let found = units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds)));
    let (number, unit) = found.unwrap_or((text, 1.0));
    let number: f64 = number.parse().map_err(|_| format!("`{text}` is no span, such as 30s"))?;
    let seconds = number * unit;
    if (0.01..=1e6).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("between 10 milliseconds and 11 days".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn rates_and_spans_are_read_as_people_write_them() {
        assert_eq!((parse_rate("500"), parse_rate("1.5k")), (Ok(500.0), Ok(1500.0)));
        assert!(parse_rate("0").is_err() && parse_rate("fast").is_err());
        let seconds = |text| parse_span(text).map(|span| span.as_secs_f64());
        assert_eq!(
            (seconds("30"), seconds("500ms"), seconds("2m")),
            (Ok(30.0), Ok(0.5), Ok(120.0))
        );
        assert!(seconds("soon").is_err() && seconds("0s").is_err());
    }
}
