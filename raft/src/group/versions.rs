//! The version of commands in force is raised once every replica can apply it.
//!
//! Promises: no entry is applied by a version that the replica's program does not know: what is asked here keeps a group from
//! it, and whatever comes between (a replica that joins, another program that is started) stops that replica, not the group.

use futures::future::join_all;

use super::core::GroupCore;
use crate::env::Moment;
use crate::error::{AdminError, Rejected};
use crate::log::Action;
use crate::machine::{CommandVersion, Versions};
use crate::transport::{Reply, Request};
use crate::types::NodeId;

impl GroupCore {
    /// As the leader.
    pub(super) async fn raise_version(&self, to: CommandVersion, deadline: Moment) -> Result<(), AdminError> {
        if self.replica.version_in_force() >= to {
            return Ok(());
        }
        let membership = self.replica.membership().await?;
        let members = membership.voter_ids().into_iter().chain(membership.learners.iter().copied());
        let obstacles = join_all(members.map(|member| self.obstacle_to(to, member))).await;
        if let Some(obstacle) = obstacles.into_iter().flatten().next() {
            return Err(Rejected::Invalid(obstacle).into());
        }
        if self.replica.membership().await? != membership {
            return Err(Rejected::LeaderNotReady("the membership has just changed".into()).into());
        }
        self.propose_action(Action::RaiseVersion(to), deadline).await?;
        Ok(())
    }

    /// Why `version` must not be put in force, as far as `member` goes.
    async fn obstacle_to(&self, version: CommandVersion, member: NodeId) -> Option<String> {
        match self.versions_of(member).await {
            Some(versions) => {
                (!versions.contains(version)).then(|| format!("{member} applies {versions}, not {version}"))
            }
            None => Some(format!("{member} does not say whether it can apply {version}")),
        }
    }

    /// Refuses a new member that says itself that it could not apply what the group's commands mean by now. One that says
    /// nothing may not run yet; it stops when it comes to such a command.
    pub(super) async fn check_program(&self, member: NodeId) -> Result<(), AdminError> {
        let in_force = self.replica.version_in_force();
        match self.versions_of(member).await {
            Some(versions) if !versions.contains(in_force) => {
                Err(Rejected::Invalid(format!("{member} applies {versions}, and {in_force} is in force")).into())
            }
            _ => Ok(()),
        }
    }

    async fn versions_of(&self, member: NodeId) -> Option<Versions> {
        if member == self.node {
            return Some(self.replica.versions());
        }
        let patience = self.options.election_timeout.1 * 4;
        match self.caller.call(member, self.id, Request::Versions, patience).await {
            Ok(Reply::Versions(versions)) => Some(versions),
            _ => None,
        }
    }
}
