//! What each master is at the moment, as it knows itself.

use std::sync::Arc;

use quorate::env::{Moment, until};
use quorate::types::Index;
use quorate_statemachines::master::Epoch;

use super::masters::Masters;
use crate::embedded::Power;
use crate::stdio::ErrorReply;

/// What a master is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// It does not run.
    #[default]
    Down,
    /// It knows no leader, or is about to take office.
    Waiting,
    /// It follows this master.
    Shadow(usize),
    /// It serves.
    Primary(Term),
}

/// A primary's time in office.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) epoch: Epoch,
    /// Since when it has served.
    pub(super) since: Moment,
    /// What it had applied by then.
    pub(super) applied: Option<Index>,
}

impl Masters {
    /// The epoch under which this master serves, later than `after`; for one that does not know whom it follows, or is
    /// about to take office, this is waited for.
    ///
    /// # Errors
    /// Error 11 with the name of the primary if this is a shadow.
    pub(super) async fn in_office(
        self: &Arc<Self>,
        nth: usize,
        after: Option<Epoch>,
        deadline: Moment,
    ) -> Result<Epoch, ErrorReply> {
        let mut standings = self.standings.subscribe();
        let judge = |standings: &Vec<Standing>| match standings.get(nth) {
            Some(Standing::Primary(term)) if Some(term.epoch) > after => Some(Ok(term.epoch)),
            Some(Standing::Shadow(primary)) => Some(Err(*primary)),
            _ => None,
        };
        let patience = deadline.min(self.env.now() + self.patience);
        let known = standings.wait_for(|standings| judge(standings).is_some());
        match until(&self.env, patience, known).await {
            Some(Ok(standings)) => match judge(&standings) {
                Some(Ok(epoch)) => Ok(epoch),
                Some(Err(primary)) => Err(self.not_primary(self.names.get(primary).map(|name| &**name))),
                None => Err(self.not_primary(None)),
            },
            _ => {
                let last = self.last_office(nth).await.primary;
                Err(self.not_primary(last.filter(|primary| self.nth(primary) != Some(nth)).as_deref()))
            }
        }
    }

    /// Of the masters that serve and are neither stopped nor paused, the one of the newest epoch.
    pub(super) fn primary(&self) -> Option<(usize, Term)> {
        let standings = self.standings.borrow();
        let serving = standings.iter().enumerate().filter_map(|(nth, standing)| match standing {
            Standing::Primary(term) if self.group.power(nth) == Some(Power::Running) => Some((nth, *term)),
            _ => None,
        });
        serving.max_by_key(|(_, term)| term.epoch)
    }

    pub(super) fn show(&self, nth: usize, standing: Standing) {
        self.standings.modify(|standings| match standings.get_mut(nth) {
            Some(before) if *before != standing => {
                *before = standing;
                true
            }
            _ => false,
        });
    }
}
