//! Who leads, as one replica knows it, published when it changes.
//!
//! Promises: term and leader belong together (both are read from the one vote that is on disk); the last value says that
//! the replica has stopped, and why.

use std::sync::Arc;

use metrics::Counter;
use openraft::ServerState;
use openraft::metrics::RaftServerMetrics;

use super::machine::Shared;
use super::replica::Raft;
use super::types::{TypeConfig, membership_from, vote_from};
use crate::env::Env;
use crate::error::Fatal;
use crate::group::{Leadership, Role};
use crate::watch;

/// Follows a replica until it stops.
pub(super) fn watch(raft: &Raft, shared: &Arc<Shared>, env: &dyn Env, changes: Counter) -> watch::Receiver<Leadership> {
    let shared = Arc::clone(shared);
    let metrics = raft.metrics();
    let mut servers = raft.server_metrics();
    let (sender, receiver) = watch::channel(leadership(&servers.borrow()));
    env.spawn(Box::pin(async move {
        // These metrics change with leader, term and membership only; the full ones tell why a core has stopped.
        while servers.changed().await.is_ok() {
            let now = leadership(&servers.borrow_and_update());
            sender.modify(|held| {
                if now.leader.is_some() && (held.leader, held.term) != (now.leader, now.term) {
                    changes.increment(1);
                }
                std::mem::replace(held, now.clone()) != now
            });
        }
        let reason = metrics.borrow().running_state.as_ref().err().map(|fatal| {
            let said = fatal.to_string();
            match shared.failure() {
                Some(cause) if !said.contains(cause) => Fatal(format!("{said}: {cause}")),
                _ => Fatal(said),
            }
        });
        sender.modify(|held| {
            held.stopped = reason.or_else(|| Some(Fatal("shut down".into())));
            held.role = Role::Stopped;
            held.leader = None;
            true
        });
    }));
    receiver
}

fn leadership(server: &RaftServerMetrics<TypeConfig>) -> Leadership {
    let vote = vote_from(&server.vote);
    let leader = vote.committed.then_some(vote.node);
    Leadership {
        term: vote.term,
        leader,
        role: role(server.state, leader == Some(server.id)),
        membership: membership_from(server.membership_config.membership()),
        stopped: None,
    }
}

fn role(state: ServerState, leads: bool) -> Role {
    match state {
        ServerState::Learner => Role::Learner,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        // A leader is one once a quorum elected it.
        ServerState::Leader if leads => Role::Leader,
        ServerState::Leader => Role::Candidate,
        ServerState::Shutdown => Role::Stopped,
    }
}
