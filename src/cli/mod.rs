//! argv → command → exit code.
//!
//! Enters: the arguments. Leaves: facts on standard output, diagnostics on standard error, and one
//! of four exit codes: 0 ok, 1 failed, 64 wrong usage, 78 the configuration is refused. Owns no
//! behaviour of the proxy: every command is a few lines over the rooms below.

mod ask;
pub mod plan;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::breaker::registry::{Draft, Registry};
use crate::config::{self, Colour, Config};
use crate::control::source::Source;
use crate::control::{self, VERSION, reload};
use crate::demo;
use crate::stats::Tallies;
use crate::table::compile::{Kept, breakers, compile};

const EXAMPLES: &str = "\
Exit codes: 0 ok, 1 failed, 64 wrong usage, 78 the configuration is refused

Examples:
  fusebox check fusebox.json         every complaint at once, with its place
  fusebox run fusebox.json           serve; TERM drains and ends, HUP reloads
  fusebox reload fusebox.json        make the running process read its file";

/// An HTTP reverse proxy built around the circuit breaker
#[derive(Debug, Parser)]
#[command(name = "fusebox", version = VERSION, after_help = EXAMPLES)]
#[command(disable_help_subcommand = true, max_term_width = 80)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a configuration until SIGTERM or SIGINT
    Run {
        /// The configuration; `-` reads standard input; without it, the bundled default
        config: Option<PathBuf>,
    },
    /// Check a configuration; touches nothing but the file
    Check(ConfigFile),
    /// Print what a configuration compiles to
    Table(ConfigFile),
    /// Ask the running process to read its configuration again
    Reload {
        /// Where the admin address and its token are written
        config: Option<PathBuf>,
        /// The admin address, such as 127.0.0.1:9901
        #[arg(long, value_name = "ADDR", value_parser = ask::address)]
        admin: Option<SocketAddr>,
    },
    /// Print a file that belongs to this version
    Emit {
        /// Which one
        what: Asset,
    },
    /// Show a breaker trip and heal, with nothing to set up
    Demo {
        /// End after so many seconds, instead of at Ctrl-C
        #[arg(long, value_name = "N")]
        seconds: Option<u64>,
    },
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration; `-` reads standard input
    config: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Asset {
    /// The JSON Schema of the configuration, for editors
    Schema,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Ok,
    Failed,
    Usage,
    Config,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 64,
            Exit::Config => 78,
        })
    }
}

/// A configuration that was read and found good.
struct Loaded {
    config: Config,
    source: Source,
    text: String,
    warnings: Vec<config::Complaint>,
}

/// Runs the command that the process' arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let exit = match Arguments::try_parse() {
        Ok(arguments) => obey(arguments.command),
        Err(error) => {
            // A closed pipe leaves nobody to tell.
            let _ = error.print();
            if error.use_stderr() { Exit::Usage } else { Exit::Ok }
        }
    };
    exit.into()
}

fn obey(command: Command) -> Exit {
    match command {
        Command::Run { config } => {
            with_config(config.map_or(Source::Builtin, |path| Source::named(&path)), run)
        }
        Command::Check(file) => with_config(file.source(), |loaded| check(&loaded)),
        Command::Table(file) => with_config(file.source(), |loaded| table(&loaded)),
        Command::Reload { config, admin } => ask_reload(config, admin),
        Command::Emit { what: Asset::Schema } => print(&config::schema()),
        Command::Demo { seconds } => show(seconds),
    }
}

fn run(loaded: Loaded) -> Exit {
    let Loaded { source, text, warnings, .. } = &loaded;
    let report = reload::for_log(&source.to_string(), text, warnings);
    match control::run(loaded.config, loaded.source, &report) {
        Ok(never) => match never {},
        Err(why) => fail(&why.0),
    }
}

fn show(seconds: Option<u64>) -> Exit {
    match demo::run(seconds.map(Duration::from_secs)) {
        Ok(never) => match never {},
        Err(why) => fail(&why.0),
    }
}

fn check(loaded: &Loaded) -> Exit {
    complain(&loaded.report(colour()));
    let routes = &loaded.config.http.routes;
    let breakers = routes.iter().map(|route| breakers(route).len()).sum();
    let (routes, breakers) = (counted(routes.len(), "route"), counted(breakers, "breaker"));
    print(&format!("{}: ok, {routes}, {breakers}\n", loaded.source))
}

fn table(loaded: &Loaded) -> Exit {
    complain(&loaded.report(colour()));
    let registry = Registry::new(1);
    let (mut draft, mut tallies) = (Draft::default(), Tallies::default());
    let kept = Kept { breakers: &registry, draft: &mut draft, tallies: &mut tallies };
    let table = compile(&loaded.config, 1, kept, |_, _| Vec::new());
    print(&plan::plan(&loaded.config, &table))
}

/// The admin address and its token come from the configuration; the flag's address wins.
fn ask_reload(file: Option<PathBuf>, flag: Option<SocketAddr>) -> Exit {
    let Some(config) = file else {
        let default = SocketAddr::from(([127, 0, 0, 1], 9901));
        return answered(ask::reload(flag.unwrap_or(default), None));
    };
    with_config(Source::named(&config), |loaded| {
        let (listen, token) = match loaded.config.admin {
            Some(admin) => (Some(admin.listen), admin.token),
            None => (None, None),
        };
        let Some(address) = flag.or(listen) else {
            let why = "the configuration turns the admin API off; send SIGHUP to the process";
            return fail(why);
        };
        let token = token.map(|secret| control::secrets::reveal("admin.token", &secret));
        match token.transpose() {
            Ok(token) => answered(ask::reload(address, token.as_deref())),
            Err(why) => fail(&why),
        }
    })
}

