//! A proxy as a process of its own: it holds no data, but its clients notice when it is stopped, paused or cut off.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::embedded::{Life, Power};
use crate::stdio::{ErrorReply, FaultAction};

/// One proxy.
#[derive(Debug)]
pub(super) struct Proxy {
    life: watch::Sender<Life>,
    cut_off: watch::Sender<bool>,
    delay: Mutex<Duration>,
}

impl Default for Proxy {
    fn default() -> Self {
        let (life, cut_off) = (watch::channel(Life::default()).0, watch::channel(false).0);
        Proxy { life, cut_off, delay: Mutex::default() }
    }
}

impl Proxy {
    pub(super) fn watch(&self) -> watch::Receiver<Life> {
        self.life.subscribe()
    }

    /// Waits until what the proxy has to say comes through to the groups.
    pub(super) async fn passes(&self, deadline: Instant) -> Result<(), ErrorReply> {
        let delay = *self.delay();
        if !delay.is_zero() {
            sleep(delay).await;
        }
        let mut cut_off = self.cut_off.subscribe();
        match timeout_at(deadline, cut_off.wait_for(|cut_off| !cut_off)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(ErrorReply::unavailable("the groups cannot be reached from here").reason("no_leader")),
        }
    }

    pub(super) fn fault(&self, action: FaultAction) {
        let power = self.life.borrow().power;
        match action {
            FaultAction::Stop => _ = self.life.modify(|life| life.go_on(Power::Stopped)),
            FaultAction::Start if power == Power::Stopped => _ = self.life.modify(|life| life.go_on(Power::Running)),
            FaultAction::Pause if power == Power::Running => _ = self.life.modify(|life| life.go_on(Power::Paused)),
            FaultAction::Resume if power == Power::Paused => _ = self.life.modify(|life| life.go_on(Power::Running)),
            FaultAction::Start | FaultAction::Pause | FaultAction::Resume => {}
            FaultAction::Isolate => self.cut(true),
            FaultAction::Heal => {
                *self.delay() = Duration::ZERO;
                self.cut(false);
            }
            FaultAction::Delay(delay) => *self.delay() = delay,
        }
    }

    fn cut(&self, cut: bool) {
        self.cut_off.modify(|cut_off| std::mem::replace(cut_off, cut) != cut);
    }

    fn delay(&self) -> MutexGuard<'_, Duration> {
        self.delay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
