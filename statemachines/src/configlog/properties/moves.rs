//! A model of the groups that carry the plans out, each at its own pace.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::configlog::plan;
use crate::kv::{Configure, Source};

/// A shard's data: how often it was written.
type Data = u64;

/// A copy that a group no longer serves.
#[derive(Clone, Debug)]
struct Kept {
    data: Data,
    lost_at: ConfigNumber,
    target: Option<Gid>,
}

/// What a group has, after the configuration that it has come to.
#[derive(Clone, Debug, Default)]
struct Group {
    at: ConfigNumber,
    serving: BTreeMap<ShardId, Data>,
    kept: BTreeMap<ShardId, Kept>,
    pulling: BTreeMap<ShardId, Source>,
}

impl Group {
    fn is_settled(&self) -> bool {
        self.pulling.is_empty() && self.kept.values().all(|kept| kept.target.is_none())
    }

    fn configure(&mut self, plan: Configure) {
        assert_eq!(plan.previous, self.at, "a configuration was skipped");
        self.at = plan.number;
        let lost: Vec<ShardId> = self.serving.keys().copied().filter(|shard| !plan.shards.contains(shard)).collect();
        for shard in lost {
            let data = self.serving.remove(&shard).unwrap();
            let kept = Kept { data, lost_at: plan.number, target: plan.targets.get(&shard).cloned() };
            self.kept.insert(shard, kept);
        }
        for shard in plan.shards {
            if self.serving.contains_key(&shard) {
                assert!(!plan.sources.contains_key(&shard), "a source for shard {shard}, which is served here");
            } else if let Some(source) = plan.sources.get(&shard) {
                // A copy kept here is not touched yet: the source itself may still be waiting for it.
                self.pulling.insert(shard, source.clone());
            } else {
                let data = self.kept.remove(&shard).map_or(0, |kept| kept.data);
                self.serving.insert(shard, data);
            }
        }
    }
}

/// All groups, and what every shard's data must be.
struct World {
    groups: BTreeMap<Gid, Group>,
    written: BTreeMap<ShardId, Data>,
}

impl World {
    /// One step of one group: the next configuration when settled, otherwise a pull. False when it can only wait.
    fn step(&mut self, log: &ConfigLog, me: &Gid) -> bool {
        let group = self.groups.get_mut(me).unwrap();
        if group.is_settled() {
            let Some(next) = log.after(group.at) else { return false };
            group.configure(plan(&log.at(group.at), &next, me).unwrap());
            return true;
        }
        let pulls: Vec<_> = group.pulling.iter().map(|(shard, source)| (*shard, source.clone())).collect();
        pulls.into_iter().any(|(shard, source)| self.pull(me, shard, &source))
    }

    fn pull(&mut self, me: &Gid, shard: ShardId, source: &Source) -> bool {
        let taken_at = source.taken_at.expect("the log knows");
        let giver = self.groups.get_mut(&source.gid).unwrap();
        if giver.at < taken_at {
            return false;
        }
        let kept = giver.kept.remove(&shard).expect("a source keeps the data until it was pulled");
        assert_eq!(kept.lost_at, taken_at, "shard {shard} of {}", source.gid);
        assert!(kept.target.is_none_or(|target| target == *me), "it was meant for another group");
        let group = self.groups.get_mut(me).unwrap();
        group.pulling.remove(&shard);
        group.kept.remove(&shard);
        group.serving.insert(shard, kept.data);
        true
    }

    /// A write on one shard, wherever it is served; nowhere while it moves.
    fn write(&mut self, shard: ShardId) {
        let mut serving = self.groups.values_mut().filter_map(|group| group.serving.get_mut(&shard));
        if let Some(data) = serving.next() {
            assert!(serving.next().is_none(), "two groups serve shard {shard}");
            *data += 1;
            *self.written.entry(shard).or_default() += 1;
            assert_eq!(*data, self.written[&shard], "shard {shard} lost writes");
        }
    }

