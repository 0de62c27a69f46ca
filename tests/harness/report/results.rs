//! A run in figures, for programs: `results.json`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::bars::{Bar, Ended};
use crate::findings::{Answer, Findings};
use crate::gaps::quantile;
use crate::run::{MessageFate, Run};

/// How often operations of one name came to what, and how long those that succeeded took.
pub(super) struct Stats {
    pub(super) ended: [usize; 3],
    /// In order.
    pub(super) latencies: Vec<Duration>,
}

/// By the operations' names.
pub(super) fn stats<'a>(bars: &[Bar<'a>]) -> BTreeMap<&'a str, Stats> {
    let mut stats: BTreeMap<&str, Stats> = BTreeMap::new();
    for bar in bars {
        let entry = stats.entry(&bar.call.f).or_insert(Stats { ended: [0; 3], latencies: Vec::new() });
        entry.ended[bar.ended() as usize] += 1;
        entry.latencies.extend(bar.latency().filter(|_| bar.ended() == Ended::Ok));
    }
    stats.values_mut().for_each(|stats| stats.latencies.sort_unstable());
    stats
}

pub(super) fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// A verdict as Jepsen's results have it: a truth value, or the word.
fn valid(answer: Answer) -> Value {
    match answer {
        Answer::True => json!(true),
        Answer::False => json!(false),
        Answer::Unknown => json!("unknown"),
    }
}

pub(super) fn results(run: &Run, bars: &[Bar<'_>], findings: &Findings) -> Value {
    let of_f = stats(bars).into_iter().map(|(f, Stats { ended: [ok, fail, info], latencies })| {
        let at = |q| ms(quantile(&latencies, q));
        let latency = json!({ "0.5": at(0.5), "0.95": at(0.95), "0.99": at(0.99), "1": at(1.0) });
        (
            f.to_owned(),
            json!({ "count": ok + fail + info, "ok": ok, "fail": fail, "info": info, "latency_ms": latency }),
        )
    });
    let checks = findings.checks.iter().map(|check| {
        let anomaly = check.anomaly.as_ref().map(|anomaly| {
            let orders: Vec<_> = anomaly.orders.iter().map(|order| &order.calls).collect();
            json!({ "key": anomaly.key, "unplaced": anomaly.unplaced, "orders": orders })
        });
        json!({
            "name": check.name,
            "valid": valid(check.answer),
            "reason": check.reason,
            "details": check.details,
            "anomaly": anomaly,
        })
    });
    let count = |fate| run.messages.iter().filter(|message| message.fate == fate).count();
    let mut net = Map::new();
    if !run.messages.is_empty() {
        let sent = count(MessageFate::Sent);
        net.insert("send_count".into(), json!(sent));
        net.insert("recv_count".into(), json!(count(MessageFate::Received)));
        net.insert("lost_count".into(), json!(count(MessageFate::Lost)));
        net.insert("msgs_per_op".into(), json!(sent as f64 / bars.len().max(1) as f64));
    }
    json!({
        "valid": valid(findings.answer()),
        "workload": run.workload,
        "started": humantime::format_rfc3339_millis(run.started).to_string(),
        "length_s": run.length.as_secs_f64(),
        "settings": run.settings,
        "checks": checks.collect::<Vec<_>>(),
        "stats": of_f.collect::<Map<_, _>>(),
        "faults": run.faults,
        "net": net,
    })
}
