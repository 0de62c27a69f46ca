//! The chunks: their versions, who holds a replica, and which have too few.

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use super::command::{ChunkId, Name, Refusal, Version};
use super::servers::Servers;

/// Where a chunk lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Which chunk.
    pub chunk: ChunkId,
    /// The newest version that any server has reported.
    pub version: Version,
    /// The live servers that hold it, in that version.
    pub servers: Vec<Name>,
}

/// One replica's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    pub(super) server: Name,
    /// Whether the server itself has said that it holds the chunk. One that has not may still be about to.
    pub(super) confirmed: bool,
}

/// One chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) version: Version,
    /// How many replicas it is to have.
    pub(super) wanted: u32,
    /// By name, each server once.
    pub(super) holders: Vec<Holder>,
}

impl Chunk {
    pub(super) fn held_by(&self, server: &str) -> Option<&Holder> {
        self.holders.iter().find(|holder| &*holder.server == server)
    }

    /// How many live servers have said that they hold it.
    pub(super) fn confirmed(&self, servers: &Servers) -> usize {
        self.holders.iter().filter(|holder| holder.confirmed && servers.is_live(&holder.server)).count()
    }
}

/// All chunks of all paths.
///
/// Invariants: `wanting` holds exactly the chunks with fewer holders than wanted; a server's `chunks` are exactly those
/// of which it is a holder; `next` is above every chunk that ever was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunks {
    pub(super) next: u64,
    pub(super) by_id: OrdMap<ChunkId, Chunk>,
    pub(super) wanting: OrdSet<ChunkId>,
}

impl Chunks {
    /// Places a new chunk on the servers with most room.
    pub(super) fn allocate(&mut self, servers: &mut Servers, wanted: u32) -> Result<Placed, Refusal> {
        let chosen: Vec<Name> = servers.with_room().take(wanted as usize).map(|(name, _)| name.clone()).collect();
        if (chosen.len() as u64) < u64::from(wanted) {
            return Err(Refusal::NotEnoughServers { available: chosen.len() as u32 });
        }
        self.next += 1;
        let (id, version) = (ChunkId(self.next), Version(1));
        let mut holders: Vec<Holder> =
            chosen.iter().map(|name| Holder { server: name.clone(), confirmed: false }).collect();
        holders.sort_by(|a, b| a.server.cmp(&b.server));
        self.put(servers, id, Chunk { version, wanted, holders });
        Ok(Placed { chunk: id, version, servers: chosen })
    }

    /// Puts a chunk in, with all that follows from it.
    pub(super) fn put(&mut self, servers: &mut Servers, id: ChunkId, chunk: Chunk) {
        for holder in &chunk.holders {
            servers.change(&holder.server, |server| _ = server.chunks.insert(id));
        }
        self.by_id.insert(id, chunk);
        self.count(id);
    }

    /// Removes a chunk. Its servers hear of it at their next heartbeats.
    pub(super) fn remove(&mut self, servers: &mut Servers, id: ChunkId) {
        let Some(chunk) = self.by_id.remove(&id) else { return };
        self.wanting.remove(&id);
        for holder in &chunk.holders {
            servers.change(&holder.server, |server| _ = server.chunks.remove(&id));
        }
    }

    /// Keeps `wanting` right.
    fn count(&mut self, id: ChunkId) {
        let wants = self.by_id.get(&id).is_some_and(|chunk| chunk.holders.len() < chunk.wanted as usize);
        if wants {
            self.wanting.insert(id);
        } else {
            self.wanting.remove(&id);
        }
    }

    pub(super) fn placed(&self, servers: &Servers, id: ChunkId) -> Option<Placed> {
        let chunk = self.by_id.get(&id)?;
        let live = chunk.holders.iter().filter(|holder| servers.is_live(&holder.server));
        Some(Placed { chunk: id, version: chunk.version, servers: live.map(|holder| holder.server.clone()).collect() })
    }

    /// A server says that it holds a chunk in this version.
    pub(super) fn reported(&mut self, servers: &mut Servers, server: &Name, id: ChunkId, version: Version) {
        let Some(chunk) = self.by_id.get_mut(&id) else { return };
        if version > chunk.version {
            // What the others hold is older, until they say otherwise.
            chunk.version = version;
            let outdated = std::mem::take(&mut chunk.holders);
            chunk.holders.push(Holder { server: server.clone(), confirmed: true });
            for holder in outdated.iter().filter(|holder| holder.server != *server) {
                servers.change(&holder.server, |server| _ = server.chunks.remove(&id));
            }
            servers.change(server, |server| _ = server.chunks.insert(id));
        } else if version < chunk.version {
            self.dropped(servers, server, id);
            return;
        } else if let Some(holder) = chunk.holders.iter_mut().find(|holder| holder.server == *server) {
            holder.confirmed = true;
        } else if chunk.holders.len() < chunk.wanted as usize {
            let place = chunk.holders.partition_point(|holder| holder.server < *server);
            chunk.holders.insert(place, Holder { server: server.clone(), confirmed: true });
            servers.change(server, |server| _ = server.chunks.insert(id));
        }
        self.count(id);
    }

    /// A server does not hold a chunk any more.
    pub(super) fn dropped(&mut self, servers: &mut Servers, server: &Name, id: ChunkId) {
        if let Some(chunk) = self.by_id.get_mut(&id) {
            chunk.holders.retain(|holder| holder.server != *server);
        }
        if servers.get(server).is_some() {
            servers.change(server, |server| _ = server.chunks.remove(&id));
        }
        self.count(id);
    }
}
