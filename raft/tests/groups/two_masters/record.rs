//! What was acknowledged, when and by whom; and what must not have been.

use std::collections::BTreeMap;
use std::sync::Mutex;

use imbl::OrdSet;
use quorate::env::Moment;
use quorate::{Consistency, NodeId};

/// All that clients of the pair heard, on one clock.
#[derive(Default)]
pub(crate) struct Record(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    claims: BTreeMap<u64, NodeId>,
    acknowledged: Vec<Acknowledged>,
    looks: u64,
}

#[derive(Clone, Copy, Debug)]
struct Acknowledged {
    began: Moment,
    ended: Moment,
    epoch: u64,
    node: NodeId,
    value: u64,
}

impl Record {
    /// An epoch has one primary.
    pub(crate) fn claim(&self, epoch: u64, node: NodeId) {
        let before = self.0.lock().unwrap().claims.insert(epoch, node);
        assert!(before.is_none_or(|before| before == node), "epoch {epoch} is {node}'s and {before:?}'s");
    }

    pub(crate) fn acknowledge(&self, began: Moment, ended: Moment, epoch: u64, node: NodeId, value: u64) {
        self.0.lock().unwrap().acknowledged.push(Acknowledged { began, ended, epoch, node, value });
    }

    /// Who sees a state sees all that was acknowledged before it asked.
    pub(crate) fn see(&self, began: Moment, at: NodeId, consistency: Consistency, values: &OrdSet<u64>) {
        let mut heard = self.0.lock().unwrap();
        heard.looks += 1;
        for acknowledged in heard.acknowledged.iter().filter(|acknowledged| acknowledged.ended < began) {
            let seen = values.contains(&acknowledged.value);
            assert!(seen, "{at}, asked at {began:?} by {consistency:?}, does not show {acknowledged:?}");
        }
    }

    /// Writes acknowledged, looks answered, epochs.
    pub(crate) fn counts(&self) -> (usize, u64, usize) {
        let heard = self.0.lock().unwrap();
        (heard.acknowledged.len(), heard.looks, heard.claims.len())
    }

    /// Nobody acknowledges in an epoch once somebody has in a later one.
    pub(crate) fn check(&self) {
        let heard = self.0.lock().unwrap();
        for late in &heard.acknowledged {
            assert_eq!(heard.claims.get(&late.epoch), Some(&late.node), "{late:?} in another's epoch");
            let overtaken = heard.acknowledged.iter().find(|by| by.epoch > late.epoch && by.ended < late.began);
            assert!(overtaken.is_none(), "{late:?} was acknowledged after {overtaken:?}");
        }
    }
}
