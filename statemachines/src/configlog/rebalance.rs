//! Balancing: the fewest shards move, and the groups' sizes end within one of each other.
//!
//! Every group gets floor(shards / groups), and as many groups as there is a remainder get one more. A group keeps
//! what it serves up to that size, so a shard moves only if the sizes demand it; and the larger sizes go to groups
//! that have more to keep, so the sizes demand as little as they can.

use std::collections::BTreeMap;

use super::Holder;
use crate::names::Gid;

/// The balanced assignment that is nearest to the given one; all shards to nobody when there is no group.
///
/// `holders` says for each shard who was last given its data. A shard that nobody serves goes back to its holder where
/// sizes allow, since its data need not travel then; that never makes a served shard move. The result depends on the
/// arguments' values alone.
pub fn rebalance<'a>(
    shards: &[Option<Gid>],
    holders: &[Option<Holder>],
    groups: impl IntoIterator<Item = &'a Gid>,
) -> Vec<Option<Gid>> {
    let mut room: BTreeMap<&Gid, usize> = groups.into_iter().map(|gid| (gid, 0)).collect();
    if room.is_empty() {
        return vec![None; shards.len()];
    }
    let homes: Vec<Option<&Gid>> = shards.iter().zip(holders).map(|(owner, holder)| home(owner, holder)).collect();
    set_sizes(&mut room, shards, &homes);

    let mut placed: Vec<Option<Gid>> = vec![None; shards.len()];
    let served = shards.iter().map(Option::as_ref);
    place(&mut placed, served, &mut room);
    place(&mut placed, homes.into_iter(), &mut room);

    let free: Vec<Gid> = room.into_iter().flat_map(|(gid, left)| std::iter::repeat_n(gid.clone(), left)).collect();
    let mut free = free.into_iter();
    for shard in placed.iter_mut().filter(|shard| shard.is_none()) {
        *shard = free.next();
    }
    debug_assert!(free.next().is_none(), "the sizes add up to the number of shards");
    placed
}

/// Where a shard's data is: with who serves it, otherwise with its last holder.
fn home<'a>(owner: &'a Option<Gid>, holder: &'a Option<Holder>) -> Option<&'a Gid> {
    owner.as_ref().or(holder.as_ref().map(|holder| &holder.gid))
}

/// Gives each group its final size: the remainder goes to groups that serve more than the common size, then to those
/// that hold more than it, then by name.
fn set_sizes(room: &mut BTreeMap<&Gid, usize>, shards: &[Option<Gid>], homes: &[Option<&Gid>]) {
    let common = shards.len() / room.len();
    let remainder = shards.len() % room.len();
    let mut served: BTreeMap<&Gid, usize> = BTreeMap::new();
    let mut held: BTreeMap<&Gid, usize> = BTreeMap::new();
    shards.iter().flatten().for_each(|gid| *served.entry(gid).or_default() += 1);
    homes.iter().flatten().for_each(|gid| *held.entry(gid).or_default() += 1);

    let exceeds = |counts: &BTreeMap<&Gid, usize>, gid: &Gid| counts.get(gid).is_some_and(|count| *count > common);
    let mut by_need: Vec<&Gid> = room.keys().copied().collect();
    by_need.sort_by_key(|gid| (!exceeds(&served, gid), !exceeds(&held, gid)));
    for (rank, gid) in by_need.into_iter().enumerate() {
        room.insert(gid, common + usize::from(rank < remainder));
    }
}

