//! A group on one node, in bytes: what the typed handle and the messages of other nodes come down to.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::GroupOptions;
use crate::engine::{NotHere, Replica};
use crate::env::{Deadlines, Env, Moment, Until};
use crate::error::{ReadError, Rejected};
use crate::host::{Caller, HostParts, Load, Peers};
use crate::metrics::HostMetrics;
use crate::quiet::{self, Rest};
use crate::reads::Freshness;
use crate::transport::{Reply, Request};
use crate::types::{GroupId, Index, NodeId};

/// How long another node may have this one wait for an index.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A group on one node.
pub(crate) struct GroupCore {
    pub(crate) id: GroupId,
    pub(crate) node: NodeId,
    pub(crate) replica: Arc<Replica>,
    pub(crate) caller: Caller,
    pub(crate) env: Arc<dyn Env>,
    pub(crate) options: GroupOptions,
    /// Bytes of commands that callers on this node are waiting for, here and in all groups.
    pub(super) load: Load,
    pub(super) host_load: Arc<Load>,
    pub(crate) freshness: Freshness,
    pub(crate) rest: Rest,
    /// This node's view of the others.
    pub(crate) peers: Arc<Peers>,
    deadlines: Deadlines,
    pub(crate) metrics: Arc<HostMetrics>,
}

impl GroupCore {
    pub(crate) fn new(
        id: GroupId,
        node: NodeId,
        replica: Arc<Replica>,
        on: HostParts,
        env: Arc<dyn Env>,
        options: GroupOptions,
    ) -> Arc<Self> {
        let HostParts { peers, load: host_load, metrics } = on;
        let deadlines = Deadlines::new(Arc::clone(&env));
        let ticking = Arc::clone(&replica);
        let core = Arc::new(GroupCore {
            id,
            node,
            replica,
            caller: peers.caller().clone(),
            env,
            load: Load::new(options.inflight_bytes_max),
            options,
            host_load,
            freshness: Freshness::default(),
            rest: Rest::new(move |on| ticking.tick(on)),
            peers,
            deadlines,
            metrics,
        });
        quiet::keep(&core);
        core
    }

    /// Acts on a message of another node.
    pub(crate) async fn deliver(self: &Arc<Self>, request: Request) -> Reply {
        match request {
            Request::ReadIndex => Reply::ReadIndex(self.read_index_for_follower().await),
            Request::Write(write) => Reply::Write(self.write_forwarded(write).await),
            Request::Read(read) => Reply::Read(self.read_forwarded(read).await),
            Request::Admin(admin) => Reply::Admin(self.change_forwarded(admin).await),
            Request::WhoLeads => self.who_leads(),
            Request::Wake => {
                self.awake().await;
                self.who_leads()
            }
            Request::Versions => Reply::Versions(self.replica.versions()),
            Request::Digest { at, timeout } => Reply::Digest(self.digest_within(at, timeout.min(WAIT_MAX)).await),
            Request::Quiesce(asked) => Reply::Quiesced(self.quiesce(asked)),
            Request::Applied { past, timeout } => {
                let next = past.map_or(Index(0), Index::next);
                let deadline = self.env.now() + timeout.min(WAIT_MAX);
                self.until(deadline, pin!(self.replica.reach(Some(next)))).await;
                Reply::Applied(self.replica.applied())
            }
            Request::Describe => Reply::Described(Box::new(self.replica.status().into())),
            consensus => self.hear(consensus).await,
        }
    }

    fn who_leads(&self) -> Reply {
        let leadership = self.replica.leadership();
        let leadership = leadership.borrow();
        Reply::Leader { leader: leadership.leader, term: leadership.term }
    }

    async fn read_index_for_follower(&self) -> Result<crate::transport::ReadIndex, ReadError> {
        self.awake().await;
        self.replica.read_index(self.options.election_timeout.1).await.map_err(|not_here| not_here.rejected().into())
    }

    pub(crate) async fn shutdown(&self) {
        self.replica.shutdown().await;
    }

    /// Has this replica awake, if it leads, before it is asked to propose.
    pub(crate) async fn woken(&self, deadline: Moment) {
        if !self.stir() {
            // On the heap: hardly any call needs it.
            self.until(deadline, Box::pin(self.awake())).await;
        }
    }

    /// Runs `future` until `deadline`; `None` when that comes first.
    pub(crate) fn until<F: Future + Unpin>(&self, deadline: Moment, future: F) -> Until<'_, F> {
        self.deadlines.until(deadline, future)
    }

    /// What is left until `deadline`.
    pub(crate) fn left(&self, deadline: Moment) -> Duration {
        deadline.since(self.env.now())
    }
}

impl NotHere {
    /// The refusal that this is when nobody tries again.
    pub(crate) fn rejected(self) -> Rejected {
        match self {
            NotHere::Leader(leader) => Rejected::NotLeader { leader },
            NotHere::NotReady(text) => Rejected::LeaderNotReady(text),
            NotHere::Stopped(_) => Rejected::Stopped,
        }
    }
}
