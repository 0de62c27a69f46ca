//! What the coordinator has computed and gives to every shard with its part of the plan: the small side of a join.

use std::fmt;
use std::sync::Arc;

use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use super::inputs::without_inputs;

/// A leaf of a shard's part that stands for the rows of a plan of the coordinator.
#[derive(Debug)]
pub(crate) struct Given {
    /// Which of the query's.
    pub(crate) number: usize,
    properties: Arc<PlanProperties>,
}

impl Given {
    /// Stands for the rows of `plan`.
    pub(crate) fn rows_of(number: usize, plan: &Arc<dyn ExecutionPlan>) -> Self {
        let properties = PlanProperties::new(
            plan.properties().eq_properties.clone(),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Given { number, properties: Arc::new(properties) }
    }
}

impl DisplayAs for Given {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Given: number={}", self.number)
    }
}

impl ExecutionPlan for Given {
    without_inputs!("Given");

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        internal_err!("given rows are read where they were given to")
    }
}
