//! The log's port.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use quorate::env::RealEnv;
use quorate::fs::SimFs;
use quorate::log::{
    Action, DiskLog, DiskLogOptions, Entry, Flushed, LogState, LogStore, MemoryLog, Payload, Proposal, Write,
};
use quorate::types::{GroupId, Index, LogId, LogTime, Membership, NodeId, Term, Vote};

/// An adapter under test: opens the one log again and again, as the lives of a replica do.
trait Adapter {
    fn open(&self) -> Arc<dyn LogStore>;
}

impl Adapter for MemoryLog {
    fn open(&self) -> Arc<dyn LogStore> {
        Arc::new(self.clone())
    }
}

/// A log on disk. Opening it kills the process that had it; handles of an earlier life go on with the present one.
#[derive(Clone)]
struct OnDisk(Arc<Mutex<(SimFs, Arc<dyn LogStore>)>>);

impl OnDisk {
    fn new() -> Self {
        let disk = SimFs::new();
        let log = Self::life(&disk);
        OnDisk(Arc::new(Mutex::new((disk, log))))
    }

    fn life(disk: &SimFs) -> Arc<dyn LogStore> {
        let options = DiskLogOptions { segment_bytes: 8 << 10, cache_bytes: 1000, ..DiskLogOptions::default() };
        let log = DiskLog::open(Arc::new(disk.clone()), Arc::new(RealEnv), Path::new("/log"), options);
        log.unwrap().group(GroupId(5))
    }

    fn now(&self) -> Arc<dyn LogStore> {
        Arc::clone(&self.0.lock().unwrap().1)
    }
}

impl Adapter for OnDisk {
    fn open(&self) -> Arc<dyn LogStore> {
        let mut life = self.0.lock().unwrap();
        let disk = life.0.restart();
        *life = (disk.clone(), Self::life(&disk));
        Arc::new(self.clone())
    }
}

#[async_trait::async_trait]
impl LogStore for OnDisk {
    async fn state(&self) -> io::Result<LogState> {
        self.now().state().await
    }

    async fn read(&self, from: Index, to: Index) -> io::Result<Vec<Entry>> {
        self.now().read(from, to).await
    }

    async fn append(&self, entries: Vec<Entry>, flushed: Flushed) -> io::Result<()> {
        self.now().append(entries, flushed).await
    }

    async fn truncate_after(&self, last: Option<LogId>) -> io::Result<()> {
        self.now().truncate_after(last).await
    }

    async fn purge(&self, through: LogId) -> io::Result<()> {
        self.now().purge(through).await
    }

    async fn save_vote(&self, vote: Vote) -> io::Result<()> {
        self.now().save_vote(vote).await
    }

    async fn vote(&self) -> io::Result<Option<Vote>> {
        self.now().vote().await
    }

    async fn save_committed(&self, committed: Option<LogId>) -> io::Result<()> {
        self.now().save_committed(committed).await
    }

    async fn committed(&self) -> io::Result<Option<LogId>> {
        self.now().committed().await
    }

    fn bytes(&self) -> u64 {
        self.now().bytes()
    }
}

fn id(term: u64, index: u64) -> LogId {
    LogId { term: Term(term), index: Index(index) }
}

fn entry(term: u64, index: u64) -> Entry {
    let payload = match index % 3 {
        0 => Payload::Blank,
        1 => {
            let write = Write { session: None, action: Action::Apply(Bytes::from(vec![term as u8; 100])) };
            Payload::Writes(Arc::new(Proposal { stamped: LogTime(index), writes: vec![write] }))
        }
        _ => {
            let voters = vec![[NodeId(1), NodeId(2)].into()];
            Payload::Membership(Box::new(Membership { voters, learners: [].into() }))
        }
    };
    Entry { id: id(term, index), payload }
}

fn entries(term: u64, indexes: Range<u64>) -> Vec<Entry> {
    indexes.map(|index| entry(term, index)).collect()
}

/// Appends and waits until it is durable.
async fn append(log: &dyn LogStore, entries: Vec<Entry>) -> io::Result<()> {
    let (done, flushed) = mpsc::channel();
    let done = Flushed::new(move |result| done.send(result).expect("one flush, one report"));
    log.append(entries, done).await?;
    flushed.recv_timeout(Duration::from_secs(10)).expect("every append is reported")
}

async fn read(log: &dyn LogStore, range: Range<u64>) -> Vec<Entry> {
    log.read(Index(range.start), Index(range.end)).await.unwrap()
}

async fn state(log: &dyn LogStore) -> (Option<LogId>, Option<LogId>) {
    let LogState { purged, last } = log.state().await.unwrap();
    (purged, last)
}

/// A log of entries 0 to 9 of term 1.
async fn filled(adapter: &dyn Adapter) -> Arc<dyn LogStore> {
    let log = adapter.open();
    append(&*log, entries(1, 0..10)).await.unwrap();
    log
}

