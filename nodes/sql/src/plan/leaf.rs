//! The leaf of every plan: the rows of one table, where they are.
//!
//! At the coordinator its partition i stands for shard i and nothing can be read. On a shard it has one partition, the
//! shard's own rows. It claims no hash partitioning: rows are placed by the text of their key, and the engine's hash is
//! another one.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::stats::Precision;
use datafusion::common::{DataFusionError, Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::stream;

use super::inputs::without_inputs;
use crate::data::{ShardError, ShardView};
use crate::schema::TableSchema;

/// A guess at the bytes of a value, for the planner.
const VALUE_BYTES: usize = 16;

/// The rows of a table on shards, or on this shard.
#[derive(Clone)]
pub(crate) struct ShardScan {
    table: Arc<TableSchema>,
    /// Positions of the columns that are read; all if missing.
    projection: Option<Vec<usize>>,
    /// At most so many rows of each shard.
    fetch: Option<usize>,
    /// About how many rows there are in all.
    rows: usize,
    view: Option<Arc<dyn ShardView>>,
    properties: Arc<PlanProperties>,
}

impl ShardScan {
    /// All rows of `table` on so many shards, as the coordinator plans them.
    pub(crate) fn planned(
        table: Arc<TableSchema>,
        projection: Option<Vec<usize>>,
        fetch: Option<usize>,
        rows: usize,
        shards: usize,
    ) -> Result<Self> {
        let properties = properties(&table, projection.as_deref(), shards)?;
        Ok(ShardScan { table, projection, fetch, rows, view: None, properties })
    }

    /// The same on one shard, as the coordinator ships it.
    pub(crate) fn on_one_shard(&self) -> Result<Self> {
        ShardScan::planned(Arc::clone(&self.table), self.projection.clone(), self.fetch, self.rows, 1)
    }

    /// The same where the rows are.
    pub(crate) fn over(mut self, view: Arc<dyn ShardView>) -> Self {
        self.view = Some(view);
        self
    }

    /// The table.
    pub(crate) fn table(&self) -> &Arc<TableSchema> {
        &self.table
    }

    /// The columns that are read.
    pub(crate) fn projection(&self) -> Option<&[usize]> {
        self.projection.as_deref()
    }

    /// Where the columns of the primary key come out, in the key's order, if all of them do.
    pub(crate) fn key(&self) -> Option<Vec<usize>> {
        let place = |column: &usize| match &self.projection {
            Some(projection) => projection.iter().position(|read| read == column),
            None => Some(*column),
        };
        self.table.key.iter().map(place).collect()
    }

    fn read(&self, view: &dyn ShardView) -> Result<Vec<RecordBatch>> {
        // A shard that missed the table's creation has no rows of it. One that holds another table of that name has
        // rows that mean something else.
        let Some(known) = view.table(&self.table.name) else { return Ok(Vec::new()) };
        if known.id != self.table.id {
            let text = format!("it knows another table {:?} than the query was planned with", self.table.name);
            return Err(DataFusionError::External(Box::new(ShardError::Failed(text))));
        }
        let batches = view.batches(&known).map_err(|error| DataFusionError::External(Box::new(error)))?;
        let mut left = self.fetch.unwrap_or(usize::MAX);
        let mut read = Vec::with_capacity(batches.len());
        for batch in batches.iter() {
            if left == 0 {
                break;
            }
            let batch = batch.slice(0, batch.num_rows().min(left));
            left -= batch.num_rows();
            read.push(match &self.projection {
                Some(projection) => batch.project(projection)?,
                None => batch,
            });
        }
        Ok(read)
    }
}

fn properties(table: &TableSchema, projection: Option<&[usize]>, partitions: usize) -> Result<Arc<PlanProperties>> {
    let schema = match projection {
        Some(projection) => Arc::new(table.arrow().project(projection)?),
        None => table.arrow(),
    };
    let properties = PlanProperties::new(
        EquivalenceProperties::new(schema),
        Partitioning::UnknownPartitioning(partitions),
        EmissionType::Incremental,
        Boundedness::Bounded,
    );
    Ok(Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative)))
}

impl fmt::Debug for ShardScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardScan").field("table", &self.table.name).finish_non_exhaustive()
    }
}

impl DisplayAs for ShardScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.properties.eq_properties.schema();
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "ShardScan: table={}, columns=[{}]", self.table.name, columns.join(", "))?;
        match self.fetch {
            Some(fetch) => write!(f, ", fetch={fetch}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for ShardScan {
    without_inputs!("ShardScan");

    fn with_fetch(&self, fetch: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(ShardScan { fetch, ..self.clone() }))
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let rows = match args.partition() {
            Some(_) => self.rows / self.properties.partitioning.partition_count().max(1),
            None => self.rows,
        };
        let rows = rows.min(self.fetch.unwrap_or(usize::MAX));
        let schema = self.schema();
        let mut statistics = Statistics::new_unknown(&schema);
        statistics.num_rows = Precision::Inexact(rows);
        statistics.total_byte_size = Precision::Inexact(rows * schema.fields().len() * VALUE_BYTES);
        Ok(Arc::new(statistics))
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(view) = &self.view else { return internal_err!("a scan of shards was executed at the coordinator") };
        let batches = stream::iter(self.read(view.as_ref())?.into_iter().map(Ok));
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches))))
    }
}
