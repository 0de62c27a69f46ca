//! Values as JSON: none loses anything.

use crate::memory::MemoryShard;
use crate::support::{ask, engine};

async fn rows(sql: &str) -> String {
    ask(&engine(&[MemoryShard::new([])]), sql).await.unwrap_or_else(|error| panic!("{sql}: {error}")).rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_type_has_its_form() {
    let table = [
        ("NULL", "null"),
        ("true", "true"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("CAST(18446744073709551615 AS BIGINT UNSIGNED)", "18446744073709551615"),
        ("9007199254740993", "9007199254740993"),
        ("0.1", "0.1"),
        ("2.0", "2.0"),
        ("CAST(0.1 AS REAL)", "0.1"),
        ("1e300", "1e300"),
        ("-0.0", "-0.0"),
        ("CAST('NaN' AS DOUBLE)", r#""NaN""#),
        ("CAST('Infinity' AS DOUBLE)", r#""Infinity""#),
        ("CAST('-inf' AS DOUBLE)", r#""-Infinity""#),
        ("CAST('12.50' AS DECIMAL(10, 2))", r#""12.50""#),
        (
            "CAST('12345678901234567890123456789.123456789' AS DECIMAL(38, 9))",
            r#""12345678901234567890123456789.123456789""#,
        ),
        (r#"'say "hi"\'"#, r#""say \"hi\"\\""#),
        ("'Zürich 山'", r#""Zürich 山""#),
        ("X'00ff10'", r#""00ff10""#),
        ("DATE '2026-11-21'", r#""2026-11-21""#),
        ("TIMESTAMP '2026-11-21 13:31:07.000250'", r#""2026-11-21T13:31:07.000250""#),
        ("TIMESTAMP '2026-11-21 13:31:07'", r#""2026-11-21T13:31:07""#),
        ("make_array(1, NULL, 3)", "[1,null,3]"),
        ("make_array(make_array('a'), make_array())", r#"[["a"],[]]"#),
        ("named_struct('a', 1, 'b', make_array(true))", r#"{"a":1,"b":[true]}"#),
        ("map(make_array('k'), make_array(2.5))", r#"[{"key":"k","value":2.5}]"#),
        ("arrow_cast('x', 'Dictionary(Int32, Utf8)')", r#""x""#),
        (
            "arrow_cast(TIMESTAMP '2026-11-21 13:31:07', 'Timestamp(Second, Some(\"+00:00\"))')",
            r#""2026-11-21T13:31:07Z""#,
        ),
        ("TIME '13:31:07'", r#""13:31:07""#),
    ];
    for (sql, json) in table {
        assert_eq!(rows(&format!("SELECT {sql} AS v")).await, format!(r#"[{{"v":{json}}}]"#), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_of_one_name_are_told_apart() {
    let sql = "SELECT * FROM (VALUES (1, 2)) AS a(id, id_2) JOIN (VALUES (1, 3)) AS b(id, x) ON a.id = b.id";
    assert_eq!(rows(sql).await, r#"[{"id":1,"id_2":2,"id_3":1,"x":3}]"#);
}
