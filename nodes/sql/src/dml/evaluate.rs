//! Expressions of statements, worked out by DataFusion before anything is proposed: what is stored are values.
//!
//! Promises: now() is one moment in a whole statement; a value that is not of its column's type is refused, never bent.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, StringArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, Volatility};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::sqlparser::ast::{self, ExprWithAlias, UnaryOperator, Value};

use super::error::StatementError;
use crate::rows::{Cell, cell_at};
use crate::schema::{Column, ColumnType, TableSchema};

/// Works out the expressions of one statement.
#[derive(Clone, Debug)]
pub(super) struct Evaluator {
    state: Arc<SessionState>,
    params: Arc<[ScalarValue]>,
}

pub(super) fn invalid(error: &DataFusionError) -> StatementError {
    StatementError::Invalid(error.strip_backtrace())
}

/// What all statements' expressions may use.
pub(super) fn functions() -> SessionState {
    SessionStateBuilder::new_with_default_features().build()
}

impl Evaluator {
    /// For one statement: its moment is now.
    pub(super) fn new(functions: &SessionState, params: Vec<ScalarValue>) -> Self {
        let mut state = functions.clone();
        let options = Arc::clone(state.config_options());
        state.execution_props_mut().mark_start_execution(options);
        Evaluator { state: Arc::new(state), params: params.into() }
    }

    /// An expression over the rows of `schema`.
    pub(super) fn prepare(&self, expr: &ast::Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>, StatementError> {
        let logical = self.logical(expr, schema)?;
        let mut wrong = None;
        let looked = logical.exists(|part| {
            wrong = wrong.or(match part {
                Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => Some("a subquery"),
                Expr::AggregateFunction(_) => Some("an aggregate"),
                Expr::WindowFunction(_) => Some("a window function"),
                _ => None,
            });
            Ok(wrong.is_some())
        });
        looked.map_err(|error| invalid(&error))?;
        if let Some(wrong) = wrong {
            return Err(StatementError::Invalid(format!("{wrong} is not supported here")));
        }
        let simple = self.simplified(logical, schema).map_err(|error| invalid(&error))?;
        self.state.create_physical_expr(simple, schema).map_err(|error| invalid(&error))
    }

    /// With now() as the statement's moment, and whatever else is known by now.
    fn simplified(&self, logical: Expr, schema: &DFSchema) -> Result<Expr, DataFusionError> {
        let context = SimplifyContext::builder()
            .with_schema(Arc::new(schema.clone()))
            .with_config_options(Arc::clone(self.state.config_options()))
            .with_query_execution_start_time(self.state.execution_props().query_execution_start_time)
            .build();
        let simplifier = ExprSimplifier::new(context);
        simplifier.simplify(simplifier.coerce(logical, schema)?)
    }

    /// Whether an expression without columns gives the same whenever it is worked out.
    pub(super) fn is_repeatable(&self, expr: &ast::Expr) -> Result<bool, StatementError> {
        if matches!(expr, ast::Expr::Value(_)) {
            return Ok(true);
        }
        let changing = |part: &Expr| match part {
            Expr::ScalarFunction(call) => call.func.signature().volatility != Volatility::Immutable,
            _ => false,
        };
        let changes = self.logical(expr, &DFSchema::empty())?.exists(|part| Ok(changing(part)));
        changes.map(|changes| !changes).map_err(|error| invalid(&error))
    }

    fn logical(&self, expr: &ast::Expr, schema: &DFSchema) -> Result<Expr, StatementError> {
        let expr = ExprWithAlias { expr: expr.clone(), alias: None };
        let logical = self.state.create_logical_expr_from_sql_expr(expr, schema).map_err(|error| invalid(&error))?;
        self.with_params(logical)
    }

    fn with_params(&self, expr: Expr) -> Result<Expr, StatementError> {
        let replaced = expr.transform(|part| match &part {
            Expr::Placeholder(placeholder) => {
                let number = placeholder.id.trim_start_matches('$').parse::<usize>().ok();
                let value = number.and_then(|number| self.params.get(number.checked_sub(1)?));
                let missing = || DataFusionError::Plan(format!("there is no parameter {}", placeholder.id));
                let value = value.ok_or_else(missing)?;
                Ok(Transformed::yes(Expr::Literal(value.clone(), None)))
            }
            _ => Ok(Transformed::no(part)),
        });
        replaced.map(|replaced| replaced.data).map_err(|error| invalid(&error))
    }

    /// The cell of `column` that an expression without columns gives.
    pub(super) fn cell(&self, expr: &ast::Expr, column: &Column) -> Result<Cell, StatementError> {
        if let Some(cell) = literal(expr, column.kind) {
            return Ok(cell);
        }
        // Of a literal its own digits count, not those of a float that it is read as.
        let array: ArrayRef = match (number(expr), column.kind) {
            (Some(number), ColumnType::Decimal { .. }) => Arc::new(StringArray::from(vec![number])),
            _ => {
                let nothing = DFSchema::empty();
                let prepared = self.prepare(expr, &nothing)?;
                let options = RecordBatchOptions::new().with_row_count(Some(1));
                let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)
                    .map_err(|error| invalid(&error.into()))?;
                let value = prepared.evaluate(&row).map_err(|error| invalid(&error))?;
                value.into_array(1).map_err(|error| invalid(&error))?
            }
        };
        cell_at(&*fit(&array, column)?, 0, column.kind).ok_or_else(|| mismatch(array.data_type(), column))
    }
}

