//! A run as pages and pictures: `store/<workload>/<time>/` with all that a person, or a program, may ask of it.
//!
//! Promises: the files of a run depend on the run and the findings alone; the pages load nothing from elsewhere; what
//! clients and nodes said is shown as text, whatever it contains.
//! Leaves out: judging; see [`crate::findings`].

mod anomaly;
mod bars;
mod index;
mod messages;
mod page;
mod paint;
mod plots;
mod results;
#[cfg(test)]
mod tests;
mod timeline;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::checker::jsonl;
use crate::findings::Findings;
use crate::run::Run;

/// Writes the report of a run below `store` and gives its directory. `store/<workload>/latest`, `store/latest` and
/// `store/current` lead to it from then on.
///
/// # Errors
/// When a file cannot be written.
pub fn write(store: &Path, run: &Run, findings: &Findings) -> io::Result<PathBuf> {
    let directory = make_directory(store, run)?;
    let bars = bars::bars(&run.events);
    let results = results::results(run, &bars, findings);
    let put = |name: &str, text: String| fs::write(directory.join(name), text);
    put("history.jsonl", jsonl::write(run))?;
    put("results.json", serde_json::to_string_pretty(&results)? + "\n")?;
    for (name, svg) in plots::Scene::new(run, &bars).plots()? {
        put(name, svg)?;
    }
    let messages = messages::draw(&run.messages);
    let has_messages = messages.is_some();
    if let Some(svg) = messages {
        put("messages.svg", svg)?;
    }
    put("timeline.html", timeline::page(run, &bars, findings))?;
    put("index.html", index::page(run, &bars, findings, has_messages))?;
    lead_to(store, &directory)?;
    Ok(directory)
}

/// A directory that no run before this one had.
fn make_directory(store: &Path, run: &Run) -> io::Result<PathBuf> {
    let safe = |char: char| if char.is_ascii_alphanumeric() || "-_.".contains(char) { char } else { '_' };
    let name: String = run.workload.trim_start_matches('.').chars().map(safe).collect();
    let workload = store.join(if name.is_empty() { "run" } else { &name });
    fs::create_dir_all(&workload)?;
    let time = humantime::format_rfc3339_millis(run.started).to_string().replace(['-', ':'], "");
    for nth in 1.. {
        let directory = workload.join(if nth == 1 { time.clone() } else { format!("{time}-{nth}") });
        match fs::create_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map(|()| directory),
        }
    }
    Err(io::Error::other("every name is taken"))
}

/// Makes the links that lead to a run lead to this one.
#[cfg(unix)]
fn lead_to(store: &Path, directory: &Path) -> io::Result<()> {
    let part = |nth: usize| directory.components().rev().nth(nth).map(|part| PathBuf::from(part.as_os_str()));
    let (Some(time), Some(workload)) = (part(0), part(1)) else { return Ok(()) };
    let links = [
        (store.join(&workload).join("latest"), time.clone()),
        (store.join("latest"), workload.join(&time)),
        (store.join("current"), workload.join(&time)),
    ];
    for (link, target) in links {
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::os::unix::fs::symlink(target, link)?,
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn lead_to(_store: &Path, _directory: &Path) -> io::Result<()> {
    Ok(())
}
