//! What one group has to do for one step of the configuration log.

use quorate::planted::{self, Bug};

use super::{Config, Holder};
use crate::kv::{Configure, Source};
use crate::names::{ConfigNumber, Gid, ShardId};

/// The two configurations do not follow each other in the log: a step in between would be skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("configuration {next} follows {follows}, not {previous}")]
pub struct NotConsecutive {
    /// The number of the first.
    pub previous: ConfigNumber,
    /// The number of the second.
    pub next: ConfigNumber,
    /// The number that the second follows.
    pub follows: ConfigNumber,
}

/// The part of the step from `previous` to `next` that concerns group `me`. Pure: every replica plans the same.
///
/// A gained shard has a source when another group was the last to be given it, be it long ago; that group kept the data
/// since. A gained shard without a source is either still kept by this group, or has never had any data.
///
/// # Errors
/// [`NotConsecutive`] when `next` does not follow `previous`.
pub fn plan(previous: &Config, next: &Config, me: &Gid) -> Result<Configure, NotConsecutive> {
    if next.previous != previous.number && !planted::is(Bug::ConfigSkipped) {
        let (previous, follows, next) = (previous.number, next.previous, next.number);
        return Err(NotConsecutive { previous, next, follows });
    }
    let shards = next.shards_of(me);
    let had = previous.shards_of(me);
    let source = |shard: &ShardId| Some((*shard, source(previous.holder(*shard)?, next.number, me)?));
    let target = |shard: &ShardId| Some((*shard, next.owner(*shard)?.clone()));
    Ok(Configure {
        number: next.number,
        previous: previous.number,
        shard_count: next.shard_count(),
        sources: shards.difference(&had).filter_map(source).collect(),
        targets: had.difference(&shards).filter_map(target).collect(),
        shards,
    })
}

/// Where `me` pulls a gained shard from, given who was last told to hold it.
fn source(holder: &Holder, next: ConfigNumber, me: &Gid) -> Option<Source> {
    // Who served it until now loses it by this very step.
    let taken_at = holder.taken_at.unwrap_or(next);
    (holder.gid != *me).then(|| Source { gid: holder.gid.clone(), taken_at: Some(taken_at) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn log(assignments: &[(u64, &[&str])]) -> Vec<Config> {
        let mut configs = vec![Config::none()];
        for (number, owners) in assignments {
            let shards: Vec<_> = owners.iter().map(|name| (!name.is_empty()).then(|| Gid::new(*name))).collect();
            let groups: BTreeMap<_, _> = shards.iter().flatten().map(|gid| (gid.clone(), Vec::new())).collect();
            configs.push(configs[configs.len() - 1].successor(ConfigNumber(*number), shards, groups));
        }
        configs
    }

    /// A plan as a line: what is served, then `shard<source@taken`, then `shard>target`.
    fn line(previous: &Config, next: &Config, me: &str) -> String {
        let plan = plan(previous, next, &Gid::new(me)).unwrap();
        let mut words: Vec<String> = plan.shards.iter().map(ToString::to_string).collect();
        let taken = |source: &Source| source.taken_at.map(|at| at.to_string()).unwrap_or_default();
        words.extend(plan.sources.iter().map(|(shard, source)| format!("{shard}<{}@{}", source.gid, taken(source))));
        words.extend(plan.targets.iter().map(|(shard, gid)| format!("{shard}>{gid}")));
        words.join(" ")
    }

    #[test]
    fn plans_follow_the_history_of_each_shard() {
        let log = log(&[
            (1, &["a", "a", "a", ""]),
            (2, &["b", "a", "", ""]),
            (5, &["b", "a", "", ""]),
            (6, &["", "b", "c", "c"]),
            (9, &["a", "b", "a", ""]),
            (10, &["c", "", "c", "c"]),
            (11, &["c", "b", "a", "a"]),
        ]);
        #[rustfmt::skip]
        let table = [
            ("a", ["0 1 2", "1 0>b", "1", "1>b", "0 2 0<b@6 2<c@9", "0>c 2>c", "2 3 2<c@11 3<c@11"]),
            ("b", ["", "0 0<a@2", "0", "1 1<a@6", "1", "", "1"]),
            ("c", ["", "", "", "2 3 2<a@2", "2>a", "0 2 3 0<a@10 2<a@10", "0 2>a 3>a"]),
        ];
        for (me, expected) in table {
            for (step, expected) in log.windows(2).zip(expected) {
                assert_eq!(line(&step[0], &step[1], me), expected, "group {me} at {}", step[1].number);
            }
        }
    }

    #[test]
    fn a_step_that_would_skip_a_configuration_has_no_plan() {
        let log = log(&[(1, &["a"]), (4, &["b"]), (7, &["a"])]);
        let refused = plan(&log[1], &log[3], &Gid::new("a"));
        assert_eq!(
            refused,
            Err(NotConsecutive { previous: ConfigNumber(1), next: ConfigNumber(7), follows: ConfigNumber(4) })
        );
        assert!(plan(&log[2], &log[1], &Gid::new("a")).is_err(), "backwards");
        assert!(plan(&log[1], &log[1], &Gid::new("a")).is_err(), "in place");
    }
}
