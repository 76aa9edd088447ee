//! Redis, as somewhere to send script calls.
//!
//! Enters: some [`Call`]s of one script. Leaves: for each of them the script's answer, or a
//! [`Failure`] with its remedy; hints, as they come. Owns every connection to Redis: to one server,
//! to the one that Sentinel names, or to the nodes of a Cluster. Alone it names the client library.
//!
//! A call is answered or refused within the patience of the store, and waits for no connection:
//! those are made beside it, after pauses that grow. What a server refuses for a reason that lasts
//! (a right, a type, a defect) is not asked again before such a pause either.

mod dial;
mod failure;
mod link;
mod map;
mod slots;
mod stream;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, mpsc};

pub use dial::{Password, Telling};
pub use failure::{Failure, Kind};

use super::Call;
use crate::clock::{self, Now};
use crate::config::{Node, Place, Redis, Wire};
use dial::{Dialler, Refusal, Target};
use link::{Link, Pause};
use map::{Map, Slots, link_to};

/// Bytes that one exchange may be answered with, and as many again for every sixteenth call.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The least time that an answer is waited for, however short the interval.
const PATIENCE_MIN: Duration = Duration::from_millis(50);

/// The most, however long.
const PATIENCE_MAX: Duration = Duration::from_secs(1);

/// Calls whose refusal is remembered: there is one for each shard.
const RESTING_MAX: usize = 1_024;

/// A script as servers know it.
struct Known {
    text: &'static str,
    /// The SHA-1 of its text.
    digest: String,
}

/// A Redis and our connections to it.
pub struct Store {
    dialler: Arc<Dialler>,
    script: Known,
    map: Map,
    links: Vec<Link>,
    resting: HashMap<Vec<u8>, Resting>,
    begun: bool,
    dice: RandomState,
}

/// A call that was refused for a reason that lasts.
struct Resting {
    why: Failure,
    until: Now,
    pause: Pause,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("links", &self.links.len()).finish_non_exhaustive()
    }
}

impl Store {
    /// The Redis that `redis` names, and the script that it is to run. Nothing is connected to
    /// before the first exchange. `hints` is the channel on which changes are announced, and who
    /// wants to know of them; `changed` is told when a connection has come or gone.
    #[must_use]
    pub fn new(
        redis: &Redis,
        script: super::Script,
        password: Password,
        hints: Option<(Vec<u8>, mpsc::Sender<Vec<u8>>)>,
        changed: Arc<Notify>,
    ) -> Self {
        let inside_tls = |node: &Node| matches!(node, Node::Tcp { wire: Wire::Tls, .. });
        let nodes = match &redis.place {
            Place::One(node) => std::slice::from_ref(node),
            Place::Cluster(nodes) | Place::Sentinel { nodes, .. } => nodes,
        };
        let authorities = nodes.iter().any(inside_tls).then(stream::authorities);
        let dialler = Arc::new(Dialler {
            username: redis.username.clone(),
            password,
            db: redis.db,
            authorities,
            hints,
            patience: redis.interval.clamp(PATIENCE_MIN, PATIENCE_MAX),
            guide: AtomicUsize::new(0),
            changed,
        });
        let now = clock::now();
        let (map, links) = match &redis.place {
            Place::One(node) => (Map::Single, vec![Link::new(Target::Node(node.clone()), now)]),
            Place::Sentinel { nodes, master } => {
                let target = Target::Watched(nodes.clone(), master.clone());
                (Map::Single, vec![Link::new(target, now)])
            }
            Place::Cluster(seeds) => (Map::Slots(Box::new(Slots::new(seeds))), Vec::new()),
        };
        let digest = redis::Script::new(script.text).get_hash().to_owned();
        let script = Known { text: script.text, digest };
        let (resting, dice) = (HashMap::new(), RandomState::new());
        Self { dialler, script, map, links, resting, begun: false, dice }
    }

    /// Whether a first attempt to connect has ended, well or not: until then a call would only be
    /// refused.
    pub async fn has_begun(&mut self) -> bool {
        if !self.begun {
            self.look_after(clock::now()).await;
            let none_yet = Failure::none_yet();
            let tried = |link: &Link| link.connection().err() != Some(&none_yet);
            self.begun = match &self.map {
                Map::Slots(slots) if self.links.is_empty() => slots.why != none_yet,
                _ => self.links.iter().any(tried),
            };
        }
        self.begun
    }

    /// Sends every call at once; the answers are in the order of the calls. Ends within twice the
    /// patience of the store.
    pub async fn exchange(&mut self, calls: &[&Call]) -> Vec<Result<Vec<u8>, Failure>> {
        let now = clock::now();
        self.look_after(now).await;
        let allowance = ANSWER_BYTES_MAX + ANSWER_BYTES_MAX / 16 * calls.len();
        for link in &self.links {
            if let Ok(connection) = link.connection() {
                connection.allowance.renew(allowance);
            }
        }
        let roads: Vec<_> = calls.iter().map(|call| self.road(call, now)).collect();
        let first = roads.iter().zip(calls).map(|(road, call)| self.send(road, call));
        let mut answers = join_all(first).await;
        let moved = self.follow(&mut answers, calls);
        let store = &*self;
        let again = moved
            .into_iter()
            .map(async |(nth, link)| (nth, link, store.send(&Ok(link), calls[nth]).await));
        let again = join_all(again).await;
        let mut roads = roads;
        for (nth, link, answer) in again {
            roads[nth] = Ok(link);
            answers[nth] = answer;
        }
        let after = clock::now();
        let judged = answers.into_iter().zip(roads).zip(calls);
        judged.map(|((answer, road), call)| self.judge(answer, road.ok(), call, after)).collect()
    }

