//! What a chunk server's heartbeat means: what it is to delete, what it is to copy elsewhere, and what of it is news.
//!
//! Promises: a chunk is to be deleted only if nobody owns it, or if enough servers have said themselves that they hold
//! it, and hold it in the newest version: never its last copy.

use std::collections::{BTreeMap, BinaryHeap};

use serde::{Deserialize, Serialize};

use super::chunks::{Chunk, Chunks};
use super::command::{ChunkId, Name, Version};
use super::servers::{Server, Servers};

/// The most chunks that one heartbeat is asked to copy.
const WANTING_MAX: usize = 64;

/// What a heartbeat means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Whether the server was declared lost: it is back.
    pub was_lost: bool,
    /// What it holds and the machine does not know that it does.
    pub has: Vec<(ChunkId, Version)>,
    /// What it said that it held, and does not any more.
    pub lacks: Vec<ChunkId>,
    /// What it may delete.
    pub delete: Vec<ChunkId>,
    /// What it could copy.
    pub wanting: Vec<Wanting>,
}

/// A chunk with too few replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanting {
    /// Which.
    pub chunk: ChunkId,
    /// Where the next one could go.
    pub to: Name,
}

impl Heard {
    /// Whether the machine is to be told anything.
    pub fn is_news(&self) -> bool {
        self.was_lost || !self.has.is_empty() || !self.lacks.is_empty()
    }
}

pub(super) fn heard(chunks: &Chunks, servers: &Servers, name: &Name, report: Vec<(ChunkId, Version)>) -> Option<Heard> {
    let server = servers.get(name)?;
    let mut heard = Heard { was_lost: server.lost, ..Heard::default() };
    // If a chunk is named twice the newest version counts.
    let mut held = BTreeMap::new();
    for (id, version) in report {
        let newest = held.entry(id).or_insert(version);
        *newest = version.max(*newest);
    }
    let mut rooms = Rooms::new(servers);
    for (&id, &version) in &held {
        match chunks.by_id.get(&id) {
            None => heard.delete.push(id),
            Some(chunk) => judge(&mut heard, &mut rooms, chunks, servers, name, (id, version), chunk),
        }
    }
    heard.lacks = lacking(chunks, server, name, &held);
    Some(heard)
}

fn judge(
    heard: &mut Heard,
    rooms: &mut Rooms<'_>,
    chunks: &Chunks,
    servers: &Servers,
    name: &Name,
    (id, version): (ChunkId, Version),
    chunk: &Chunk,
) {
    let holder = chunk.held_by(name);
    if version < chunk.version {
        if holder.is_some() {
            heard.has.push((id, version));
        } else if chunk.confirmed(servers) > 0 {
            heard.delete.push(id);
        }
        return;
    }
    let known = version == chunk.version && holder.is_some_and(|holder| holder.confirmed);
    let wanted = holder.is_some() || version > chunk.version || chunk.holders.len() < chunk.wanted as usize;
    if !known && wanted {
        heard.has.push((id, version));
    } else if !wanted && chunk.confirmed(servers) >= chunk.wanted as usize {
        heard.delete.push(id);
    } else if known
        && heard.wanting.len() < WANTING_MAX
        && chunks.wanting.contains(&id)
        && let Some(to) = rooms.take(chunk)
    {
        heard.wanting.push(Wanting { chunk: id, to });
    }
}

/// What the server said that it held, and does not any more.
fn lacking(chunks: &Chunks, server: &Server, name: &Name, held: &BTreeMap<ChunkId, Version>) -> Vec<ChunkId> {
    let confirmed = |id: &ChunkId| {
        let holder = chunks.by_id.get(id).and_then(|chunk| chunk.held_by(name));
        holder.is_some_and(|holder| holder.confirmed)
    };
    server.chunks.iter().filter(|id| !held.contains_key(id) && confirmed(id)).copied().collect()
}

/// The room that is left on each server, as copies are planned.
struct Rooms<'a> {
    servers: &'a Servers,
    heap: Option<BinaryHeap<(u64, std::cmp::Reverse<&'a Name>)>>,
}

impl<'a> Rooms<'a> {
    fn new(servers: &'a Servers) -> Self {
        Rooms { servers, heap: None }
    }

    /// Takes a place for one more replica of `chunk`.
    fn take(&mut self, chunk: &Chunk) -> Option<Name> {
        let servers = self.servers;
        let heap = self
            .heap
            .get_or_insert_with(|| servers.with_room().map(|(name, room)| (room, std::cmp::Reverse(name))).collect());
        let mut passed = Vec::new();
        let mut found = None;
        while found.is_none()
            && let Some((room, name)) = heap.pop()
        {
            if chunk.held_by(name.0).is_some() {
                passed.push((room, name));
            } else {
                found = Some(name.0.clone());
                if room > 1 {
                    passed.push((room - 1, name));
                }
            }
        }
        heap.extend(passed);
        found
    }
}
