//! Host names of a configuration → addresses, off the data path.
//!
//! Enters: a [`Config`], and the time. Leaves: what `table::compile` asks; and, whenever a name
//! leads elsewhere, [`Moved`] for each of its targets. Owns what is known of each name.
//!
//! Names are looked up when they are new and then on a timer, all at once, and none is waited for
//! longer than five seconds. One that does not resolve keeps the addresses it had, for an hour;
//! then, or if it never had any, its targets are down until it does. The look-up is the system's
//! own (`getaddrinfo`, on a thread that may block), so that `/etc/hosts`, `nsswitch.conf` and the
//! resolver of a container mean here what they mean to everything else on the machine. It tells no
//! TTL, hence the timer.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::plane::Order;
use crate::clock::{self, Now};
use crate::config::Config;
use crate::table::Moved;
use crate::table::compile::target_name;

/// How long a name is waited for: what resolvers by default give one server.
const LOOK_UP_MAX: Duration = Duration::from_secs(5);

/// Look-ups at once: each may hold a thread for as long as the resolver likes, and the admin API
/// needs some of those too.
const AT_ONCE_MAX: usize = 16;

/// How often a name is looked up, give or take a tenth: the usual TTL of names that move.
const REFRESH: Duration = Duration::from_secs(30);

/// How soon one is that leads nowhere: its targets are down.
const REFRESH_DOWN: Duration = Duration::from_secs(5);

/// How long the last good answer holds when there is no other.
const STALE_MAX: Duration = Duration::from_secs(3600);

/// Addresses of one name: more are left out.
const ADDRESSES_MAX: usize = 256;

/// How often is looked whose turn it is.
const TICK: Duration = Duration::from_secs(1);

pub(super) type Found = Result<Vec<IpAddr>, String>;
pub(super) type Finding = Pin<Box<dyn Future<Output = Found> + Send>>;

/// Asks the system for the addresses of a host.
type LookUp = dyn Fn(String) -> Finding + Send + Sync;

/// What is known of every name.
pub struct Names {
    known: Mutex<BTreeMap<String, Name>>,
    look_up: Arc<LookUp>,
    at_once: Arc<Semaphore>,
    /// How long a name is waited for.
    patience: Duration,
    dice: RandomState,
}

/// What is known of one name.
#[derive(Debug)]
struct Name {
    ports: BTreeSet<u16>,
    /// In the system's order.
    addresses: Vec<IpAddr>,
    /// When they were found last.
    found: Option<Now>,
    /// When it is looked up next.
    due: Now,
    /// Look-ups that failed.
    failures: u64,
    /// Why the last one did, if it did.
    failing: Option<String>,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("known", &self.known).finish_non_exhaustive()
    }
}

impl Names {
    /// No name yet; the system looks them up.
    pub(super) fn of_system() -> Arc<Self> {
        Self::new(LOOK_UP_MAX, |host| Box::pin(ask_system(host)))
    }

