//! The service's side: a leased connection, returned by drop.
//!
//! Enters: a target. Leaves: a [`Leased`] connection to it, from this core's pool or fresh; parked
//! again by whoever knows that it is clean, closed otherwise. Owns the idle connections of this
//! core. Knows nothing of the client or of breakers.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

mod connect;
pub mod dice;
pub mod pool;

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

use crate::breaker::Core;
use crate::clock::{self, Now};
use crate::rt::deadline::Wheel;
use crate::rt::stream::{Peek, Stream};
use crate::stats::{Connections, Count, Process};
use dice::Dice;
use pool::Pool;

/// A connection in use.
pub struct Leased {
    pool: Rc<Pool>,
    /// Boxed, so that handing it on moves a word.
    connection: Option<Box<Connection>>,
    /// Where it came from.
    pub from: From,
}

/// A connection, and what becomes of it when it is not needed.
struct Connection {
    stream: Stream,
    /// Where it leads.
    peer: SocketAddr,
    /// The addresses of its target among which `peer` was known to be, see [`Pool`].
    epoch: u32,
    /// How many more exchanges it may serve.
    left: u32,
    /// When it is closed though it still works.
    dies: Now,
}

/// Where a connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// It was parked: the upstream may have closed it in the meantime.
    Pool,
    /// It was opened for this exchange.
    Dial,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseError {
    /// The upstream refused, or its name has no address.
    Unreachable,
    /// It took too long.
    TimedOut,
    /// As many are in use as may be.
    Full,
    /// We have no descriptor, port or memory for it.
    NoRoom,
}

/// What a lease needs beside its target.
pub struct Dialling<'a> {
    /// This core.
    pub core: &'a Core,
    /// This core's dice.
    pub dice: &'a Dice,
    /// This core's deadlines.
    pub wheel: &'a Rc<Wheel>,
    /// Counts connections.
    pub process: &'a Process,
    /// Time to connect.
    pub connect: Option<Duration>,
    /// Descriptors from this number on are the control plane's.
    pub files_max: RawFd,
}

/// A connection parked no longer ago than this is used as it is: a busy core comes round about as
/// often, and looked at it when it read the response to its end. Any other is looked at before use:
/// bytes that nobody asked for would be taken for the answer to the next request.
const JUST_NOW: Duration = Duration::from_millis(2);

/// A connection is closed after about so many exchanges or so much time, so that load finds its way
/// to an upstream, or to an address of its name, that was added since. Give or take a tenth, lest
/// all that were opened together are closed together.
const EXCHANGES: u32 = 10_000;
const AGE: Duration = Duration::from_secs(3600);

/// A parked connection to the target, if there is one and no more than allowed are in use.
pub fn reuse(pool: &Rc<Pool>, now: Now, means: &Dialling<'_>) -> Option<Leased> {
    if pool.is_full() {
        return None;
    }
    loop {
        let (connection, since) = pool.take()?;
        let age = now.since(since);
        if pool.is_aged(age)
            || now >= connection.dies
            || age > JUST_NOW && connection.stream.peek() == Peek::Stale
        {
            continue;
        }
        means.process.count(means.core, Count::Reused);
        pool.begin();
        let connection = Some(connection);
        return Some(Leased { pool: Rc::clone(pool), connection, from: From::Pool });
    }
}

/// A fresh connection to the target.
pub async fn dial(pool: &Rc<Pool>, means: &Dialling<'_>) -> Result<Leased, LeaseError> {
    if pool.is_full() {
        means.process.count(means.core, Count::NoRoom);
        return Err(LeaseError::Full);
    }
    // The place is taken before the wait: connections being opened count.
    pool.begin();
    let mut leased = Leased { pool: Rc::clone(pool), connection: None, from: From::Dial };
    let (addresses, first, epoch) = pool.whereto();
    match connect::connect(&addresses, first, means.connect, means.wheel).await {
        Ok((stream, peer)) if stream.number() < means.files_max => {
            means.process.count(means.core, Count::Connected);
            pool.count(means.core, Connections::Opened);
            let left = means.dice.about(EXCHANGES);
            let dies = clock::now().after(means.dice.about_span(AGE));
            leased.connection = Some(Box::new(Connection { stream, peer, epoch, left, dies }));
            Ok(leased)
        }
        Ok(_) | Err(LeaseError::NoRoom) => {
            means.process.count(means.core, Count::NoRoom);
            // A client at rest gives its descriptor to the next one who needs one.
            let _ = means.wheel.evict(clock::now());
            Err(LeaseError::NoRoom)
        }
        Err(error) => {
            pool.count(means.core, Connections::Failed);
            Err(error)
        }
    }
}

