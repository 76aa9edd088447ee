//! A connection of a client, and what is under way on it.

use std::collections::VecDeque;

use crate::clock::Nanos;
use crate::message::Reader;
use crate::ring::Id;

/// A request under way.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) planned: Nanos,
    pub(super) sent: Nanos,
}

/// One connection.
pub(super) struct Connection {
    pub(super) id: Id,
    pub(super) reader: Reader,
    pub(super) asked: VecDeque<Asked>,
    pub(super) stands: bool,
    /// Since when it could take another request.
    pub(super) free_since: Nanos,
}

/// The connection of this name, if it has not ended.
pub(super) fn find(connections: &mut [Option<Connection>], id: Id) -> Option<&mut Connection> {
    connections.get_mut(id.at())?.as_mut().filter(|connection| connection.id == id)
}
