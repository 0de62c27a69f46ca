//! Rows as texts, keys and arrays.

use std::sync::Arc;

use proptest::prelude::*;
use quorate_sql::declare::declared;
use quorate_sql::rows::{Cell, batch_of, decode, encode, row_at, row_key, shard_text};
use quorate_sql::schema::{ColumnType, TableId, TableSchema};

use datafusion::sql::sqlparser::ast::Statement;

use crate::shards::parse;

fn table(sql: &str) -> Result<TableSchema, String> {
    let Statement::CreateTable(create) = parse(sql) else { panic!("{sql} creates no table") };
    declared(&create, TableId("1".into()))
}

/// One column of each type, nullable, after a key of three.
fn every_type() -> TableSchema {
    table(
        "CREATE TABLE t (a TEXT, b BIGINT, c DOUBLE, d BOOLEAN, e SMALLINT, f INT, g REAL, h DECIMAL(38,9), i BYTEA, \
         j DATE, k TIMESTAMP, l VARCHAR(5), m DECIMAL(5), PRIMARY KEY (a, b, c))",
    )
    .expect("it is a table")
}

fn cell(kind: ColumnType) -> BoxedStrategy<Cell> {
    match kind {
        ColumnType::Boolean => any::<bool>().prop_map(Cell::Boolean).boxed(),
        ColumnType::Int16 => any::<i16>().prop_map(|n| Cell::Int(n.into())).boxed(),
        ColumnType::Int32 | ColumnType::Date => any::<i32>().prop_map(|n| Cell::Int(n.into())).boxed(),
        ColumnType::Int64 | ColumnType::Timestamp => any::<i64>().prop_map(Cell::Int).boxed(),
        ColumnType::Float32 => prop_oneof![prop::num::f32::ANY, Just(0.0), Just(-0.0)].prop_map(Cell::Float32).boxed(),
        ColumnType::Float64 => prop_oneof![prop::num::f64::ANY, Just(0.0), Just(-0.0)].prop_map(Cell::Float64).boxed(),
        ColumnType::Decimal { precision, .. } => {
            let limit = 10i128.pow(precision.into()) - 1;
            prop_oneof![(-limit..=limit), (-99i128..=99)].prop_map(Cell::Decimal).boxed()
        }
        ColumnType::Text { length_max } => {
            let text = prop::collection::vec(
                prop_oneof![any::<char>(), Just('\0'), Just('\u{1}'), Just('"'), Just('\\'), Just(','), Just('a')],
                0..length_max.unwrap_or(8) as usize,
            );
            text.prop_map(|chars| Cell::Text(chars.into_iter().collect())).boxed()
        }
        ColumnType::Binary => prop::collection::vec(any::<u8>(), 0..6).prop_map(Cell::Binary).boxed(),
    }
}

fn row(table: &TableSchema) -> BoxedStrategy<Vec<Cell>> {
    let cell = |column: &quorate_sql::schema::Column| match column.nullable {
        true => prop_oneof![4 => cell(column.kind), 1 => Just(Cell::Null)].boxed(),
        false => cell(column.kind),
    };
    table.columns.iter().map(cell).collect::<Vec<_>>().boxed()
}

/// The same, NaN too.
fn same(one: &[Cell], other: &[Cell]) -> bool {
    one.iter().zip(other).all(|pair| match pair {
        (Cell::Float32(a), Cell::Float32(b)) => a.is_nan() && b.is_nan() || a.to_bits() == b.to_bits(),
        (Cell::Float64(a), Cell::Float64(b)) => a.is_nan() && b.is_nan() || a.to_bits() == b.to_bits(),
        (a, b) => a == b,
    })
}