fn answered(answer: ask::Answer) -> Exit {
    match answer {
        ask::Answer::Active { line, report } => {
            complain(&report);
            print(&format!("{line}\n"))
        }
        ask::Answer::Refused(report) => {
            complain(&report);
            Exit::Config
        }
        ask::Answer::Failed(why) => fail(&why),
    }
}

/// Loads the configuration and goes on with it, or says why not.
fn with_config(source: Source, go_on: impl FnOnce(Loaded) -> Exit) -> Exit {
    let bytes = match source.read() {
        Ok(bytes) => bytes,
        Err(why) => return fail(&why),
    };
    match config::load_bytes(bytes) {
        (text, Ok((config, warnings))) => go_on(Loaded { config, source, text, warnings }),
        (text, Err(complaints)) => {
            complain(&config::render(&source.to_string(), &text, &complaints, colour()));
            Exit::Config
        }
    }
}

impl ConfigFile {
    fn source(&self) -> Source {
        Source::named(&self.config)
    }
}

impl Loaded {
    fn report(&self, colour: Colour) -> String {
        reload::report(&self.source.to_string(), &self.text, &self.warnings, colour)
    }
}

fn colour() -> Colour {
    if crate::log::coloured() { Colour::Ansi } else { Colour::Plain }
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// To standard output. A reader that has seen enough is no failure.
fn print(text: &str) -> Exit {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Exit::Ok,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(error) => fail(&format!("cannot write to standard output: {error}")),
    }
}

/// To standard error. Where that fails nobody is left to tell.
fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn fail(why: &str) -> Exit {
    let error = match colour() {
        Colour::Ansi => "\x1b[1;31merror\x1b[0m",
        Colour::Plain => "error",
    };
    complain(&format!("{error}: {why}\n"));
    Exit::Failed
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Arguments::try_parse_from(line.split(' ')).map(|arguments| arguments.command)
    }

    #[test]
    fn the_commands_are_understood() {
        Arguments::command().debug_assert();
        assert!(
            matches!(parse("fusebox run -"), Ok(Command::Run { config: Some(it) }) if it == *"-")
        );
        assert!(matches!(parse("fusebox run"), Ok(Command::Run { config: None })));
        assert!(matches!(parse("fusebox check a.json"), Ok(Command::Check(_))));
        assert!(matches!(parse("fusebox table a.json"), Ok(Command::Table(_))));
        assert!(matches!(parse("fusebox emit schema"), Ok(Command::Emit { .. })));
        assert!(matches!(parse("fusebox demo"), Ok(Command::Demo { seconds: None })));
        let demo = parse("fusebox demo --seconds 5");
        assert!(matches!(demo, Ok(Command::Demo { seconds: Some(5) })));
        let reload = parse("fusebox reload a.json --admin http://127.0.0.1:1/").unwrap();
        let expected = "127.0.0.1:1".parse().unwrap();
        assert!(matches!(reload, Command::Reload { admin: Some(it), .. } if it == expected));
        assert!(matches!(parse("fusebox reload"), Ok(Command::Reload { .. })));
    }

    #[test]
    fn wrong_usage_is_told_apart_from_help() {
        for line in ["fusebox", "fusebox rum a", "fusebox check", "fusebox reload --admin x"] {
            assert!(parse(line).unwrap_err().use_stderr(), "{line}");
        }
        for line in ["fusebox --help", "fusebox --version", "fusebox run --help"] {
            assert!(!parse(line).unwrap_err().use_stderr(), "{line}");
        }
    }

    #[test]
    fn help_fits_a_small_terminal_and_ends_with_examples() {
        let help = Arguments::command().render_help().to_string();
        assert!(help.lines().count() <= 24, "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
        assert!(help.contains("78 the configuration is refused"));
        assert!(help.trim_end().ends_with("read its file"));
    }

    #[test]
    fn a_missing_file_fails_and_a_bad_one_is_refused() {
        let file = |path: &str| Source::named(path.as_ref());
        let never = |_: Loaded| -> Exit { panic!("went on") };
        assert_eq!(with_config(file("/nowhere/a.json"), never), Exit::Failed);
        let bad = tempfile::NamedTempFile::new().unwrap();
        for bytes in [&b"{"[..], b"{ \xff }", &[b' '; config::TEXT_BYTES_MAX + 1]] {
            std::fs::write(bad.path(), bytes).unwrap();
            assert_eq!(with_config(file(bad.path().to_str().unwrap()), never), Exit::Config);
        }
    }

    #[test]
    fn without_a_file_the_bundled_default_is_served() {
        let exit = with_config(Source::Builtin, |loaded| {
            assert_eq!(loaded.text, config::DEFAULT);
            assert_eq!(loaded.report(Colour::Plain), "");
            Exit::Ok
        });
        assert_eq!(exit, Exit::Ok);
    }
}
