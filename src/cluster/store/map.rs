//! Which connection a key is reached by.
//!
//! Enters: keys, the time, and word that something has moved. Leaves: the link of each slot. Owns
//! what is known of a Cluster: its nodes are asked when it is first looked after, when a call comes
//! to the wrong one, and when one is lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::dial::{Dialler, Target};
use super::failure::{Failure, Kind};
use super::link::{Link, Pause};
use super::slots::{self, Range, SLOTS};
use crate::clock::{self, Now};
use crate::config::Node;

/// The nodes of a Cluster are asked who holds what at most so often.
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// Nodes of a Cluster that are connected to: more are not believed in.
const LINKS_MAX: usize = 1_000;

/// Bytes of the answer who holds what: 256 for each slot, should every one be a range of its own. A
/// range with its master takes some 110, and each replica 85; hostnames a few more.
const MAP_BYTES_MAX: usize = SLOTS * 256;

/// Which link a key is reached by.
pub(super) enum Map {
    /// The only one.
    Single,
    /// The one of its slot.
    Slots(Box<Slots>),
}

pub(super) struct Slots {
    seeds: Vec<Node>,
    /// The node that is asked first.
    turn: usize,
    /// The link of each slot.
    pub(super) of: Vec<Option<usize>>,
    /// Why a slot has no link.
    pub(super) why: Failure,
    state: Asking,
    pause: Pause,
}

/// Whether the nodes are being asked who holds what.
enum Asking {
    Not { since: Now },
    At(Now),
    Now(JoinHandle<Result<Vec<Range>, Failure>>),
}

/// The link to `node`, made where there is none; `None` where there are too many.
pub(super) fn link_to(links: &mut Vec<Link>, node: Node) -> Option<usize> {
    let target = Target::Node(node);
    if let Some(nth) = links.iter().position(|link| *link.target() == target) {
        return Some(nth);
    }
    if links.len() >= LINKS_MAX {
        return None;
    }
    links.push(Link::new(target, clock::now()));
    Some(links.len() - 1)
}

impl Slots {
    pub(super) fn new(seeds: &[Node]) -> Self {
        Self {
            seeds: seeds.to_vec(),
            turn: 0,
            of: vec![None; SLOTS],
            why: Failure::none_yet(),
            state: Asking::At(clock::now()),
            pause: Pause::default(),
        }
    }

    /// Something has moved: the nodes are asked what, but not more often than once a second.
    pub(super) fn ask_soon(&mut self) {
        if let Asking::Not { since } = self.state {
            self.state = Asking::At(since.after(ASKED_EVERY));
        }
    }

    pub(super) async fn look_after(
        &mut self,
        dialler: &Arc<Dialler>,
        links: &mut Vec<Link>,
        now: Now,
        dice: u64,
    ) {
        if let Asking::Now(task) = &mut self.state
            && task.is_finished()
        {
            let told = task.await.unwrap_or_else(|error| {
                Err(Failure::new(Kind::Unreachable, format!("asking ended: {error}")))
            });
            self.state = match told {
                Ok(ranges) => {
                    self.learn(ranges, links);
                    self.pause.reset();
                    Asking::Not { since: now }
                }
                Err(why) => {
                    self.why = why;
                    Asking::At(now.after(self.pause.next(dice)))
                }
            };
        }
        if let Asking::At(due) = self.state
            && due <= now
        {
            let known = links.iter().filter_map(|link| match link.target() {
                Target::Node(node) => Some(node.clone()),
                Target::Watched(..) => None,
            });
            let mut nodes: Vec<Node> = known.collect();
            nodes.extend(self.seeds.iter().cloned());
            self.turn = self.turn.wrapping_add(1);
            let turn = self.turn % nodes.len().max(1);
            nodes.rotate_left(turn);
            self.state = Asking::Now(tokio::spawn(ask(Arc::clone(dialler), nodes)));
        }
    }

    /// Takes over a map, and drops the links that nothing leads to any more.
    fn learn(&mut self, ranges: Vec<Range>, links: &mut Vec<Link>) {
        let named: Vec<Target> =
            ranges.iter().map(|range| Target::Node(range.node.clone())).collect();
        links.retain(|link| named.contains(link.target()));
        self.of.fill(None);
        self.why = Failure::new(Kind::NotReady, "no node of the Cluster holds this slot");
        for Range { first, last, node } in ranges {
            let link = link_to(links, node);
            if let Some(held) = self.of.get_mut(first..=last.max(first)) {
                held.fill(link);
            }
        }
    }
}

/// Asks the nodes, one after the other, who holds which slots.
async fn ask(dialler: Arc<Dialler>, nodes: Vec<Node>) -> Result<Vec<Range>, Failure> {
    /// The others are asked another time.
    const ASKED_MAX: usize = 3;
    let mut last = Failure::new(Kind::Misconfigured, "there is no node to ask");
    for node in nodes.into_iter().take(ASKED_MAX) {
        match ask_one(&dialler, &node).await {
            Ok(ranges) => {
                dialler.changed.notify_one();
                return Ok(ranges);
            }
            Err(failure) => last = failure,
        }
    }
    dialler.changed.notify_one();
    Err(last)
}

async fn ask_one(dialler: &Dialler, node: &Node) -> Result<Vec<Range>, Failure> {
    let guide = dialler.dial_guide(node).await?;
    guide.allowance.renew(MAP_BYTES_MAX);
    let answer = guide.ask(redis::cmd("CLUSTER").arg("SLOTS")).await;
    let answer = answer.map_err(|failure| failure.at(node))?;
    let ranges = slots::ranges(&answer, node);
    ranges.ok_or_else(|| Failure::new(Kind::Malformed, "no map of slots").at(node))
}