fn order(one: &Cell, other: &Cell) -> std::cmp::Ordering {
    match (one, other) {
        (Cell::Text(a), Cell::Text(b)) => a.cmp(b),
        (Cell::Int(a), Cell::Int(b)) => a.cmp(b),
        (Cell::Float64(a), Cell::Float64(b)) => match (a.is_nan(), b.is_nan()) {
            (false, false) => a.partial_cmp(b).expect("none is NaN"),
            (a, b) => a.cmp(&b),
        },
        _ => panic!("{one:?} and {other:?} in a key"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_row_reads_back_exactly_as_text_and_as_arrays(rows in prop::collection::vec(row(&every_type()), 1..8)) {
        let table = every_type();
        let texts: Vec<_> = rows.iter().map(|row| encode(&table, row)).collect();
        for text in &texts {
            prop_assert!(text.value().is_some(), "{text} is JSON");
        }
        let decoded = decode(&table, &table.arrow(), &texts).unwrap();
        let built = batch_of(&table, &rows).unwrap();
        for (nth, row) in rows.iter().enumerate() {
            for batch in [&decoded, &built] {
                let read = row_at(&table, batch, nth).unwrap();
                prop_assert!(same(&read, row), "{read:?} is not {row:?}");
            }
        }
    }

    #[test]
    fn keys_sort_as_the_primary_keys_do_and_equal_ones_have_one_shard(
        one in row(&every_type()), other in row(&every_type()), shared in 0..4usize,
    ) {
        let table = every_type();
        let mut other = other;
        other[..shared.min(3)].clone_from_slice(&one[..shared.min(3)]);
        let expected = (0..3).map(|nth| order(&one[nth], &other[nth])).find(|order| order.is_ne());
        let expected = expected.unwrap_or(std::cmp::Ordering::Equal);
        prop_assert_eq!(row_key(&table, &one).cmp(&row_key(&table, &other)), expected);
        if expected.is_eq() {
            prop_assert_eq!(shard_text(&table, &one), shard_text(&table, &other));
        }
    }
}

#[test]
fn the_text_of_a_primary_key_is_its_value_or_an_array_of_several() {
    let of = |sql: &str, row: &[Cell]| shard_text(&table(sql).unwrap(), row);
    assert_eq!(of("CREATE TABLE t (a INT PRIMARY KEY)", &[Cell::Int(-7)]), "-7");
    assert_eq!(of("CREATE TABLE t (a TEXT PRIMARY KEY)", &[Cell::Text("{x}\"".into())]), "{x}\"");
    assert_eq!(of("CREATE TABLE t (a DECIMAL(9,2) PRIMARY KEY)", &[Cell::Decimal(-5)]), "-0.05");
    let row = [Cell::Int(1), Cell::Text("x\"".into()), Cell::Boolean(true)];
    assert_eq!(of("CREATE TABLE t (a INT, b TEXT, c BOOLEAN, PRIMARY KEY (b, a, c))", &row), r#"["x\"",1,true]"#);
}

#[test]
fn a_declaration_says_what_is_wrong_with_it() {
    let wrong = [
        ("CREATE TABLE t (a INT)", "needs a PRIMARY KEY"),
        ("CREATE TABLE t (a INT PRIMARY KEY, a TEXT)", "column a is declared twice"),
        ("CREATE TABLE t (a INT PRIMARY KEY, b GEOMETRY)", "column b: the type GEOMETRY is not supported"),
        ("CREATE TABLE t (a INT, PRIMARY KEY (b))", "there is no column b"),
        ("CREATE TABLE t (a INT, PRIMARY KEY (a, a))", "named twice"),
        ("CREATE TABLE t (a INT PRIMARY KEY, b INT PRIMARY KEY)", "more than one PRIMARY KEY"),
        ("CREATE TABLE t (a INT PRIMARY KEY, b INT UNIQUE)", "not supported"),
        ("CREATE TABLE t (a INT PRIMARY KEY, b INT DEFAULT 1)", "not supported"),
        ("CREATE TABLE t (a INT PRIMARY KEY, b DECIMAL(39,2))", "at most 38 digits"),
        ("CREATE TABLE t (a INT PRIMARY KEY, b TIMESTAMP WITH TIME ZONE)", "not supported"),
        ("CREATE TABLE s.t (a INT PRIMARY KEY)", "one part"),
        ("CREATE TABLE t (a INT PRIMARY KEY, CHECK (a > 0))", "not supported"),
    ];
    for (sql, problem) in wrong {
        let error = table(sql).unwrap_err();
        assert!(error.contains(problem), "{sql}: {error}");
    }
    let declared = table("CREATE TABLE T (\"A\" INT PRIMARY KEY, B VARCHAR(3) NOT NULL, c NUMERIC(4,1))").unwrap();
    assert_eq!(&*declared.name, "t");
    let names: Vec<Arc<str>> = declared.columns.iter().map(|column| Arc::clone(&column.name)).collect();
    assert_eq!(names, ["A".into(), "b".into(), "c".into()]);
    assert_eq!(declared.columns.iter().map(|column| column.nullable).collect::<Vec<_>>(), [false, false, true]);
    let text = serde_json::to_string(&declared).unwrap();
    assert_eq!(serde_json::from_str::<TableSchema>(&text).unwrap(), declared);
}

#[test]
fn a_damaged_row_is_an_error() {
    let table = table("CREATE TABLE t (a INT PRIMARY KEY, b TEXT)").unwrap();
    for text in
        ["[1]", "[1,\"x\",2]", "[\"1\",\"x\"]", "{}", "[1,2]", "[null,\"x\"]", "[1,\"x\",]", "[,]", "[1.5,null]"]
    {
        let json = quorate_statemachines::kv::Json::made(text);
        assert!(decode(&table, &table.arrow(), [&json]).is_err(), "{text}");
    }
}
