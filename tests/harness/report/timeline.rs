//! The page of all operations: rows of processes, bars of operations, the faults behind them. It opens at the first
//! anomaly.
//!
//! The bars are drawn on a canvas by a script within the page, so that tens of thousands of them can be moved and
//! enlarged at once; the anomaly itself is a picture that needs no script.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::bars::Bar;
use super::page::Page;
use super::paint::{Escaped, fault_colours, script_json};
use super::plots::last_moment;
use super::{anomaly, page};
use crate::findings::{Anomaly, Findings};
use crate::run::Run;

const SCRIPT: &str = include_str!("timeline.js");
const STYLE: &str = include_str!("timeline.css");

pub(super) fn page(run: &Run, bars: &[Bar<'_>], findings: &Findings) -> String {
    let mut body = String::new();
    if let Some((check, found)) = findings.anomaly() {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(
            body,
            "<h2 id=\"anomaly\">The first anomaly</h2>\n<p class=\"lead\">{}. A line leads through an order that explains \
             the answers up to its end; the state after each operation stands on top; what is red has no place in it.</p>",
            Escaped(&check.reason)
        );
        orders(&mut body, bars, found);
    }
    let _ = writeln!(
        body,
        "<h2>The run</h2>\n<div class=\"tools\"><button id=\"whole\">whole run</button>\
         <button id=\"first\">first anomaly</button><button id=\"closer\">closer</button>\
         <button id=\"wider\">wider</button><label>key <input id=\"key\" list=\"keys\" placeholder=\"all\"></label>\
         <datalist id=\"keys\"></datalist><span class=\"legend\" id=\"legend\"></span></div>\n\
         <canvas id=\"overview\" height=\"46\"></canvas>\n\
         <div id=\"stage\"><canvas id=\"bars\" tabindex=\"0\"></canvas><div id=\"tip\" hidden></div></div>\n\
         <p class=\"lead\">Drag to move, turn the wheel to enlarge, with Shift to scroll; click on an operation to keep its \
         description. Without scripts there is nothing here but <a href=\"history.jsonl\">the history</a>.</p>\n\
         <pre id=\"kept\" hidden></pre>\n\
         <script type=\"application/json\" id=\"run\">{}</script>\n<script>\n{SCRIPT}</script>",
        script_json(&data(run, bars, findings))
    );
    let links = "<a href=\"index.html\">report</a>";
    let style = STYLE.to_owned() + &orders_style(findings);
    page::page(run, findings, &Page { title: "timeline", links, style: &style, body: &body })
}

/// The rule by which only the picture of the order that was chosen is seen.
fn orders_style(findings: &Findings) -> String {
    let orders = findings.anomaly().map_or(0, |(_, found)| found.orders.len());
    let shown = (0..orders).map(|nth| format!("#order{nth}:checked ~ #picture{nth} {{ display: block; }}\n"));
    // Weaker than the rules above it: those name an element.
    shown.chain([".orders .scroll { display: none; }\n".to_owned()]).collect()
}

/// The orders of an anomaly, of which one is seen at a time.
fn orders(body: &mut String, bars: &[Bar<'_>], found: &Anomaly) {
    if found.orders.len() < 2 {
        let picture = anomaly::draw(bars, found, found.orders.first());
        let _ = writeln!(body, "<div class=\"scroll end\">{picture}</div>");
        return;
    }
    body.push_str("<div class=\"orders\">\n");
    for (nth, order) in found.orders.iter().enumerate() {
        let checked = if nth == 0 { " checked" } else { "" };
        let which = if nth == 0 { "longest: " } else { "" };
        let _ = writeln!(
            body,
            "<input type=\"radio\" name=\"order\" id=\"order{nth}\"{checked}><label for=\"order{nth}\">{which}{} \
             operations</label>",
            order.calls.len()
        );
    }
    for (nth, order) in found.orders.iter().enumerate() {
        let picture = anomaly::draw(bars, found, Some(order));
        let _ = writeln!(body, "<div class=\"scroll end\" id=\"picture{nth}\">{picture}</div>");
    }
    body.push_str("</div>\n");
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

/// A row for each process. One that calls nothing more leaves its row to one that has not called yet: a client takes a
/// new number after each operation of which it does not know the end, and there would be a row for each otherwise.
fn rows(bars: &[Bar<'_>]) -> BTreeMap<u64, usize> {
    let mut last: BTreeMap<u64, usize> = BTreeMap::new();
    bars.iter().for_each(|bar| *last.entry(bar.call.process).or_default() = bar.nth.max(bar.returned.unwrap_or(0)));
    let mut rows: BTreeMap<u64, usize> = BTreeMap::new();
    // When each row is free.
    let mut free: Vec<usize> = Vec::new();
    for bar in bars {
        rows.entry(bar.call.process).or_insert_with(|| {
            let row = free.iter().position(|free| *free < bar.nth).unwrap_or(free.len());
            free.resize(free.len().max(row + 1), 0);
            free[row] = last[&bar.call.process];
            row
        });
    }
    rows
}

/// All that the script draws. Times are microseconds.
fn data(run: &Run, bars: &[Bar<'_>], findings: &Findings) -> Value {
    let rows = rows(bars);
    let mut keys: Vec<String> = Vec::new();
    let mut key_numbers: BTreeMap<String, usize> = BTreeMap::new();
    let mut key_of = |bar: &Bar<'_>| {
        let key = bar.call.key.as_str().map_or_else(|| bar.call.key.to_string(), str::to_owned);
        *key_numbers.entry(key.clone()).or_insert_with(|| {
            keys.push(key);
            keys.len() - 1
        })
    };
    let number: BTreeMap<usize, usize> = bars.iter().map(|bar| bar.nth).zip(0..).collect();
    let operations: Vec<Value> = bars
        .iter()
        .map(|bar| {
            let end = bar.end.map(|end| micros(end.time));
            let row = rows[&bar.call.process];
            let (called, ended, key) = (micros(bar.call.time), bar.ended() as usize, key_of(bar));
            json!([row, bar.call.process, called, end, ended, key, bar.asked(), bar.answered(), describe(bar)])
        })
        .collect();
    let numbers =
        |calls: &[usize]| -> Vec<usize> { calls.iter().filter_map(|call| number.get(call).copied()).collect() };
    let found = findings.anomaly().map(|(_, found)| {
        let order = found.orders.first().map(|order| numbers(&order.calls)).unwrap_or_default();
        json!({ "unplaced": numbers(&found.unplaced), "order": order })
    });
    let colours = fault_colours(&run.faults);
    let faults: Vec<Value> = run
        .faults
        .iter()
        .map(|fault| {
            let colour = colours.get(fault.kind.as_str()).map(ToString::to_string);
            json!([fault.kind, fault.targets.join(", "), micros(fault.from), fault.to.map(micros), colour])
        })
        .collect();
    json!({
        "length": micros(last_moment(run)),
        "rows": rows.values().max().map_or(0, |last| last + 1),
        "keys": keys,
        "outcomes": super::bars::Ended::ALL.map(|ended| [ended.name().to_owned(), ended.colour().to_string()]),
        "operations": operations,
        "faults": faults,
        "anomaly": found,
    })
}

/// All that is known of an operation, for a person.
pub(super) fn describe(bar: &Bar<'_>) -> String {
    let seconds = |time: Duration| format!("{:.6} s", time.as_secs_f64());
    let mut text = format!("process {}: {} {}", bar.call.process, bar.call.f, bar.call.value);
    if !bar.call.key.is_null() {
        let _ = write!(text, "\nkey {}", bar.call.key);
    }
    let _ = write!(text, "\ncalled {} (event {})", seconds(bar.call.time), bar.nth);
    if let (Some(end), Some(returned)) = (bar.end, bar.returned) {
        let _ = write!(text, "\n{} {} (event {returned}): {}", bar.ended().name(), seconds(end.time), end.value);
        if let Some(error) = &end.error {
            let _ = write!(text, "\nerror {error}");
        }
    } else {
        text.push_str("\nnever returned");
    }
    if let Some(node) = bar.node() {
        let _ = write!(text, "\nnode {node}");
    }
    text
}
