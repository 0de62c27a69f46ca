//! An operator's failover where every master is a process: what the others do is asked, not seen.

use std::sync::Arc;
use std::time::Duration;

use quorate::env::{Moment, until};
use quorate::types::Index;
use quorate::{AdminError, Consistency, Described};
use quorate_statemachines::master::{MasterQuery, Office};

use super::masters::Masters;
use super::seats::Apart;
use crate::stdio::{ErrorReply, Reply};

/// How long to wait before another attempt.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a master may take to say what it is.
const CALL: Duration = Duration::from_millis(400);

/// What one attempt came to.
enum Step {
    /// Leadership is on its way, or may be.
    Begun,
    /// Nothing was done.
    Refused(ErrorReply),
}

impl Masters {
    /// Makes another master the primary in place of `failed`.
    pub(super) async fn fail_over_apart(
        self: &Arc<Self>,
        apart: &Apart,
        failed: &str,
        to: Option<&str>,
        deadline: Moment,
    ) -> Result<Reply, ErrorReply> {
        let begun_at = self.env.now();
        let not_started = || ErrorReply::unavailable("another failover is under way").reason("not_started");
        let _one_at_a_time = until(&self.env, deadline, self.failover.lock()).await.ok_or_else(not_started)?;
        let (before, office) = futures::join!(apart.roll_call(CALL), self.office_apart(apart, CALL));
        let failed = self.failed_primary(failed, office.primary.as_deref())?;
        let alive = |nth: usize| before.get(nth).is_some_and(Option::is_some);
        let to = to.map(|to| self.candidate_among(to, failed, alive)).transpose()?;
        if self.names.len() < 2 {
            return Err(ErrorReply::unavailable("there is no other master").reason("no_shadow"));
        }
        let new = self.hand_over_apart(apart, failed, to, &office, deadline).await?;
        self.own_master_knows(apart, new, deadline).await;
        let has = |known: Option<&Described>| known.and_then(|known| known.applied).map_or(0, |Index(index)| index + 1);
        let after = apart.roll_call(CALL).await;
        let of_new = |called: &[Option<Described>]| has(called.get(new).and_then(Option::as_ref));
        let took = self.env.now().since(begun_at);
        Ok(Reply::new()
            .field("new_primary", &*self.name(new))
            .field("wal_entries_replayed", of_new(&after).saturating_sub(of_new(&before)))
            .field("failover_time_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Works until another master than `failed`, and `to` if it is said, has begun a newer epoch.
    async fn hand_over_apart(
        self: &Arc<Self>,
        apart: &Apart,
        failed: usize,
        to: Option<usize>,
        office: &Office,
        deadline: Moment,
    ) -> Result<usize, ErrorReply> {
        let mut begun = false;
        loop {
            let now = self.office_apart(apart, CALL).await;
            let successor = now.primary.and_then(|name| self.nth(&name)).filter(|_| now.epoch > office.epoch);
            let source = match successor {
                Some(nth) if nth != failed && to.is_none_or(|to| to == nth) => return Ok(nth),
                Some(nth) => nth,
                None => failed,
            };
            match self.step_apart(apart, source, to, deadline).await {
                Step::Refused(error) if !begun && successor.is_none() => return Err(error),
                Step::Refused(_) => {}
                Step::Begun => begun = true,
            }
            if self.left(deadline).is_zero() {
                // An election may still come of itself.
                return Err(ErrorReply::timeout("no other master serves yet").reason("not_confirmed"));
            }
            self.env.sleep(PAUSE.min(self.left(deadline))).await;
        }
    }

    /// Has `source` hand its leadership over, if it lives.
    async fn step_apart(self: &Arc<Self>, apart: &Apart, source: usize, to: Option<usize>, deadline: Moment) -> Step {
        let called = apart.roll_call(CALL).await;
        if called.get(source).is_none_or(Option::is_none) {
            // It is dead, or cut off: the others elect one of them, or the only other one goes on alone.
            return match self.other(source).filter(|other| *other == apart.own()) {
                Some(other) => self.take_over(other).await.map_or(Step::Begun, Step::Refused),
                None => Step::Begun,
            };
        }
        let alive = called.iter().enumerate().filter(|(nth, known)| *nth != source && known.is_some());
        let furthest =
            alive.max_by_key(|(nth, known)| (known.as_ref().and_then(|known| known.applied), std::cmp::Reverse(*nth)));
        let Some(target) = to.or(furthest.map(|(nth, _)| nth)).and_then(|nth| self.group.node(nth)) else {
            return Step::Refused(ErrorReply::unavailable("no shadow lives").reason("no_shadow"));
        };
        match apart.replica().transfer_leadership(target, self.left(deadline)).await {
            Ok(()) | Err(AdminError::Unknown(_) | AdminError::Fatal(_)) => Step::Begun,
            Err(AdminError::Rejected(cause)) => {
                // Refused by a leader that leads, nothing has happened; without one, an election is about to.
                let query = MasterQuery::Office;
                let left = self.left(deadline).min(self.patience);
                match apart.replica().read(Consistency::Linearizable, &query, left).await {
                    Ok(_) => Step::Refused(ErrorReply::unavailable(cause.to_string()).reason("target_not_ready")),
                    Err(_) => Step::Begun,
                }
            }
        }
    }

    /// The office in force; if nobody can say, the last one that this process's master has heard of.
    pub(super) async fn office_apart(&self, apart: &Apart, timeout: Duration) -> Office {
        match apart.replica().read(Consistency::Linearizable, &MasterQuery::Office, timeout).await {
            Ok(reply) => reply.answer.office,
            Err(_) => self.last_office(apart.own()).await,
        }
    }

    /// Waits a moment until this process's master has heard of the primary: it will be asked for it.
    async fn own_master_knows(&self, apart: &Apart, primary: usize, deadline: Moment) {
        use super::standing::Standing;
        let knows = |standings: &Vec<Standing>| match standings.get(apart.own()) {
            Some(Standing::Shadow(known)) => *known == primary,
            Some(Standing::Primary(_)) => apart.own() == primary,
            _ => false,
        };
        let moment = deadline.min(self.env.now() + self.patience / 4);
        let mut standings = self.standings.subscribe();
        let _ = until(&self.env, moment, standings.wait_for(knows)).await;
    }
}
