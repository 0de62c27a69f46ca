//! A violation as a picture: the operations around it, one row for each process, and how far they could be put into an
//! order.
//!
//! Time is drawn as the sequence of calls, returns and effects, each in a column of its own, so that what overlaps can be
//! seen however fast it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::bars::{Bar, Ended};
use super::paint::{Escaped, WRONG};
use crate::findings::{Anomaly, PartialOrder};

/// So many operations of an order are drawn before its end.
const SHOWN: usize = 24;
const COLUMN: usize = 38;
const ROW: usize = 40;
const LEFT: usize = 84;
const TOP: usize = 34;

/// What happens in a column.
#[derive(Clone, Copy)]
enum Column {
    Call(usize),
    Return(usize),
    Effect(usize),
}

/// Draws one of an anomaly's orders; `None` for the operations alone.
pub(super) fn draw(bars: &[Bar<'_>], anomaly: &Anomaly, order: Option<&PartialOrder>) -> String {
    Picture::new(bars, anomaly, order).svg()
}

struct Picture<'a> {
    bars: Vec<Bar<'a>>,
    wrong: BTreeSet<usize>,
    /// The calls whose effects are drawn, each with the state after it.
    effects: Vec<(usize, &'a str)>,
    /// So many effects came before those.
    earlier: usize,
    columns: Vec<Column>,
}

impl<'a> Picture<'a> {
    fn new(bars: &[Bar<'a>], anomaly: &Anomaly, order: Option<&'a PartialOrder>) -> Self {
        let all: Vec<(usize, &str)> = order.map_or_else(Vec::new, |order| {
            order.calls.iter().copied().zip(order.states.iter().map(String::as_str)).collect()
        });
        let earlier = all.len().saturating_sub(SHOWN);
        // The column of an effect follows the last call that came before it in the order.
        let mut latest = 0;
        let mut after: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (call, _) in &all {
            latest = latest.max(*call);
            after.entry(latest).or_default().push(*call);
        }
        let effects = all[earlier..].to_vec();
        let drawn: BTreeSet<usize> = effects.iter().map(|(call, _)| *call).collect();
        let wrong: BTreeSet<usize> = anomaly.unplaced.iter().copied().filter(|call| !drawn.contains(call)).collect();
        let bars: Vec<Bar<'_>> =
            bars.iter().filter(|bar| drawn.contains(&bar.nth) || wrong.contains(&bar.nth)).copied().collect();

        let mut moments: BTreeMap<usize, Column> = BTreeMap::new();
        for bar in &bars {
            moments.insert(bar.nth, Column::Call(bar.nth));
            if let Some(at) = bar.returned.filter(|_| bar.ended() != Ended::Info) {
                moments.insert(at, Column::Return(bar.nth));
            }
        }
        // An effect may follow the call of an operation that is not drawn.
        let places: BTreeSet<usize> = moments.keys().chain(after.keys()).copied().collect();
        let mut columns = Vec::new();
        for place in places {
            columns.extend(moments.get(&place));
            let effects = after.get(&place).into_iter().flatten().filter(|call| drawn.contains(call));
            columns.extend(effects.map(|call| Column::Effect(*call)));
        }
        Picture { bars, wrong, effects, earlier, columns }
    }

    fn svg(&self) -> String {
        let rows: BTreeSet<u64> = self.bars.iter().map(|bar| bar.call.process).collect();
        let rows: BTreeMap<u64, usize> = rows.into_iter().zip(0..).collect();
        let place = |wanted: fn(Column) -> Option<usize>| -> BTreeMap<usize, usize> {
            let columns = self.columns.iter().zip(0..);
            columns.filter_map(|(column, nth)| Some((wanted(*column)?, LEFT + nth * COLUMN + COLUMN / 2))).collect()
        };
        let calls = place(|column| if let Column::Call(call) = column { Some(call) } else { None });
        let returns = place(|column| if let Column::Return(call) = column { Some(call) } else { None });
        let effects = place(|column| if let Column::Effect(call) = column { Some(call) } else { None });
        let right = LEFT + self.columns.len().max(1) * COLUMN;
        let middle = |bar: &Bar<'_>| TOP + rows[&bar.call.process] * ROW + ROW / 2;
        let (width, height) = (right + 90, TOP + rows.len().max(1) * ROW + 30);

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\" role=\"img\">\n"
        );
        // Writing to a string cannot fail, here and below.
        for (process, row) in &rows {
            let y = TOP + row * ROW;
            let _ = writeln!(
                svg,
                "<line x1=\"0\" y1=\"{y}\" x2=\"{width}\" y2=\"{y}\" stroke=\"#e4e7ea\"/><text x=\"8\" y=\"{}\" \
                 fill=\"#667\">process {process}</text>",
                y + ROW / 2 + 4
            );
        }
        for bar in &self.bars {
            let end = returns.get(&bar.nth).copied();
            self.bar(&mut svg, bar, (calls[&bar.nth], end.unwrap_or(right + 60)), middle(bar));
        }
        let rows_of: BTreeMap<usize, usize> = self.bars.iter().map(|bar| (bar.nth, middle(bar))).collect();
        let points: Vec<(usize, usize)> =
            self.effects.iter().filter_map(|(call, _)| Some((*effects.get(call)?, *rows_of.get(call)?))).collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x},{y}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#222\" stroke-width=\"1.5\" stroke-opacity=\"0.55\"/>",
            path.join(" ")
        );
        for (nth, ((x, y), (_, state))) in points.iter().zip(&self.effects).enumerate() {
            let number = self.earlier + nth + 1;
            let shown = tail(state, 6);
            let _ = writeln!(
                svg,
                "<circle cx=\"{x}\" cy=\"{y}\" r=\"4\" fill=\"#222\"><title>{number}: holds {}</title></circle>\
                 <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" font-size=\"10\" fill=\"#222\">{}</text>\
                 <text x=\"{x}\" y=\"14\" text-anchor=\"middle\" fill=\"#889\" font-size=\"10\">{number}</text>",
                Escaped(state),
                TOP - 6,
                Escaped(&shown),
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// An operation from its call to its return, or off the edge if there is none.
    fn bar(&self, svg: &mut String, bar: &Bar<'_>, (from, to): (usize, usize), middle: usize) {
        let (asked, answered) = (bar.asked(), bar.answered());
        let arrow = if answered.is_empty() { "" } else { " → " };
        let is_wrong = self.wrong.contains(&bar.nth);
        let (stroke, dash) = match (is_wrong, bar.ended()) {
            (true, ended) => (WRONG, if ended == Ended::Info { " stroke-dasharray=\"4 3\"" } else { "" }),
            (false, Ended::Info) => (Ended::Info.colour(), " stroke-dasharray=\"4 3\""),
            (false, ended) => (ended.colour(), ""),
        };
        let x = from.saturating_sub(COLUMN / 2 - 2);
        let wide = (to + COLUMN / 2 - 2).saturating_sub(x);
        let _ = writeln!(
            svg,
            "<g class=\"{}\"><rect x=\"{x}\" y=\"{}\" width=\"{wide}\" height=\"28\" rx=\"5\" fill=\"{stroke}\" \
             fill-opacity=\"{}\" stroke=\"{stroke}\" stroke-width=\"{}\"{dash}><title>{}</title></rect>\
             <text x=\"{}\" y=\"{}\" fill=\"#222\">{}</text></g>",
            if is_wrong { "wrong" } else { bar.ended().name() },
            middle - 14,
            if is_wrong { "0.22" } else { "0.14" },
            if is_wrong { "2" } else { "1" },
            Escaped(&super::timeline::describe(bar)),
            x + 5,
            middle - 4,
            Escaped(&head(&format!("{asked}{arrow}{answered}"), wide.saturating_sub(8) / 6)),
        );
    }
}

/// The beginning of a text, in so many characters.
fn head(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// The end of a text, in so many characters: of a string that is appended to it says the most.
fn tail(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    std::iter::once('…').chain(text.chars().skip(count + 1 - most)).collect()
}
