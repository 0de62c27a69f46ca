//! An operator's failover: leadership is handed over by a primary that lives, and taken from one that does not.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use quorate::env::{Moment, until};
use quorate::types::Index;
use quorate::{AdminError, Consistency};
use quorate_statemachines::master::{MasterQuery, Office};

use super::masters::Masters;
use super::standing::{Standing, Term};
use crate::embedded::Power;
use crate::stdio::{ErrorReply, Reply};

/// How long to wait before another attempt.
const PAUSE: Duration = Duration::from_millis(5);

/// How a step of a failover ended, if it did not end the failover.
enum Step {
    /// Something may come of it.
    Wait,
    /// It will not happen by itself.
    Refused(ErrorReply),
}

impl Masters {
    /// Makes another master the primary in place of `failed`.
    pub(super) async fn fail_over(
        self: &Arc<Self>,
        failed: &str,
        to: Option<&str>,
        deadline: Moment,
    ) -> Result<Reply, ErrorReply> {
        let begun = self.env.now();
        let not_started = || ErrorReply::unavailable("another failover is under way").reason("not_started");
        let _one_at_a_time = until(&self.env, deadline, self.failover.lock()).await.ok_or_else(not_started)?;
        let office = match self.primary() {
            Some((nth, term)) => Office { epoch: term.epoch, primary: Some(self.name(nth)), ..Office::default() },
            None => self.newest_office().await.unwrap_or_default(),
        };
        let failed = self.failed_primary(failed, office.primary.as_deref())?;
        let alive = |nth| self.group.power(nth) == Some(Power::Running);
        let to = to.map(|to| self.candidate_among(to, failed, alive)).transpose()?;
        if self.names.len() < 2 {
            return Err(ErrorReply::unavailable("there is no other master").reason("no_shadow"));
        }
        let applied: Vec<Option<Index>> = (0..self.names.len()).map(|nth| self.group.running(nth)?.applied()).collect();
        let (nth, term) = self.hand_over(failed, to, &office, deadline).await?;
        self.everybody_knows(nth, deadline).await;
        let has = |index: Option<Index>| index.map_or(0, |index| index.0 + 1);
        let replayed = has(term.applied).saturating_sub(has(applied.get(nth).copied().flatten()));
        Ok(Reply::new()
            .field("new_primary", &*self.name(nth))
            .field("wal_entries_replayed", replayed)
            .field("failover_time_ms", u64::try_from(term.since.since(begun).as_millis()).unwrap_or(u64::MAX)))
    }

    /// The master that is to be replaced, which must be the primary.
    pub(super) fn failed_primary(&self, failed: &str, primary: Option<&str>) -> Result<usize, ErrorReply> {
        self.nth(failed).filter(|_| primary == Some(failed)).ok_or_else(|| {
            let error = ErrorReply::precondition(format!("{failed} is not the primary")).reason("not_primary");
            error.hint("primary", primary.map_or(serde_json::Value::Null, Into::into))
        })
    }

    /// The master that is to be the primary, which must be another one and live.
    pub(super) fn candidate_among(
        &self,
        to: &str,
        failed: usize,
        alive: impl FnOnce(usize) -> bool,
    ) -> Result<usize, ErrorReply> {
        let nth = self
            .nth(to)
            .ok_or_else(|| ErrorReply::not_found(format!("there is no master {to:?}")).reason("unknown_node"))?;
        if nth == failed {
            let error = ErrorReply::precondition(format!("{to} is the primary already")).reason("already_primary");
            return Err(error.hint("primary", to));
        }
        if !alive(nth) {
            return Err(ErrorReply::unavailable(format!("{to} is dead")).reason("target_down"));
        }
        Ok(nth)
    }

