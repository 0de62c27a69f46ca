//! Which scalar subqueries' values a plan reads.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::physical_planning_context::ScalarSubqueryResults;
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_plan::ExecutionPlan;

use super::Scope;

/// The positions in `scopes` of those that `plan` reads, in order.
pub(super) fn scopes_read(plan: &Arc<dyn ExecutionPlan>, scopes: &[Scope]) -> Result<Vec<usize>> {
    let mut read = Vec::new();
    if scopes.is_empty() {
        return Ok(read);
    }
    plan.apply(|node| {
        node.apply_expressions(&mut |expression| {
            expression.apply(|part| {
                let any: &dyn std::any::Any = part.as_ref();
                if let Some(scalar) = any.downcast_ref::<ScalarSubqueryExpr>() {
                    let scope = |scope: &Scope| ScalarSubqueryResults::ptr_eq(&scope.results, scalar.results());
                    read.extend(scopes.iter().position(scope));
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    read.sort_unstable();
    read.dedup();
    Ok(read)
}
