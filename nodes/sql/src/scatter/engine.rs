//! The coordinator of queries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

use super::answer::{Answer, Query};
use super::ask::{Answered, Refusal, ask};
use super::catalogue::{Catalogue, Opened, weigh};
use super::course::Course;
use super::executor::{Executor, LocalExecutor};
use super::frame::Request;
use super::runtime::QueryRuntime;
use super::shard::{Opening, Shard};
use crate::data::ShardError;
use crate::error::{Failed, QueryError, Reason};
use crate::json;
use crate::plan::Planner;
use crate::plan::explain::explain;
use crate::plan::planner::Planned;
use crate::plan::statement::{Explain, Reading, parse, reading};

/// All shards are waited for to plan, but for this part of their time only.
const HASTE: u32 = 5;

/// How an engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Threads that compute.
    pub threads: usize,
    /// Bytes that all queries together may hold.
    pub memory_bytes: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        EngineOptions { threads, memory_bytes: 512 * 1024 * 1024 }
    }
}

/// Carries queries out over shards.
pub struct Engine {
    shards: Vec<Arc<Shard>>,
    runtime: Arc<QueryRuntime>,
    planner: Planner,
    executor: Arc<dyn Executor>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("shards", &self.shards).finish_non_exhaustive()
    }
}

/// A query whose shards have answered.
enum Gathered {
    /// About a table that no shard knows.
    Unknown(Answer),
    Planned {
        planned: Arc<Planned>,
        course: Option<Course>,
        explained: Option<Explain>,
        warnings: Vec<String>,
    },
}

