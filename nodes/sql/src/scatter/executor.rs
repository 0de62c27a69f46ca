//! A shard's end: runs a part of a plan over the shard's own rows and sends what comes out.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_err};
use datafusion::execution::TaskContext;
use futures::StreamExt;
use tokio::sync::mpsc;

use super::frame::{self, Frame, Request};
use crate::data::ShardView;
use crate::plan::{ENGINE, codec};

/// Runs requests where the rows are.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// Runs `request` over `view` and sends what comes out: bytes, then the end, or a failure. Who asked may hang up.
    async fn run(&self, request: Arc<Request>, view: Arc<dyn ShardView>, frames: mpsc::Sender<Frame>);
}

/// Runs requests in this process.
#[derive(Clone, Debug)]
pub struct LocalExecutor {
    context: Arc<TaskContext>,
}

impl LocalExecutor {
    /// Runs requests with the functions and the memory of `context`.
    pub fn new(context: Arc<TaskContext>) -> Self {
        LocalExecutor { context }
    }

    async fn answer(
        &self,
        request: &Request,
        view: &Arc<dyn ShardView>,
        frames: &mpsc::Sender<Frame>,
    ) -> Result<Option<u64>> {
        if request.engine != ENGINE {
            return internal_err!("a plan of {:?} was sent to {ENGINE:?}", request.engine);
        }
        let mut given = Vec::new();
        for rows in &request.given {
            match frame::decode(vec![rows.stream.clone()])? {
                (Some(schema), batches) => given.push((rows.number, schema, batches)),
                (None, _) => return internal_err!("rows {} were given without their schema", rows.number),
            }
        }
        let plan = codec::decode(&request.plan, &request.scalars, given, view, &self.context)?;
        let mut stream = plan.execute(0, Arc::clone(&self.context))?;
        let mut writer = StreamWriter::try_new(Vec::new(), &stream.schema())?;
        let mut rows = 0;
        while let Some(batch) = stream.next().await {
            let batch = compact(batch?)?;
            if batch.num_rows() == 0 {
                continue;
            }
            rows += batch.num_rows() as u64;
            writer.write(&batch)?;
            let bytes = Bytes::from(std::mem::take(writer.get_mut()));
            if frames.send(Frame::Bytes(bytes)).await.is_err() {
                return Ok(None);
            }
        }
        writer.finish()?;
        let _ = frames.send(Frame::Bytes(std::mem::take(writer.get_mut()).into())).await;
        Ok(Some(rows))
    }
}

#[async_trait]
impl Executor for LocalExecutor {
    async fn run(&self, request: Arc<Request>, view: Arc<dyn ShardView>, frames: mpsc::Sender<Frame>) {
        let last = match self.answer(&request, &view, &frames).await {
            Ok(Some(rows)) => Frame::End { rows },
            Ok(None) => return,
            Err(error) => Frame::Failed(error.into()),
        };
        let _ = frames.send(last).await;
    }
}

/// The same batch without the bytes of texts that are not in it: a filter leaves them behind.
fn compact(batch: RecordBatch) -> Result<RecordBatch> {
    let is_view = |kind: &DataType| matches!(kind, DataType::Utf8View | DataType::BinaryView);
    if !batch.columns().iter().any(|column| is_view(column.data_type())) {
        return Ok(batch);
    }
    let compacted = |column: &ArrayRef| -> ArrayRef {
        match column.data_type() {
            DataType::Utf8View => Arc::new(column.as_string_view().gc()),
            DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
            _ => Arc::clone(column),
        }
    };
    let columns = batch.columns().iter().map(compacted).collect();
    let options = datafusion::arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns, &options)?)
}
