//! Whether one replica sleeps.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use crate::env::Moment;
use crate::types::NodeId;
use crate::watch;

/// What a replica does when nobody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It keeps time.
    Awake,
    /// It does not; a follower has its leader's node watched.
    Quiet(Option<Watched>),
    /// Somebody wants it to keep time again; [`super::keeper`] sees to it.
    Waking,
}

/// The leader that put a follower to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watched {
    pub(crate) leader: NodeId,
    /// The life of its node in which it did.
    pub(crate) life: u64,
    pub(crate) since: Moment,
}

/// A replica's sleep. Every change of state goes together with `tick`, the switch of its core's clock.
///
/// Invariant: `awake` is false unless the state is [`State::Awake`].
pub(crate) struct Rest {
    /// What every request looks at.
    awake: AtomicBool,
    /// Whether anything was asked since this was last looked at.
    touched: AtomicBool,
    state: watch::Sender<State>,
    tick: Box<dyn Fn(bool) + Send + Sync>,
}

impl Rest {
    pub(crate) fn new(tick: impl Fn(bool) + Send + Sync + 'static) -> Self {
        let (awake, touched) = (AtomicBool::new(true), AtomicBool::new(false));
        Rest { awake, touched, state: watch::channel(State::Awake).0, tick: Box::new(tick) }
    }

    /// Notes that something is asked. Whether the replica is awake: if so it stays awake for a while.
    pub(crate) fn touch(&self) -> bool {
        // The note comes before the look, as in `lie_down` the sleep before the look at notes: one of the two sees the other.
        if !self.touched.load(SeqCst) {
            self.touched.store(true, SeqCst);
        }
        self.awake.load(SeqCst)
    }

    /// Whether anything was asked since the last call.
    pub(super) fn take_touched(&self) -> bool {
        self.touched.swap(false, SeqCst)
    }

    pub(crate) fn is_awake(&self) -> bool {
        self.awake.load(SeqCst)
    }

    pub(super) fn state(&self) -> State {
        *self.state.borrow()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Stops a leader's clock for its last round, which [`Self::lie_down`] or [`Self::get_up`] ends.
    pub(super) fn hold_still(&self) {
        (self.tick)(false);
    }

    /// Has a leader that all have agreed with sleep, unless something was asked meanwhile. Whether it does.
    pub(super) fn lie_down(&self) -> bool {
        self.state.modify(|state| {
            self.awake.store(false, SeqCst);
            if self.touched.load(SeqCst) {
                self.set(state, State::Awake);
                return false;
            }
            *state = State::Quiet(None);
            true
        })
    }

    /// Has a follower sleep. Not if it is being woken.
    pub(super) fn follow_to_sleep(&self, watched: Watched) -> bool {
        self.state.modify(|state| {
            let may = *state != State::Waking;
            if may {
                self.set(state, State::Quiet(Some(watched)));
            }
            may
        })
    }

    /// Has the replica woken if it sleeps. Whether it slept.
    pub(crate) fn rouse(&self) -> bool {
        self.state.modify(|state| {
            let quiet = matches!(state, State::Quiet(_));
            if quiet {
                *state = State::Waking;
            }
            quiet
        })
    }

    /// A leader's message was accepted at `now`; `news` unless it was a mere heartbeat. One that was on its way when a
    /// follower fell asleep, less than `late` ago, does not wake it. Whether it slept until now.
    pub(super) fn heard(&self, news: bool, now: Moment, late: Duration) -> bool {
        let mut slept = false;
        self.state.modify(|state| match state {
            State::Awake => false,
            State::Quiet(Some(watched)) if !news && now.since(watched.since) < late => false,
            State::Quiet(_) | State::Waking => {
                slept = *state != State::Waking;
                self.set(state, State::Awake)
            }
        });
        slept
    }

    /// The clock runs from now on, whatever was before.
    pub(super) fn get_up(&self) {
        self.state.modify(|state| self.set(state, State::Awake));
    }

    fn set(&self, state: &mut State, to: State) -> bool {
        let changed = *state != to;
        (self.tick)(to == State::Awake);
        self.awake.store(to == State::Awake, SeqCst);
        *state = to;
        changed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn rest() -> (Rest, Arc<AtomicBool>) {
        let ticks = Arc::new(AtomicBool::new(true));
        let switch = Arc::clone(&ticks);
        (Rest::new(move |on| switch.store(on, SeqCst)), ticks)
    }

    fn watched() -> Watched {
        Watched { leader: NodeId(1), life: 7, since: Moment(100 * MS) }
    }

    #[test]
    fn a_leader_that_was_asked_something_during_its_last_round_does_not_sleep() {
        let (rest, ticks) = rest();
        rest.hold_still();
        assert!(rest.touch(), "it still serves");
        assert!(!rest.lie_down());
        assert!(rest.is_awake() && ticks.load(SeqCst));
        assert!(rest.take_touched() && !rest.take_touched());
        rest.hold_still();
        assert!(rest.lie_down());
        assert!(!rest.touch() && !ticks.load(SeqCst));
        assert!(rest.rouse() && !rest.rouse(), "once");
        rest.get_up();
        assert!(rest.touch() && ticks.load(SeqCst));
    }

    #[test]
    fn a_late_heartbeat_does_not_wake_a_follower_and_anything_else_does() {
        let (rest, ticks) = rest();
        assert!(rest.follow_to_sleep(watched()));
        assert!(!rest.heard(false, Moment(120 * MS), 50 * MS));
        assert!(!ticks.load(SeqCst));
        assert!(rest.heard(false, Moment(150 * MS), 50 * MS), "an awake leader goes on sending them");
        assert!(rest.follow_to_sleep(watched()));
        assert!(rest.heard(true, Moment(101 * MS), 50 * MS));
        assert!(ticks.load(SeqCst) && rest.is_awake());
        assert!(!rest.heard(true, Moment(102 * MS), 50 * MS), "awake already");
    }

    #[test]
    fn a_follower_that_is_being_woken_does_not_fall_asleep() {
        let (rest, _) = rest();
        rest.follow_to_sleep(watched());
        rest.rouse();
        assert!(!rest.follow_to_sleep(watched()));
        assert_eq!(rest.state(), State::Waking);
        rest.heard(false, Moment(101 * MS), 50 * MS);
        assert!(rest.is_awake(), "it wanted to hear a leader");
    }
}
