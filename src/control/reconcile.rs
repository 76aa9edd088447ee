//! This process' part in its cluster, in time.
//!
//! Enters: the breakers of the served table, hints, and time. Leaves: exchanges with the store, and
//! the moves that they bring, told like those of the cores. Owns when: it looks at the breakers
//! every few milliseconds, and has one exchange under way at a time. What is decided is the
//! machine's; how it is sent the store's.
//!
//! A panic in all this, a defect of ours, ends neither the process nor sharing: breakers go on as
//! without a store, and it is begun anew after a pause. Requests are served all the while, so a
//! restart would be the greater harm; and were it a register that brings it about, every process
//! that reads it would restart without end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};

use super::plane::Plane;
use super::secrets;
use super::sharing::{Exchange, Sharing};
use crate::breaker::policy::Share;
use crate::clock::{self, Now};
use crate::cluster::store::{Failure, Kind, Password, Store};
use crate::cluster::{Ask, Call, LOOK, Machine, OnLoss, SCRIPT, Settings, Told};
use crate::config::{self, Hints, Redis};
use crate::table::Notice;

/// Hints that wait at most: more of them say no more.
const HINTS_MAX: usize = 1024;

/// Calls of one exchange at most: one for each shard, and some to come.
const CALLS_MAX: usize = 64;

/// How long an end may be held up by taking leave.
const LEAVE_MAX: Duration = Duration::from_millis(500);

/// The pause after a panic; it doubles with each further one.
const ANEW_MIN: Duration = Duration::from_secs(1);

/// It grows no further, and what has gone well for so long begins with the least again.
const ANEW_MAX: Duration = Duration::from_secs(60);

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
    /// Makes the store's client.
    store: Box<dyn Fn() -> Store + Send>,
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
        let store = {
            let (redis, changed) = (redis.clone(), Arc::clone(&changed));
            move || {
                let changed = Arc::clone(&changed);
                Store::new(&redis, SCRIPT, password(&redis), channel.clone(), changed)
            }
        };
        Self::of(Reconcile {
            plane: Arc::clone(plane),
            sharing: Arc::clone(sharing),
            machine,
            store: Box::new(store),
            hints,
            changed,
            leave,
            generation: 0,
        })
    }

    fn of(reconcile: Reconcile) -> Self {
        let leave = Arc::clone(&reconcile.leave);
        Self { task: tokio::spawn(reconcile.run()), leave }
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
        let mut pause = ANEW_MIN;
        loop {
            let began = clock::now();
            if AssertUnwindSafe(self.share()).catch_unwind().await.is_ok() {
                return;
            }
            if clock::now().since(began) >= ANEW_MAX {
                pause = ANEW_MIN;
            }
            self.forget(pause);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.leave.notified() => return,
            }
            pause = (pause * 2).min(ANEW_MAX);
        }
    }

    /// Leaves the breakers as the loss of a store leaves them.
    fn forget(&mut self, pause: Duration) {
        let now = clock::now();
        self.generation = 0;
        // What was wrong may still be: then it is served anew without having been forgotten.
        let _ = catch_unwind(AssertUnwindSafe(|| self.machine.forget(now)));
        self.sharing.panicked(self.machine.standing(), now);
        let seconds = pause.as_secs();
        log::error!(
            "sharing state has ended by a defect of fusebox: report it; meanwhile `state.onLoss` \
             holds, and it begins anew in {seconds} s"
        );
    }

    /// Shares until this instance is to leave.
    async fn share(&mut self) {
        let mut store = (self.store)();
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
            self.exchange(&mut store, &mut ticks).await;
        }
        let calls = self.machine.leave(clock::now());
        let calls: Vec<&Call> = calls.iter().collect();
        let _ = store.exchange(&calls).await;
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
            self.sharing.retain(|shard| self.machine.uses(shard), now);
        }
        self.machine.look(now);
        self.sharing.stands(self.machine.standing(), now);
    }

    /// Sends what is due, and hears the answers. The machine goes on looking meanwhile.
    async fn exchange(&mut self, store: &mut Store, ticks: &mut Interval) {
        if !store.has_begun().await {
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
            let mut under_way = pin!(store.exchange(&calls));
            loop {
                tokio::select! {
                    answers = &mut under_way => break answers,
                    _ = ticks.tick() => self.machine.look(clock::now()),
                }
            }
        };
        let now = clock::now();
        let received = answers.iter().flatten().map(Vec::len).sum();
        let heard = asks.iter().zip(answers).map(|(ask, answer)| {
            let failure = self.hear(ask, sent, answer, now).err();
            (ask.shard, failure)
        });
        let asked: Vec<(u8, Option<Failure>)> = heard.collect();
        self.sharing.exchanged(
            Exchange {
                took: now.since(sent),
                sent: calls.iter().map(|call| bytes(call)).sum(),
                received,
                asked: &asked,
                servers: store.connected(),
                deaf: store.deaf().cloned(),
            },
            now,
        );
        self.sharing.stands(self.machine.standing(), now);
    }

    /// Hears one answer, or that there is none; what is wrong with it, if anything is.
    fn hear(
        &mut self,
        ask: &Ask,
        sent: Now,
        answer: Result<Vec<u8>, Failure>,
        now: Now,
    ) -> Result<(), Failure> {
        let answer = answer.inspect_err(|_| self.machine.miss(ask))?;
        let moves = self.machine.hear(ask, sent, &answer, now).map_err(|malformed| {
            let (kind, text) = (Kind::Malformed, malformed.to_string());
            Failure { kind, server: None, text }
        })?;
        tell(&self.plane, moves);
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::view::tests::plane;
    use super::*;
    use crate::config::{Config, State};

    /// One breaker, and a Redis that is not there.
    fn config() -> (Config, Redis) {
        let text = r#"{
            "state": { "type": "redis", "port": 1, "interval": "50ms" },
            "http": { "routes": { "/": { "GET": {
                "services": { "s": { "url": "http://127.0.0.1:9" } },
                "circuitBreaker": { "maxFailures": 1 }
            } } } }
        }"#;
        let (config, _) = config::load(text).unwrap();
        let State::Redis(redis) = config.state.clone() else { panic!("{config:?}") };
        (config, *redis)
    }

    #[test]
    fn sharing_that_panics_is_begun_anew_and_counted() {
        super::super::runtime().unwrap().block_on(async {
            let (config, redis) = config();
            let (plane, _orders) = plane(&config);
            let sharing = Arc::new(Sharing::new(clock::now()));
            let begun = Arc::new(AtomicU32::new(0));
            let (count, settings) = (Arc::clone(&begun), settings(&redis, 7));
            let store = move || {
                assert!(count.fetch_add(1, Ordering::Relaxed) > 0, "a defect");
                Store::new(&redis, SCRIPT, password(&redis), None, Arc::default())
            };
            let reconciler = Reconciler::of(Reconcile {
                plane,
                sharing: Arc::clone(&sharing),
                machine: Machine::new(settings, clock::now()),
                store: Box::new(store),
                hints: mpsc::channel(1).1,
                changed: Arc::default(),
                leave: Arc::default(),
                generation: 0,
            });
            let asked = || sharing.figures().shown(clock::now())["errors"]["unreachable"].clone();
            let until = clock::now().after(Duration::from_secs(10));
            while asked() == 0 {
                assert!(clock::now() < until, "it is not begun anew");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(begun.load(Ordering::Relaxed), 2);
            assert_eq!(sharing.figures().panics, 1);
            reconciler.leave().await;
        });
    }
}
