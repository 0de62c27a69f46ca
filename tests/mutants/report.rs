//! What is told of the bugs and of the hunts.

use comfy_table::{Table, presets::ASCII_MARKDOWN};
use quorate::planted::Bug;

use super::campaign::Report;

/// So much of what was said is told in the table.
const SAID_MAX: usize = 80;

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(head.to_vec());
    table
}

/// Says what the bugs are.
pub(crate) fn list() {
    for bug in Bug::ALL {
        println!("{bug:28} {:?}: {}", bug.layer(), bug.about());
    }
}

/// Says what became of one bug, as soon as that is known.
pub(crate) fn tell(report: &Report) {
    let (bug, trials, took) = (report.bug, report.trials, report.took.as_secs_f64());
    match &report.caught {
        Some((hunt, _)) => eprintln!("{bug}: caught by {} after {trials} trials, {took:.1} s", short(hunt.claim)),
        None => eprintln!("{bug}: GOT AWAY after {trials} trials, {took:.1} s"),
    }
}

/// The table of all hunts, fit for a document.
pub(crate) fn print(reports: &[Report]) {
    let mut table = table(&["bug", "caught by", "it said", "trials", "seconds"]);
    for Report { bug, caught, trials, took, .. } in reports {
        let (by, said) = match caught {
            Some((hunt, said)) => {
                (format!("{}: {}", hunt.target.name(), short(hunt.claim)), said.chars().take(SAID_MAX).collect())
            }
            None => ("nothing".into(), String::new()),
        };
        let said: String = said;
        table.add_row([bug.name().into(), by, said, trials.to_string(), format!("{:.1}", took.as_secs_f64())]);
    }
    println!("{table}");
    let away: Vec<&str> = reports.iter().filter(|one| one.caught.is_none()).map(|one| one.bug.name()).collect();
    println!("{} of {} bugs were caught", reports.len() - away.len(), reports.len());
    if !away.is_empty() {
        println!("these got away: {}", away.join(", "));
    }
}

/// A claim without the modules that it is in.
pub(crate) fn short(claim: &str) -> &str {
    claim.rsplit("::").next().unwrap_or(claim)
}