async fn a_new_log_is_empty_and_says_so(adapter: &dyn Adapter) {
    let log = adapter.open();
    assert_eq!(state(&*log).await, (None, None));
    assert_eq!((log.vote().await.unwrap(), log.committed().await.unwrap(), log.bytes()), (None, None, 0));
    assert_eq!(read(&*log, 0..100).await, []);
    log.truncate_after(None).await.unwrap();
    log.truncate_after(Some(id(1, 5))).await.unwrap();
    append(&*log, vec![]).await.expect("an empty append is reported too");
    assert_eq!(state(&*log).await, (None, None));
}

async fn what_was_appended_reads_back_in_any_range(adapter: &dyn Adapter) {
    let log = filled(adapter).await;
    append(&*log, entries(2, 10..12)).await.unwrap();
    assert_eq!(state(&*log).await, (None, Some(id(2, 11))));
    assert_eq!(read(&*log, 3..7).await, entries(1, 3..7));
    assert_eq!(read(&*log, 11..12).await, entries(2, 11..12));
    for empty in [Range { start: 5, end: 5 }, Range { start: 7, end: 3 }, 12..20, u64::MAX..u64::MAX] {
        assert_eq!(read(&*log, empty.clone()).await, [], "{empty:?}");
    }
    assert_eq!(read(&*log, 10..u64::MAX).await, entries(2, 10..12), "as many as there are");
}

async fn entries_are_readable_as_soon_as_append_returns(adapter: &dyn Adapter) {
    let log = adapter.open();
    for index in 0..50 {
        log.append(entries(1, index..index + 1), Flushed::new(|result| result.unwrap())).await.unwrap();
        assert_eq!(read(&*log, index..index + 9).await, entries(1, index..index + 1));
        assert_eq!(state(&*log).await.1, Some(id(1, index)));
    }
}

async fn an_append_replaces_what_was_held_from_its_first_index_on(adapter: &dyn Adapter) {
    let log = filled(adapter).await;
    append(&*log, entries(2, 4..6)).await.unwrap();
    assert_eq!(state(&*log).await, (None, Some(id(2, 5))));
    let expected: Vec<_> = entries(1, 0..4).into_iter().chain(entries(2, 4..6)).collect();
    assert_eq!(read(&*log, 0..100).await, expected);
    assert_eq!(log.bytes(), expected.iter().map(Entry::size).sum::<u64>());
    append(&*log, entries(3, 0..1)).await.unwrap();
    assert_eq!(read(&*adapter.open(), 0..100).await, entries(3, 0..1));
}

async fn an_append_that_leaves_a_gap_or_touches_purged_entries_is_refused_and_changes_nothing(adapter: &dyn Adapter) {
    let log = filled(adapter).await;
    log.purge(id(1, 3)).await.unwrap();
    let gap_inside = vec![entry(2, 9), entry(2, 10), entry(2, 12)];
    let goes_back = vec![entry(2, 9), entry(2, 10), entry(2, 10)];
    for refused in [entries(2, 11..12), entries(2, 3..5), entries(2, 0..1), gap_inside, goes_back] {
        let ids: Vec<_> = refused.iter().map(|entry| entry.id.to_string()).collect();
        assert!(append(&*log, refused).await.is_err(), "{ids:?}");
        assert_eq!(state(&*log).await, (Some(id(1, 3)), Some(id(1, 9))), "{ids:?}");
        assert_eq!(read(&*log, 0..100).await, entries(1, 4..10), "{ids:?}");
    }
}

async fn truncation_drops_what_comes_after_and_only_that(adapter: &dyn Adapter) {
    let log = filled(adapter).await;
    log.truncate_after(Some(id(1, 20))).await.unwrap();
    log.truncate_after(Some(id(1, 9))).await.unwrap();
    assert_eq!(state(&*log).await.1, Some(id(1, 9)), "nothing came after");
    log.truncate_after(Some(id(1, 6))).await.unwrap();
    assert_eq!((state(&*log).await, read(&*log, 0..100).await), ((None, Some(id(1, 6))), entries(1, 0..7)));
    append(&*log, entries(2, 7..8)).await.unwrap();
    log.truncate_after(None).await.unwrap();
    assert_eq!((state(&*log).await, log.bytes()), ((None, None), 0));
    append(&*log, entries(3, 0..2)).await.unwrap();
    assert_eq!(read(&*adapter.open(), 0..100).await, entries(3, 0..2));
}

async fn a_purge_drops_what_a_snapshot_covers_and_remembers_its_end(adapter: &dyn Adapter) {
    let log = filled(adapter).await;
    log.purge(id(1, 3)).await.unwrap();
    assert_eq!(state(&*log).await, (Some(id(1, 3)), Some(id(1, 9))));
    assert_eq!(read(&*log, 0..6).await, entries(1, 4..6), "the purged part of a range is left out");
    assert_eq!(read(&*log, 0..4).await, []);
    assert_eq!(log.bytes(), entries(1, 4..10).iter().map(Entry::size).sum::<u64>());
    log.purge(id(1, 1)).await.expect("an older snapshot changes nothing");
    assert_eq!(state(&*log).await, (Some(id(1, 3)), Some(id(1, 9))));
    log.purge(id(1, 9)).await.unwrap();
    assert_eq!((state(&*log).await, log.bytes()), ((Some(id(1, 9)), Some(id(1, 9))), 0));
    append(&*log, entries(2, 10..12)).await.unwrap();
    assert_eq!(read(&*adapter.open(), 0..100).await, entries(2, 10..12));
}

