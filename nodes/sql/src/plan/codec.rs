//! A shard's part of a plan as bytes, with the version of the engine that must understand them.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result, ScalarValue, internal_datafusion_err, internal_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::physical_planning_context::{ScalarSubqueryResults, SubqueryIndex};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{
    DeduplicatingProtoConverter, PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf;
use prost::Message;
use serde::{Deserialize, Serialize};

use super::given::Given;
use super::leaf::ShardScan;
use crate::data::ShardView;
use crate::schema::TableSchema;

/// What wrote the bytes. The engine's plans change from release to release; only the same one reads them.
pub const ENGINE: &str = concat!("quorate ", env!("CARGO_PKG_VERSION"), ", datafusion 55.2.0");

/// Our own leaves.
#[derive(Serialize, Deserialize)]
enum Leaf {
    Scan { table: Arc<TableSchema>, projection: Option<Vec<usize>>, fetch: Option<usize> },
    Given { number: usize },
}

/// The coordinator's end.
#[derive(Debug)]
struct Encoder;

/// A shard's end.
struct Decoder {
    view: Arc<dyn ShardView>,
    given: Vec<(usize, Arc<dyn ExecutionPlan>)>,
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The bytes of a shard's part.
pub(crate) fn encode(body: &Arc<dyn ExecutionPlan>) -> Result<Vec<u8>> {
    let node = DeduplicatingProtoConverter {}.execution_plan_to_proto(body, &Encoder)?;
    Ok(node.encode_to_vec())
}

/// The bytes of the values of scalar subqueries.
pub(crate) fn encode_scalars(values: &[ScalarValue]) -> Result<Vec<Vec<u8>>> {
    values.iter().map(|value| Ok(protobuf::ScalarValue::try_from(value).map_err(external)?.encode_to_vec())).collect()
}

/// The part that `plan` holds, over the rows of `view`.
pub(crate) fn decode(
    plan: &[u8],
    scalars: &[Vec<u8>],
    given: Vec<(usize, SchemaRef, Vec<RecordBatch>)>,
    view: &Arc<dyn ShardView>,
    context: &TaskContext,
) -> Result<Arc<dyn ExecutionPlan>> {
    let given = given
        .into_iter()
        .map(|(number, schema, batches)| {
            let rows = MemorySourceConfig::try_new_exec(&[batches], schema, None)?;
            Ok((number, rows as Arc<dyn ExecutionPlan>))
        })
        .collect::<Result<_>>()?;
    let results = ScalarSubqueryResults::new(scalars.len());
    for (index, bytes) in scalars.iter().enumerate() {
        let value = protobuf::ScalarValue::decode(bytes.as_slice()).map_err(external)?;
        results.set(SubqueryIndex::new(index), ScalarValue::try_from(&value).map_err(external)?)?;
    }
    let node = protobuf::PhysicalPlanNode::decode(plan).map_err(external)?;
    let decoder = Decoder { view: Arc::clone(view), given };
    let decode = PhysicalPlanDecodeContext::new(context, &decoder).with_scalar_subquery_results(results);
    let plan = DeduplicatingProtoConverter {}.proto_to_execution_plan(&node, &decode)?;
    match plan.properties().partitioning.partition_count() {
        1 => Ok(plan),
        count => internal_err!("a shard's part has {count} partitions"),
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

impl PhysicalExtensionCodec for Encoder {
    fn try_decode(
        &self,
        _: &[u8],
        _: &[Arc<dyn ExecutionPlan>],
        _: &TaskContext,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        internal_err!("the coordinator reads no plans")
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let leaf = if let Some(scan) = node.downcast_ref::<ShardScan>() {
            Leaf::Scan {
                table: Arc::clone(scan.table()),
                projection: scan.projection().map(<[usize]>::to_vec),
                fetch: scan.fetch(),
            }
        } else if let Some(given) = node.downcast_ref::<Given>() {
            Leaf::Given { number: given.number }
        } else {
            return internal_err!("{} cannot be shipped", node.name());
        };
        bytes.extend(serde_json::to_vec(&leaf).map_err(external)?);
        Ok(())
    }
}

impl PhysicalExtensionCodec for Decoder {
    fn try_decode(
        &self,
        bytes: &[u8],
        _: &[Arc<dyn ExecutionPlan>],
        _: &TaskContext,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match serde_json::from_slice(bytes).map_err(external)? {
            Leaf::Scan { table, projection, fetch } => {
                Ok(Arc::new(ShardScan::planned(table, projection, fetch, 0, 1)?.over(Arc::clone(&self.view))))
            }
            Leaf::Given { number } => {
                let given = self.given.iter().find(|(other, _)| *other == number);
                let (_, rows) = given.ok_or_else(|| internal_datafusion_err!("rows {number} were not given"))?;
                Ok(Arc::clone(rows))
            }
        }
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        _: &mut Vec<u8>,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        internal_err!("a shard ships no {}", node.name())
    }
}