    /// Why hints do not arrive, if they should.
    #[must_use]
    pub fn deaf(&self) -> Option<&Failure> {
        let connections = self.links.iter().filter_map(|link| link.connection().ok());
        connections.filter_map(|connection| connection.deaf.as_ref()).next()
    }

    /// The servers that are connected to.
    #[must_use]
    pub fn connected(&self) -> Vec<String> {
        let connections = self.links.iter().filter_map(|link| link.connection().ok());
        connections.map(|connection| connection.node.to_string()).collect()
    }

    fn throw(&self, now: Now) -> u64 {
        self.dice.hash_one(now.micros())
    }

    async fn look_after(&mut self, now: Now) {
        let dice = self.throw(now);
        if let Map::Slots(slots) = &mut self.map {
            slots.look_after(&self.dialler, &mut self.links, now, dice).await;
        }
        for link in &mut self.links {
            link.look_after(&self.dialler, now, dice).await;
        }
    }

    /// The link of a call, or why it has none.
    fn road(&self, call: &Call, now: Now) -> Result<usize, Failure> {
        let key = call.keys.first().map_or(&[][..], Vec::as_slice);
        if let Some(resting) = self.resting.get(key)
            && resting.until > now
        {
            return Err(resting.why.clone());
        }
        match &self.map {
            Map::Single => Ok(0),
            Map::Slots(slots) => {
                let link = slots.of.get(slots::slot(key)).copied().flatten();
                link.ok_or_else(|| slots.why.clone())
            }
        }
    }

    async fn send(&self, road: &Result<usize, Failure>, call: &Call) -> Result<Vec<u8>, Refusal> {
        let refused = |failure: &Failure| Refusal { failure: failure.clone(), moved: None };
        let link = *road.as_ref().map_err(refused)?;
        let link = self.links.get(link).map(Link::connection);
        match link {
            Some(Ok(connection)) => connection.run(&self.script, call).await,
            Some(Err(why)) => Err(refused(why)),
            None => Err(refused(&Failure::none_yet())),
        }
    }

    /// Corrects the map by what the answers say of it; the calls that are to be sent again, and on
    /// which link.
    fn follow(
        &mut self,
        answers: &mut [Result<Vec<u8>, Refusal>],
        calls: &[&Call],
    ) -> Vec<(usize, usize)> {
        let Map::Slots(slots) = &mut self.map else { return Vec::new() };
        let mut moved = Vec::new();
        for (nth, (answer, call)) in answers.iter_mut().zip(calls).enumerate() {
            let Err(Refusal { moved: Some(node), .. }) = answer else { continue };
            let Some(link) = link_to(&mut self.links, node.clone()) else { continue };
            slots.ask_soon();
            let key = call.keys.first().map_or(&[][..], Vec::as_slice);
            if let Some(held) = slots.of.get_mut(slots::slot(key)) {
                *held = Some(link);
            }
            moved.push((nth, link));
        }
        moved
    }

    /// What an answer means for the connection it came over, and for the next call of its kind.
    fn judge(
        &mut self,
        answer: Result<Vec<u8>, Refusal>,
        road: Option<usize>,
        call: &Call,
        now: Now,
    ) -> Result<Vec<u8>, Failure> {
        let key = call.keys.first().map_or(&[][..], Vec::as_slice);
        let failure = match answer {
            Ok(answer) => {
                self.resting.remove(key);
                return Ok(answer);
            }
            Err(Refusal { mut failure, .. }) => {
                if failure.kind == Kind::WrongType {
                    let tag = String::from_utf8_lossy(slots::tag(key)).into_owned();
                    failure.text = format!("a key that begins with {{{tag}}}: {}", failure.text);
                }
                failure
            }
        };
        let Some(link) = road else { return Err(failure) };
        let dice = self.throw(now);
        let demoted = failure.text.contains("READONLY");
        if let Map::Slots(slots) = &mut self.map
            && (failure.kind.ends_connection() || failure.kind == Kind::NotReady)
        {
            slots.ask_soon();
        }
        if failure.kind.ends_connection() || demoted {
            if let Some(link) = self.links.get_mut(link) {
                link.lost(failure.clone(), now, dice);
            }
        } else if failure.kind != Kind::NotReady && self.resting.len() < RESTING_MAX {
            let pause = self.resting.get(key).map_or_else(Pause::default, |resting| resting.pause);
            let mut resting = Resting { why: failure.clone(), until: now, pause };
            resting.until = now.after(resting.pause.next(dice));
            self.resting.insert(key.to_vec(), resting);
        }
        Err(failure)
    }
}