    /// Lets every group go on until all have come to the end of the log.
    fn settle(&mut self, log: &ConfigLog) {
        let names: Vec<Gid> = self.groups.keys().cloned().collect();
        while names.iter().any(|gid| self.step(log, gid)) {}
        let latest = log.latest();
        for (name, group) in &self.groups {
            assert!(group.at == latest.number && group.is_settled(), "{name} is stuck: {group:?}");
        }
        for shard in latest.shard_ids() {
            let expected = self.written.get(&shard).copied().unwrap_or(0);
            let owner = latest.owner(shard);
            for (name, group) in &self.groups {
                let served = group.serving.get(&shard).copied();
                assert_eq!(served, (owner == Some(name)).then_some(expected), "shard {shard} at {name}");
            }
            if let (None, Some(holder)) = (owner, latest.holder(shard)) {
                assert_eq!(
                    self.groups[&holder.gid].kept[&shard].data, expected,
                    "shard {shard} kept by {}",
                    holder.gid
                );
            }
        }
    }
}

/// Checks that all groups' plans for one step fit each other.
fn assert_consistent(previous: &Config, next: &Config) {
    let names: BTreeSet<&Gid> = previous.groups.keys().chain(next.groups.keys()).collect();
    let plans: BTreeMap<&Gid, Configure> = names.iter().map(|gid| (*gid, plan(previous, next, gid).unwrap())).collect();
    for shard in next.shard_ids() {
        let servers: Vec<_> =
            plans.iter().filter(|(_, plan)| plan.shards.contains(&shard)).map(|(gid, _)| *gid).collect();
        assert_eq!(servers, next.owner(shard).into_iter().collect::<Vec<_>>(), "shard {shard}");
        let givers: BTreeMap<_, _> =
            plans.iter().filter_map(|(gid, plan)| Some((*gid, plan.targets.get(&shard)?))).collect();
        let takers: BTreeMap<_, _> =
            plans.iter().filter_map(|(gid, plan)| Some((*gid, plan.sources.get(&shard)?))).collect();
        assert!(givers.len() <= 1 && takers.len() <= 1, "shard {shard}");
        for (giver, target) in givers {
            let source = Source { gid: giver.clone(), taken_at: Some(next.number) };
            assert_eq!(takers.get(target), Some(&&source), "shard {shard} goes to a group that asks for it");
        }
        for (taker, source) in takers {
            assert_eq!(next.owner(shard), Some(taker));
            assert_ne!(source.gid, *taker, "who has the data pulls nothing");
            match source.taken_at {
                Some(at) if at == next.number => assert_eq!(previous.owner(shard), Some(&source.gid)),
                at => assert_eq!(
                    previous.holder(shard).map(|holder| (&holder.gid, holder.taken_at)),
                    Some((&source.gid, at))
                ),
            }
        }
    }
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    Change(Command),
    Step(Gid),
    Write(ShardId),
    Settle,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let name = prop::sample::select(vec!["a", "b", "c", "d", "e"]).prop_map(gid);
    let event = prop_oneof![
        4 => commands(4).prop_map(Event::Change),
        10 => name.prop_map(Event::Step),
        6 => (0..4u32).prop_map(|shard| Event::Write(ShardId(shard))),
        1 => Just(Event::Settle),
    ];
    prop::collection::vec(event, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_shard_is_lost_doubled_or_stuck_whatever_the_pace_of_the_groups(events in events()) {
        let mut log = ConfigLog::new();
        let groups = ["a", "b", "c", "d", "e"].iter().map(|name| (gid(name), Group::default())).collect();
        let mut world = World { groups, written: BTreeMap::new() };
        for event in events {
            match event {
                Event::Change(command) => {
                    let before = log.latest();
                    if let Reply::Done { number } = apply(&mut log, command)
                        && number > before.number
                    {
                        assert_consistent(&before, &log.latest());
                    }
                }
                Event::Step(gid) => drop(world.step(&log, &gid)),
                Event::Write(shard) => world.write(shard),
                Event::Settle => world.settle(&log),
            }
        }
        world.settle(&log);
    }
}