    /// No name yet; `look_up` looks them up, and is waited for no longer than `patience`.
    pub(super) fn new(
        patience: Duration,
        look_up: impl Fn(String) -> Finding + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            known: Mutex::default(),
            look_up: Arc::new(look_up),
            at_once: Arc::new(Semaphore::new(AT_ONCE_MAX)),
            patience,
            dice: RandomState::new(),
        })
    }

    /// Looks up every name of `config` that leads nowhere as far as is known, and tells which
    /// targets moved.
    pub(super) async fn resolve(&self, config: &Config) -> Vec<Moved> {
        let now = clock::now();
        for (host, ports) in wanted(config) {
            let mut known = self.known();
            let name = known.entry(host).or_insert_with(|| Name::new(now));
            name.ports.extend(ports);
            if name.addresses.is_empty() {
                name.due = now;
            }
        }
        self.refresh(now).await
    }

    /// Forgets the names and ports that `config` does not have.
    pub(super) fn retain(&self, config: &Config) {
        let mut wanted = wanted(config);
        self.known().retain(|host, name| match wanted.remove(host) {
            Some(ports) => {
                name.ports = ports;
                true
            }
            None => false,
        });
    }

    /// The addresses of a host and port; none where the name does not resolve.
    #[must_use]
    pub(super) fn addresses(&self, host: &str, port: u16) -> Vec<SocketAddr> {
        match host.parse::<IpAddr>() {
            Ok(literal) => vec![SocketAddr::new(literal, port)],
            Err(_) => self.known().get(host).map_or_else(Vec::new, |name| name.at(port)),
        }
    }

    /// How many addresses each target behind a name has, and how often each name was not found.
    #[must_use]
    pub fn report(&self) -> (BTreeMap<String, usize>, Vec<(String, u64)>) {
        let known = self.known();
        let targets = known.iter().flat_map(|(host, name)| {
            name.ports.iter().map(move |port| (target_name(host, *port), name.addresses.len()))
        });
        let failures = known.iter().map(|(host, name)| (host.clone(), name.failures));
        (targets.collect(), failures.collect())
    }

    /// Looks up every name whose turn it is at `now`, and tells which targets moved.
    pub(super) async fn refresh(&self, now: Now) -> Vec<Moved> {
        let due: Vec<String> = {
            let mut known = self.known();
            let due = known.iter_mut().filter(|(_, name)| name.due <= now);
            due.map(|(host, name)| {
                // Its next turn comes even if this one is never answered.
                name.due = now.after(self.about(REFRESH, host, now));
                host.clone()
            })
            .collect()
        };
        let mut look_ups = JoinSet::new();
        for host in due {
            let look_up = self.one(host.clone());
            look_ups.spawn(async move { (host, look_up.await) });
        }
        let mut moved = Vec::new();
        while let Some(done) = look_ups.join_next().await {
            let Ok((host, found)) = done else { continue };
            let now = clock::now().max(now);
            let mut known = self.known();
            // A reload may have forgotten it in the meantime.
            let Some(name) = known.get_mut(&host) else { continue };
            let pause = self.about(REFRESH_DOWN, &host, now);
            if name.take(&host, found, now, pause) {
                moved.extend(name.ports.iter().map(|port| Moved {
                    target: target_name(&host, *port).into(),
                    addresses: name.at(*port).into(),
                }));
            }
        }
        moved
    }

    /// One look-up, bounded in time.
    fn one(&self, host: String) -> impl Future<Output = Found> + Send + use<> {
        let (asked, patience) = (self.ask(host.clone()), self.patience);
        async move {
            match tokio::time::timeout(patience, asked).await {
                Ok(found) => found.and_then(|found| permitted(&host, found)),
                Err(_) => Err(format!("no answer within {} s", patience.as_secs())),
            }
        }
    }

    /// What the system says of a host, whatever that is. The look-up holds its place until the
    /// system is done with it, even where nobody waits any more: a resolver that hangs is not asked
    /// more and more.
    pub(super) fn ask(&self, host: String) -> impl Future<Output = Found> + Send + use<> {
        let (look_up, at_once) = (Arc::clone(&self.look_up), Arc::clone(&self.at_once));
        async move {
            let place = at_once.acquire_owned().await;
            let asked = look_up(host);
            let answer = tokio::spawn(async move {
                let answer = asked.await;
                drop(place);
                answer
            });
            answer.await.unwrap_or_else(|_| Err("the look-up failed".to_owned()))
        }
    }

    /// `span`, give or take a tenth: names that were found together are not asked for together.
    fn about(&self, span: Duration, host: &str, now: Now) -> Duration {
        let share = self.dice.hash_one((host, now.micros())) % 2_001;
        span * 9 / 10 + span / 10 * u32::try_from(share).unwrap_or(0) / 1_000
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Name>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps `names` fresh for as long as the process lives, on a task of its own.
pub(super) fn keep(names: Arc<Names>, orders: mpsc::UnboundedSender<Order>) {
    super::keep::keep("looking up names", move || refresh(Arc::clone(&names), orders.clone()));
}

async fn refresh(names: Arc<Names>, orders: mpsc::UnboundedSender<Order>) {
    loop {
        tokio::time::sleep(TICK).await;
        let moved = names.refresh(clock::now()).await;
        if !moved.is_empty() && orders.send(Order::Lead(moved.into())).is_err() {
            return;
        }
    }
}

impl Name {
    const fn new(now: Now) -> Self {
        Self {
            ports: BTreeSet::new(),
            addresses: Vec::new(),
            found: None,
            due: now,
            failures: 0,
            failing: None,
        }
    }

    fn at(&self, port: u16) -> Vec<SocketAddr> {
        self.addresses.iter().map(|address| SocketAddr::new(*address, port)).collect()
    }

    /// Takes over what a look-up found; says whether the name leads elsewhere now. While it leads
    /// nowhere it is looked up again after `pause`.
    fn take(&mut self, host: &str, found: Found, now: Now, pause: Duration) -> bool {
        match found {
            Ok(addresses) => {
                if self.failing.take().is_some() {
                    log::info!("{host} resolves again");
                }
                self.found = Some(now);
                // Servers turn the order of their answers; that is no news.
                let set = |list: &[IpAddr]| list.iter().copied().collect::<BTreeSet<_>>();
                let moved = set(&self.addresses) != set(&addresses);
                if moved {
                    self.addresses = addresses;
                }
                moved
            }
            Err(why) => {
                self.failures += 1;
                let lost = self.found.is_some_and(|found| now.since(found) >= STALE_MAX);
                let moved = lost && !self.addresses.is_empty();
                if moved {
                    self.addresses.clear();
                    log::warn!("{host} has not resolved for an hour, requests to it fail: {why}");
                } else if self.failing.is_none() {
                    let so = if self.addresses.is_empty() {
                        "requests to it fail"
                    } else {
                        "the addresses known before stay"
                    };
                    log::warn!("{host} does not resolve, {so}: {why}");
                }
                if self.addresses.is_empty() {
                    self.due = now.after(pause);
                }
                self.failing = Some(why);
                moved
            }
        }
    }
}

/// The names of a configuration, with the ports that are asked for under each.
fn wanted(config: &Config) -> BTreeMap<String, BTreeSet<u16>> {
    let services = config.http.routes.iter().flat_map(|route| &route.services);
    let mut wanted: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    for url in services.flat_map(|service| &service.urls) {
        if url.host.parse::<IpAddr>().is_err() {
            wanted.entry(url.host.clone()).or_default().insert(url.port);
        }
    }
    wanted
}

async fn ask_system(host: String) -> Found {
    match tokio::net::lookup_host((host, 0)).await {
        Ok(found) => Ok(found.map(|address| address.ip()).collect()),
        Err(error) => Err(error.to_string()),
    }
}

/// What of an answer may be called. Whoever answers for a name must not point us at this machine,
/// at the metadata service of a cloud, or at many.
fn permitted(host: &str, found: Vec<IpAddr>) -> Found {
    let here = host == "localhost" || host.ends_with(".localhost");
    let (mut seen, mut refused) = (BTreeSet::new(), None);
    let mut addresses = Vec::new();
    for address in found {
        let address = address.to_canonical();
        let local = match address {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        let strange = local || address.is_unspecified() || address.is_multicast();
        if strange || address.is_loopback() && !here {
            refused = Some(address);
        } else if seen.insert(address) && addresses.len() < ADDRESSES_MAX {
            addresses.push(address);
        }
    }
    match refused {
        Some(refused) if addresses.is_empty() => Err(format!(
            "it leads to {refused}, which no name may lead to; write the address itself"
        )),
        None if addresses.is_empty() => Err("it has no address".to_owned()),
        _ => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::config::Service;
    use crate::table::sample;

    /// A resolver whose answers a test changes, and how often it was asked.
    #[derive(Clone, Default)]
    struct Script {
        answers: Arc<Mutex<BTreeMap<String, Found>>>,
        asked: Arc<AtomicUsize>,
    }

    impl Script {
        fn says(&self, host: &str, addresses: &[&str]) {
            let found = addresses.iter().map(|it| it.parse().unwrap()).collect();
            self.answers.lock().unwrap().insert(host.to_owned(), Ok(found));
        }

        fn fails(&self, host: &str) {
            self.answers.lock().unwrap().insert(host.to_owned(), Err("SERVFAIL".to_owned()));
        }

        fn names(&self) -> Arc<Names> {
            let script = self.clone();
            Names::new(LOOK_UP_MAX, move |host| {
                script.asked.fetch_add(1, Ordering::Relaxed);
                let answer = script.answers.lock().unwrap().get(&host).cloned();
                Box::pin(async move { answer.unwrap_or_else(|| Err("NXDOMAIN".to_owned())) })
            })
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }
    }

    fn config(urls: &[(&str, u16)]) -> Config {
        let mut route = sample::route("GET /");
        let urls = urls.iter().map(|(host, port)| sample::url(host, *port)).collect();
        route.services = vec![Service { urls, ..sample::service("s", "x", 1) }];
        sample::config(vec![route])
    }

    fn moved(target: &str, addresses: &[&str]) -> Moved {
        let addresses = addresses.iter().map(|it| it.parse().unwrap()).collect();
        Moved { target: target.into(), addresses }
    }

    fn run(test: impl Future<Output = ()>) {
        super::super::runtime().unwrap().block_on(test);
    }

    #[test]
    fn literals_need_no_look_up_and_unknown_names_have_no_address() {
        let names = Script::default().names();
        assert_eq!(names.addresses("127.0.0.1", 80), ["127.0.0.1:80".parse().unwrap()]);
        assert_eq!(names.addresses("::1", 8080), ["[::1]:8080".parse().unwrap()]);
        assert_eq!(names.addresses("users", 80), []);
    }

    #[test]
    fn a_name_is_asked_for_once_and_moves_all_its_targets() {
        run(async {
            let script = Script::default();
            script.says("a", &["10.0.0.1", "10.0.0.2"]);
            let names = script.names();
            let config = config(&[("a", 80), ("a", 81), ("127.0.0.1", 80)]);
            assert_eq!(names.resolve(&config).await.len(), 2);
            assert_eq!(script.asked(), 1);
            assert_eq!(names.addresses("a", 81).len(), 2);
            let now = clock::now();
            assert_eq!(names.refresh(now).await, [], "it is not due");
            assert_eq!(script.asked(), 1);

            script.says("a", &["10.0.0.2", "10.0.0.1"]);
            assert_eq!(names.refresh(now.after(REFRESH * 2)).await, [], "another order is no news");
            assert_eq!(script.asked(), 2);
            script.says("a", &["10.0.0.3"]);
            let later = now.after(REFRESH * 4);
            let expected = [moved("a:80", &["10.0.0.3:80"]), moved("a:81", &["10.0.0.3:81"])];
            assert_eq!(names.refresh(later).await, expected);
            assert_eq!(names.addresses("a", 80), ["10.0.0.3:80".parse().unwrap()]);
        });
    }

    #[test]
    fn the_last_good_answer_holds_for_an_hour_and_a_name_that_is_down_comes_up_again() {
        run(async {
            let script = Script::default();
            script.says("a", &["10.0.0.1"]);
            let names = script.names();
            let config = config(&[("a", 80)]);
            let _ = names.resolve(&config).await;
            let start = clock::now();
            script.fails("a");
            for minutes in 1..59 {
                let moved = names.refresh(start.after(Duration::from_secs(minutes * 60))).await;
                assert_eq!(moved, [], "after {minutes} minutes");
            }
            let down = start.after(STALE_MAX + REFRESH);
            assert_eq!(names.refresh(down).await, [moved("a:80", &[])]);
            assert_eq!(names.addresses("a", 80), []);
            let failures = names.report().1;
            assert_eq!(failures, [("a".to_owned(), 59)]);
            assert_eq!(names.report().0.get("a:80"), Some(&0));

            script.says("a", &["10.0.0.9"]);
            assert_eq!(names.refresh(down).await, [], "it is not due");
            let soon = down.after(REFRESH_DOWN * 2);
            assert_eq!(names.refresh(soon).await, [moved("a:80", &["10.0.0.9:80"])]);
        });
    }

    #[test]
    fn a_reload_asks_for_what_is_not_known_and_forgets_what_is_not_wanted() {
        run(async {
            let script = Script::default();
            script.says("a", &["10.0.0.1"]);
            let names = script.names();
            let _ = names.resolve(&config(&[("a", 80), ("lost", 80)])).await;
            assert_eq!(script.asked(), 2);
            script.says("b", &["10.0.0.2"]);
            let wanted = config(&[("a", 81), ("b", 80), ("lost", 80)]);
            let moved_then = names.resolve(&wanted).await;
            assert_eq!(moved_then, [moved("b:80", &["10.0.0.2:80"])]);
            assert_eq!(script.asked(), 4, "b is new, lost leads nowhere, a is known");
            names.retain(&wanted);
            assert_eq!(names.addresses("a", 81), ["10.0.0.1:81".parse().unwrap()]);
            let targets: Vec<String> = names.report().0.into_keys().collect();
            assert_eq!(targets, ["a:81", "b:80", "lost:80"]);
            names.retain(&config(&[("b", 80)]));
            assert_eq!(names.addresses("a", 81), []);
        });
    }

    #[test]
    fn a_resolver_that_hangs_is_not_waited_for_and_not_asked_more_and_more() {
        run(async {
            let asked = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&asked);
            let names = Names::new(Duration::from_millis(50), move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
                Box::pin(std::future::pending())
            });
            let hosts: Vec<String> = (0..40).map(|nth| format!("hangs{nth}")).collect();
            let urls: Vec<(&str, u16)> = hosts.iter().map(|it| (it.as_str(), 80)).collect();
            let _ = names.resolve(&config(&urls)).await;
            assert_eq!(asked.load(Ordering::Relaxed), AT_ONCE_MAX);
            let _ = names.refresh(clock::now().after(REFRESH * 2)).await;
            assert_eq!(asked.load(Ordering::Relaxed), AT_ONCE_MAX, "no more than that, ever");
            assert_eq!(names.addresses("hangs0", 80), []);
        });
    }

    #[test]
    fn no_answer_leads_to_this_machine_or_to_metadata() {
        let all = |host: &str, found: &[&str]| {
            permitted(host, found.iter().map(|it| it.parse().unwrap()).collect())
        };
        for strange in [
            "127.0.0.1",
            "127.8.8.8",
            "::1",
            "::ffff:127.0.0.1",
            "169.254.169.254",
            "fe80::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "::ffff:169.254.1.1",
        ] {
            assert!(
                all("users", &[strange]).unwrap_err().contains("no name may lead"),
                "{strange}"
            );
            let some = all("users", &[strange, "10.0.0.1"]).unwrap();
            assert_eq!(some, ["10.0.0.1".parse::<IpAddr>().unwrap()], "{strange}");
        }
        for host in ["localhost", "users.localhost"] {
            assert_eq!(all(host, &["::1", "127.0.0.1"]).unwrap().len(), 2);
            assert!(all(host, &["169.254.169.254"]).is_err());
        }
        assert!(all("users", &[]).unwrap_err().contains("no address"));
    }

    #[test]
    fn a_name_has_256_addresses_at_most_and_each_once() {
        let many =
            (0..1_000_u32).map(|nth| IpAddr::from([10, 0, (nth / 250) as u8, (nth % 250) as u8]));
        let twice = many.clone().flat_map(|address| [address, address]).collect();
        let kept = permitted("users", twice).unwrap();
        assert_eq!(kept, many.take(ADDRESSES_MAX).collect::<Vec<_>>());
    }

    /// Answers on `address` with its own address, and tells how many connections were opened and
    /// how many of them have ended.
    fn origin(address: SocketAddr) -> Arc<[AtomicUsize; 2]> {
        use std::io::{Read, Write};
        let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let theirs = Arc::clone(&counts);
        let listener = std::net::TcpListener::bind(address).unwrap();
        let answer = move |mut stream: std::net::TcpStream| {
            let (text, mut buf) = (address.ip().to_string(), [0; 4096]);
            while matches!(stream.read(&mut buf), Ok(1..)) {
                let (length, end) = (text.len(), "\r\n\r\n");
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}{end}{text}");
                stream.write_all(head.as_bytes()).unwrap();
            }
        };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                theirs[0].fetch_add(1, Ordering::SeqCst);
                let theirs = Arc::clone(&theirs);
                std::thread::spawn(move || {
                    answer(stream.unwrap());
                    theirs[1].fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        counts
    }

    /// The last line of the answer of a proxy: who said it, or the error.
    async fn ask(address: SocketAddr) -> String {
        use std::io::{Read, Write};
        let asked = tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            said
        });
        asked.await.unwrap().lines().last().unwrap_or_default().to_owned()
    }

    async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
        for _ in 0..2_000 {
            if holds().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("waited in vain: {what}");
    }

    /// Real cores, real sockets: only the resolver is the test's.
    #[test]
    fn the_cores_follow_a_name_without_a_reload() {
        const HOST: &str = "users.localhost";
        run(async {
            let free = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
            let port = free.local_addr().unwrap().port();
            drop(free);
            let at = |last: u8| SocketAddr::from(([127, 0, 0, last], port));
            let (two, three) = (origin(at(2)), origin(at(3)));
            let script = Script::default();
            script.says(HOST, &["127.0.0.2"]);
            let names = script.names();
            let mut config = config(&[(HOST, port)]);
            config.listen = vec![([127, 0, 0, 1], 0).into()];
            config.workers = crate::config::Workers::Exactly(std::num::NonZeroUsize::MIN);
            let source = super::super::source::Source::Stdin;
            let running = super::super::start_with(config, source, Arc::clone(&names));
            let running = running.await.unwrap();
            let (proxy, plane) = (running.addresses()[0], Arc::clone(running.plane()));
            let moves = async |hours: u32| {
                let moved = names.refresh(clock::now().after(STALE_MAX * hours)).await;
                assert_eq!(moved.len(), 1);
                plane.orders.send(Order::Lead(moved.into())).unwrap();
            };
            let story = async {
                assert_eq!(ask(proxy).await, "127.0.0.2");

                script.says(HOST, &["127.0.0.2", "127.0.0.3"]);
                moves(1).await;
                until("the other address", async || {
                    three[0].load(Ordering::SeqCst) > 0 || {
                        // Those that are parked are used first: two at once need a second one.
                        let _ = futures_util::future::join(ask(proxy), ask(proxy)).await;
                        false
                    }
                })
                .await;
                assert_eq!(two[1].load(Ordering::SeqCst), 0, "what leads there still is kept");

                script.says(HOST, &["127.0.0.3"]);
                moves(2).await;
                until("what leads nowhere now to be closed", async || {
                    two.each_ref().map(|it| it.load(Ordering::SeqCst)) == [1, 1]
                        || two[0].load(Ordering::SeqCst) == two[1].load(Ordering::SeqCst)
                })
                .await;
                assert_eq!(ask(proxy).await, "127.0.0.3");

                script.fails(HOST);
                moves(4).await;
                until("it to be down", async || ask(proxy).await.contains("Bad gateway")).await;
                script.says(HOST, &["127.0.0.2"]);
                moves(5).await;
                until("it to come up", async || ask(proxy).await == "127.0.0.2").await;
                assert_eq!(plane.live.current().generation, 1, "without a reload");
                plane.stop();
            };
            futures_util::future::join(running.serve_until_signal(), story).await;
        });
    }
}
