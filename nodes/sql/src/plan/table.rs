//! Tables as the planner sees them.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::TableType;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;

use super::leaf::ShardScan;
use crate::schema::TableSchema;

/// A table over shards. Filters stay above the leaf, and go to the shards with it.
#[derive(Debug)]
pub(crate) struct ShardedTable {
    pub(crate) table: Arc<TableSchema>,
    pub(crate) schema: SchemaRef,
    /// About how many rows there are in all.
    pub(crate) rows: usize,
    pub(crate) shards: usize,
}

#[async_trait]
impl TableProvider for ShardedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = Arc::clone(&self.table);
        Ok(Arc::new(ShardScan::planned(table, projection.cloned(), limit, self.rows, self.shards)?))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Unsupported; filters.len()])
    }
}
