//! A query on its way: which shards are still in it, what they answered, what the next level needs of that.
//!
//! Promises: everything that is computed at a moment is computed from the answers of the same shards. When one is left
//! out late, what was computed with its answers is computed again without them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::physical_planning_context::SubqueryIndex;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use futures::future::BoxFuture;

use super::Travelled;
use super::ask::Answered;
use super::frame::{Given, Request, encode};
use crate::data::ShardError;
use crate::plan::ENGINE;
use crate::plan::codec;
use crate::plan::cut::Cut;

/// A query whose fragments are being answered.
#[derive(Debug)]
pub(super) struct Course {
    cut: Arc<Cut>,
    shards: usize,
    context: Arc<TaskContext>,
    /// The shards that are left out, and why.
    left_out: BTreeMap<usize, ShardError>,
    /// By fragment, by shard.
    answers: Vec<BTreeMap<usize, Answered>>,
    scopes: Vec<Option<Vec<Vec<u8>>>>,
    givens: Vec<Option<Arc<Given>>>,
    /// The memory that given rows take.
    held: MemoryReservation,
    travelled: Vec<Travelled>,
}

impl Course {
    pub(super) fn new(cut: Arc<Cut>, shards: usize, context: Arc<TaskContext>) -> Self {
        let fragments = cut.fragments.len();
        let held = MemoryConsumer::new("rows given to shards").register(context.memory_pool());
        Course {
            shards,
            context,
            left_out: BTreeMap::new(),
            answers: vec![BTreeMap::new(); fragments],
            scopes: vec![None; cut.scopes.len()],
            givens: vec![None; cut.givens.len()],
            held,
            travelled: vec![Travelled::default(); fragments],
            cut,
        }
    }

    /// The shards that are in the query.
    pub(super) fn asked(&self) -> Vec<usize> {
        (0..self.shards).filter(|shard| !self.left_out.contains_key(shard)).collect()
    }

    pub(super) fn left_out(&self) -> &BTreeMap<usize, ShardError> {
        &self.left_out
    }

    pub(super) fn travelled(&self) -> Vec<Travelled> {
        self.travelled.clone()
    }

    /// The fragments of a level.
    fn fragments(&self, level: usize) -> Vec<usize> {
        (0..self.cut.fragments.len()).filter(|fragment| self.cut.fragments[*fragment].level == level).collect()
    }

    /// What to ask of every shard at a level whose lower levels have been answered, in the order of the fragments.
    pub(super) async fn requests(&mut self, level: usize) -> Result<Vec<Arc<Request>>> {
        let mut requests = Vec::new();
        for number in self.fragments(level) {
            let cut = Arc::clone(&self.cut);
            let fragment = &cut.fragments[number];
            let scalars = match fragment.scope {
                Some(scope) => self.scope(scope).await?,
                None => Vec::new(),
            };
            let mut given = Vec::new();
            for rows in &fragment.givens {
                given.push(self.given(*rows).await?);
            }
            let plan = Bytes::from(codec::encode(&fragment.body)?);
            requests.push(Arc::new(Request { engine: ENGINE.to_owned(), plan, scalars, given }));
        }
        Ok(requests)
    }

    /// Takes what the shards answered at a level. Says whether the level stands: if shards are left out whose earlier
    /// answers were computed with, all levels above the first are to be asked again.
    pub(super) fn answered(
        &mut self,
        level: usize,
        requests: &[Arc<Request>],
        outcomes: Vec<(usize, Result<Vec<Answered>, ShardError>)>,
    ) -> bool {
        let fragments = self.fragments(level);
        let mut stands = true;
        for (shard, outcome) in outcomes {
            match outcome {
                Ok(answers) => {
                    for ((fragment, request), answered) in fragments.iter().zip(requests).zip(answers) {
                        let travelled = &mut self.travelled[*fragment];
                        travelled.rows += answered.rows;
                        travelled.bytes += answered.bytes;
                        travelled.bytes_sent += request.len();
                        self.answers[*fragment].insert(shard, answered);
                    }
                }
                Err(error) => {
                    self.left_out.insert(shard, error);
                    stands &= level == 0;
                }
            }
        }
        if !stands {
            self.forget_above_first();
        }
        let upto = if stands { level } else { 0 };
        self.fill(upto);
        stands
    }

