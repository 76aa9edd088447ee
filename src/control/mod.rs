//! Everything that is neither a request nor a tick: one thread, one tokio runtime.
//!
//! Enters: a checked configuration, signals, calls of the admin API, notices of the cores. Leaves:
//! a running process, reloads, log lines, and in the end an exit after a drain. Owns the order of a
//! start: signals, admin address (a start that fails there has accepted nobody), names, table, the
//! access log's file, workers, admin API.
//!
//! The data plane never waits for anything here.

pub mod admin;
mod door;
pub mod events;
mod exposition;
mod gauges;
mod handler;
pub mod handlers;
pub mod journal;
mod keep;
mod line;
pub mod metrics;
pub mod names;
mod orders;
pub mod plane;
mod ports;
mod program;
mod reconcile;
pub mod reload;
pub mod secrets;
pub mod series;
mod shares;
pub mod sharing;
mod signals;
pub mod source;
pub mod view;
mod webhook;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};

use crate::access::{Rings, Sink, Writer};
use crate::breaker::registry::Registry;
use crate::clock;
use crate::config::{self, Admin, Config, State, Workers};
use crate::stats::{Process, Tallies};
use crate::table::live::Live;
use crate::worker::{Crew, Plan};

use admin::Token;
use door::{Door, Work};
use events::Event;
use handlers::Handlers;
use names::Names;
use plane::{Order, Parts, Plane};
use ports::Ports;
use reconcile::Reconciler;
use reload::{Compiled, Reloader};
use sharing::Sharing;
use source::Source;

pub use crate::worker::StartError;

/// Which fusebox this is.
pub const VERSION: &str = match option_env!("FUSEBOX_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// Name look-ups and long answers at once.
const BLOCKING_THREADS_MAX: usize = 64;

/// How often a drain looks whether it is over.
const DRAIN_TICK: Duration = Duration::from_millis(10);

/// A proxy that serves.
#[derive(Debug)]
pub struct Running {
    reloader: Reloader,
    orders: mpsc::UnboundedReceiver<Order>,
    admin_address: Option<SocketAddr>,
    reconciler: Option<Reconciler>,
    began: clock::Now,
}

/// Serves `config` until SIGTERM or SIGINT and then ends the process with 0: workers are never
/// unwound, the kernel may still use their buffers. `report` is what the checker warned of.
pub fn run(config: Config, source: Source, report: &str) -> Result<Infallible, StartError> {
    crate::log::start(config.log.level);
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let running = start(config, source).await?;
        running.announce(report);
        let plane = Arc::clone(running.plane());
        running.serve_until_signal().await;
        plane.access.flush();
        Ok(())
    });
    crate::log::flush();
    match ended {
        Ok(()) => std::process::exit(0),
        Err(why) => {
            // A look-up that hangs must not keep a failed start from ending.
            runtime.shutdown_background();
            Err(why)
        }
    }
}

/// The runtime of the control plane: this thread's.
pub fn runtime() -> Result<tokio::runtime::Runtime, StartError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .map_err(|error| StartError(format!("cannot start the control plane: {error}")))
}

/// Starts a proxy inside this process, on the runtime of the control plane.
pub async fn start(config: Config, source: Source) -> Result<Running, StartError> {
    start_with(config, source, Names::of_system()).await
}

async fn start_with(
    config: Config,
    source: Source,
    names: Arc<Names>,
) -> Result<Running, StartError> {
    let began = clock::now();
    let signals = signals::install()
        .map_err(|error| StartError(format!("cannot install signal handlers: {error}")))?;
    let secrets = secrets::Reader::default();
    let door = bind_admin(config.admin.as_ref(), &secrets).await?;

    let redis = match &config.state {
        State::Memory => None,
        State::Redis(redis) => Some(redis),
    };
    if let Some(redis) = redis {
        // A password that is not there is no reason to serve without it.
        reconcile::password(redis)().await.map_err(StartError)?;
    }

    let cores = cores(config.workers);
    let registry = Registry::seeded(cores, seed());
    let _ = names.resolve(&config).await;
    let compiled = Compiled::new(&config, 1, &registry, &names, Tallies::default());
    let handlers = Handlers::of_config(&config, &Handlers::default(), &names);
    registry.commit(compiled.draft);

    let live = Live::new(compiled.table, cores);
    let process = Arc::new(Process::new(cores));
    let events_dropped = Arc::new(AtomicU64::new(0));
    let (report, notices) = events::queue(Arc::clone(&events_dropped));
    let rings = Arc::new(Rings::new(cores));
    let access = open_access(&config.log, Arc::clone(&rings))?;
    let crew = Crew::start(&Plan {
        listen: config.listen.clone(),
        workers: cores,
        driver: config.driver,
        live: Arc::clone(&live),
        process: Arc::clone(&process),
        report: Arc::clone(&report),
        access: rings,
    })?;

    let (sender, orders) = mpsc::unbounded_channel();
    let driver = crew.driver().to_owned();
    let plane = Plane::new(Parts {
        live,
        registry,
        names,
        process,
        driver,
        orders: sender,
        events_dropped,
        report,
        handlers,
        access,
        sharing: redis.map(|_| Arc::new(Sharing::new(began))),
    });
    plane.series.follow(&config);
    signals.obey(&plane);
    let shared = redis.zip(plane.sharing.as_ref());
    let reconciler =
        shared.map(|(redis, sharing)| Reconciler::start(&plane, sharing, redis, seed()));
    names::keep(Arc::clone(&plane.names), plane.orders.clone());
    events::watch(Arc::clone(&plane), notices);
    let admin_address = door.as_ref().map(|(_, address, _)| *address);
    let mut token = Token::new(None);
    if let Some((door, _, asked)) = door {
        token = asked;
        let router = admin::router(Arc::clone(&plane), token.clone());
        let service = router.into_make_service_with_connect_info::<Work>();
        tokio::spawn(async move { axum::serve(door, service).await });
    }
    let ports = Ports::new(&config.listen, crew.addresses());
    let tallies = compiled.tallies;
    let reloader = Reloader { plane, crew, source, config, tallies, token, secrets, ports };
    Ok(Running { reloader, orders, admin_address, reconciler, began })
}