    /// Works until another master than `failed`, and `to` if it is said, serves under a newer epoch.
    async fn hand_over(
        self: &Arc<Self>,
        failed: usize,
        to: Option<usize>,
        office: &Office,
        deadline: Moment,
    ) -> Result<(usize, Term), ErrorReply> {
        let mut standings = self.standings.subscribe();
        let mut begun = false;
        loop {
            let successor = self.primary().filter(|(_, term)| term.epoch > office.epoch);
            let source = match successor {
                Some((nth, term)) if nth != failed && to.is_none_or(|to| to == nth) => return Ok((nth, term)),
                Some((nth, _)) => nth,
                None => failed,
            };
            let step = self.step(source, to, &mut begun, deadline).await;
            match step {
                Step::Refused(error) if !begun && successor.is_none() => return Err(error),
                Step::Refused(_) | Step::Wait => {}
            }
            if self.left(deadline).is_zero() {
                // An election may still come of itself.
                return Err(ErrorReply::timeout("no other master serves yet").reason("not_confirmed"));
            }
            drop(standings.borrow_and_update());
            let soon = deadline.min(self.env.now() + PAUSE);
            let _ = until(&self.env, soon, standings.changed()).await;
        }
    }

    /// Has `source` hand its leadership over, if it lives.
    async fn step(self: &Arc<Self>, source: usize, to: Option<usize>, begun: &mut bool, deadline: Moment) -> Step {
        let runs = self.group.power(source) == Some(Power::Running);
        let Some(node) = self.group.running(source).filter(|_| runs) else {
            // It does not live: the others elect one of them, or the only other one goes on alone.
            return self.take_over_from(source).await;
        };
        let target = match to {
            Some(to) => Some(to),
            None => self.most_caught_up(source),
        };
        let Some(target) = target.filter(|nth| self.group.power(*nth) == Some(Power::Running)) else {
            return Step::Refused(ErrorReply::unavailable("no shadow lives").reason("no_shadow"));
        };
        let Some(id) = self.group.node(target) else { return Step::Wait };
        let timeout = self.left(deadline);
        match node.transfer_leadership(id, timeout).await {
            Ok(()) => *begun = true,
            Err(AdminError::Rejected(cause)) => {
                // Refused by a leader that leads: nothing has happened. One that is cut off is about to be replaced.
                let left = self.left(deadline).min(self.patience);
                if node.read(Consistency::Linearizable, &MasterQuery::Office, left).await.is_ok() {
                    return Step::Refused(ErrorReply::unavailable(cause.to_string()).reason("target_not_ready"));
                }
                return self.take_over_from(source).await;
            }
            Err(AdminError::Unknown(_) | AdminError::Fatal(_)) => *begun = true,
        }
        Step::Wait
    }

    /// With two masters, has the other one go on without `source`.
    async fn take_over_from(self: &Arc<Self>, source: usize) -> Step {
        let Some(other) = self.other(source) else { return Step::Wait };
        match self.take_over(other).await {
            Some(refusal) => Step::Refused(refusal),
            None => Step::Wait,
        }
    }

    /// The living shadow that has applied most.
    fn most_caught_up(&self, primary: usize) -> Option<usize> {
        let alive =
            (0..self.names.len()).filter(|nth| *nth != primary && self.group.power(*nth) == Some(Power::Running));
        alive.max_by_key(|nth| (self.group.running(*nth).and_then(|node| node.applied()), std::cmp::Reverse(*nth)))
    }

    /// Waits a moment until the other masters have heard of the primary: they will be asked for it.
    async fn everybody_knows(&self, primary: usize, deadline: Moment) {
        let knows = |standings: &Vec<Standing>| {
            let alive = |nth: usize| self.group.power(nth) == Some(Power::Running);
            let mut others = standings.iter().enumerate().filter(|(nth, _)| *nth != primary && alive(*nth));
            others.all(|(_, standing)| *standing == Standing::Shadow(primary))
        };
        let moment = deadline.min(self.env.now() + self.patience / 4);
        let mut standings = self.standings.subscribe();
        let _ = until(&self.env, moment, standings.wait_for(knows)).await;
    }

    /// The newest office that any living master has heard of.
    pub(super) async fn newest_office(&self) -> Option<Office> {
        let alive = (0..self.names.len()).filter(|nth| self.group.power(*nth) == Some(Power::Running));
        let heard = join_all(alive.map(|nth| self.last_office(nth))).await.into_iter();
        // None of them may have heard of the last one.
        let announced = self.announced.borrow().clone();
        heard.chain([announced]).max_by_key(|office| office.epoch)
    }
}
