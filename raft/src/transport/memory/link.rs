//! Which links a test means, and what it wants to go wrong on them.

use std::time::Duration;

use crate::types::NodeId;

/// Directed links: one, all out of a node, all into a node, or all. A node's way to itself is meant only when it is
/// named as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The sending end; any when `None`.
    pub from: Option<NodeId>,
    /// The receiving end; any when `None`.
    pub to: Option<NodeId>,
}

impl Link {
    /// Every link between different nodes.
    pub const ALL: Link = Link { from: None, to: None };

    /// The one from `from` to `to`.
    pub fn one(from: NodeId, to: NodeId) -> Self {
        Link { from: Some(from), to: Some(to) }
    }

    /// Those that `node` sends on.
    pub fn out_of(node: NodeId) -> Self {
        Link { from: Some(node), to: None }
    }

    /// Those that `node` receives on.
    pub fn into(node: NodeId) -> Self {
        Link { from: None, to: Some(node) }
    }

    fn matches(self, from: NodeId, to: NodeId) -> bool {
        let named = self.from == Some(from) && self.to == Some(to);
        let meant = self.from.is_none_or(|end| end == from) && self.to.is_none_or(|end| end == to);
        named || (meant && from != to)
    }

    /// Whether every link of `other` is one of these.
    fn covers(self, other: Link) -> bool {
        match (other.from, other.to) {
            (Some(from), Some(to)) => self.matches(from, to),
            _ => (self.from.is_none() || self.from == other.from) && (self.to.is_none() || self.to == other.to),
        }
    }
}

/// What goes wrong on a link. Each message draws its fate when it is sent, from the link's own seeded randomness, so
/// that the traffic of other links does not change it. An answer travels on the link back and suffers there.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkFaults {
    /// The shortest way takes so long.
    pub delay_min: Duration,
    /// The longest way takes so long; delays are uniform between the two.
    pub delay_max: Duration,
    /// The share of requests that are lost, 0 to 1.
    pub drop_requests: f64,
    /// The share of answers that are lost, 0 to 1: the request was carried out.
    pub drop_replies: f64,
    /// The share of requests that are delivered twice, 0 to 1; the first answer to arrive counts. The second copy
    /// follows the first at once, or takes its own time when messages are reordered.
    pub duplicate: f64,
    /// Whether a message may overtake an earlier one whose delay is longer.
    pub reorder: bool,
}

impl LinkFaults {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// Messages take between `min` and `max`, in order.
    pub fn delayed(min: Duration, max: Duration) -> Self {
        LinkFaults { delay_min: min, delay_max: max, ..Self::default() }
    }

    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Settings by link; where several match a link, the last one made counts.
#[derive(Debug)]
pub(super) struct Rules<T>(Vec<(Link, T)>);

impl<T> Default for Rules<T> {
    fn default() -> Self {
        Rules(Vec::new())
    }
}

impl<T: Copy + Default> Rules<T> {
    pub(super) fn set(&mut self, link: Link, value: T) {
        self.0.retain(|(older, _)| !link.covers(*older));
        self.0.push((link, value));
    }

    pub(super) fn get(&self, from: NodeId, to: NodeId) -> T {
        let newest = self.0.iter().rev().find(|(link, _)| link.matches(from, to));
        newest.map(|(_, value)| *value).unwrap_or_default()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_matching_rule_counts_and_wildcards_leave_a_nodes_way_to_itself_alone() {
        let (a, b, c) = (NodeId(1), NodeId(2), NodeId(3));
        let mut rules = Rules::default();
        rules.set(Link::one(a, b), 1);
        rules.set(Link::one(a, a), 2);
        rules.set(Link::into(c), 3);
        assert_eq!([rules.get(a, b), rules.get(b, a), rules.get(b, c), rules.get(c, c)], [1, 0, 3, 0]);
        rules.set(Link::out_of(a), 4);
        assert_eq!([rules.get(a, b), rules.get(a, c), rules.get(b, c), rules.get(a, a)], [4, 4, 3, 2]);
        rules.set(Link::ALL, 0);
        assert_eq!([rules.get(a, b), rules.get(a, c), rules.get(b, c), rules.get(a, a)], [0, 0, 0, 2]);
        assert_eq!(rules.0.len(), 2, "covered rules are forgotten");
    }
}