/// Starts the thread that writes the access log.
fn open_access(log: &config::Log, rings: Arc<Rings>) -> Result<Writer, StartError> {
    let unwritable = |error| format!("{}; {}", reload::unwritable(log, &error), reload::WRITABLE);
    let sink = Sink::open(log).map_err(|error| StartError(unwritable(error)))?;
    Writer::start(rings, sink)
        .map_err(|error| StartError(format!("cannot start the access log: {error}")))
}

async fn bind_admin(
    admin: Option<&Admin>,
    secrets: &secrets::Reader,
) -> Result<Option<(Door, SocketAddr, Token)>, StartError> {
    let Some(Admin { listen, token }) = admin else { return Ok(None) };
    let token = match token {
        Some(secret) => Some(secrets.reveal("admin.token", secret).await.map_err(StartError)?),
        None => None,
    };
    let bound = match Door::bind(*listen).await {
        Ok(door) => door.address().map(|address| (door, address)),
        Err(error) => Err(error),
    };
    let (door, address) = bound.map_err(|error| {
        StartError(format!(
            "cannot listen on {listen} for the admin API: {error}; \
             choose another address with `admin.listen`, or turn it off with `\"admin\": false`"
        ))
    })?;
    Ok(Some((door, address, Token::new(token))))
}

/// Another one for each process: breakers that opened together should not come back together.
fn seed() -> u64 {
    let nanos = clock::wall().as_nanos();
    u64::try_from(nanos & u128::from(u64::MAX)).unwrap_or(0) ^ u64::from(std::process::id()) << 32
}

/// `auto`: as many as the affinity mask and the cgroup quota allow.
fn cores(workers: Workers) -> usize {
    match workers {
        Workers::Exactly(count) => count.get(),
        Workers::Auto => std::thread::available_parallelism().map_or(1, usize::from),
    }
}

impl Running {
    /// The addresses that are served, with the ports that were picked.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        self.reloader.crew.addresses()
    }

    /// The address of the admin API, with the port that was picked.
    #[must_use]
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// What the control plane shares: the served table, and the way to stop.
    #[must_use]
    pub const fn plane(&self) -> &Arc<Plane> {
        &self.reloader.plane
    }

    /// Every transition of a breaker from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.plane().events.subscribe()
    }

    /// Says in the log what runs, where, and what an operator should know about it.
    pub fn announce(&self, report: &str) {
        let Reloader { plane, crew, source, .. } = &self.reloader;
        let (pid, cores) = (std::process::id(), plane.registry.cores());
        let generation = plane.live.current().generation;
        let (driver, unit) = (crew.driver(), if cores == 1 { "core" } else { "cores" });
        log::info!(
            "fusebox {VERSION}  pid {pid}  {driver}  {cores} {unit}  {source}  \
             generation {generation}"
        );
        for address in self.addresses() {
            log::info!("listening {address}");
        }
        match self.admin_address {
            Some(address) if address.ip().is_loopback() => {
                log::info!("admin http://{address}/ (this machine only)");
            }
            Some(address) => log::info!("admin http://{address}/"),
            None => log::info!("admin off"),
        }
        reload::log_report(log::Level::Warn, &crew.warning().unwrap_or_default());
        reload::log_report(log::Level::Warn, report);
        if runs_as_root() {
            log::info!("running as root; CAP_NET_BIND_SERVICE is all that ports below 1024 need");
        }
        log::info!("ready in {} ms", clock::now().since(self.began).as_millis());
    }

    /// Serves until it is told to stop, by a signal or by [`Plane::stop`], and has drained.
    pub async fn serve_until_signal(mut self) {
        while let Some(order) = self.orders.recv().await {
            let reply = match order {
                Order::Reload(reply) => reply,
                Order::Lead(moved) => {
                    self.reloader.crew.lead(&moved);
                    continue;
                }
                Order::Stop => break,
            };
            // Whoever has asked until now gets what is read from now on.
            let mut replies = vec![reply];
            let mut stop = false;
            while let Ok(order) = self.orders.try_recv() {
                match order {
                    Order::Reload(reply) => replies.push(reply),
                    Order::Lead(moved) => self.reloader.crew.lead(&moved),
                    Order::Stop => stop = true,
                }
            }
            if stop {
                break;
            }
            // Names may take seconds; whoever asked for this reload hears that the process ends.
            let plane = Arc::clone(self.plane());
            let Some(verdict) = plane.unless_stopped(self.reloader.reload()).await else { break };
            for reply in replies.into_iter().flatten() {
                // A caller that went away does not want to know.
                let _ = reply.send(verdict.clone());
            }
        }
        self.drain().await;
        if let Some(reconciler) = self.reconciler.take() {
            reconciler.leave().await;
        }
    }

    async fn drain(&self) {
        let Reloader { plane, crew, .. } = &self.reloader;
        let began = clock::now();
        let limit = plane.live.current().timeouts.drain;
        crew.drain();
        while crew.connections() > 0 {
            if limit.is_some_and(|limit| clock::now().since(began) >= limit) {
                log::warn!("drain is over; connections cut: {}", crew.connections());
                return;
            }
            tokio::time::sleep(DRAIN_TICK).await;
        }
        log::info!("drained in {} ms", clock::now().since(began).as_millis());
    }
}

fn runs_as_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
