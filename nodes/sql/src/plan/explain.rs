//! What runs where, for people.

use datafusion::physical_plan::displayable;

use super::planner::Planned;

/// What the answers to a fragment were, all shards together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Travelled {
    /// Rows that came from the shards.
    pub rows: u64,
    /// Bytes that came from the shards.
    pub bytes: u64,
    /// Bytes that went to the shards: plans, values, given rows.
    pub bytes_sent: u64,
}

/// The rows of an explanation: kinds and texts. `travelled` is by fragment, if the plan was carried out.
pub(crate) fn explain(planned: &Planned, travelled: Option<&[Travelled]>) -> Vec<(String, String)> {
    let tree = |plan: &std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>| {
        displayable(plan.as_ref()).indent(false).to_string().trim_end().to_owned()
    };
    let mut rows = vec![
        ("logical_plan".to_owned(), planned.logical.display_indent().to_string()),
        ("coordinator".to_owned(), tree(&planned.cut.root)),
    ];
    for (number, scope) in planned.cut.scopes.iter().enumerate() {
        for (index, plan) in scope.subqueries.iter().enumerate() {
            rows.push((format!("coordinator, scalar subquery {number}.{index}"), tree(plan)));
        }
    }
    for (number, plan) in planned.cut.givens.iter().enumerate() {
        rows.push((format!("coordinator, given to the shards {number}"), tree(plan)));
    }
    for (number, fragment) in planned.cut.fragments.iter().enumerate() {
        let mut text = tree(&fragment.body);
        if let Some(Travelled { rows, bytes, bytes_sent }) = travelled.and_then(|travelled| travelled.get(number)) {
            text.push_str(&format!("\ntravelled: rows={rows}, bytes={bytes}, bytes_sent={bytes_sent}"));
        }
        rows.push((format!("each shard, fragment {number}"), text));
    }
    rows
}
