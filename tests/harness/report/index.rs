//! The page that ties a report together: the verdict, why, what it looked like, and where the rest is.

use std::fmt::Write;
use std::time::Duration;

use super::bars::Bar;

use super::page::Page;
use super::paint::{Escaped, fault_colours};
use super::results::{Stats, ms, stats};
use super::{anomaly, messages, page};
use crate::findings::Findings;
use crate::gaps::quantile;
use crate::run::Run;

const PLOTS: [(&str, &str); 3] = [
    ("latency-raw.svg", "Every operation, by when it was called and how long it took"),
    ("latency-quantiles.svg", "What is usual and what is rare, of operations that succeeded"),
    ("rate.svg", "Operations that ended in each second"),
];

fn body_of(run: &Run, bars: &[Bar<'_>], findings: &Findings, has_messages: bool) -> String {
    let mut body = String::new();
    checks(&mut body, findings);
    if let Some((check, found)) = findings.anomaly() {
        let picture = anomaly::draw(bars, found, found.orders.first());
        // Writing to a string cannot fail, here and below.
        let _ = write!(
            body,
            "<h2>The first anomaly</h2>\n<p class=\"lead\">{}. The line leads through the longest order that explains the \
             answers; what is red has no place in it. <a href=\"timeline.html\">Look around in the whole run.</a></p>\n\
             <div class=\"scroll end\">{picture}</div>\n",
            Escaped(&check.reason)
        );
    }
    body.push_str("<h2>Over time</h2>\n<div class=\"plots\">\n");
    for (file, caption) in PLOTS {
        let _ = writeln!(
            body,
            "<figure><figcaption>{caption}</figcaption><a href=\"{file}\"><img src=\"{file}\" alt=\"{caption}\"></a></figure>"
        );
    }
    body.push_str("</div>\n");
    operations(&mut body, bars);
    faults(&mut body, run);
    if has_messages {
        let beginning = if run.messages.len() > messages::MOST { ": its beginning" } else { "" };
        let _ = writeln!(
            body,
            "<h2>Messages</h2>\n<p class=\"lead\">{} were sent, lost or received. \
             <a href=\"messages.svg\">The diagram{beginning}.</a></p>",
            run.messages.len()
        );
    }
    let settings = serde_json::to_string_pretty(&run.settings).unwrap_or_default();
    let _ = writeln!(body, "<h2>Settings</h2>\n<pre>{}</pre>", Escaped(&settings));
    body
}

fn links(has_messages: bool) -> String {
    let mut links = "<a href=\"timeline.html\">timeline</a>".to_owned();
    if has_messages {
        links.push_str("<a href=\"messages.svg\">messages</a>");
    }
    links.push_str("<a href=\"history.jsonl\">history</a><a href=\"results.json\">results</a>");
    links
}

pub(super) fn page(run: &Run, bars: &[Bar<'_>], findings: &Findings, has_messages: bool) -> String {
    let (links, body) = (links(has_messages), body_of(run, bars, findings, has_messages));
    page::page(run, findings, &Page { title: "report", links: &links, style: "", body: &body })
}

fn checks(body: &mut String, findings: &Findings) {
    body.push_str("<h2>What was checked</h2>\n<table>\n");
    for check in &findings.checks {
        let word = check.answer.word();
        let _ = writeln!(
            body,
            "<tr><td>{}</td><td><span class=\"badge {word}\">{word}</span></td><td>{}</td></tr>",
            Escaped(&check.name),
            Escaped(&check.reason)
        );
    }
    body.push_str("</table>\n");
}

fn operations(body: &mut String, bars: &[Bar<'_>]) {
    body.push_str(
        "<h2>Operations</h2>\n<table>\n<tr><th>operation</th><th>all</th><th>ok</th><th>fail</th><th>info</th>\
         <th>median</th><th>0.99</th><th>slowest</th></tr>\n",
    );
    for (f, Stats { ended: [ok, fail, info], latencies }) in stats(bars) {
        let _ = write!(body, "<tr><td>{}</td>", Escaped(f));
        for count in [ok + fail + info, ok, fail, info] {
            let _ = write!(body, "<td class=\"number\">{count}</td>");
        }
        for q in [0.5, 0.99, 1.0] {
            let _ = write!(body, "<td class=\"number\">{} ms</td>", ms(quantile(&latencies, q)));
        }
        body.push_str("</tr>\n");
    }
    body.push_str("</table>\n");
}

fn faults(body: &mut String, run: &Run) {
    if run.faults.is_empty() {
        return;
    }
    let colours = fault_colours(&run.faults);
    body.push_str("<h2>Faults</h2>\n<table>\n<tr><th>what</th><th>to whom</th><th>from</th><th>for</th></tr>\n");
    for fault in &run.faults {
        let colour = colours.get(fault.kind.as_str()).map(ToString::to_string).unwrap_or_default();
        let whom = if fault.targets.is_empty() { "all".to_owned() } else { fault.targets.join(", ") };
        let long = fault.to.map_or_else(|| "good".to_owned(), |to| seconds(to.saturating_sub(fault.from)));
        let _ = writeln!(
            body,
            "<tr><td class=\"legend\"><i style=\"background:{colour}\"></i>{}</td><td>{}</td>\
             <td class=\"number\">{}</td><td class=\"number\">{long}</td></tr>",
            Escaped(&fault.kind),
            Escaped(&whom),
            seconds(fault.from)
        );
    }
    body.push_str("</table>\n");
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}
