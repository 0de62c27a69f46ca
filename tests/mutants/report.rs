//! What is told of the bugs and of the hunts.

use comfy_table::{Table, presets::ASCII_MARKDOWN};
use quorate::planted::Bug;

use super::campaign::Report;
use super::hunts::Hunt;
use super::targets::Target;

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
    let Report { bug, seeds, trials, took, .. } = report;
    let effort = format!("after {seeds} seeds, {trials} trials, {:.1} s", took.as_secs_f64());
    match &report.caught {
        Some((hunt, _)) => eprintln!("{bug}: caught by {} {effort}", short(hunt.claim)),
        None => eprintln!("{bug}: GOT AWAY {effort}"),
    }
}

/// The table of all hunts, fit for a document.
pub(crate) fn print(reports: &[Report]) {
    let mut table = table(&["bug", "noticed by", "it said", "seeds", "seconds"]);
    for Report { bug, caught, seeds, took, .. } in reports {
        let (by, said) = match caught {
            Some((hunt, said)) => (noticed_by(hunt), said.chars().take(SAID_MAX).collect()),
            None => ("**nothing**".into(), String::new()),
        };
        let said: String = said;
        let said = said.replace('|', "\\|");
        table.add_row([code(bug.name()), by, said, seeds.to_string(), format!("{:.1}", took.as_secs_f64())]);
    }
    println!("{table}");
    let away: Vec<&str> = reports.iter().filter(|one| one.caught.is_none()).map(|one| one.bug.name()).collect();
    println!("{} of {} bugs were caught", reports.len() - away.len(), reports.len());
    if !away.is_empty() {
        println!("these got away: {}", away.join(", "));
    }
}

fn noticed_by(hunt: &Hunt) -> String {
    match hunt.target {
        Target::Simulation => format!("simulation, {}", code(hunt.claim)),
        _ => code(short(hunt.claim)),
    }
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// A claim without the modules that it is in.
pub(crate) fn short(claim: &str) -> &str {
    claim.rsplit("::").next().unwrap_or(claim)
}
