//! Registers that are read, written and compared-and-set: linearizable, each by itself.
//!
//! As Maelstrom has it: workers stand in groups of twice the number of nodes; a group is at one key, half of it reads, and
//! of the other half's operations a third are writes. When twenty processes have been at a key the group goes on to
//! another one, so that no history has too many operations of unknown outcome.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use super::verdicts::registers;
use crate::findings::Check;
use crate::run::Run;
use crate::stdio::client::Client;
use crate::stdio::errors::Return;
use crate::stdio::workload::{Call, Caller, Next, Phase, Workload};

/// So many processes are at a key at most.
const PROCESSES: usize = 20;
/// Values are below this.
const VALUES: u64 = 5;

/// `read` (`key`), `write` (`key`, `value`), `cas` (`key`, `from`, `to`).
#[derive(Debug, Default)]
pub struct LinKv {
    keys: Mutex<Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    groups: Vec<Group>,
    next: u64,
}

#[derive(Clone, Debug)]
struct Group {
    key: u64,
    /// The processes that play now, by worker.
    now: Vec<u64>,
    /// Those that have been at the key.
    seen: BTreeSet<u64>,
}

impl Keys {
    /// The key of a caller's group, which may have to be a new one.
    fn key(&mut self, caller: &Caller) -> u64 {
        let size = 2 * caller.nodes.len();
        while self.groups.len() * size < caller.workers.max(caller.worker + 1) {
            let first = (self.groups.len() * size) as u64;
            let now: Vec<u64> = (first..first + size as u64).collect();
            self.groups.push(Group { key: self.next, seen: now.iter().copied().collect(), now });
            self.next += 1;
        }
        let group = &mut self.groups[caller.worker / size];
        group.now[caller.worker % size] = caller.process;
        group.seen.insert(caller.process);
        if group.seen.len() > PROCESSES.max(size) {
            group.key = self.next;
            self.next += 1;
            group.seen = group.now.iter().copied().collect();
        }
        group.key
    }
}

#[async_trait]
impl Workload for LinKv {
    fn name(&self) -> &'static str {
        "lin-kv"
    }

    fn workers(&self, nodes: usize) -> usize {
        2 * nodes
    }

    fn fits(&self, nodes: usize, workers: usize) -> Result<(), String> {
        match workers.is_multiple_of(2 * nodes) && workers > 0 {
            true => Ok(()),
            false => {
                Err(format!("lin-kv has {} workers for each key, so their number must be a multiple of it", 2 * nodes))
            }
        }
    }

    fn next(&self, _phase: Phase, caller: &Caller, random: &mut SmallRng) -> Next {
        let key = self.keys.lock().unwrap_or_else(PoisonError::into_inner).key(caller);
        let is_reader = caller.worker % (2 * caller.nodes.len()) < caller.nodes.len();
        Next::Call(match random.random_range(0..3) {
            _ if is_reader => Call::new("read", key, Value::Null),
            0 => Call::new("write", key, random.random_range(0..VALUES)),
            _ => Call::new("cas", key, json!([random.random_range(0..VALUES), random.random_range(0..VALUES)])),
        })
    }

    async fn call(&self, client: &mut Client, caller: &Caller, call: &Call) -> Return {
        let Call { f, key, value } = call;
        match f.as_str() {
            "read" => match client.ask(&caller.node, "read", json!({ "key": key })).await {
                Ok(mut body) => Return::ok(body.remove("value").unwrap_or_default()),
                // Also of a key that is not there: then nothing is asserted.
                Err(refusal) => Return::unread(Value::Null, &refusal),
            },
            "write" => done(client.ask(&caller.node, "write", json!({ "key": key, "value": value })).await, value),
            _ => {
                let fields = json!({ "key": key, "from": value[0], "to": value[1] });
                done(client.ask(&caller.node, "cas", fields).await, value)
            }
        }
    }

    fn judge(&self, run: &Run) -> Vec<Check> {
        vec![registers(run)]
    }
}

fn done<T>(answer: Result<T, crate::stdio::errors::Refusal>, value: &Value) -> Return {
    match answer {
        Ok(_) => Return::ok(value.clone()),
        Err(refusal) => Return::refused(value.clone(), &refusal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(worker: usize, process: u64) -> Caller {
        let nodes: Vec<String> = (1..=3).map(|nth| format!("n{nth}")).collect();
        let until = tokio::time::Instant::now();
        Caller { worker, workers: 12, process, nth: 1, node: "n1".to_owned(), nodes: nodes.into(), until }
    }

    #[test]
    fn a_group_goes_on_when_twenty_processes_have_been_at_its_key() {
        let mut keys = Keys::default();
        assert_eq!(
            (0..12).map(|worker| keys.key(&caller(worker, worker as u64))).collect::<Vec<_>>(),
            [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
        );
        // Six have been there; fourteen more fit.
        for life in 1..=14 {
            assert_eq!(keys.key(&caller(2, 2 + 12 * life)), 0, "life {life}");
        }
        assert_eq!(keys.key(&caller(2, 2 + 12 * 15)), 2);
        assert_eq!((keys.key(&caller(3, 3)), keys.key(&caller(7, 7))), (2, 1));
        for life in 16..30 {
            assert_eq!(
                keys.key(&caller(2, 2 + 12 * life)),
                2,
                "life {life}: only those that were left have been there"
            );
        }
        assert_eq!(keys.key(&caller(2, 2 + 12 * 30)), 3);
    }

    #[test]
    fn workers_come_in_groups() {
        let lin_kv = LinKv::default();
        assert!(lin_kv.fits(3, 6).is_ok() && lin_kv.fits(3, 12).is_ok());
        assert!(lin_kv.fits(3, 3).is_err() && lin_kv.fits(3, 8).is_err() && lin_kv.fits(3, 0).is_err());
    }
}
