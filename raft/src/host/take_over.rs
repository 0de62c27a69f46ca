//! One of exactly two voters goes on without the other (see `docs/two-masters.md`).

use std::fmt;
use std::sync::Arc;

use super::{GroupSpec, Host};
use crate::engine::{Attempt, OwnLog, go_alone};
use crate::error::Fatal;
use crate::group::Group;
use crate::machine::StateMachine;
use crate::types::{LogId, Membership, NodeId};

/// What a replica's own log and snapshot say, committed or not: all that a decision to go on alone may rest on.
#[derive(Debug)]
pub struct Evidence<'a, M> {
    /// The node that asks.
    pub node: NodeId,
    /// The membership in force by its own log: two voters, the node among them.
    pub membership: &'a Membership,
    /// The last entry of its log.
    pub last: Option<LogId>,
    /// The machine as it would be if every entry of the log were committed.
    pub machine: &'a M,
}

/// How an attempt to go on alone ended. Either way the replica runs.
#[derive(Debug)]
pub enum TakeOver<M> {
    /// The node is the group's only voter, and is about to lead it: nothing is acknowledged before it does.
    Alone(Group<M>),
    /// It is not; the group is what it was.
    Refused {
        /// Why.
        cause: TakeOverRefusal,
        /// The replica, started again.
        group: Group<M>,
    },
}

/// Why a node may not go on alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TakeOverRefusal {
    /// By its own log the group has not exactly two voters with this node among them.
    #[error("the group has {0}: not two voters with this node among them")]
    NotOneOfTwo(Membership),
    /// The judge said no: the other may have gone on without this node.
    #[error("by its own log this node must wait for the other")]
    Judged,
}

impl Host {
    /// Lets this node go on without the only other voter, if `judge` finds in its own log that it may.
    ///
    /// A replica that runs is stopped: handles to it find it stopped, and what was in flight is unknown. Then, in this order:
    /// a vote for this node at a higher term is saved, so that it acknowledges nothing of the other any more; the other's
    /// lease runs out; the log is judged; the membership of this node alone is appended and flushed; the replica starts, and
    /// elects itself. Cut off before the membership entry, nothing has changed but the term; after it, the replica leads
    /// whenever it starts.
    ///
    /// `judge` is asked up to twice, before anything is changed and behind the fence, and must answer from the evidence alone.
    /// It decides safety: at most one of the two voters may ever get a yes. The rule that is proven is "the newest entry that
    /// names a leader names the other", where every such entry was proposed by [`Group::write_as_leader`] of the node that it
    /// names, and the group runs with [`crate::GroupOptions::flush_before_send`].
    ///
    /// The other voter is in the group no longer. Once it is back, [`Group::add_voter`] takes it in again, to be repeated until
    /// the membership is one set with both; what its log held beyond this node's is dropped, and was acknowledged to nobody.
    ///
    /// # Errors
    /// [`Fatal`] when the stores cannot be read or written, or the options do not fit, or the machine is
    /// [durable](crate::machine::Durable); the group does not run then.
    pub async fn take_over<M: StateMachine>(
        &self,
        spec: GroupSpec<M>,
        judge: impl Fn(&Evidence<'_, M>) -> bool + Send + Sync,
    ) -> Result<TakeOver<M>, Fatal> {
        let id = spec.id;
        if !spec.options.flush_before_send {
            return Err(Fatal(format!("options of {id}: to take over, entries must be flushed before they are sent")));
        }
        if spec.machine.durable().is_some() {
            return Err(Fatal(format!(
                "{id} has a durable machine, which cannot take over: it would replay what may be lost"
            )));
        }
        let running = self.take_down(id).await;
        let silent_since = self.env.now();
        let mut spec = self.replica_spec(spec);
        spec.silent_since = Some(silent_since);
        let node = self.config.node;
        let judge = |own: OwnLog<'_>| {
            let OwnLog { membership, last, machine } = own;
            let machine = machine.as_any().downcast_ref::<M>();
            machine.is_some_and(|machine| judge(&Evidence { node, membership, last, machine }))
        };
        let running = running.map(|core| Arc::clone(&core.replica));
        let attempt = go_alone(spec, running.as_deref(), silent_since, &judge).await;
        let (spec, attempt) = attempt.map_err(|error| Fatal(format!("stores of {id} on {node}: {error}")))?;
        let group = self.start_group(spec).await?;
        Ok(match attempt {
            Attempt::Alone => TakeOver::Alone(group),
            Attempt::NotOneOfTwo(membership) => {
                TakeOver::Refused { cause: TakeOverRefusal::NotOneOfTwo(membership), group }
            }
            Attempt::Judged => TakeOver::Refused { cause: TakeOverRefusal::Judged, group },
        })
    }
}

impl<M> TakeOver<M> {
    /// The replica, which runs either way.
    pub fn group(&self) -> &Group<M> {
        match self {
            TakeOver::Alone(group) | TakeOver::Refused { group, .. } => group,
        }
    }
}

impl<M> fmt::Display for TakeOver<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TakeOver::Alone(_) => f.write_str("alone"),
            TakeOver::Refused { cause, .. } => write!(f, "refused: {cause}"),
        }
    }
}
