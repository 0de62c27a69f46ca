//! The planner: DataFusion's, with our tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::memory::{MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider};
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider};
use datafusion::common::{Result, ScalarValue, TableReference};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement;

use super::cut::Cut;
use super::table::ShardedTable;
use crate::error::QueryError;
use crate::schema::TableSchema;

const CATALOG: &str = "quorate";
const SCHEMA: &str = "public";

/// Plans queries over so many shards.
#[derive(Clone)]
pub struct Planner {
    shards: usize,
    state: SessionState,
}

impl std::fmt::Debug for Planner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Planner").field("shards", &self.shards).finish_non_exhaustive()
    }
}

/// A table, and about how many rows it has.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) table: Arc<TableSchema>,
    pub(crate) rows: usize,
}

/// A query in all its forms.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) logical: LogicalPlan,
    pub(crate) cut: Arc<Cut>,
}

impl Planner {
    /// A planner for so many shards; what it plans is run within `runtime`.
    pub fn new(shards: usize, runtime: Arc<RuntimeEnv>) -> Self {
        // Partition i is shard i from the leaf to the cut: nothing may be mixed below it.
        let mut config = SessionConfig::new()
            .with_target_partitions(shards.max(1))
            .with_round_robin_repartition(false)
            .with_default_catalog_and_schema(CATALOG, SCHEMA)
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(false);
        let options = config.options_mut();
        // A dynamic filter is shared by two operators, which the cut may part.
        options.optimizer.enable_dynamic_filter_pushdown = false;
        options.optimizer.enable_topk_dynamic_filter_pushdown = false;
        options.optimizer.enable_join_dynamic_filter_pushdown = false;
        options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
        options.sql_parser.collect_spans = true;
        let state =
            SessionStateBuilder::new().with_default_features().with_config(config).with_runtime_env(runtime).build();
        Planner { shards, state }
    }

    /// The engine's state, without tables.
    pub fn state(&self) -> &SessionState {
        &self.state
    }

    /// What plans are run with.
    pub fn task_context(&self) -> Arc<TaskContext> {
        self.state.task_ctx()
    }

    /// The tables that a statement names, each once; an unqualified name for those of ours.
    pub(crate) fn tables(&self, statement: &Statement) -> Result<Vec<String>> {
        let mut names: Vec<String> = self.state.resolve_table_references(statement)?.iter().map(name).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Plans a statement that reads the tables of `known`.
    pub(crate) async fn plan(
        &self,
        statement: Statement,
        params: Vec<ScalarValue>,
        known: &BTreeMap<String, Known>,
    ) -> Result<Planned, QueryError> {
        let state = self.with_tables(known)?;
        let logical = state.statement_to_plan(statement).await?;
        let logical = logical.with_param_values(params)?;
        let logical = state.optimize(&logical)?;
        let physical = state.query_planner().create_physical_plan(&logical, &state).await?;
        let cut = Arc::new(Cut::new(physical, self.shards)?);
        Ok(Planned { logical, cut })
    }

    /// The state with `known` as its tables.
    pub(crate) fn with_tables(&self, known: &BTreeMap<String, Known>) -> Result<SessionState> {
        let schema = MemorySchemaProvider::new();
        for (name, Known { table, rows }) in known {
            let table =
                ShardedTable { table: Arc::clone(table), schema: table.arrow(), rows: *rows, shards: self.shards };
            schema.register_table(name.clone(), Arc::new(table))?;
        }
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(SCHEMA, Arc::new(schema))?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.into(), Arc::new(catalog));
        let mut state = self.state.clone();
        state.register_catalog_list(Arc::new(catalogs));
        state.mark_start_execution();
        Ok(state)
    }
}

/// The name of one of our tables; a name that none of them has for all others.
fn name(reference: &TableReference) -> String {
    let catalog = reference.catalog().unwrap_or(CATALOG);
    match reference.schema().unwrap_or(SCHEMA) {
        SCHEMA if catalog == CATALOG => reference.table().to_owned(),
        _ => reference.to_string(),
    }
}
