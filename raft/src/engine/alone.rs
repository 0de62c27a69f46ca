//! One of two voters goes on alone: what is done to its stores while its replica does not run (see `docs/two-masters.md`).
//!
//! Promises: cut off at any point, the stores are those of a replica that can run on; nothing but a term has changed before
//! the membership entry, and that entry is the last step.
//! Leaves out: the rule that says which of the two may, which is the caller's judge.

use std::io;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::replica::{Replica, ReplicaSpec};
use super::state::State;
use super::types::membership_from;
use crate::env::Moment;
use crate::log::{Entry, Flushed, LogStore, Payload};
use crate::machine::Machine;
use crate::planted::{self, Bug};
use crate::snapshot::{SnapshotMeta, SnapshotStore, SnapshotView};
use crate::types::{Index, LogId, Membership, NodeId, Term, Vote};

/// Entries read from the log at once.
pub(super) const CHUNK: u64 = 256;

/// What a replica's own stores say, committed or not.
pub(crate) struct OwnLog<'a> {
    pub(crate) membership: &'a Membership,
    pub(crate) last: Option<LogId>,
    /// The machine as it would be if all of the log were committed.
    pub(crate) machine: &'a dyn Machine,
}

/// Says whether the node may go on alone.
pub(crate) type Judge<'a> = &'a (dyn Fn(OwnLog<'_>) -> bool + Send + Sync);

/// How an attempt ended.
pub(crate) enum Attempt {
    /// By its own log, the node is the group's only voter.
    Alone,
    /// Nothing has changed but perhaps the term.
    NotOneOfTwo(Membership),
    /// The judge said no. Nothing has changed but perhaps the term.
    Judged,
}

/// Makes the node of `spec`, whose replica acknowledges nothing since `silent_since`, the only voter of the group if its own
/// log says that it is one of two and `judge` agrees. The state in `spec` is fresh. Where the replica ran until now, its
/// state is brought to the end of the log rather than made anew, and goes on in its next life: of one who is alone, all that
/// is in the log will be committed.
pub(crate) async fn go_alone(
    spec: ReplicaSpec,
    running: Option<&Replica>,
    silent_since: Moment,
    judge: Judge<'_>,
) -> io::Result<(ReplicaSpec, Attempt)> {
    let fresh = spec.state.view();
    let state = match running {
        Some(replica) => replica.give_up_state(spec.state),
        None => spec.state,
    };
    let (log, snapshots) = (Arc::clone(&spec.log), Arc::clone(&spec.snapshots));
    let mut trial = Trial { node: spec.node, log, snapshots, fresh, state };
    let waited = async |silent_since: Moment| {
        // A lease that the other still reads by has a margin for clocks that drift taken off already.
        let waited = spec.env.now().since(silent_since);
        spec.env.sleep(spec.options.election_timeout.1.saturating_sub(waited)).await;
    };
    let attempt = attempt(&mut trial, waited(silent_since), judge).await?;
    if !matches!(attempt, Attempt::Alone) {
        // It holds what may never be committed.
        trial.start_afresh()?;
    }
    Ok((ReplicaSpec { state: trial.state, ..spec }, attempt))
}

async fn attempt(trial: &mut Trial, lease: impl Future<Output = ()>, judge: Judge<'_>) -> io::Result<Attempt> {
    // Once before anything is changed, so that a refusal disturbs nobody.
    if let Some(end) = trial.verdict(judge).await? {
        return Ok(end);
    }
    let vote = fence(trial.log.as_ref(), trial.node).await?;
    if !planted::is(Bug::TakeOverTooSoon) {
        lease.await;
    }
    // And once more behind the fence: this is the look that counts. What it finds unchanged is not replayed again.
    if let Some(end) = trial.verdict(judge).await? {
        return Ok(end);
    }
    let alone = Membership { voters: vec![[trial.node].into()], learners: trial.membership().learners };
    append_membership(trial.log.as_ref(), trial.state.last, alone, vote.term).await?;
    Ok(Attempt::Alone)
}

/// Saves a vote for `node` at a term above every term that its stores know. From here on it accepts nothing of an older
/// leader, in whatever life.
pub(super) async fn fence(log: &dyn LogStore, node: NodeId) -> io::Result<Vote> {
    let voted = log.vote().await?.map_or(Term(0), |vote| vote.term);
    let written = log.state().await?.last.map_or(Term(0), |last| last.term);
    let known = voted.max(written);
    let vote = Vote { term: Term(known.0 + 1), node, committed: false };
    if planted::is(Bug::TakeOverUnfenced) {
        return Ok(Vote { term: known, ..vote });
    }
    log.save_vote(vote).await?;
    Ok(vote)
}

/// Appends a membership after `last`, where the replica's snapshot or log ends, at a term in which nobody else can have led,
/// and waits until it is flushed.
pub(super) async fn append_membership(
    log: &dyn LogStore,
    last: Option<LogId>,
    membership: Membership,
    term: Term,
) -> io::Result<LogId> {
    let held = log.state().await?.last.map(|last| last.index);
    if let Some(last) = last
        && held < Some(last.index)
    {
        // A snapshot was received and the log not brought up to it.
        log.purge(last).await?;
    }
    let id = LogId { term, index: last.map_or(Index(0), |last| last.index.next()) };
    let entry = Entry { id, payload: Payload::Membership(Box::new(membership)) };
    let (sender, receiver) = oneshot::channel();
    // Nobody waits any more only where this future was dropped.
    log.append(vec![entry], Flushed::new(move |result| drop(sender.send(result)))).await?;
    receiver.await.unwrap_or_else(|_| Err(io::Error::other("the log dropped an append")))?;
    Ok(id)
}

/// A state that is brought to the end of a replica's own log.
struct Trial {
    node: NodeId,
    log: Arc<dyn LogStore>,
    snapshots: Arc<dyn SnapshotStore>,
    /// The state before any entry.
    fresh: Arc<dyn SnapshotView>,
    state: State,
}

impl Trial {
    /// How the attempt ends on what the stores hold now; `None` when it may go on.
    async fn verdict(&mut self, judge: Judge<'_>) -> io::Result<Option<Attempt>> {
        self.replay().await?;
        let membership = self.membership();
        let [voters] = &membership.voters[..] else {
            return Ok(Some(Attempt::NotOneOfTwo(membership)));
        };
        match (voters.contains(&self.node), voters.len()) {
            // An earlier attempt came so far.
            (true, 1) => return Ok(Some(Attempt::Alone)),
            (true, 2) => {}
            _ => return Ok(Some(Attempt::NotOneOfTwo(membership))),
        }
        let machine = self.state.machine().map_err(io::Error::other)?;
        let own = OwnLog { membership: &membership, last: self.state.last, machine };
        Ok(if judge(own) || planted::is(Bug::TakeOverUnjudged) { None } else { Some(Attempt::Judged) })
    }

    fn membership(&self) -> Membership {
        membership_from(self.state.membership.membership())
    }

    /// Brings the state to the end of what the stores hold: what was committed, and what may yet be.
    async fn replay(&mut self) -> io::Result<()> {
        let held = self.log.state().await?;
        if !self.goes_on(held.purged).await? {
            self.start_afresh()?;
            if let Some(snapshot) = self.snapshots.latest().await? {
                self.state.install(&snapshot.meta, snapshot.view.as_ref())?;
            }
        }
        let Some(end) = held.last.map(|last| last.index.next()) else { return Ok(()) };
        self.check_joint(held.purged).await?;
        let mut from = self.state.last.map_or(Index(0), |last| last.index.next());
        while from < end {
            let entries = self.log.read(from, Index(end.0.min(from.0 + CHUNK))).await?;
            if entries.first().is_none_or(|first| first.id.index != from) {
                return Err(io::Error::other(format!("neither the log nor the snapshot holds entry {from}")));
            }
            for entry in &entries {
                drop(self.state.apply_entry(entry)?);
                from = entry.id.index.next();
            }
        }
        Ok(())
    }

    /// Whether the log still holds the very entry that was applied last, and with it all that came before.
    async fn goes_on(&self, purged: Option<LogId>) -> io::Result<bool> {
        let Some(last) = self.state.last.filter(|_| !self.state.torn()) else { return Ok(false) };
        if purged == Some(last) {
            return Ok(true);
        }
        let held = self.log.read(last.index, last.index.next()).await?;
        Ok(held.first().is_some_and(|entry| entry.id == last))
    }

    /// The log must go on where the state ends: what follows another entry than its last is another history.
    async fn check_joint(&self, purged: Option<LogId>) -> io::Result<()> {
        let Some(last) = self.state.last else { return Ok(()) };
        let held = match purged {
            Some(purged) if purged.index == last.index => Some(purged),
            Some(purged) if purged.index > last.index => {
                return Err(io::Error::other(format!("the log starts after {purged}, the snapshot ends at {last}")));
            }
            _ => self.log.read(last.index, last.index.next()).await?.first().map(|entry| entry.id),
        };
        match held {
            Some(held) if held != last => {
                Err(io::Error::other(format!("the log holds {held} where the snapshot ends at {last}")))
            }
            _ => Ok(()),
        }
    }

    fn start_afresh(&mut self) -> io::Result<()> {
        self.state.install(&SnapshotMeta::default(), self.fresh.as_ref())
    }
}