impl Leased {
    /// The connection; `None` only while it is being opened or after it was parked.
    #[must_use]
    pub fn stream(&self) -> Option<&Stream> {
        self.connection.as_ref().map(|connection| &connection.stream)
    }

    /// Puts the connection back for the next exchange. The caller knows that nothing is left of
    /// this one: the response was framed and read to its end, the request was sent whole, and
    /// neither side asked to close.
    pub fn park(mut self, now: Now) {
        // One that was cut in the same moment is no good, though it looks clean: what was written
        // may have gone out before the cut and be reported after it.
        let connection = self.connection.take();
        if let Some(connection) = connection.filter(|it| !it.stream.was_cut()) {
            connection.stream.deadline.disarm();
            self.pool.park(connection, now);
        }
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        self.pool.end();
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::config::Service;
    use crate::rt::deadline::Cut;
    use crate::rt::driver::{Choice, Loop, Tier};
    use crate::table::{Moved, Table, sample};
    use pool::Pools;

    /// A table whose one target is `address`.
    fn table(address: SocketAddr) -> Table {
        let mut route = sample::route("GET /");
        let urls = vec![sample::url(&address.ip().to_string(), address.port())];
        route.services = vec![Service { urls, ..sample::service("s", "x", 1) }];
        sample::table(1, vec![route])
    }

    struct Bench {
        core: Core,
        wheel: Rc<Wheel>,
        process: Process,
        dice: Dice,
        pools: Pools,
        pool: Rc<Pool>,
        target: Box<str>,
        _listener: TcpListener,
    }

    impl Bench {
        fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let table = table(listener.local_addr().unwrap());
            let pools = Pools::default();
            let pool = Rc::clone(&pools.of(&table, 1)[0]);
            let wheel = Wheel::new(clock::now());
            let (core, process, dice) = (Core::claim(0), Process::new(1), Dice::seeded(1));
            let target = table.targets[0].name.clone();
            Self { core, wheel, process, dice, pools, pool, target, _listener: listener }
        }

        fn means(&self) -> Dialling<'_> {
            let Self { core, wheel, process, dice, .. } = self;
            let connect = Some(Duration::from_secs(5));
            Dialling { core, dice, wheel, process, connect, files_max: RawFd::MAX }
        }

        /// Opens a connection and parks it at `now`.
        async fn parked(&self, now: Now) {
            dial(&self.pool, &self.means()).await.unwrap().park(now);
        }

