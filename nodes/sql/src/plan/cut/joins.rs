//! Joins on the shards: of rows that lie together, and with a small side that every shard is given.

use std::sync::Arc;

use datafusion::common::{JoinType, Result};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;

use super::keys::{Keys, column, places_alike};
use super::{Cutter, Placed, Surroundings, There, alone, rebuilt};

impl Cutter {
    pub(super) fn place_join(
        &mut self,
        plan: Arc<dyn ExecutionPlan>,
        mut children: Vec<Placed>,
        around: Surroundings,
    ) -> Result<Placed> {
        let (Some(right), Some(left), true) = (children.pop(), children.pop(), children.is_empty()) else {
            return self.place_here(plan, children);
        };
        if let (Placed::There(left), Placed::There(right)) = (&left, &right) {
            if self.shards == 1 && alone(&plan) {
                let bodies = vec![Arc::clone(&left.body), Arc::clone(&right.body)];
                return Ok(There::placed(rebuilt(&plan, bodies)?, Keys::default()));
            }
            if let Some(join) = plan.downcast_ref::<HashJoinExec>()
                && lie_together(join, left, right)
            {
                let bodies = vec![Arc::clone(&left.body), Arc::clone(&right.body)];
                let body = join.builder().with_partition_mode(PartitionMode::Partitioned);
                let body = body.with_new_children(bodies)?.recompute_properties().build_exec()?;
                return Ok(There::placed(body, keys_of(join, &left.keys, &right.keys)));
            }
        }
        match right {
            Placed::There(right) if right.exchange.is_none() && !around.recursive && is_given_left(&plan, &left) => {
                let left = self.gathered(left)?;
                let given = self.given(left);
                let keys = match plan.downcast_ref::<HashJoinExec>() {
                    Some(join) => keys_of(join, &Keys::default(), &right.keys),
                    None => Keys::default(),
                };
                Ok(There::placed(rebuilt(&plan, vec![given, right.body])?, keys))
            }
            right => self.place_here(plan, vec![left, right]),
        }
    }
}

/// Whether every row meets all its partners on its own shard.
fn lie_together(join: &HashJoinExec, left: &There, right: &There) -> bool {
    if join.null_aware {
        return false;
    }
    let (left_schema, right_schema) = (left.body.schema(), right.body.schema());
    let joined = |(left, right): (&usize, &usize)| {
        let kind = left_schema.field(*left).data_type();
        let on = |(a, b): &(_, _)| column(a) == Some(*left) && column(b) == Some(*right);
        places_alike(kind) && kind == right_schema.field(*right).data_type() && join.on().iter().any(on)
    };
    let together = |a: &[usize], b: &[usize]| a.len() == b.len() && a.iter().zip(b).all(joined);
    left.keys.iter().any(|a| right.keys.iter().any(|b| together(a, b)))
}

/// Whether each shard may join all of the left side with its own rows of the right side: no row of the left side must be
/// answered for as such.
fn is_given_left(plan: &Arc<dyn ExecutionPlan>, left: &Placed) -> bool {
    let by_right = |kind: &JoinType| {
        matches!(
            kind,
            JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark
        )
    };
    let row_by_row = |kind: &JoinType| matches!(kind, JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark);
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return *join.partition_mode() == PartitionMode::CollectLeft && by_right(join.join_type());
    }
    // The rows of these could be more than those of both sides: they travel less if they are joined by the coordinator.
    let single = || matches!(left, Placed::Here(left) if gives_one_row(left));
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        return row_by_row(join.join_type()) || (by_right(join.join_type()) && single());
    }
    plan.is::<CrossJoinExec>() && single()
}

/// Whether a plan gives at most one row, whatever the data.
fn gives_one_row(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        return aggregate.group_expr().expr().is_empty() && !aggregate.mode().eq(&super::AggregateMode::Partial);
    }
    let passes = plan.is::<ProjectionExec>()
        || plan.is::<FilterExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<CoalescePartitionsExec>();
    plan.is::<PlaceholderRowExec>() || (passes && plan.children().into_iter().all(gives_one_row))
}

/// The keys among a join's columns: of a side whose rows come out as they are.
fn keys_of(join: &HashJoinExec, left: &Keys, right: &Keys) -> Keys {
    let width = join.left().schema().fields().len();
    let (of_left, of_right) = match join.join_type() {
        JoinType::Inner => (left.clone(), right.map(|column| Some(width + column))),
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
            (left.clone(), Keys::default())
        }
        JoinType::Right => (Keys::default(), right.map(|column| Some(width + column))),
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => (Keys::default(), right.clone()),
        JoinType::Full => (Keys::default(), Keys::default()),
    };
    let keys = of_left.and(of_right);
    match &join.projection {
        Some(projection) => keys.map(|column| projection.iter().position(|read| *read == column)),
        None => keys,
    }
}
