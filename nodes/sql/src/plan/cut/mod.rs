//! Cuts a physical plan in two: what each shard runs over its own rows, and what the coordinator runs over what they give.
//!
//! From the leaves up, an operator stays on the shards as long as running it on each shard alone and putting the answers
//! together gives what running it over all rows would: filters, projections, partial aggregates, sorts below a merge,
//! limits, joins of rows that lie together (`joins`), joins with a side that is given to every shard. Where that ends,
//! a [`Gather`] takes the place of the shards' part, a *fragment*.
//!
//! Promises: a fragment's level is above those of all fragments whose answers it needs first.
//! Leaves out: moving rows from shard to shard.

mod joins;
mod keys;
mod scalars;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::physical_planning_context::ScalarSubqueryResults;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::LocalLimitExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use self::keys::Keys;
use super::gather::{Gather, Slot};
use super::given::Given;
use super::leaf::ShardScan;

/// A plan in two parts.
#[derive(Debug)]
pub(crate) struct Cut {
    /// The coordinator's.
    pub(crate) root: Arc<dyn ExecutionPlan>,
    /// What the shards run, by number.
    pub(crate) fragments: Vec<Fragment>,
    /// Plans of the coordinator whose rows are given to the shards, by number.
    pub(crate) givens: Vec<Arc<dyn ExecutionPlan>>,
    /// Scalar subqueries, by number.
    pub(crate) scopes: Vec<Scope>,
}

/// What every shard runs.
#[derive(Debug)]
pub(crate) struct Fragment {
    /// The plan, for one shard.
    pub(crate) body: Arc<dyn ExecutionPlan>,
    /// Where its answers are read from.
    pub(crate) slot: Slot,
    /// Fragments of level 0 need no answers; one of level n needs those of level n - 1.
    pub(crate) level: usize,
    /// The plans whose rows it is given.
    pub(crate) givens: Vec<usize>,
    /// The scalar subqueries whose values it reads.
    pub(crate) scope: Option<usize>,
}

/// The scalar subqueries of one level of a statement.
#[derive(Debug)]
pub(crate) struct Scope {
    /// Where expressions read their values.
    pub(crate) results: ScalarSubqueryResults,
    /// The coordinator's part of each.
    pub(crate) subqueries: Vec<Arc<dyn ExecutionPlan>>,
}

impl Cut {
    /// Cuts `plan`, whose leaves have a partition for each of so many shards.
    pub(crate) fn new(plan: Arc<dyn ExecutionPlan>, shards: usize) -> Result<Cut> {
        let cut = Cut { root: Arc::clone(&plan), fragments: Vec::new(), givens: Vec::new(), scopes: Vec::new() };
        let mut cutter = Cutter { shards, cut };
        let placed = cutter.place(plan, Surroundings::default())?;
        cutter.cut.root = cutter.gathered(placed)?;
        Ok(cutter.cut)
    }

    /// How many levels of fragments there are.
    pub(crate) fn levels(&self) -> usize {
        self.fragments.iter().map(|fragment| fragment.level + 1).max().unwrap_or(0)
    }