impl Engine {
    /// An engine over `shards`, whose parts are run in this process.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn new(shards: Vec<Shard>, options: EngineOptions) -> std::io::Result<Self> {
        let runtime = Arc::new(QueryRuntime::new(options.threads, options.memory_bytes)?);
        let planner = Planner::new(shards.len(), Arc::clone(runtime.environment()));
        let executor = Arc::new(LocalExecutor::new(planner.task_context()));
        Ok(Engine { shards: shards.into_iter().map(Arc::new).collect(), runtime, planner, executor })
    }

    /// The same with another way to have the shards' parts run.
    pub fn executing(mut self, wrap: impl FnOnce(Arc<dyn Executor>) -> Arc<dyn Executor>) -> Self {
        self.executor = wrap(self.executor);
        self
    }

    /// The shards, in order.
    pub fn shards(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    /// Where queries compute.
    pub fn runtime(&self) -> &Arc<QueryRuntime> {
        &self.runtime
    }

    /// What plans queries.
    pub fn planner(&self) -> &Planner {
        &self.planner
    }

    /// Carries a query out and writes its rows down.
    ///
    /// # Errors
    /// [`QueryError`] when there is no answer, not even a partial one.
    pub async fn query(&self, query: Query) -> Result<Answer, QueryError> {
        let deadline = query.deadline;
        match self.gather(query).await? {
            Gathered::Unknown(answer) => Ok(answer),
            Gathered::Planned { planned, course, explained, warnings } => {
                let mut answer = self.finish(planned, course, explained, deadline).await?;
                answer.warnings.extend(warnings);
                Ok(answer)
            }
        }
    }

    /// The rows of a query as batches: of all shards, or none.
    ///
    /// # Errors
    /// [`QueryError`]; [`QueryError::NobodyAnswered`] when any shard has not answered.
    pub async fn batches(&self, query: Query) -> Result<Vec<RecordBatch>, QueryError> {
        let deadline = query.deadline;
        let failed = match self.gather(query).await? {
            Gathered::Unknown(answer) => match answer.warnings.into_iter().next() {
                Some(unknown) if answer.failed.is_empty() => return Err(QueryError::wrong(unknown)),
                _ => answer.failed,
            },
            Gathered::Planned { course: Some(course), explained: None, .. } if course.left_out().is_empty() => {
                return self.collect(course, deadline).await;
            }
            Gathered::Planned { course: Some(course), .. } => self.failed(course.left_out()),
            Gathered::Planned { course: None, .. } => Vec::new(),
        };
        match failed.is_empty() {
            true => Err(QueryError::wrong("an explanation has no rows")),
            false => Err(QueryError::NobodyAnswered(failed)),
        }
    }

    async fn gather(&self, query: Query) -> Result<Gathered, QueryError> {
        let begun = Instant::now();
        let within = begun.checked_add(query.timeout).map_or(query.deadline, |end| end.min(query.deadline));
        let (planner, sql) = (self.planner.clone(), query.sql.clone());
        let (reading, tables) = self
            .compute(query.deadline, async move {
                let reading = reading(parse(&sql, planner.state())?)?;
                let tables = planner.tables(&reading.statement)?;
                Ok((reading, tables))
            })
            .await?;
        let Reading { statement, explain: explained } = reading;
        let mut opened = Opened::default();
        let mut catalogue = Catalogue::default();
        if !tables.is_empty() {
            opened = Opened::ask(&self.shards, query.consistency, within);
            opened.enough(&tables, &self.shards, begun + within.saturating_duration_since(begun) / HASTE).await;
            catalogue = self.catalogue(&opened, &tables, within).await?;
            if !catalogue.unknown.is_empty() {
                return Ok(Gathered::Unknown(self.unknown(&opened, &catalogue)));
            }
        }
        let Catalogue { known, warnings, .. } = catalogue;
        let (planner, params) = (self.planner.clone(), query.params);
        let planned = self.compute(query.deadline, async move { planner.plan(statement, params, &known).await });
        let planned = Arc::new(planned.await?);
        let course = match explained {
            Some(Explain { analyze: false }) => None,
            _ => Some(self.scatter(&planned, &opened.openings, begun, within, query.deadline).await?),
        };
        Ok(Gathered::Planned { planned, course, explained, warnings })
    }

    /// Runs the coordinator's part and keeps its rows.
    async fn collect(&self, mut course: Course, deadline: Instant) -> Result<Vec<RecordBatch>, QueryError> {
        let context = self.planner.task_context();
        let collected = async move {
            let root = course.root().await?;
            let held = MemoryConsumer::new("rows to be written").register(context.memory_pool());
            let mut stream = execute_stream(root, context)?;
            let mut batches = Vec::new();
            while let Some(batch) = stream.next().await {
                let batch = batch?;
                held.try_grow(get_record_batch_memory_size(&batch))?;
                batches.push(batch);
            }
            Ok(batches)
        };
        self.compute(deadline, collected).await
    }

    /// Runs work on the queries' own threads.
    async fn compute<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Result<T, QueryError>> + Send + 'static,
    ) -> Result<T, QueryError> {
        match timeout_at(deadline, self.runtime.spawn(work)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Err(QueryError::Internal(format!("a query's task has failed: {error}"))),
            Err(_) => Err(QueryError::TooLate),
        }
    }

    /// What is known of `tables`.
    async fn catalogue(&self, opened: &Opened, tables: &[String], within: Instant) -> Result<Catalogue, QueryError> {
        let views: Vec<_> = opened.views().cloned().collect();
        if views.is_empty() {
            return Err(QueryError::NobodyAnswered(self.failed(&opened.failed())));
        }
        let mut catalogue = opened.catalogue(tables, &self.shards);
        // The planner weighs the sides of joins; a single table needs no weighing.
        if catalogue.known.len() > 1 {
            let (known, shards) = (catalogue.known.clone(), self.shards.len());
            match self.compute(within, async move { Ok(weigh(known, &views, shards)) }).await {
                Ok(known) => catalogue.known = known,
                Err(QueryError::TooLate) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(catalogue)
    }

    /// The answer about tables that no shard knows.
    fn unknown(&self, opened: &Opened, catalogue: &Catalogue) -> Answer {
        let unknown = catalogue.unknown.iter().map(|table| format!("no shard knows a table {table:?}"));
        Answer {
            rows: "[]".to_owned(),
            row_count: 0,
            schema: Arc::new(Schema::empty()),
            shards_total: self.shards.len(),
            failed: self.failed(&opened.failed()),
            warnings: unknown.collect(),
            travelled: Vec::new(),
        }
    }

    /// Has the fragments answered, level by level. Each level has its share of the time; when a shard is lost above the
    /// first, the others get the time once more.
    async fn scatter(
        &self,
        planned: &Arc<Planned>,
        openings: &[Opening],
        begun: Instant,
        within: Instant,
        deadline: Instant,
    ) -> Result<Course, QueryError> {
        let levels = planned.cut.levels();
        let cut = Arc::clone(&planned.cut);
        let mut course = Course::new(cut, self.shards.len(), self.planner.task_context());
        let time = within.saturating_duration_since(begun);
        let share = |level: usize, from: Instant, span: Duration| {
            from + span.mul_f64((level + 1) as f64 / levels.max(1) as f64)
        };
        let (mut level, mut from) = (0, begun);
        while level < levels {
            let asked = course.asked();
            if asked.is_empty() {
                break;
            }
            let (requests, returned) = self.requests(course, level, deadline).await?;
            course = returned;
            let by = share(level, from, time).min(deadline);
            let outcomes = self.ask_all(&asked, openings, &requests, by).await?;
            if course.answered(level, &requests, outcomes) {
                level += 1;
            } else if from == begun {
                (level, from) = (1, Instant::now());
            } else if Instant::now() >= share(levels, from, time).min(deadline) {
                return Err(QueryError::TooLate);
            } else {
                level = 1;
            }
        }
        if levels > 0 {
            for (number, shard) in self.shards.iter().enumerate() {
                shard.suspect(course.left_out().contains_key(&number));
            }
            if course.asked().is_empty() {
                return Err(QueryError::NobodyAnswered(self.failed(course.left_out())));
            }
        }
        Ok(course)
    }

    async fn requests(
        &self,
        mut course: Course,
        level: usize,
        deadline: Instant,
    ) -> Result<(Vec<Arc<Request>>, Course), QueryError> {
        let prepared = async move {
            let requests = course.requests(level).await?;
            Ok((requests, course))
        };
        self.compute(deadline, prepared).await
    }

    /// Asks the shards at once. Ends early when there can be no answer at all.
    async fn ask_all(
        &self,
        asked: &[usize],
        openings: &[Opening],
        requests: &[Arc<Request>],
        by: Instant,
    ) -> Result<Vec<(usize, Result<Vec<Answered>, ShardError>)>, QueryError> {
        let ask = |shard: &usize| {
            let (number, opening) = (*shard, openings[*shard].clone());
            async move {
                let shard = &self.shards[number];
                (number, ask(shard, opening, requests, &self.executor, &self.runtime, by).await)
            }
        };
        let mut asking: FuturesUnordered<_> = asked.iter().map(ask).collect();
        let mut outcomes = Vec::with_capacity(asked.len());
        while let Some((number, outcome)) = asking.next().await {
            match outcome {
                Ok(answers) => outcomes.push((number, Ok(answers))),
                Err(Refusal::Shard(error)) => outcomes.push((number, Err(error))),
                Err(Refusal::Query(error)) => return Err(error),
            }
        }
        Ok(outcomes)
    }

    /// Runs the coordinator's part and writes the rows down.
    async fn finish(
        &self,
        planned: Arc<Planned>,
        course: Option<Course>,
        explained: Option<Explain>,
        deadline: Instant,
    ) -> Result<Answer, QueryError> {
        let context = self.planner.task_context();
        let (total, nobody) = (self.shards.len(), BTreeMap::new());
        let failed = self.failed(course.as_ref().map_or(&nobody, Course::left_out));
        let travelled = course.as_ref().map(Course::travelled).unwrap_or_default();
        let counted = travelled.clone();
        let written = self.compute(deadline, async move {
            let rows = match course {
                Some(mut course) => {
                    let root: Arc<dyn ExecutionPlan> = course.root().await?;
                    let mut rows = json::Rows::new(&root.schema(), context.memory_pool())?;
                    let mut stream = execute_stream(root, context)?;
                    while let Some(batch) = stream.next().await {
                        rows.push(&batch?)?;
                    }
                    rows
                }
                None => json::Rows::new(&planned.cut.root.schema(), context.memory_pool())?,
            };
            let Some(Explain { analyze }) = explained else { return Ok(rows.finish()?) };
            let explanation = explain(&planned, analyze.then_some(counted.as_slice()));
            Ok(json::explanation(&explanation))
        });
        let json::Written { rows, row_count, schema } = written.await?;
        Ok(Answer { rows, row_count, schema, shards_total: total, failed, warnings: Vec::new(), travelled })
    }

    fn failed(&self, failed: &BTreeMap<usize, ShardError>) -> Vec<Failed> {
        let failed = failed.iter().map(|(shard, error)| Failed {
            shard: self.shards[*shard].name().to_owned(),
            reason: Reason::from(error),
            text: error.to_string(),
        });
        failed.collect()
    }
}