async fn a_purge_beyond_the_end_leaves_an_empty_log_that_goes_on_behind_the_snapshot(adapter: &dyn Adapter) {
    for first in [filled(adapter).await, adapter.open()] {
        first.purge(id(4, 99)).await.unwrap();
        assert_eq!((state(&*first).await, first.bytes()), ((Some(id(4, 99)), Some(id(4, 99))), 0));
        assert_eq!(read(&*first, 0..200).await, []);
        assert!(append(&*first, entries(4, 10..11)).await.is_err(), "the snapshot covers it");
        assert!(append(&*first, entries(4, 101..102)).await.is_err(), "a gap behind the snapshot");
        append(&*first, entries(4, 100..103)).await.unwrap();
        assert_eq!(state(&*adapter.open()).await, (Some(id(4, 99)), Some(id(4, 102))));
        first.truncate_after(Some(id(4, 99))).await.unwrap();
        assert_eq!(state(&*first).await, (Some(id(4, 99)), Some(id(4, 99))));
    }
}

async fn truncation_never_goes_behind_the_purged_part(adapter: &dyn Adapter) {
    for after in [None, Some(id(1, 2)), Some(id(1, 3))] {
        let log = adapter.open();
        let from = state(&*log).await.1.map_or(0, |last| last.index.0 + 1);
        append(&*log, entries(1, from..10)).await.unwrap();
        log.purge(id(1, 3)).await.unwrap();
        log.truncate_after(after).await.unwrap();
        assert_eq!(state(&*log).await, (Some(id(1, 3)), Some(id(1, 3))), "{after:?}");
        assert_eq!((read(&*log, 0..100).await, log.bytes()), (vec![], 0));
    }
}

async fn votes_and_commits_are_the_last_ones_saved_and_independent_of_entries(adapter: &dyn Adapter) {
    let log = filled(adapter).await;
    for (term, committed) in [(1, false), (3, true), (2, false)] {
        let vote = Vote { term: Term(term), node: NodeId(term + 10), committed };
        log.save_vote(vote).await.unwrap();
        assert_eq!(log.vote().await.unwrap(), Some(vote));
        assert_eq!(adapter.open().vote().await.unwrap(), Some(vote), "a vote that was saved is never forgotten");
    }
    for committed in [Some(id(1, 7)), Some(id(1, 8)), None, Some(id(1, 4))] {
        log.save_committed(committed).await.unwrap();
        assert_eq!(log.committed().await.unwrap(), committed);
    }
    log.purge(id(1, 5)).await.unwrap();
    log.truncate_after(None).await.unwrap();
    assert_eq!(log.vote().await.unwrap().map(|vote| vote.term), Some(Term(2)));
    assert_eq!(log.committed().await.unwrap(), Some(id(1, 4)));
}

async fn the_next_life_finds_what_was_flushed(adapter: &dyn Adapter) {
    let log = filled(adapter).await;
    append(&*log, entries(2, 8..12)).await.unwrap();
    log.purge(id(1, 2)).await.unwrap();
    log.truncate_after(Some(id(2, 10))).await.unwrap();
    append(&*log, entries(3, 11..12)).await.unwrap();
    let bytes = log.bytes();
    drop(log);
    let log = adapter.open();
    assert_eq!(state(&*log).await, (Some(id(1, 2)), Some(id(3, 11))));
    let expected = [entries(1, 3..8), entries(2, 8..11), entries(3, 11..12)].concat();
    assert_eq!((read(&*log, 0..100).await, log.bytes()), (expected, bytes));
}

macro_rules! every_adapter {
    ($($claim:ident),* $(,)?) => {
        mod memory { $(
            #[tokio::test]
            async fn $claim() {
                super::$claim(&super::MemoryLog::new()).await;
            }
        )* }
        mod disk { $(
            #[tokio::test]
            async fn $claim() {
                super::$claim(&super::OnDisk::new()).await;
            }
        )* }
    };
}

every_adapter!(
    a_new_log_is_empty_and_says_so,
    what_was_appended_reads_back_in_any_range,
    entries_are_readable_as_soon_as_append_returns,
    an_append_replaces_what_was_held_from_its_first_index_on,
    an_append_that_leaves_a_gap_or_touches_purged_entries_is_refused_and_changes_nothing,
    truncation_drops_what_comes_after_and_only_that,
    a_purge_drops_what_a_snapshot_covers_and_remembers_its_end,
    a_purge_beyond_the_end_leaves_an_empty_log_that_goes_on_behind_the_snapshot,
    truncation_never_goes_behind_the_purged_part,
    votes_and_commits_are_the_last_ones_saved_and_independent_of_entries,
    the_next_life_finds_what_was_flushed,
);