        fn reused(&self, now: Now) -> Option<Leased> {
            reuse(&self.pool, now, &self.means())
        }
    }

    fn run(test: impl AsyncFnOnce(Bench) + Send + 'static) {
        let core = std::thread::spawn(move || {
            Loop::build(Choice::Epoll, Tier::Epoll).unwrap().run(test(Bench::new()));
        });
        core.join().unwrap();
    }

    #[test]
    fn a_connection_older_than_its_time_is_not_handed_out_however_often_it_was_used() {
        run(async |bench| {
            let start = clock::now();
            bench.parked(start).await;
            let mut now = start;
            while now < start.after(AGE * 9 / 10) {
                bench.reused(now).expect("young enough").park(now);
                now = now.after(Duration::from_secs(20));
            }
            let late = start.after(AGE * 12 / 10);
            let leased = bench.reused(now).expect("at most a tenth earlier");
            leased.park(late);
            assert!(bench.reused(late).is_none(), "at most a tenth later");
        });
    }

    #[test]
    fn a_connection_that_was_cut_is_not_parked() {
        run(async |bench| {
            let now = clock::now();
            for how in [Cut::Read, Cut::Both] {
                let leased = dial(&bench.pool, &bench.means()).await.unwrap();
                leased.stream().unwrap().cut(how);
                leased.park(now);
                assert!(bench.reused(now).is_none(), "{how:?}");
            }
        });
    }

    #[test]
    fn a_connection_that_dies_at_rest_is_swept() {
        run(async |bench| {
            let start = clock::now();
            bench.parked(start).await;
            let _ = bench.pools.sweep(&bench.core, start);
            bench.reused(start).expect("it rests").park(start);
            let _ = bench.pools.sweep(&bench.core, start.after(AGE * 2));
            assert!(bench.reused(start).is_none());
        });
    }

    #[test]
    fn a_connection_is_parked_again_about_ten_thousand_times() {
        run(async |bench| {
            let now = clock::now();
            bench.parked(now).await;
            let mut served = 1;
            while let Some(leased) = bench.reused(now) {
                leased.park(now);
                served += 1;
            }
            assert!((9_000..=11_000).contains(&served), "{served}");
        });
    }

    #[test]
    fn what_leads_where_the_name_still_leads_is_kept_and_the_rest_is_closed_once_idle() {
        run(async |bench| {
            let now = clock::now();
            let (addresses, ..) = bench.pool.whereto();
            let (here, elsewhere) = (addresses[0], SocketAddr::from(([127, 0, 0, 9], 9)));
            let leads = |addresses: &[SocketAddr]| {
                let target = bench.target.clone();
                bench.pools.lead(&[Moved { target, addresses: addresses.into() }]);
            };
            bench.parked(now).await;
            leads(&[elsewhere, here]);
            let leased = bench.reused(now).expect("it leads there still");
            leads(&[here]);
            leased.park(now);
            let leased = bench.reused(now).expect("in use meanwhile, and it leads there still");
            leads(&[elsewhere]);
            leased.park(now);
            assert!(bench.reused(now).is_none(), "it was in use, and is closed when it is not");
            leads(&[here]);
            bench.parked(now).await;
            leads(&[]);
            assert!(bench.reused(now).is_none() && !bench.pool.is_open());
            let none = dial(&bench.pool, &bench.means()).await.err();
            assert_eq!(none, Some(LeaseError::Unreachable));
        });
    }

    /// Of two addresses one takes no connection: it costs its share of the time, not all of it.
    #[test]
    fn an_address_that_is_silent_leaves_time_for_the_next() {
        run(async |bench| {
            let (silent, _queued) = taking_none();
            let (addresses, ..) = bench.pool.whereto();
            let target = bench.target.clone();
            bench.pools.lead(&[Moved { target, addresses: [silent, addresses[0]].into() }]);
            let means = Dialling { connect: Some(Duration::from_millis(800)), ..bench.means() };
            for _ in 0..2 {
                assert!(dial(&bench.pool, &means).await.is_ok());
            }
        });
    }

    /// An address whose queue is full: it answers nobody, as long as what comes with it lives.
    fn taking_none() -> (SocketAddr, (socket2::Socket, Vec<std::net::TcpStream>)) {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) =
            std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200))
        {
            queued.push(stream);
            assert!(queued.len() < 64, "the queue is never full");
        }
        (address, (socket, queued))
    }

    #[test]
    fn each_address_is_tried_first_in_its_turn_and_one_that_refuses_is_passed_over() {
        run(async |bench| {
            let (addresses, ..) = bench.pool.whereto();
            let here = addresses[0];
            // Nobody listens on the other address of this machine at that port.
            let closed = SocketAddr::from(([127, 0, 0, 9], here.port()));
            let target = bench.target.clone();
            bench.pools.lead(&[Moved { target, addresses: [closed, here].into() }]);
            let firsts = [0; 4].map(|_| bench.pool.whereto().1);
            assert!(firsts == [0, 1, 0, 1] || firsts == [1, 0, 1, 0], "{firsts:?}");
            for _ in 0..4 {
                assert!(dial(&bench.pool, &bench.means()).await.is_ok());
            }
        });
    }
}
