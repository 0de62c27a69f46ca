//! The library's first-in-first-out watch as openraft's.

use std::sync::RwLockReadGuard;

use openraft::{OptionalSend, OptionalSync};
use openraft_rt::watch::{RecvError, SendError, Watch, WatchReceiver, WatchSender};

use crate::watch::{Receiver, Sender, channel};

/// The channel's type family.
#[derive(Debug)]
pub(crate) struct FifoWatch;

impl Watch for FifoWatch {
    type Sender<V: OptionalSend + OptionalSync> = Sender<V>;
    type Receiver<V: OptionalSend + OptionalSync> = Receiver<V>;
    type Ref<'a, V: OptionalSend + 'a> = RwLockReadGuard<'a, V>;

    fn channel<V: OptionalSend + OptionalSync>(init: V) -> (Sender<V>, Receiver<V>) {
        channel(init)
    }
}

impl<V: OptionalSend + OptionalSync> WatchSender<FifoWatch, V> for Sender<V> {
    fn send(&self, value: V) -> Result<(), SendError<V>> {
        if !self.has_receivers() {
            return Err(SendError(value));
        }
        self.modify(|held| {
            *held = value;
            true
        });
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut V) -> bool,
    {
        self.modify(modify)
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, V> {
        self.borrow()
    }

    fn subscribe(&self) -> Receiver<V> {
        Sender::subscribe(self)
    }
}

impl<V: OptionalSend + OptionalSync> WatchReceiver<FifoWatch, V> for Receiver<V> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        Receiver::changed(self).await.map_err(|_| RecvError(()))
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, V> {
        self.borrow()
    }

    fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, V> {
        Receiver::borrow_and_update(self)
    }
}
