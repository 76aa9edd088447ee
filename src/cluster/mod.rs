//! Many proxies, one opinion.
//!
//! Enters: the time, the breakers' own counters, and what a store answered. Leaves: the calls of
//! one script that the store is to make next, and what the breakers are told: what other instances
//! count, which state they agreed on, what an operator ordered elsewhere, whose turn it is to
//! probe.
//!
//! Pure: no I/O, no clock, no dice; the store's client is driven by `control`, and in simulations
//! by a scheduler with a seed. No request waits for any of it: a breaker reads what was left with
//! it, and does without where nothing was.
//!
//! All that is shared lies in registers: a field, a rank and a value. The higher rank stays, so
//! that a call may be repeated, delayed or lost without harm: counters are absolute and ranked by
//! their writer's own numbering, the state of a breaker by its epoch, an order by its revision. One
//! script merges what it is given and answers what changed since the caller last looked.

mod lease;
mod machine;
mod member;
mod record;
mod register;
mod script;
mod shard;
pub mod store;
mod tally;

pub use machine::Machine;
pub use script::{SCRIPT, Script};

use std::time::Duration;

use crate::breaker::Transition;
use crate::breaker::policy::Share;
use crate::clock::Now;

/// Into how many parts the breakers are spread by name; the keys of a part share a hash tag. Fixed
/// for all instances and versions: another number would look for breakers in other keys.
pub const SHARDS: u8 = 8;

/// How often [`Machine::look`] is called at least: the pace at which what happened on the cores is
/// noticed between two calls, and the shortest pause between two calls for one shard.
pub const LOOK: Duration = Duration::from_millis(10);

/// What an instance is told of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What all keys begin with (`state.prefix`).
    pub prefix: String,
    /// How often each shard is asked for news (`state.interval`).
    pub interval: Duration,
    /// Whether news are announced on a channel (`state.hints`).
    pub hints: bool,
    /// What becomes of the breakers while the store is away (`state.onLoss`).
    pub on_loss: OnLoss,
    /// The share of instances that must have seen failures before the merged counts open a breaker
    /// (`state.quorum`); zero: the sum decides.
    pub quorum: Share,
    /// This process among all that ever were: chosen by chance at its start.
    pub instance: u64,
}

/// What becomes of the breakers while the store is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// Each instance decides alone.
    Local,
    /// What is closed stays closed, what is open stays open.
    Freeze,
    /// Nothing is refused.
    Closed,
}

/// What the store is to be asked: one call of [`SCRIPT`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The shard; at most one call of a shard is under way at a time.
    pub shard: u8,
    /// Distinguishes this call from earlier ones of the shard.
    pub number: u64,
    /// Keys and arguments.
    pub call: Call,
}

/// Keys and arguments of one call of the script. All keys share one hash tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// `KEYS`.
    pub keys: Vec<Vec<u8>>,
    /// `ARGV`.
    pub args: Vec<Vec<u8>>,
}

/// A breaker moved because of what was heard; to be told like the moves that cores report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The breaker's stable name.
    pub breaker: Box<str>,
    /// How it moved.
    pub transition: Transition,
}

/// An answer that is not one of the script's: another program's key, or another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the store's answer is not the script's: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// How this instance stands to its cluster, for reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Shards that hold breakers of this instance.
    pub shards: u32,
    /// How many of them are lost: no answer for three intervals, and at least a second.
    pub lost: u32,
    /// Since when all are well; `None` while one is lost.
    pub well_since: Option<Now>,
    /// When the shard that has been silent for longest was last heard.
    pub oldest: Option<Now>,
    /// Instances alive, this one included, as far as is known.
    pub instances: u32,
    /// Breakers of which, at the last tick, something was to be told that the store had not
    /// confirmed.
    pub dirty: u32,
}

#[cfg(test)]
mod sim;
