//! Rows as JSON objects, each value as faithful as JSON allows. `docs/sql.md` has the mapping.
//!
//! Promises: every integer has all its digits; every finite number reads back as the same number; a name that several
//! columns share is told apart.

mod names;
mod value;

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation, UnboundedMemoryPool};

use self::names::distinct;
use self::value::writer;

/// Rows that are being written down, within the bound on memory.
pub(crate) struct Rows {
    schema: SchemaRef,
    /// `"name":` for each column.
    names: Vec<Vec<u8>>,
    text: Vec<u8>,
    count: usize,
    held: MemoryReservation,
}

/// Rows that were written down.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// A JSON list of objects.
    pub(crate) rows: String,
    pub(crate) row_count: usize,
    pub(crate) schema: SchemaRef,
}

impl Rows {
    pub(crate) fn new(schema: &SchemaRef, pool: &Arc<dyn MemoryPool>) -> Result<Self> {
        let names = distinct(schema.fields().iter().map(|field| field.name().as_str()));
        let held = MemoryConsumer::new("rows of the answer").register(pool);
        let names = names.iter().map(|name| [value::quoted(name), b":".to_vec()].concat()).collect();
        Ok(Rows { schema: Arc::clone(schema), names, text: b"[".to_vec(), count: 0, held })
    }

    /// Writes a batch's rows.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let plain: Vec<ArrayRef> = batch.columns().iter().map(plain).collect::<Result<_>>()?;
        let columns = plain.iter().map(|column| writer(column.as_ref())).collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            self.text.extend_from_slice(if self.count == 0 { b"{" } else { b",{" });
            for (position, (name, column)) in self.names.iter().zip(&columns).enumerate() {
                if position > 0 {
                    self.text.push(b',');
                }
                self.text.extend_from_slice(name);
                column(row, &mut self.text)?;
            }
            self.text.push(b'}');
            self.count += 1;
            if self.count.is_multiple_of(1024) {
                self.held.try_resize(self.text.capacity())?;
            }
        }
        self.held.try_resize(self.text.capacity())
    }

    /// All rows as one list.
    pub(crate) fn finish(mut self) -> Result<Written> {
        self.text.push(b']');
        let rows =
            String::from_utf8(self.text).map_err(|error| internal_datafusion_err!("rows are no text: {error}"))?;
        Ok(Written { rows, row_count: self.count, schema: self.schema })
    }
}

/// Rows as a JSON list of objects, without a bound on memory.
///
/// # Errors
/// When a value cannot be written.
pub fn rows(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<String> {
    let unbounded: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    let mut rows = Rows::new(schema, &unbounded)?;
    batches.iter().try_for_each(|batch| rows.push(batch))?;
    Ok(rows.finish()?.rows)
}

/// The same values without the encoding that an operator chose for them.
fn plain(column: &ArrayRef) -> Result<ArrayRef> {
    Ok(match column.data_type() {
        DataType::Dictionary(_, values) => cast(column, values)?,
        DataType::RunEndEncoded(_, values) => cast(column, values.data_type())?,
        DataType::ListView(item) => cast(column, &DataType::List(Arc::clone(item)))?,
        DataType::LargeListView(item) => cast(column, &DataType::LargeList(Arc::clone(item)))?,
        _ => Arc::clone(column),
    })
}

/// The rows of an explanation.
pub(crate) fn explanation(rows: &[(String, String)]) -> Written {
    let row = |(kind, plan): &(String, String)| serde_json::json!({ "plan_type": kind, "plan": plan });
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    Written {
        rows: serde_json::Value::from_iter(rows.iter().map(row)).to_string(),
        row_count: rows.len(),
        schema: Arc::new(Schema::new(vec![text("plan_type"), text("plan")])),
    }
}