/// The schema that a table's rows have in expressions, under its own name or an alias.
pub(super) fn schema_of(table: &TableSchema, alias: &str) -> Result<DFSchema, StatementError> {
    DFSchema::try_from_qualified_schema(datafusion::common::TableReference::bare(alias), &table.arrow())
        .map_err(|error| invalid(&error))
}

/// What a column takes of what an expression gives.
pub(super) fn fit(array: &ArrayRef, column: &Column) -> Result<ArrayRef, StatementError> {
    let wanted = column.kind.arrow();
    if *array.data_type() == wanted {
        return Ok(Arc::clone(array));
    }
    if !assignable(array.data_type(), column.kind) {
        return Err(mismatch(array.data_type(), column));
    }
    let options = CastOptions { safe: false, ..Default::default() };
    cast_with_options(array, &wanted, &options)
        .map_err(|error| StatementError::Invalid(format!("column {}: {error}", column.name)))
}

fn mismatch(given: &DataType, column: &Column) -> StatementError {
    let wanted = column.kind.arrow();
    StatementError::Invalid(format!("column {} is of type {wanted}, not {given}", column.name))
}

/// Text is read as whatever is wanted; numbers and moments become others of their kind.
fn assignable(given: &DataType, wanted: ColumnType) -> bool {
    use ColumnType::{Binary, Boolean, Date, Decimal, Float32, Float64, Int16, Int32, Int64, Text, Timestamp};
    let is_text = matches!(given, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let is_bytes =
        matches!(given, DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_));
    match wanted {
        _ if given.is_null() => true,
        Boolean => *given == DataType::Boolean || is_text,
        Int16 | Int32 | Int64 | Float32 | Float64 | Decimal { .. } => given.is_numeric() || is_text,
        Text { .. } => is_text || given.is_numeric() || *given == DataType::Boolean || given.is_temporal(),
        Binary => is_bytes || is_text,
        Date | Timestamp => is_text || matches!(given, DataType::Date32 | DataType::Date64 | DataType::Timestamp(_, _)),
    }
}

/// The cell of a plain literal that is of the column's own type: most of what is inserted.
pub(super) fn literal(expr: &ast::Expr, kind: ColumnType) -> Option<Cell> {
    if let Some(number) = number(expr) {
        return match kind {
            ColumnType::Int16 => Some(Cell::Int(number.parse::<i16>().ok()?.into())),
            ColumnType::Int32 => Some(Cell::Int(number.parse::<i32>().ok()?.into())),
            ColumnType::Int64 => Some(Cell::Int(number.parse().ok()?)),
            ColumnType::Float32 => Some(Cell::Float32(number.parse().ok().filter(|number: &f32| number.is_finite())?)),
            ColumnType::Float64 => Some(Cell::Float64(number.parse().ok().filter(|number: &f64| number.is_finite())?)),
            _ => None,
        };
    }
    let ast::Expr::Value(value) = expr else { return None };
    match (&value.value, kind) {
        (Value::Null, _) => Some(Cell::Null),
        (Value::Boolean(value), ColumnType::Boolean) => Some(Cell::Boolean(*value)),
        (Value::SingleQuotedString(text), ColumnType::Text { .. }) => Some(Cell::Text(text.clone())),
        _ => None,
    }
}

/// The digits of a number, with its sign.
fn number(expr: &ast::Expr) -> Option<String> {
    match expr {
        ast::Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => Some(digits.to_string()),
            _ => None,
        },
        ast::Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            number(expr).filter(|digits| !digits.starts_with('-')).map(|digits| format!("-{digits}"))
        }
        _ => None,
    }
}
