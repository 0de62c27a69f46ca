//! The machine once more, as simply as it can be said: everything is found by looking at everything.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) paths: BTreeMap<String, Vec<u64>>,
    pub(super) chunks: BTreeMap<u64, ModelChunk>,
    pub(super) servers: BTreeMap<String, (u64, bool)>,
    next: u64,
}

#[derive(Clone, Debug)]
pub(super) struct ModelChunk {
    pub(super) version: u64,
    pub(super) wanted: usize,
    pub(super) holders: BTreeSet<String>,
}

impl Model {
    pub(super) fn free(&self, server: &str) -> u64 {
        let held = self.chunks.values().filter(|chunk| chunk.holders.contains(server)).count() as u64;
        self.servers[server].0.saturating_sub(held)
    }

    fn below(&self, path: &str) -> Vec<String> {
        let below = |other: &&String| *other == path || other.starts_with(&format!("{path}/"));
        self.paths.keys().filter(below).cloned().collect()
    }

    /// What the operation is answered; an allocation also says where.
    pub(super) fn apply(&mut self, op: &MasterOp) -> Result<Option<(u64, Vec<String>)>, Refusal> {
        match op {
            MasterOp::Create { path } => {
                if self.paths.contains_key(&**path.text()) {
                    return Err(Refusal::Exists);
                }
                self.paths.insert(path.to_string(), Vec::new());
            }
            MasterOp::Delete { path } => {
                let chunks = self.paths.remove(&**path.text()).ok_or(Refusal::NoSuchPath)?;
                chunks.iter().for_each(|chunk| _ = self.chunks.remove(chunk));
            }
            MasterOp::Rename { from, to } => {
                let moved = self.below(from.text());
                if moved.is_empty() {
                    return Err(Refusal::NoSuchPath);
                }
                if !self.below(to.text()).is_empty() || to.to_string().starts_with(&format!("{from}/")) {
                    return Err(Refusal::Exists);
                }
                for old in moved {
                    let chunks = self.paths.remove(&old).unwrap();
                    self.paths.insert(old.replacen(&from.to_string(), &to.to_string(), 1), chunks);
                }
            }
            MasterOp::AllocateChunk { path, replicas } => {
                if !self.paths.contains_key(&**path.text()) {
                    return Err(Refusal::NoSuchPath);
                }
                let live = self.servers.iter().filter(|(name, (_, lost))| !lost && self.free(name) > 0);
                let mut live: Vec<_> =
                    live.map(|(name, _)| (std::cmp::Reverse(self.free(name)), name.clone())).collect();
                live.sort();
                live.truncate(*replicas as usize);
                if live.len() < *replicas as usize {
                    return Err(Refusal::NotEnoughServers { available: live.len() as u32 });
                }
                self.next += 1;
                let chosen: Vec<String> = live.into_iter().map(|(_, name)| name).collect();
                let holders = chosen.iter().cloned().collect();
                self.chunks.insert(self.next, ModelChunk { version: 1, wanted: *replicas as usize, holders });
                self.paths.get_mut(&**path.text()).unwrap().push(self.next);
                return Ok(Some((self.next, chosen)));
            }
            MasterOp::Register { server, capacity } => {
                self.servers.insert(server.to_string(), (*capacity, false));
            }
            MasterOp::Subscribe { .. } => {}
            MasterOp::Report { server, has, lacks } => {
                self.servers.get_mut(&**server).ok_or(Refusal::NotRegistered)?.1 = false;
                for (chunk, version) in has {
                    let Some(chunk) = self.chunks.get_mut(&chunk.0) else { continue };
                    if version.0 > chunk.version {
                        (chunk.version, chunk.holders) = (version.0, [server.to_string()].into());
                    } else if version.0 < chunk.version {
                        chunk.holders.remove(&**server);
                    } else if chunk.holders.len() < chunk.wanted {
                        chunk.holders.insert(server.to_string());
                    }
                }
                for chunk in lacks {
                    self.chunks.get_mut(&chunk.0).into_iter().for_each(|chunk| _ = chunk.holders.remove(&**server));
                }
            }
            MasterOp::Lose { server } => self.servers.get_mut(&**server).ok_or(Refusal::NotRegistered)?.1 = true,
            MasterOp::Forget { server, chunks_max } => {
                let lost = self.servers.get(&**server).ok_or(Refusal::NotRegistered)?.1;
                let held = self.chunks.values_mut().filter(|chunk| chunk.holders.contains(&**server));
                held.take(if lost { *chunks_max as usize } else { 0 })
                    .for_each(|chunk| _ = chunk.holders.remove(&**server));
            }
        }
        Ok(None)
    }
}
