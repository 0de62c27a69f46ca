//! Rules: what fails, where, when and how.

use std::path::Path;
use std::time::Duration;

use crate::env::Env;
use crate::fs::Operation;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails with EIO and has no effect. A failed sync is never made good: as on Linux, later syncs of
    /// that open file succeed and do nothing, for what could not be written counts as clean.
    Io,
    /// What takes space fails for want of it and has no effect; the free space is zero.
    NoSpace,
    /// A read brings fewer bytes than there are. A write stops somewhere for want of space.
    Short,
    /// A read has one bit wrong.
    Flip,
    /// A sync takes so much longer, in the environment's time.
    Slow(Duration),
}

impl Fault {
    fn can_hit(self, operation: Operation) -> bool {
        use Operation::{Create, CreateDir, FreeSpace, Read, Resize, Sync, Write};
        match self {
            Fault::Io => true,
            Fault::NoSpace => matches!(operation, Create | CreateDir | FreeSpace | Resize | Write),
            Fault::Short => matches!(operation, Read | Write),
            Fault::Flip => operation == Read,
            Fault::Slow(_) => operation == Sync,
        }
    }
}

/// Which of the operations that a rule is about it hits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// All of them.
    Always,
    /// Only this one, counted from 1 since the rule was made.
    Nth(u64),
    /// This one and all after it.
    From(u64),
    /// Each with this probability, 0 to 1.
    Chance(f64),
}

/// What fails, where, when and how.
#[derive(Clone, Debug)]
pub struct Rule {
    fault: Fault,
    operations: Vec<Operation>,
    path_part: String,
    when: When,
}

impl Rule {
    /// Hits everything that this fault can hit, always.
    pub fn new(fault: Fault) -> Self {
        Rule { fault, operations: Vec::new(), path_part: String::new(), when: When::Always }
    }

    /// Only these operations.
    pub fn on(mut self, operations: impl IntoIterator<Item = Operation>) -> Self {
        self.operations.extend(operations);
        self
    }

    /// Only paths that contain this text. A rename is judged by its old name.
    pub fn path(mut self, part: impl Into<String>) -> Self {
        self.path_part = part.into();
        self
    }

    /// Only then.
    pub fn when(mut self, when: When) -> Self {
        self.when = when;
        self
    }

    /// Whether it delays: such rules are asked before a sync, and fail nothing.
    fn is_slow(&self) -> bool {
        matches!(self.fault, Fault::Slow(_))
    }

    fn is_about(&self, operation: Operation, path: &Path) -> bool {
        self.fault.can_hit(operation)
            && (self.operations.is_empty() || self.operations.contains(&operation))
            && path.to_string_lossy().contains(&self.path_part)
    }
}

/// Rules in force, and how often each was asked about its operations.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<(Rule, u64)>);

impl Rules {
    pub(super) fn add(&mut self, rule: Rule) {
        self.0.push((rule, 0));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The first fault that makes this operation fail.
    pub(super) fn failure(&mut self, env: &dyn Env, operation: Operation, path: &Path) -> Option<Fault> {
        self.first_hit(env, |rule| !rule.is_slow() && rule.is_about(operation, path))
    }

    /// How slow the next sync is.
    pub(super) fn delay(&mut self, env: &dyn Env, path: &Path) -> Duration {
        match self.first_hit(env, |rule| rule.is_slow() && rule.is_about(Operation::Sync, path)) {
            Some(Fault::Slow(delay)) => delay,
            _ => Duration::ZERO,
        }
    }

    /// Counts the occasion for every rule about it, and gives the first fault that hits.
    fn first_hit(&mut self, env: &dyn Env, is_about: impl Fn(&Rule) -> bool) -> Option<Fault> {
        let mut hit = None;
        for (rule, seen) in self.0.iter_mut().filter(|(rule, _)| is_about(rule)) {
            *seen += 1;
            let hits = match rule.when {
                When::Always => true,
                When::Nth(n) => *seen == n,
                When::From(n) => *seen >= n,
                When::Chance(chance) => ((env.random() >> 11) as f64) < chance * (1u64 << 53) as f64,
            };
            if hits {
                hit = hit.or(Some(rule.fault));
            }
        }
        hit
    }
}
