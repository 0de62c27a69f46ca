//! What goes between the coordinator and a shard: a part of a plan one way, a stream of frames the other.
//!
//! Promises: a stream without its `End` is not an answer, whatever came before.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::ipc::reader::StreamDecoder;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result};

use crate::error::Kind;

/// A shard's part of a query.
#[derive(Clone, Debug)]
pub struct Request {
    /// The version of what wrote the plan: [`crate::plan::ENGINE`].
    pub engine: String,
    /// The plan, encoded.
    pub plan: Bytes,
    /// The values of scalar subqueries, encoded, by index.
    pub scalars: Vec<Vec<u8>>,
    /// Rows that the coordinator has computed.
    pub given: Vec<Arc<Given>>,
}

/// Rows that the coordinator gives to every shard.
#[derive(Clone, Debug)]
pub struct Given {
    /// The leaf of the plan that stands for them.
    pub number: usize,
    /// An Arrow IPC stream.
    pub stream: Bytes,
}

/// A piece of a shard's answer.
#[derive(Clone, Debug)]
pub enum Frame {
    /// The next bytes of an Arrow IPC stream.
    Bytes(Bytes),
    /// The end: the answer is whole, and had so many rows.
    End {
        /// How many rows there were.
        rows: u64,
    },
    /// There will be no end.
    Failed(Failure),
}

/// Why a shard could not run its part.
#[derive(Clone, Debug)]
pub struct Failure {
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

impl From<DataFusionError> for Failure {
    fn from(error: DataFusionError) -> Self {
        Failure { kind: crate::error::kind(&error), text: crate::error::text(&error) }
    }
}

impl Request {
    /// How many bytes are sent to a shard.
    pub(crate) fn len(&self) -> u64 {
        let given: usize = self.given.iter().map(|given| given.stream.len()).sum();
        let scalars: usize = self.scalars.iter().map(Vec::len).sum();
        (self.plan.len() + given + scalars) as u64
    }
}

/// Batches as an Arrow IPC stream.
pub(crate) fn encode(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Bytes> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    for batch in batches {
        writer.write(batch)?;
    }
    Ok(writer.into_inner()?.into())
}

/// The batches of an Arrow IPC stream, whose bytes they share, and their schema.
pub(crate) fn decode(chunks: Vec<Bytes>) -> Result<(Option<SchemaRef>, Vec<RecordBatch>)> {
    let mut decoder = StreamDecoder::new();
    let mut batches = Vec::new();
    for chunk in chunks {
        let mut chunk = Buffer::from(chunk);
        while !chunk.is_empty() {
            batches.extend(decoder.decode(&mut chunk)?);
        }
    }
    decoder.finish()?;
    Ok((decoder.schema(), batches))
}
