//! The chunk servers: what they can hold, what they hold, and who has most room.

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use super::command::{ChunkId, Name};

/// What is known of a chunk server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerState {
    /// How many chunks it can hold.
    pub capacity: u64,
    /// How many replicas are placed on it.
    pub replicas: u64,
    /// Whether it was declared lost.
    pub lost: bool,
}

/// One chunk server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) capacity: u64,
    pub(super) lost: bool,
    /// The chunks of which it is a holder.
    pub(super) chunks: OrdSet<ChunkId>,
}

impl Server {
    fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.chunks.len() as u64)
    }

    pub(super) fn state(&self) -> ServerState {
        ServerState { capacity: self.capacity, replicas: self.chunks.len() as u64, lost: self.lost }
    }
}

/// All chunk servers that ever registered.
///
/// Invariant: `by_room` holds each live server with room once, at its place: the most room first, then by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Servers {
    pub(super) by_name: OrdMap<Name, Server>,
    by_room: OrdSet<(std::cmp::Reverse<u64>, Name)>,
}

impl Servers {
    pub(super) fn get(&self, name: &str) -> Option<&Server> {
        self.by_name.get(name)
    }

    pub(super) fn is_live(&self, name: &str) -> bool {
        self.get(name).is_some_and(|server| !server.lost)
    }

    /// Changes a server, and its place among the others. A server that is not there is made.
    pub(super) fn change<T>(&mut self, name: &Name, change: impl FnOnce(&mut Server) -> T) -> T {
        let mut server = self.by_name.get(name).cloned().unwrap_or_default();
        let place = |server: &Server| {
            (!server.lost && server.free() > 0).then(|| (std::cmp::Reverse(server.free()), name.clone()))
        };
        let before = place(&server);
        let result = change(&mut server);
        let after = place(&server);
        if before != after {
            before.iter().for_each(|place| _ = self.by_room.remove(place));
            after.into_iter().for_each(|place| _ = self.by_room.insert(place));
        }
        self.by_name.insert(name.clone(), server);
        result
    }

    /// The live servers with room, those with most room first, and how much they have.
    pub(super) fn with_room(&self) -> impl Iterator<Item = (&Name, u64)> {
        self.by_room.iter().map(|(room, name)| (name, room.0))
    }
}
