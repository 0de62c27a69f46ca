//! A group that other nodes replicate, spoken to from a node that does not.
//!
//! Promises: as for a [`crate::Group`], every call ends by its deadline, and an error says whether it can have happened.
//! What a reply proves was proven by the replica that answered.
//! Leaves out: finding out which nodes replicate the group, and retrying what is unknown, which only a session makes safe.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use super::Host;
use super::caller::Caller;
use crate::env::{Env, Moment};
use crate::error::{AdminError, ReadError, Rejected, Unknown, WriteError};
use crate::group::{Described, WriteOptions, Written, read_outcome};
use crate::log::{Action, Write};
use crate::machine::{StateMachine, decode, encode};
use crate::reads::{Consistency, ReadReply};
use crate::transport::{
    Change, ForwardedAdmin, ForwardedRead, ForwardedWrite, Reply, Request, TransportError, WriteOutcome,
};
use crate::types::{ClientId, GroupId, Index, NodeId};

/// How often the node asked may hand a call on: to the leader that it knows, and once more if that one was deposed.
const HOPS: u8 = 2;

/// How long a node may take to say who leads.
const ASK: Duration = Duration::from_millis(200);

/// The pause between two rounds in which no node could help.
const PAUSE: Duration = Duration::from_millis(20);

/// A handle to a group on other nodes. Cheap to clone; clones share what they know of the leader.
pub struct RemoteGroup<M> {
    way: Arc<Way>,
    _machine: PhantomData<fn() -> M>,
}

impl<M> Clone for RemoteGroup<M> {
    fn clone(&self) -> Self {
        RemoteGroup { way: Arc::clone(&self.way), _machine: PhantomData }
    }
}

impl<M> fmt::Debug for RemoteGroup<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteGroup")
            .field("id", &self.way.id)
            .field("nodes", &self.way.nodes())
            .finish_non_exhaustive()
    }
}

/// What clones share.
struct Way {
    id: GroupId,
    nodes: RwLock<Vec<NodeId>>,
    caller: Caller,
    env: Arc<dyn Env>,
    leader: Mutex<Option<NodeId>>,
}

impl Host {
    /// A handle to group `id`, which `nodes` replicate; this node need not. Nothing is sent before it is used.
    pub fn remote<M: StateMachine>(&self, id: GroupId, nodes: BTreeSet<NodeId>) -> RemoteGroup<M> {
        let (caller, env) = (self.parts.peers.caller().clone(), Arc::clone(&self.env));
        let nodes = RwLock::new(nodes.into_iter().collect());
        let way = Way { id, nodes, caller, env, leader: Mutex::default() };
        RemoteGroup { way: Arc::new(way), _machine: PhantomData }
    }
}

impl<M: StateMachine> RemoteGroup<M> {
    /// The group.
    pub fn id(&self) -> GroupId {
        self.way.id
    }

