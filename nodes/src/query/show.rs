//! What a coordinator said, for people.

use comfy_table::{Table, presets};
use serde_json::{Map, Value};

/// The rows as a table, or how many changed; and which shards have no part in it.
pub(super) fn answer(said: &Value) -> String {
    let rows: Vec<&Map<String, Value>> =
        said["results"].as_array().into_iter().flatten().filter_map(Value::as_object).collect();
    let mut lines = Vec::new();
    if let Some(first) = rows.first() {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header(first.keys());
        for row in &rows {
            table.add_row(row.values().map(cell));
        }
        lines.push(table.to_string());
    }
    let counted = match said["rows_affected"].as_u64() {
        Some(changed) => format!("{} changed", counted(changed)),
        None => counted(rows.len() as u64),
    };
    let (total, responded) = (&said["shards_total"], &said["shards_responded"]);
    lines.push(match total == responded {
        true => counted,
        false => format!("{counted}, of {responded} of {total} shards only"),
    });
    lines.extend(left_out(said));
    let warnings = said["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    lines.extend(warnings.map(|warning| format!("warning: {warning}")));
    lines.join("\n")
}

/// An error and what it tells of the shards.
pub(super) fn error(said: &Value) -> String {
    let mut lines = vec![said["text"].as_str().unwrap_or("an error without a text").to_owned()];
    lines.extend(left_out(said));
    let parts = said["shards"].as_array().into_iter().flatten();
    lines.extend(parts.map(|part| format!("{}: {}", plain(&part["shard"]), plain(&part["outcome"]))));
    lines.join("\n")
}

fn counted(rows: u64) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") }
}

fn left_out(said: &Value) -> Vec<String> {
    let failed = said["failed"].as_array().into_iter().flatten();
    let one = |failed: &Value| {
        format!("left out: {} ({}: {})", plain(&failed["shard"]), plain(&failed["reason"]), plain(&failed["text"]))
    };
    failed.map(one).collect()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        other => plain(other),
    }
}
