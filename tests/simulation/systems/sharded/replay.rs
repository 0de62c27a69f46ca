//! The groups' logs once more, after the run: each is applied to a machine of its own, and what the machines say of their
//! shards on the way is judged.
//!
//! Promises: whatever a move lost, doubled or changed is found though no client has read it; an operation that took effect
//! twice, in one group or in two, is found though nobody was told.
//! Leaves out: what clients were told, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use quorate::log::{Action, Entry, Payload};
use quorate::machine::{EntryContext, StateMachine, decode};
use quorate::sessions::Stamp;
use quorate::types::LogTime;
use quorate_harness::checker::ownership::{Ended, Tenure};
use quorate_statemachines::kv::{
    Configured, Json, KvAnswer, KvCommand, KvMachine, KvQuery, KvReply, Outcome, ShardState, Status,
};
use quorate_statemachines::{ConfigNumber, Gid, ShardId};

/// What one entry may move a log's time on by, as the library has it.
const TIME_STEP_MAX: Duration = Duration::from_secs(60);

/// What a shard holds.
pub(crate) type Keys = OrdMap<Arc<str>, Json>;

/// What the logs of all groups say.
#[derive(Default)]
pub(crate) struct Replayed {
    /// Who served which shard when.
    pub(crate) tenures: Vec<Tenure<Keys>>,
    /// Which configurations each group went through.
    pub(crate) numbers: BTreeMap<Gid, Vec<ConfigNumber>>,
    /// Which groups carried an operation out, by its client and its number.
    executed: BTreeMap<(Arc<str>, u64), Vec<Gid>>,
}

impl Replayed {
    /// Applies the log of a group.
    pub(crate) fn group(&mut self, gid: &Gid, session_ttl: Duration, entries: &[Entry]) {
        let mut replay = Replay { gid, machine: KvMachine::new(session_ttl), open: BTreeMap::new(), into: self };
        let mut time = LogTime::default();
        for entry in entries {
            let Payload::Writes(proposal) = &entry.payload else { continue };
            let step = proposal.stamped.since(time);
            let step = if time == LogTime::default() { step } else { step.min(TIME_STEP_MAX) };
            time = LogTime(time.0 + step.as_millis() as u64);
            for (place, write) in (0..).zip(&proposal.writes) {
                let Action::Apply(command) = &write.action else { continue };
                let Ok(command) = decode::<KvCommand>(command) else { continue };
                let context = EntryContext { index: entry.id.index, place, term: entry.id.term, time };
                replay.apply(context, command);
            }
        }
        let open = replay.open;
        self.tenures.extend(open.into_values());
    }

    /// An operation that took effect more than once.
    pub(crate) fn doubled(&self) -> Option<String> {
        let (operation, groups) = self.executed.iter().find(|(_, groups)| groups.len() > 1)?;
        let names: Vec<_> = groups.iter().map(ToString::to_string).collect();
        Some(format!("operation {} of {} took effect in {}", operation.1, operation.0, names.join(" and ")))
    }

    /// How many operations took effect.
    pub(crate) fn executed(&self) -> usize {
        self.executed.len()
    }
}

/// One group's log on its way.
struct Replay<'a> {
    gid: &'a Gid,
    machine: KvMachine,
    /// The tenures that have not ended.
    open: BTreeMap<ShardId, Tenure<Keys>>,
    into: &'a mut Replayed,
}

impl Replay<'_> {
    fn apply(&mut self, context: EntryContext, command: KvCommand) {
        if let KvCommand::Op { session, .. } = &command {
            let stamp = session.clone();
            let reply = self.machine.apply(context, command);
            return self.operated(stamp, &reply);
        }
        let number = match &command {
            KvCommand::Configure(configure) => Some(configure.number),
            KvCommand::Freeze { .. } | KvCommand::Install { .. } | KvCommand::Abandon { .. } => None,
            _ => {
                self.machine.apply(context, command);
                return;
            }
        };
        // Before the entry: a shard that is frozen by it is not served any more after it.
        let before: BTreeMap<ShardId, Keys> =
            self.open.keys().filter_map(|shard| Some((*shard, self.machine.keys(*shard).ok()?))).collect();
        let reply = self.machine.apply(context, command);
        if let (Some(number), KvReply::Configured { outcome: Configured::Applied, .. }) = (number, &reply) {
            self.into.numbers.entry(self.gid.clone()).or_default().push(number);
        }
        self.look(&before);
    }

    fn operated(&mut self, stamp: Option<Stamp>, reply: &KvReply) {
        let (Some(stamp), KvReply::Done { outcome, replayed: false }) = (stamp, reply) else { return };
        if let Outcome::Missing | Outcome::Different | Outcome::NotAppendable = outcome {
            return;
        }
        let groups = self.into.executed.entry((Arc::from(&*stamp.client.0), stamp.seq)).or_default();
        groups.push(self.gid.clone());
    }

    /// Which tenures have begun or ended by the last entry.
    fn look(&mut self, before: &BTreeMap<ShardId, Keys>) {
        let KvAnswer::Status(Status { number, shards, .. }) = self.machine.query(KvQuery::Status) else { return };
        let serves = |state: ShardState| matches!(state, ShardState::Serving | ShardState::Outgoing);
        let now: BTreeSet<ShardId> =
            shards.iter().filter(|(_, shard)| serves(shard.state)).map(|(shard, _)| *shard).collect();
        let over: Vec<ShardId> = self.open.keys().filter(|shard| !now.contains(shard)).copied().collect();
        for shard in over {
            if let Some(mut tenure) = self.open.remove(&shard) {
                let with = before.get(&shard).cloned().unwrap_or_default();
                tenure.ended = Some(Ended { at: number.0, with });
                self.into.tenures.push(tenure);
            }
        }
        for shard in now {
            let begins = || self.machine.keys(shard).unwrap_or_default();
            self.open.entry(shard).or_insert_with(|| Tenure {
                shard: u64::from(shard.0),
                owner: self.gid.to_string(),
                from: number.0,
                begins: begins(),
                ended: None,
            });
        }
    }
}