    fn forget_above_first(&mut self) {
        for (number, fragment) in self.cut.fragments.iter().enumerate() {
            if fragment.level > 0 {
                self.answers[number].clear();
            }
        }
        self.scopes.fill(None);
        self.givens.fill(None);
        self.held.free();
    }

    /// Lets the coordinator's plans read the answers up to a level of the shards that are in the query.
    fn fill(&mut self, upto: usize) {
        for (number, fragment) in self.cut.fragments.iter().enumerate() {
            if fragment.level <= upto {
                let of = |shard: usize| match self.left_out.contains_key(&shard) {
                    true => Vec::new(),
                    false => self.answers[number].get(&shard).map(|answer| answer.batches.clone()).unwrap_or_default(),
                };
                fragment.slot.fill((0..self.shards).map(of).collect());
            }
        }
    }

    /// The coordinator's part, ready to be run: everything that it reads is there.
    pub(super) async fn root(&mut self) -> Result<Arc<dyn ExecutionPlan>> {
        let root = Arc::clone(&self.cut.root);
        self.prepare(&root).await?;
        Ok(root)
    }

    /// Computes the scalar subqueries that a plan reads.
    async fn prepare(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
        for scope in self.cut.scopes_of(plan)? {
            self.scope(scope).await?;
        }
        Ok(())
    }

    /// The values of a scope's subqueries, encoded.
    fn scope(&mut self, number: usize) -> BoxFuture<'_, Result<Vec<Vec<u8>>>> {
        Box::pin(async move {
            if let Some(values) = &self.scopes[number] {
                return Ok(values.clone());
            }
            let cut = Arc::clone(&self.cut);
            let scope = &cut.scopes[number];
            scope.results.clear();
            let mut values = Vec::new();
            for (index, plan) in scope.subqueries.iter().enumerate() {
                self.prepare(plan).await?;
                let value = scalar(plan, &self.context).await?;
                scope.results.set(SubqueryIndex::new(index), value.clone())?;
                values.push(value);
            }
            let values = codec::encode_scalars(&values)?;
            self.scopes[number] = Some(values.clone());
            Ok(values)
        })
    }

    async fn given(&mut self, number: usize) -> Result<Arc<Given>> {
        if let Some(given) = &self.givens[number] {
            return Ok(Arc::clone(given));
        }
        let plan = Arc::clone(&self.cut.givens[number]);
        self.prepare(&plan).await?;
        let mut stream = execute_stream(reset_plan_states(Arc::clone(&plan))?, Arc::clone(&self.context))?;
        let mut batches = Vec::new();
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            self.held.try_grow(datafusion::physical_plan::spill::get_record_batch_memory_size(&batch))?;
            batches.push(batch);
        }
        let stream = encode(&plan.schema(), &batches)?;
        let given = Arc::new(Given { number, stream });
        self.givens[number] = Some(Arc::clone(&given));
        Ok(given)
    }
}

/// The value of a scalar subquery: NULL if it has no row.
async fn scalar(plan: &Arc<dyn ExecutionPlan>, context: &Arc<TaskContext>) -> Result<ScalarValue> {
    let mut stream = execute_stream(reset_plan_states(Arc::clone(plan))?, Arc::clone(context))?;
    let mut value = None;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        match (batch.num_rows(), &value) {
            (0, _) => {}
            (1, None) => value = Some(ScalarValue::try_from_array(batch.column(0), 0)?),
            _ => return exec_err!("Scalar subquery returned more than one row"),
        }
    }
    match value {
        Some(value) => Ok(value),
        None => ScalarValue::try_from(plan.schema().field(0).data_type())
            .map_err(|error: DataFusionError| error.context("a scalar subquery without a row")),
    }
}