    /// The nodes that are asked.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.way.nodes()
    }

    /// From now on these nodes are asked, in this order; the group has moved, or may have. All clones follow.
    pub fn set_nodes(&self, nodes: Vec<NodeId>) {
        *self.way.nodes.write().unwrap_or_else(PoisonError::into_inner) = nodes;
    }

    /// As [`crate::Group::write`], through one node after the other until one takes it. What a node took and did not answer
    /// for is unknown, and is not tried again, session or not.
    ///
    /// # Errors
    /// As [`crate::Group::write`]; `Rejected(NoLeader)` when no node could be reached.
    pub async fn write(&self, command: &M::Command, options: WriteOptions) -> Result<Written<M::Reply>, WriteError> {
        let write = Write { session: options.session, action: Action::Apply(encode(command)) };
        read_outcome(self.way.write(write, options.timeout).await?)
    }

    /// As [`crate::Group::open_session`], through one node after the other until one takes it.
    ///
    /// # Errors
    /// As [`RemoteGroup::write`].
    pub async fn open_session(&self, client: ClientId, timeout: Duration) -> Result<(), WriteError> {
        self.way.write(Write { session: None, action: Action::OpenSession(client) }, timeout).await.map(drop)
    }

    /// As [`crate::Group::read`], answered by one of the nodes, which is asked for `consistency` itself: `Local`, `Bounded`
    /// and `LinearizableHere` speak of *its* replica. `nth` picks the node among [`RemoteGroup::nodes`], and goes on with the
    /// next ones; without it the leader is asked first.
    ///
    /// # Errors
    /// As [`crate::Group::read`]; `Rejected(NoLeader)` when no node could be reached.
    pub async fn read(
        &self,
        consistency: Consistency,
        query: &M::Query,
        timeout: Duration,
        nth: Option<usize>,
    ) -> Result<ReadReply<M::Answer>, ReadError> {
        let query = encode(query);
        let deadline = self.way.env.now() + timeout;
        let ask =
            |timeout| Request::Read(ForwardedRead { consistency, query: query.clone(), hops_left: HOPS, timeout });
        let reply = match self.way.ask_from(nth, true, deadline, ask).await {
            Ok(Reply::Read(result)) => result?,
            Ok(_) => return Err(Rejected::Invalid("another question was answered".into()).into()),
            Err(Failed::Refused(cause)) => return Err(cause.into()),
            Err(Failed::Lost(_)) => return Err(ReadError::Deadline(timeout)),
        };
        let answer =
            decode(&reply.answer).map_err(|error| Rejected::Invalid(format!("another machine's answer: {error}")))?;
        Ok(ReadReply { answer, proof: reply.proof })
    }

    /// Waits until a replica has applied more than `past`, at most for `timeout`. Answers what it has applied then.
    pub async fn wait_applied(&self, past: Option<Index>, timeout: Duration) -> Option<Index> {
        let deadline = self.way.env.now() + timeout;
        let ask = |timeout| Request::Applied { past, timeout };
        match self.way.ask_from(None, false, deadline, ask).await {
            Ok(Reply::Applied(applied)) => applied,
            _ => None,
        }
    }

    /// What the replica on `node` knows of the group.
    ///
    /// # Errors
    /// `Rejected` when it has no replica, or cannot be reached in time.
    pub async fn describe(&self, node: NodeId, timeout: Duration) -> Result<Described, Rejected> {
        match self.way.caller.call(node, self.way.id, Request::Describe, timeout).await {
            Ok(Reply::Described(described)) => Ok(*described),
            Ok(Reply::Refused(cause)) => Err(cause),
            Ok(_) => Err(Rejected::Invalid("another question was answered".into())),
            Err(_) => Err(Rejected::Deadline(timeout)),
        }
    }

    /// As [`crate::Group::add_voter`] and the like.
    ///
    /// # Errors
    /// [`AdminError`]; repeating the call is safe.
    pub async fn change(&self, change: Change, timeout: Duration) -> Result<(), AdminError> {
        let deadline = self.way.env.now() + timeout;
        let ask = |timeout| Request::Admin(ForwardedAdmin { change: change.clone(), hops_left: HOPS, timeout });
        match self.way.ask(deadline, ask).await {
            Ok(Reply::Admin(result)) => result,
            Ok(_) => Err(Unknown::AnswerLost("another question was answered".into()).into()),
            Err(Failed::Refused(cause)) => Err(cause.into()),
            Err(Failed::Lost(text)) => Err(Unknown::AnswerLost(text).into()),
        }
    }
}

/// Why a node's answer is missing.
enum Failed {
    /// It was not carried out.
    Refused(Rejected),
    /// It may have been.
    Lost(String),
}

