//! This process' part in its cluster, in time.
//!
//! Enters: the breakers of the served table, hints, and time. Leaves: exchanges with the store, and
//! the moves that they bring, told like those of the cores. Owns when: it looks at the breakers
//! every few milliseconds, and has one exchange under way at a time. What is decided is the
//! machine's; how it is sent the store's.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};

use super::plane::Plane;
use super::secrets;
use super::sharing::{Exchange, Sharing};
use crate::breaker::policy::Share;
use crate::clock::{self, Now};
use crate::cluster::store::{Password, Store};
use crate::cluster::{Ask, Call, LOOK, Machine, OnLoss, SCRIPT, Settings, Told};
use crate::config::{self, Hints, Redis};
use crate::table::Notice;

/// Hints that wait at most: more of them say no more.
const HINTS_MAX: usize = 1024;

/// Calls of one exchange at most: one for each shard, and some to come.
const CALLS_MAX: usize = 64;

/// How long an end may be held up by taking leave.
const LEAVE_MAX: Duration = Duration::from_millis(500);

/// The task that reconciles.
#[derive(Debug)]
pub(super) struct Reconciler {
    task: JoinHandle<()>,
    leave: Arc<Notify>,
}

/// What the task holds.
struct Reconcile {
    plane: Arc<Plane>,
    sharing: Arc<Sharing>,
    machine: Machine,
    store: Store,
    hints: mpsc::Receiver<Vec<u8>>,
    changed: Arc<Notify>,
    leave: Arc<Notify>,
    /// The generation whose breakers the machine knows.
    generation: u64,
}

/// What `redis` means to the machine of the instance of this number.
fn settings(redis: &Redis, instance: u64) -> Settings {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1")]
    let quorum = Share((redis.quorum * f64::from(Share::ALL.0)).round() as u32);
    Settings {
        prefix: redis.prefix.clone(),
        interval: redis.interval,
        hints: redis.hints == Hints::Announced,
        on_loss: match redis.on_loss {
            config::OnLoss::Local => OnLoss::Local,
            config::OnLoss::Freeze => OnLoss::Freeze,
            config::OnLoss::Closed => OnLoss::Closed,
        },
        quorum,
        instance,
    }
}

/// Tells the password of `redis` whenever it is needed.
pub(super) fn password(redis: &Redis) -> Password {
    let (secret, reader) = (redis.password.clone(), secrets::Reader::default());
    Box::new(move || {
        let (secret, reader) = (secret.clone(), reader.clone());
        Box::pin(async move {
            let Some(secret) = secret else { return Ok(None) };
            reader.reveal("state.password", &secret).await.map(Some)
        })
    })
}

impl Reconciler {
    /// Begins to share what `plane` knows through `redis`.
    pub(super) fn start(
        plane: &Arc<Plane>,
        sharing: &Arc<Sharing>,
        redis: &Redis,
        instance: u64,
    ) -> Self {
        let machine = Machine::new(settings(redis, instance), clock::now());
        let (sender, hints) = mpsc::channel(HINTS_MAX);
        let (changed, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let announced = redis.hints == Hints::Announced;
        let channel = announced.then(|| (machine.channel().as_bytes().to_vec(), sender));
        let store = Store::new(redis, SCRIPT, password(redis), channel, Arc::clone(&changed));
        let task = tokio::spawn(
            Reconcile {
                plane: Arc::clone(plane),
                sharing: Arc::clone(sharing),
                machine,
                store,
                hints,
                changed,
                leave: Arc::clone(&leave),
                generation: 0,
            }
            .run(),
        );
        Self { task, leave }
    }

    /// Gives back what this instance holds, and ends.
    pub(super) async fn leave(self) {
        self.leave.notify_one();
        if tokio::time::timeout(LEAVE_MAX, self.task).await.is_err() {
            log::warn!("Redis was not told that this instance ends; it will be missed in time");
        }
    }
}

impl Reconcile {
    async fn run(mut self) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Some(payload) = self.hints.recv() => self.hinted(&payload),
                () = self.changed.notified() => {}
                () = self.leave.notified() => break,
            }
            while let Ok(payload) = self.hints.try_recv() {
                self.hinted(&payload);
            }
            self.look(clock::now());
            self.exchange(&mut ticks).await;
        }
        let calls = self.machine.leave();
        let calls: Vec<&Call> = calls.iter().collect();
        let _ = self.store.exchange(&calls).await;
    }

    fn hinted(&mut self, payload: &[u8]) {
        self.machine.hint(payload);
    }

    /// Lets the machine notice what has happened.
    fn look(&mut self, now: Now) {
        let table = self.plane.live.current();
        if table.generation != self.generation {
            self.generation = table.generation;
            let breakers = table.breakers.iter().map(|it| (&*it.name, &it.breaker));
            self.machine.serve(breakers, now);
        }
        self.machine.look(now);
        self.sharing.stands(self.machine.standing(), now);
    }

    /// Sends what is due, and hears the answers. The machine goes on looking meanwhile.
    async fn exchange(&mut self, ticks: &mut Interval) {
        if !self.store.has_begun().await {
            return;
        }
        let sent = clock::now();
        let asks: Vec<Ask> =
            std::iter::from_fn(|| self.machine.ask(sent)).take(CALLS_MAX).collect();
        if asks.is_empty() {
            return;
        }
        let calls: Vec<&Call> = asks.iter().map(|ask| &ask.call).collect();
        let answers = {
            let mut under_way = pin!(self.store.exchange(&calls));
            loop {
                tokio::select! {
                    answers = &mut under_way => break answers,
                    _ = ticks.tick() => self.machine.look(clock::now()),
                }
            }
        };
        let now = clock::now();
        self.sharing.exchanged(
            Exchange {
                took: now.since(sent),
                sent: calls.iter().map(|call| bytes(call)).sum(),
                answers: &answers,
                servers: self.store.connected(),
                deaf: self.store.deaf().cloned(),
            },
            now,
        );
        for (ask, answer) in asks.iter().zip(&answers) {
            match answer {
                Err(_) => self.machine.miss(ask),
                Ok(answer) => match self.machine.hear(ask, sent, answer, now) {
                    Ok(moves) => tell(&self.plane, moves),
                    Err(malformed) => self.sharing.malformed(&malformed.to_string(), now),
                },
            }
        }
        self.sharing.stands(self.machine.standing(), now);
    }
}

/// Tells of moves as the cores tell of theirs.
fn tell(plane: &Plane, moves: Vec<Told>) {
    if moves.is_empty() {
        return;
    }
    let table = plane.live.current();
    for Told { breaker, transition } in moves {
        if let Some((breaker, _)) = table.breaker_named(&breaker) {
            (plane.report)(Notice { table: Arc::clone(&table), breaker, transition });
        }
    }
}

fn bytes(call: &Call) -> usize {
    call.keys.iter().chain(&call.args).map(Vec::len).sum()
}
