//! Who cannot hear whom, and the usual ways to take a cluster apart.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

/// Connections that are cut. A cut of one direction leaves the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts(BTreeMap<String, BTreeSet<String>>);

/// A way to take a cluster apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Split {
    /// One node is alone.
    One,
    /// Less than a third of the nodes is apart from the rest: of three or fewer, none.
    MinorityThird,
    /// The larger half is apart from the smaller.
    Majority,
    /// Every node hears a majority, and no two the same one.
    MajoritiesRing,
}

impl Split {
    /// All of them, each as likely as the others.
    pub const ALL: [Split; 4] = [Split::One, Split::MinorityThird, Split::Majority, Split::MajoritiesRing];

    /// Takes the nodes apart; which of them are where is random.
    pub fn cuts(self, nodes: &[String], random: &mut SmallRng) -> Cuts {
        let mut nodes = nodes.to_vec();
        nodes.shuffle(random);
        match self {
            Split::One => Cuts::between(nodes.split_at(nodes.len().min(1))),
            Split::MinorityThird => Cuts::between(nodes.split_at(nodes.len().saturating_sub(1) / 3)),
            Split::Majority => Cuts::between(nodes.split_at(nodes.len() / 2)),
            Split::MajoritiesRing => Cuts::ring(&nodes),
        }
    }
}

impl Cuts {
    /// Two groups that do not hear each other.
    pub fn between((some, others): (&[String], &[String])) -> Cuts {
        let mut cuts = Cuts::default();
        for (one, other) in some.iter().flat_map(|one| others.iter().map(move |other| (one, other))) {
            cuts.cut(one, other);
            cuts.cut(other, one);
        }
        cuts
    }

    /// Nodes in a ring, each of which hears itself and its nearest on either side, so many that it is a majority.
    ///
    /// With three nodes and more no two hear the same. Hearing is mutual where the majority is an odd number; where it is
    /// even, a node hears one more on its left than on its right, and is not heard by that one.
    fn ring(nodes: &[String]) -> Cuts {
        let count = nodes.len();
        let majority = count / 2 + 1;
        let right = (majority - 1) / 2;
        let left = majority - 1 - right;
        let mut cuts = Cuts::default();
        for (nth, node) in nodes.iter().enumerate() {
            for away in right + 1..count.saturating_sub(left) {
                cuts.cut(&nodes[(nth + away) % count], node);
            }
        }
        cuts
    }

    /// `to` hears nothing of `from` any more.
    pub fn cut(&mut self, from: &str, to: &str) {
        self.0.entry(to.to_owned()).or_default().insert(from.to_owned());
    }

    /// Whether `to` hears nothing of `from`.
    pub fn are_cut(&self, from: &str, to: &str) -> bool {
        self.0.get(to).is_some_and(|unheard| unheard.contains(from))
    }

    /// The nodes that do not hear somebody.
    pub fn deaf(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn names(count: usize) -> Vec<String> {
        (1..=count).map(|nth| format!("n{nth}")).collect()
    }

    /// For each node, whom it hears, itself among them.
    fn heard(split: Split, count: usize, seed: u64) -> Vec<BTreeSet<String>> {
        let nodes = names(count);
        let cuts = split.cuts(&nodes, &mut SmallRng::seed_from_u64(seed));
        let hears = |to: &String| nodes.iter().filter(|from| !cuts.are_cut(from, to)).cloned().collect();
        nodes.iter().map(hears).collect()
    }

    /// The sizes of the groups, if the nodes fall into groups that hear only each other.
    fn groups(split: Split, count: usize, seed: u64) -> Vec<usize> {
        let heard = heard(split, count, seed);
        for (nth, hears) in heard.iter().enumerate() {
            assert!(hears.contains(&format!("n{}", nth + 1)), "a node hears itself");
        }
        let mut groups: Vec<_> = heard.into_iter().collect::<BTreeSet<_>>().iter().map(BTreeSet::len).collect();
        assert_eq!(groups.iter().sum::<usize>(), count, "nobody is of two groups");
        groups.sort_unstable();
        groups
    }

    #[test]
    fn the_splits_of_small_clusters_are_those_of_the_table() {
        let table: [(Split, usize, &[usize]); 13] = [
            (Split::One, 1, &[1]),
            (Split::One, 2, &[1, 1]),
            (Split::One, 3, &[1, 2]),
            (Split::One, 5, &[1, 4]),
            (Split::MinorityThird, 3, &[3]),
            (Split::MinorityThird, 4, &[1, 3]),
            (Split::MinorityThird, 5, &[1, 4]),
            (Split::MinorityThird, 7, &[2, 5]),
            (Split::Majority, 1, &[1]),
            (Split::Majority, 2, &[1, 1]),
            (Split::Majority, 3, &[1, 2]),
            (Split::Majority, 4, &[2, 2]),
            (Split::Majority, 5, &[2, 3]),
        ];
        for (split, count, expected) in table {
            for seed in 0..20 {
                assert_eq!(groups(split, count, seed), expected, "{split:?} of {count}");
            }
        }
    }

    #[test]
    fn in_a_ring_every_node_hears_a_majority_and_no_two_the_same() {
        for count in 1..=9 {
            for seed in 0..20 {
                let heard = heard(Split::MajoritiesRing, count, seed);
                assert!(heard.iter().all(|hears| hears.len() == count / 2 + 1), "{count}: {heard:?}");
                let different: BTreeSet<_> = heard.iter().collect();
                assert_eq!(different.len(), if count < 3 { 1 } else { count }, "{count}: {heard:?}");
            }
        }
    }

    #[test]
    fn every_node_may_be_the_one_that_is_alone() {
        let nodes = names(3);
        let alone: BTreeSet<_> = (0..50)
            .map(|seed| {
                let cuts = Split::One.cuts(&nodes, &mut SmallRng::seed_from_u64(seed));
                nodes.iter().find(|node| nodes.iter().all(|from| from == *node || cuts.are_cut(from, node))).cloned()
            })
            .collect();
        assert_eq!(alone, nodes.into_iter().map(Some).collect());
    }
}
