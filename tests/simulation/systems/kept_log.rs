//! Logs whose entries are remembered after they were purged, so that a whole group's life can be gone through once more.
//!
//! Promises: what [`Kept::entries`] gives of a replica was committed, if the replica was in step with its group when it is
//! asked. A record is believed up to a purge that names its own entry there (log matching: then all before it are the same),
//! and forgotten up to one that does not, which is a snapshot's from elsewhere.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use quorate::log::{Entry, Flushed, Full, LogState, LogStore};
use quorate::types::Vote;
use quorate::{GroupId, Index, LogId, NodeId};

type Record = BTreeMap<u64, Entry>;

/// What all replicas have appended. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<BTreeMap<(GroupId, NodeId), Record>>>);

impl Kept {
    fn records(&self) -> MutexGuard<'_, BTreeMap<(GroupId, NodeId), Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on what is appended to `log` is remembered too. What was remembered and has not survived is forgotten.
    pub(crate) async fn keep(
        &self,
        node: NodeId,
        group: GroupId,
        log: Arc<dyn LogStore>,
    ) -> io::Result<Arc<dyn LogStore>> {
        let last = log.state().await?.last.map_or(0, |last| last.index.0);
        let kept = KeptLog { kept: self.clone(), place: (group, node), log };
        kept.change(|record| record.retain(|index, _| *index <= last));
        Ok(Arc::new(kept))
    }

    /// The entries of a group up to `last`, from all of its replicas together; `None` where one is missing.
    pub(crate) fn entries(&self, group: GroupId, last: Index) -> Option<Vec<Entry>> {
        let records = self.records();
        let of_group: Vec<&Record> =
            records.iter().filter(|((of, _), _)| *of == group).map(|(_, record)| record).collect();
        // The first entry may be numbered 0 or 1, whichever the log begins with.
        let first = of_group.iter().filter_map(|record| record.keys().next()).min().copied()?;
        if first > 1 {
            return None;
        }
        let entry = |index: u64| of_group.iter().find_map(|record| record.get(&index)).cloned();
        (first..=last.0).map(entry).collect()
    }
}

struct KeptLog {
    kept: Kept,
    place: (GroupId, NodeId),
    log: Arc<dyn LogStore>,
}

impl KeptLog {
    fn change(&self, change: impl FnOnce(&mut Record)) {
        change(self.kept.records().entry(self.place).or_default());
    }
}

#[async_trait]
impl LogStore for KeptLog {
    async fn state(&self) -> io::Result<LogState> {
        self.log.state().await
    }

    async fn read(&self, from: Index, to: Index) -> io::Result<Vec<Entry>> {
        self.log.read(from, to).await
    }

    async fn append(&self, entries: Vec<Entry>, flushed: Flushed) -> io::Result<()> {
        let copies = entries.clone();
        self.log.append(entries, flushed).await?;
        self.change(|record| {
            if let Some(first) = copies.first() {
                record.retain(|index, _| *index < first.id.index.0);
            }
            record.extend(copies.into_iter().map(|entry| (entry.id.index.0, entry)));
        });
        Ok(())
    }

    async fn truncate_after(&self, last: Option<LogId>) -> io::Result<()> {
        self.log.truncate_after(last).await?;
        self.change(|record| record.retain(|index, _| last.is_some_and(|last| *index <= last.index.0)));
        Ok(())
    }

    async fn purge(&self, through: LogId) -> io::Result<()> {
        self.log.purge(through).await?;
        self.change(|record| {
            let follows = record.keys().next().is_some_and(|first| *first > through.index.0);
            match record.get(&through.index.0) {
                Some(entry) if entry.id == through => {}
                None if follows => {}
                Some(_) | None => record.clear(),
            }
        });
        Ok(())
    }

    async fn save_vote(&self, vote: Vote) -> io::Result<()> {
        self.log.save_vote(vote).await
    }

    async fn vote(&self) -> io::Result<Option<Vote>> {
        self.log.vote().await
    }

    async fn save_committed(&self, committed: Option<LogId>) -> io::Result<()> {
        self.log.save_committed(committed).await
    }

    async fn committed(&self) -> io::Result<Option<LogId>> {
        self.log.committed().await
    }

    fn bytes(&self) -> u64 {
        self.log.bytes()
    }

    fn admits(&self, bytes: u64) -> Result<(), Full> {
        self.log.admits(bytes)
    }
}
