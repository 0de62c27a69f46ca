//! The cut: where the coordinator's part of a plan reads what the shards' parts gave.
//!
//! Promises: partition i has what shard i gave, or nothing if shard i is left out; it can be read again and again.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::stream;

use super::inputs::without_inputs;

/// The answers to one fragment, by shard.
type Answers = Arc<[Vec<RecordBatch>]>;

/// Where the answers of the shards to one fragment are put.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot(Arc<Mutex<Option<Answers>>>);

impl Slot {
    /// Puts them there, in the place of earlier ones.
    pub(crate) fn fill(&self, answers: Answers) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answers);
    }

    fn get(&self) -> Option<Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads the answers of the shards to one fragment.
#[derive(Debug)]
pub(crate) struct Gather {
    /// Which of the query's fragments.
    pub(crate) fragment: usize,
    slot: Slot,
    properties: Arc<PlanProperties>,
}

impl Gather {
    /// Reads from `slot` what so many shards gave for `body`.
    pub(crate) fn new(fragment: usize, body: &Arc<dyn ExecutionPlan>, shards: usize, slot: Slot) -> Self {
        let properties = PlanProperties::new(
            body.properties().eq_properties.clone(),
            Partitioning::UnknownPartitioning(shards),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let properties = Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative));
        Gather { fragment, slot, properties }
    }
}

impl DisplayAs for Gather {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gather: fragment={}, shards={}", self.fragment, self.properties.partitioning.partition_count())
    }
}

impl ExecutionPlan for Gather {
    without_inputs!("Gather");

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let answers = self.slot.get();
        let of_shard = answers.as_ref().and_then(|answers| answers.get(partition));
        let batches =
            of_shard.ok_or_else(|| internal_datafusion_err!("fragment {} was not gathered", self.fragment))?;
        let batches = stream::iter(batches.clone().into_iter().map(Ok));
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches))))
    }
}
