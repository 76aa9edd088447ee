//! The script that the store runs.
//!
//! Owns its text. What it takes and answers is told at its beginning.

/// A script for the store: its text is all there is; who calls it by a digest makes that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script {
    /// Lua 5.1, as Redis 6.2 and Valkey run it.
    pub text: &'static str,
}

/// The one script of the cluster.
pub const SCRIPT: Script = Script { text: include_str!("script.lua") };