impl Way {
    fn nodes(&self) -> Vec<NodeId> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn leader(&self) -> MutexGuard<'_, Option<NodeId>> {
        self.leader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, write: Write, timeout: Duration) -> Result<WriteOutcome, WriteError> {
        let writes = vec![write];
        let deadline = self.env.now() + timeout;
        let ask = |timeout| Request::Write(ForwardedWrite { writes: writes.clone(), hops_left: HOPS, timeout });
        let outcomes = match self.ask(deadline, ask).await {
            Ok(Reply::Write(result)) => result?,
            Ok(_) => return Err(Unknown::AnswerLost("another question was answered".into()).into()),
            Err(Failed::Refused(cause)) => return Err(cause.into()),
            Err(Failed::Lost(text)) => return Err(Unknown::AnswerLost(text).into()),
        };
        let one: Result<[_; 1], _> = outcomes.try_into();
        match one {
            Ok([outcome]) => outcome,
            Err(_) => Err(Unknown::AnswerLost("several writes were answered for".into()).into()),
        }
    }

    /// Asks the leader, or whoever can hand on to it.
    async fn ask(&self, deadline: Moment, request: impl Fn(Duration) -> Request) -> Result<Reply, Failed> {
        let known = *self.leader();
        if known.is_none() {
            let found = self.find_leader(deadline).await;
            *self.leader() = found;
        }
        self.ask_from(None, false, deadline, request).await
    }

    /// Asks one node after the other, until one has taken the request or the deadline has come. One that may be `repeated`
    /// is asked of the next node too when a node is silent.
    async fn ask_from(
        &self,
        nth: Option<usize>,
        repeated: bool,
        deadline: Moment,
        request: impl Fn(Duration) -> Request,
    ) -> Result<Reply, Failed> {
        let mut refusal = Rejected::NoLeader;
        loop {
            for node in self.order(nth) {
                let left = deadline.since(self.env.now());
                if left.is_zero() {
                    return Err(Failed::Refused(refusal));
                }
                let patience = if repeated { (left / 2).max(ASK).min(left) } else { left };
                match self.caller.call(node, self.id, request(patience), patience).await {
                    Ok(reply) => match refused(reply) {
                        Ok(reply) => return Ok(reply),
                        Err(cause) if is_passing(&cause) => {
                            let hint = match &cause {
                                Rejected::NotLeader { leader } => *leader,
                                _ => None,
                            };
                            *self.leader() = hint;
                            refusal = cause;
                        }
                        Err(cause) => return Err(Failed::Refused(cause)),
                    },
                    Err(TransportError::Unreachable(_)) => self.not_the_leader(node),
                    Err(error @ TransportError::TooLarge { .. }) => {
                        return Err(Failed::Refused(Rejected::Invalid(error.to_string())));
                    }
                    Err(error @ TransportError::NoAnswer(_)) => {
                        self.not_the_leader(node);
                        if !repeated || deadline.since(self.env.now()).is_zero() {
                            return Err(Failed::Lost(error.to_string()));
                        }
                    }
                }
            }
            let left = deadline.since(self.env.now());
            if left.is_zero() {
                return Err(Failed::Refused(refusal));
            }
            self.env.sleep(PAUSE.min(left)).await;
        }
    }

    /// Whom to ask, in which order: from the nth on, or the leader first.
    fn order(&self, nth: Option<usize>) -> Vec<NodeId> {
        let mut nodes = self.nodes();
        match nth {
            Some(nth) => {
                let first = nth.checked_rem(nodes.len()).unwrap_or(0);
                nodes.rotate_left(first);
            }
            None => {
                let leader = *self.leader();
                nodes.sort_by_key(|node| Some(*node) != leader);
            }
        }
        nodes
    }

    fn not_the_leader(&self, node: NodeId) {
        let mut leader = self.leader();
        if *leader == Some(node) {
            *leader = None;
        }
    }

    async fn find_leader(&self, deadline: Moment) -> Option<NodeId> {
        for node in self.nodes() {
            let wait = ASK.min(deadline.since(self.env.now()));
            if let Ok(Reply::Leader { leader: Some(leader), .. }) =
                self.caller.call(node, self.id, Request::WhoLeads, wait).await
            {
                return Some(leader);
            }
        }
        None
    }
}

/// Tells a reply from a refusal, wherever in it the refusal stands.
fn refused(reply: Reply) -> Result<Reply, Rejected> {
    match reply {
        Reply::Refused(cause)
        | Reply::Write(Err(WriteError::Rejected(cause)))
        | Reply::Read(Err(ReadError::Rejected(cause)))
        | Reply::Admin(Err(AdminError::Rejected(cause))) => Err(cause),
        reply => Ok(reply),
    }
}

/// Whether another node may take what this one refused.
fn is_passing(cause: &Rejected) -> bool {
    matches!(cause, Rejected::NoLeader | Rejected::NotLeader { .. } | Rejected::NoSuchGroup(_) | Rejected::Stopped)
}