    /// The scopes whose values `plan` reads.
    pub(crate) fn scopes_of(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<usize>> {
        scalars::scopes_read(plan, &self.scopes)
    }

    /// How many levels of fragments must have been answered before `plan`, of the coordinator, can be run.
    fn levels_below(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<usize> {
        let mut levels = 0;
        plan.apply(|node| {
            if let Some(gather) = node.downcast_ref::<Gather>() {
                levels = levels.max(self.fragments[gather.fragment].level + 1);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        for scope in self.scopes_of(plan)? {
            levels = levels.max(self.levels_below_scope(scope)?);
        }
        Ok(levels)
    }

    fn levels_below_scope(&self, scope: usize) -> Result<usize> {
        let mut below = self.scopes[scope].subqueries.iter().map(|plan| self.levels_below(plan));
        below.try_fold(0, |levels, below| Ok(levels.max(below?)))
    }
}

/// Where an operator stands.
#[derive(Clone, Copy, Default)]
struct Surroundings {
    /// The scalar subqueries whose values its expressions may read.
    scope: Option<usize>,
    /// Inside a recursive query: what is computed there changes from round to round and cannot be given away.
    recursive: bool,
}

/// An operator and everything below it, placed.
enum Placed {
    /// At the coordinator.
    Here(Arc<dyn ExecutionPlan>),
    /// On the shards.
    There(There),
}

struct There {
    /// For one shard.
    body: Arc<dyn ExecutionPlan>,
    /// Where the columns of primary keys come out.
    keys: Keys,
    /// The operator above `body` that would bring rows of different shards together, if it is not needed after all.
    exchange: Option<Arc<dyn ExecutionPlan>>,
}

impl There {
    fn placed(body: Arc<dyn ExecutionPlan>, keys: Keys) -> Placed {
        Placed::There(There { body, keys, exchange: None })
    }
}

struct Cutter {
    shards: usize,
    cut: Cut,
}

fn rebuilt(plan: &Arc<dyn ExecutionPlan>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
    replace_children_if_necessary(Arc::clone(plan), children)
}

/// At most `fetch` rows of `body`.
fn limited(body: Arc<dyn ExecutionPlan>, fetch: usize) -> Arc<dyn ExecutionPlan> {
    match body.fetch() {
        Some(already) if already <= fetch => body,
        _ => Arc::new(LocalLimitExec::new(body, fetch)),
    }
}

impl Cutter {
    fn place(&mut self, plan: Arc<dyn ExecutionPlan>, around: Surroundings) -> Result<Placed> {
        if let Some(scan) = plan.downcast_ref::<ShardScan>() {
            let keys = scan.key().into_iter().collect();
            return Ok(There::placed(Arc::new(scan.on_one_shard()?), keys));
        }
        if let Some(scalar) = plan.downcast_ref::<ScalarSubqueryExec>() {
            return self.place_scalar(scalar, around);
        }
        let recursive = around.recursive || plan.is::<RecursiveQueryExec>();
        let children: Vec<Arc<dyn ExecutionPlan>> = plan.children().into_iter().cloned().collect();
        let below = Surroundings { recursive, ..around };
        let children = children.into_iter().map(|child| self.place(child, below)).collect::<Result<Vec<_>>>()?;
        match children.len() {
            0 => Ok(Placed::Here(plan)),
            1 => self.place_over_one(plan, children),
            _ if plan.is::<UnionExec>() => self.place_union(plan, children),
            2 => self.place_join(plan, children, below),
            _ => self.place_here(plan, children),
        }
    }

    /// The subqueries become a scope, whose values are there before anything that reads them is run.
    fn place_scalar(&mut self, scalar: &ScalarSubqueryExec, around: Surroundings) -> Result<Placed> {
        let mut subqueries = Vec::new();
        for link in scalar.subqueries() {
            let placed = self.place(Arc::clone(&link.plan), around)?;
            subqueries.push(self.gathered(placed)?);
        }
        let scope = self.cut.scopes.len();
        self.cut.scopes.push(Scope { results: scalar.results().clone(), subqueries });
        let inside = Surroundings { scope: Some(scope), ..around };
        let placed = self.place(Arc::clone(scalar.input()), inside)?;
        match placed {
            // A shard is sent the values of one scope, so a fragment must not grow from one into the next.
            Placed::There(_) if around.scope.is_some() => Ok(Placed::Here(self.gathered(placed)?)),
            placed => Ok(placed),
        }
    }

    fn place_over_one(&mut self, plan: Arc<dyn ExecutionPlan>, mut children: Vec<Placed>) -> Result<Placed> {
        let there = match children.pop() {
            Some(Placed::There(there)) => there,
            other => return self.place_here(plan, other.into_iter().collect()),
        };
        if let Some(exchange) = there.exchange {
            // The groups of a whole primary key lie on one shard each: what the shard has of them is all of them.
            let finishes = plan.downcast_ref::<AggregateExec>().is_some_and(|aggregate| {
                matches!(aggregate.mode(), AggregateMode::Final | AggregateMode::FinalPartitioned)
            });
            if finishes && !there.keys.is_empty() {
                let keys = there.keys.through(&plan);
                return Ok(There::placed(rebuilt(&plan, vec![there.body])?, keys));
            }
            let there = There { exchange: Some(exchange), ..there };
            return self.place_here(plan, vec![Placed::There(there)]);
        }
        if self.stays(&plan) {
            let keys = there.keys.through(&plan);
            return Ok(There::placed(rebuilt(&plan, vec![there.body])?, keys));
        }
        if self.shards > 1 && plan.is::<RepartitionExec>() {
            return Ok(Placed::There(There { exchange: Some(plan), ..there }));
        }
        if plan.is::<CoalescePartitionsExec>() && self.shards > 1 {
            let body = match plan.fetch() {
                None => return Ok(Placed::There(There { exchange: Some(plan), ..there })),
                Some(fetch) => limited(there.body, fetch),
            };
            return self.place_here(plan, vec![Placed::There(There { body, ..there })]);
        }
        if self.shards == 1 && plan.is::<RepartitionExec>() {
            return Ok(Placed::There(there));
        }
        self.place_here(plan, vec![Placed::There(there)])
    }

    /// Whether an operator over rows of the shards may run on each shard alone.
    fn stays(&self, plan: &Arc<dyn ExecutionPlan>) -> bool {
        let on_any = plan.is::<FilterExec>()
            || plan.is::<ProjectionExec>()
            || plan.is::<LocalLimitExec>()
            || plan.is::<CooperativeExec>()
            || plan.is::<UnnestExec>()
            || plan.downcast_ref::<SortExec>().is_some_and(SortExec::preserve_partitioning)
            || plan
                .downcast_ref::<AggregateExec>()
                .is_some_and(|aggregate| *aggregate.mode() == AggregateMode::Partial);
        on_any || (self.shards == 1 && alone(plan))
    }

    fn place_union(&mut self, plan: Arc<dyn ExecutionPlan>, children: Vec<Placed>) -> Result<Placed> {
        let all_there = children.iter().all(|child| matches!(child, Placed::There(there) if there.exchange.is_none()));
        if !all_there {
            return self.place_here(plan, children);
        }
        let bodies = children.into_iter().filter_map(|child| match child {
            Placed::There(there) => Some(there.body),
            Placed::Here(_) => None,
        });
        let union = rebuilt(&plan, bodies.collect())?;
        // A shard gives one stream; if the union is expected to be in order, so is that.
        let body: Arc<dyn ExecutionPlan> = match plan.output_ordering() {
            Some(order) => Arc::new(SortPreservingMergeExec::new(order.clone(), union)),
            None => Arc::new(CoalescePartitionsExec::new(union)),
        };
        Ok(There::placed(body, Keys::default()))
    }

    fn place_here(&mut self, plan: Arc<dyn ExecutionPlan>, children: Vec<Placed>) -> Result<Placed> {
        let children = children.into_iter().map(|child| self.gathered(child)).collect::<Result<Vec<_>>>()?;
        Ok(Placed::Here(if children.is_empty() { plan } else { rebuilt(&plan, children)? }))
    }

    /// The coordinator's plan for what is placed: a fragment is made of what is on the shards.
    fn gathered(&mut self, placed: Placed) -> Result<Arc<dyn ExecutionPlan>> {
        let There { body, exchange, .. } = match placed {
            Placed::Here(plan) => return Ok(plan),
            Placed::There(there) => there,
        };
        let slot = Slot::default();
        let number = self.cut.fragments.len();
        let gather: Arc<dyn ExecutionPlan> = Arc::new(Gather::new(number, &body, self.shards, slot.clone()));
        let mut givens = Vec::new();
        body.apply(|node| {
            if let Some(given) = node.downcast_ref::<Given>() {
                givens.push(given.number);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        let scope = self.cut.scopes_of(&body)?.into_iter().next();
        let mut level = 0;
        for given in &givens {
            level = level.max(self.cut.levels_below(&self.cut.givens[*given])?);
        }
        if let Some(scope) = scope {
            level = level.max(self.cut.levels_below_scope(scope)?);
        }
        self.cut.fragments.push(Fragment { body, slot, level, givens, scope });
        match exchange {
            Some(exchange) => rebuilt(&exchange, vec![gather]),
            None => Ok(gather),
        }
    }

    /// A leaf that stands on the shards for the rows of a plan of the coordinator.
    fn given(&mut self, plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let given = Given::rows_of(self.cut.givens.len(), &plan);
        self.cut.givens.push(plan);
        Arc::new(given)
    }
}

/// Whether an operator can be shipped when a single shard has all rows.
fn alone(plan: &Arc<dyn ExecutionPlan>) -> bool {
    const SHIPPED: [&str; 11] = [
        "AggregateExec",
        "GlobalLimitExec",
        "CoalescePartitionsExec",
        "SortPreservingMergeExec",
        "WindowAggExec",
        "BoundedWindowAggExec",
        "HashJoinExec",
        "NestedLoopJoinExec",
        "CrossJoinExec",
        "SortMergeJoinExec",
        "UnnestExec",
    ];
    // Its name says how it sorts.
    plan.is::<SortExec>() || SHIPPED.contains(&plan.name())
}