/// Puts each shard that has no place yet where it wishes, as long as there is room.
fn place<'a>(
    placed: &mut [Option<Gid>],
    wishes: impl Iterator<Item = Option<&'a Gid>>,
    room: &mut BTreeMap<&Gid, usize>,
) {
    for (place, wish) in placed.iter_mut().zip(wishes) {
        let Some(gid) = wish.filter(|_| place.is_none()) else { continue };
        if let Some(left) = room.get_mut(gid).filter(|left| **left > 0) {
            *left -= 1;
            *place = Some(gid.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::names::ConfigNumber;

    fn gid(number: usize) -> Gid {
        Gid::new(format!("g{number}"))
    }

    /// Groups by name in order, `-` for nobody.
    fn gids(names: &str) -> Vec<Option<Gid>> {
        names.split_whitespace().map(|name| (name != "-").then(|| Gid::new(name))).collect()
    }

    /// Holders that fit the assignment: `homes` count where nobody serves.
    fn holders(shards: &[Option<Gid>], homes: &[Option<Gid>]) -> Vec<Option<Holder>> {
        let holder = |(owner, home): (&Option<Gid>, &Option<Gid>)| match (owner, home) {
            (Some(gid), _) => Some(Holder { gid: gid.clone(), taken_at: None }),
            (None, home) => home.clone().map(|gid| Holder { gid, taken_at: Some(ConfigNumber(1)) }),
        };
        shards.iter().zip(homes).map(holder).collect()
    }

    #[test]
    fn balancing_follows_the_table() {
        // What it shows; who serves, who held it last, the groups, the result.
        let table = [
            ("no group: nobody serves", "a a", "- -", "", "- -"),
            ("the first group gets all", "- - -", "- - -", "a", "a a a"),
            ("a second one gets half", "a a a a", "- - - -", "a b", "a a b b"),
            ("a remainder stays where it is", "b b b", "- - -", "a b", "b b a"),
            ("who leaves gives all", "a b a b", "- - - -", "b", "b b b b"),
            ("more groups than shards", "a b", "- -", "a b c", "a b"),
            ("kept data resumes in place", "- - - -", "b a b a", "a b", "b a b a"),
            ("a served shard stays before a kept one", "- a a", "a - -", "a b", "b a a"),
        ];
        for (claim, shards, homes, groups, expected) in table {
            let (shards, homes, groups) = (gids(shards), gids(homes), gids(groups));
            let balanced = rebalance(&shards, &holders(&shards, &homes), groups.iter().flatten());
            assert_eq!(balanced, gids(expected), "{claim}");
        }
    }

    fn sizes(shards: &[Option<Gid>], groups: usize) -> Vec<usize> {
        (0..groups).map(|group| shards.iter().flatten().filter(|owner| **owner == gid(group)).count()).collect()
    }

    fn is_balanced(sizes: &[usize]) -> bool {
        sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1
    }

    /// How many shards move from one group to another: of those served, and of all with data somewhere.
    fn moves(from: &[Option<Gid>], homes: &[Option<Holder>], to: &[Option<Gid>]) -> (usize, usize) {
        let served = from.iter().zip(to).filter(|(from, to)| from.is_some() && from != to).count();
        let data = from
            .iter()
            .zip(homes)
            .zip(to)
            .filter(|((from, home), to)| home_of(from, home).is_some_and(|home| Some(home) != to.as_ref()));
        (served, data.count())
    }

    fn home_of<'a>(owner: &'a Option<Gid>, holder: &'a Option<Holder>) -> Option<&'a Gid> {
        owner.as_ref().or(holder.as_ref().map(|holder| &holder.gid))
    }

    /// Every assignment of `shards` shards to `groups` groups.
    fn all_assignments(shards: usize, groups: usize) -> impl Iterator<Item = Vec<Option<Gid>>> {
        (0..groups.pow(shards as u32)).map(move |mut code| {
            let digit = |_| {
                let group = code % groups;
                code /= groups;
                Some(gid(group))
            };
            (0..shards).map(digit).collect()
        })
    }

    /// Groups numbered beyond those that stay have left.
    fn assignment(
        shards: std::ops::Range<usize>,
        names: usize,
    ) -> impl Strategy<Value = (Vec<Option<Gid>>, Vec<Option<Gid>>)> {
        let someone = proptest::option::weighted(0.7, (0..names).prop_map(gid));
        shards.prop_flat_map(move |n| {
            (proptest::collection::vec(someone.clone(), n), proptest::collection::vec(someone.clone(), n))
        })
    }

    proptest! {
        #[test]
        fn no_balanced_assignment_moves_fewer_shards((shards, homes) in assignment(1..7, 4), groups in 1usize..=3) {
            let holders = holders(&shards, &homes);
            let all: Vec<Gid> = (0..groups).map(gid).collect();
            let result = rebalance(&shards, &holders, &all);
            prop_assert!(is_balanced(&sizes(&result, groups)), "{result:?}");
            let balanced = all_assignments(shards.len(), groups).filter(|other| is_balanced(&sizes(other, groups)));
            let costs: Vec<_> = balanced.map(|other| moves(&shards, &holders, &other)).collect();
            let found = moves(&shards, &holders, &result);
            prop_assert_eq!(found.0, costs.iter().map(|cost| cost.0).min().unwrap(), "served shards");
            prop_assert_eq!(found.1, costs.iter().map(|cost| cost.1).min().unwrap(), "data");
        }

        #[test]
        fn many_shards_are_balanced_with_the_fewest_moves(
            (shards, homes) in assignment(1..200, 12),
            groups in 1usize..=12,
        ) {
            let all: Vec<Gid> = (0..groups).map(gid).collect();
            let result = rebalance(&shards, &holders(&shards, &homes), &all);
            prop_assert!(result.iter().all(Option::is_some));
            prop_assert!(is_balanced(&sizes(&result, groups)));
            // Counted without looking for an assignment: what no group can keep, whoever gets the remainder.
            let (common, remainder) = (shards.len() / groups, shards.len() % groups);
            let had = sizes(&shards, groups);
            let more = had.iter().filter(|count| **count > common).count();
            let kept = had.iter().map(|count| *count.min(&common)).sum::<usize>() + more.min(remainder);
            let stayed = shards.iter().zip(&result).filter(|(from, to)| from.is_some() && from == to).count();
            prop_assert_eq!(stayed, kept);
        }

        #[test]
        fn the_order_in_which_groups_are_named_has_no_meaning(
            (shards, homes) in assignment(1..40, 6),
            groups in 1usize..=6,
        ) {
            let holders = holders(&shards, &homes);
            let all: Vec<Gid> = (0..groups).map(gid).collect();
            let backwards: Vec<Gid> = all.iter().rev().cloned().collect();
            prop_assert_eq!(rebalance(&shards, &holders, &all), rebalance(&shards, &holders, &backwards));
        }

        #[test]
        fn what_is_balanced_stays_as_it_is((shards, homes) in assignment(1..40, 6), groups in 1usize..=6) {
            let all: Vec<Gid> = (0..groups).map(gid).collect();
            let once = rebalance(&shards, &holders(&shards, &homes), &all);
            let twice = rebalance(&once, &holders(&once, &homes), &all);
            prop_assert_eq!(once, twice);
        }
    }
}
