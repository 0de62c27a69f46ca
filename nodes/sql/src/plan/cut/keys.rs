//! Primary keys on their way up a plan: rows of different tables with equal keys lie on the same shard.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::LocalLimitExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;

/// The primary keys that are wholly among an operator's columns: for each, their positions in the key's order. Rows that
/// agree in one of them come from the same shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(Vec<Vec<usize>>);

impl FromIterator<Vec<usize>> for Keys {
    fn from_iter<T: IntoIterator<Item = Vec<usize>>>(keys: T) -> Self {
        Keys(keys.into_iter().collect())
    }
}

/// The position of the column that an expression is, if it is nothing else.
pub(super) fn column(expression: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    let any: &dyn std::any::Any = expression.as_ref();
    any.downcast_ref::<Column>().map(Column::index)
}

impl Keys {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[usize]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// All keys of both.
    pub(super) fn and(mut self, others: Keys) -> Keys {
        self.0.extend(others.0);
        self
    }

    /// The keys where `place` says where a column comes out, if it does.
    pub(super) fn map(&self, place: impl Fn(usize) -> Option<usize>) -> Keys {
        self.0.iter().filter_map(|key| key.iter().map(|column| place(*column)).collect()).collect()
    }

    /// The keys among the columns of `plan`, which stays on the shards, over an operator that has these.
    pub(super) fn through(&self, plan: &Arc<dyn ExecutionPlan>) -> Keys {
        if let Some(filter) = plan.downcast_ref::<FilterExec>() {
            return match filter.projection() {
                Some(projection) => self.map(|column| projection.iter().position(|read| *read == column)),
                None => self.clone(),
            };
        }
        if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            return self.map(|key| projection.expr().iter().position(|output| column(&output.expr) == Some(key)));
        }
        if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
            let groups = aggregate.group_expr();
            if !groups.is_single() {
                return Keys::default();
            }
            return self.map(|key| groups.expr().iter().position(|(group, _)| column(group) == Some(key)));
        }
        if plan.is::<SortExec>() || plan.is::<LocalLimitExec>() || plan.is::<CooperativeExec>() {
            return self.clone();
        }
        Keys::default()
    }
}

/// Whether equal values of a type have equal texts, so that rows with equal keys are placed alike. Floating-point
/// numbers do not: 0.0 equals -0.0.
pub(super) fn places_alike(kind: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Boolean, Date32, Decimal128, Int8, Int16, Int32, Int64, Timestamp, UInt8, UInt16, UInt32,
        UInt64, Utf8, Utf8View,
    };
    matches!(
        kind,
        Boolean
            | Int8
            | Int16
            | Int32
            | Int64
            | UInt8
            | UInt16
            | UInt32
            | UInt64
            | Utf8
            | Utf8View
            | Binary
            | BinaryView
            | Date32
            | Timestamp(_, _)
            | Decimal128(_, _)
    )
}
