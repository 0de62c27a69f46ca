//! Three replicas of openraft with the least that it runs on: what a user would write in an afternoon.
//! Leaves out everything that could slow it down: encoding, snapshots' content, faults, restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::v2::RaftNetworkV2;
use openraft::network::{RPCOption, RaftNetworkFactory};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::storage::{
    EntryResponder, IOFlushed, LogState, RaftLogReader, RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine,
};
use openraft::vote::RaftLeaderId;
use openraft::{Config, EntryPayload, OptionalSend, RaftTypeConfig, SnapshotMeta, StoredMembership};

use super::measure::Operation;

/// The command: an amount to add.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Add(u64);

impl fmt::Display for Add {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "add {}", self.0)
    }
}

openraft::declare_raft_types!(
    pub(crate) Bare:
        D = Add,
        R = u64,
        Node = (),
        AsyncRuntime = openraft_rt_tokio::TokioRuntime,
);

type Entry = <Bare as RaftTypeConfig>::Entry;
type Vote = <Bare as RaftTypeConfig>::Vote;
type Committed = <<Bare as RaftTypeConfig>::LeaderId as RaftLeaderId>::Committed;
type LogId = openraft::LogId<Committed>;
type Meta = SnapshotMeta<Committed, u64, ()>;
type Snapshot = openraft::Snapshot<Committed, u64, (), ()>;
type Membership = StoredMembership<Committed, u64, ()>;
type Raft = openraft::Raft<Bare, Machine>;

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    vote: Option<Vote>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, Entry>,
}

impl Log {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap()
    }
}

impl RaftLogReader<Bare> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(self.held().entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.held().vote)
    }
}

impl RaftLogStorage<Bare> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Bare>, io::Error> {
        let held = self.held();
        let last = held.entries.values().next_back().map(|entry| entry.log_id);
        Ok(LogState { last_purged_log_id: held.purged, last_log_id: last.or(held.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.held().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Bare>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.held().entries.extend(entries.into_iter().map(|entry| (entry.log_id.index(), entry)));
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let first = last.map_or(0, |id| id.index() + 1);
        self.held().entries.split_off(&first);
        Ok(())
    }

    async fn purge(&mut self, through: LogId) -> Result<(), io::Error> {
        let mut held = self.held();
        held.purged = Some(through);
        held.entries = held.entries.split_off(&(through.index() + 1));
        Ok(())
    }
}

#[derive(Clone, Default)]
pub(crate) struct Machine(Arc<Mutex<Applied>>);

#[derive(Default)]
struct Applied {
    last: Option<LogId>,
    membership: Membership,
    sum: u64,
    snapshot: Option<Meta>,
}

impl RaftSnapshotBuilder<Bare> for Machine {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let mut applied = self.0.lock().unwrap();
        let meta = SnapshotMeta { last_log_id: applied.last, last_membership: applied.membership.clone() };
        applied.snapshot = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: () })
    }
}

impl RaftStateMachine<Bare> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), io::Error> {
        let applied = self.0.lock().unwrap();
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Bare>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut applied = self.0.lock().unwrap();
            applied.last = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(Add(amount)) => applied.sum = applied.sum.wrapping_add(amount),
                EntryPayload::Membership(membership) => {
                    applied.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
            }
            if let Some(responder) = responder {
                responder.send(applied.sum);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &Meta, (): ()) -> Result<(), io::Error> {
        let mut applied = self.0.lock().unwrap();
        applied.last = meta.last_log_id;
        applied.membership = meta.last_membership.clone();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let meta = self.0.lock().unwrap().snapshot.clone();
        Ok(meta.map(|meta| Snapshot { meta, snapshot: () }))
    }
}

/// Calls the other replica's methods.
#[derive(Clone, Default)]
pub(crate) struct Router(Arc<Mutex<BTreeMap<u64, Raft>>>);

pub(crate) struct Peer(Raft);

impl RaftNetworkFactory<Bare> for Router {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, (): &()) -> Peer {
        Peer(self.0.lock().unwrap()[&target].clone())
    }
}

fn failed(error: impl std::error::Error + 'static) -> RPCError<Bare> {
    RPCError::Unreachable(Unreachable::new(&error))
}

impl RaftNetworkV2<Bare> for Peer {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Bare>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Bare>, RPCError<Bare>> {
        self.0.append_entries(rpc).await.map_err(failed)
    }

    async fn vote(&mut self, rpc: VoteRequest<Bare>, _: RPCOption) -> Result<VoteResponse<Bare>, RPCError<Bare>> {
        self.0.vote(rpc).await.map_err(failed)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Bare>, StreamingError<Bare>> {
        self.0.install_full_snapshot(vote, snapshot).await.map_err(|error| failed(error).into())
    }
}

pub(crate) struct Group {
    replicas: Vec<Raft>,
}

impl Group {
    /// Ready when the first replica leads.
    pub(crate) async fn start() -> Group {
        let config = Config {
            heartbeat_interval: 100,
            election_timeout_min: 1000,
            election_timeout_max: 2000,
            max_payload_entries: 1024,
            purge_batch_size: 1024,
            ..Config::default()
        };
        let config = Arc::new(config.validate().unwrap());
        let router = Router::default();
        let nodes = BTreeSet::from([1, 2, 3]);
        let mut replicas = Vec::new();
        for node in &nodes {
            let (log, machine) = (Log::default(), Machine::default());
            replicas.push(Raft::new(*node, Arc::clone(&config), router.clone(), log, machine).await.unwrap());
        }
        *router.0.lock().unwrap() = nodes.iter().copied().zip(replicas.iter().cloned()).collect();
        replicas[0].initialize(nodes).await.unwrap();
        let leads = replicas[0].wait(Some(Duration::from_secs(10)));
        leads.current_leader(1, "the first replica leads").await.unwrap();
        Group { replicas }
    }

    pub(crate) async fn stop(self) {
        for replica in self.replicas {
            replica.shutdown().await.unwrap();
        }
    }

    pub(crate) fn writer(&self) -> Writer {
        Writer(self.replicas[0].clone())
    }
}

#[derive(Clone)]
pub(crate) struct Writer(Raft);

impl Operation for Writer {
    async fn run(&self) {
        loop {
            match self.0.client_write(Add(1)).await {
                Ok(_) => return,
                // A leader just elected has no lease yet.
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }
}
