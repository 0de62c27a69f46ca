//! The documents keep up with the code: their links lead somewhere, the tests they name exist, and the guide's excerpts
//! are lines of the example.
//!
//! Leaves out: links to other sites, and whether a sentence is true.

use std::fs;
use std::path::{Path, PathBuf};

/// A link of a document.
struct Link<'a> {
    text: &'a str,
    target: &'a str,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The README and everything in `docs/` and below it.
fn documents() -> Vec<(PathBuf, String)> {
    let entries = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        entries.map(|entry| entry.expect("an entry of docs/").path()).collect()
    };
    let (below, mut paths): (Vec<_>, Vec<_>) =
        entries(&root().join("docs")).into_iter().partition(|path| path.is_dir());
    paths.extend(below.iter().flat_map(|path| entries(path)));
    paths.sort();
    paths.insert(0, root().join("README.md"));
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

fn links(text: &str) -> impl Iterator<Item = Link<'_>> {
    text.match_indices("](").filter_map(|(at, _)| {
        let opened = text[..at].rfind('[')?;
        let target = text[at + 2..].split(')').next()?;
        Some(Link { text: &text[opened + 1..at], target })
    })
}

/// The anchors of a document's headings, as they are commonly made.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    headings
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'));
            kept.map(|char| if char == ' ' { '-' } else { char }).collect()
        })
        .collect()
}

/// The fenced blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let parts = text.split("```").skip(1).step_by(2);
    parts.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

#[test]
fn every_link_leads_to_a_file_and_every_anchor_to_a_heading() {
    for (path, text) in documents() {
        for Link { target, .. } in links(&text).filter(|link| !link.target.contains("://")) {
            let place = format!("{}: {target}", path.display());
            let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
            let file = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
            assert!(file.exists(), "{place}: there is no such file");
            if let Some(anchor) = anchor {
                assert!(anchors(&read(&file)).iter().any(|known| known == anchor), "{place}: there is no such heading");
            }
        }
    }
}

#[test]
fn every_test_that_a_document_names_exists() {
    let mut named = 0;
    for (path, text) in documents() {
        for Link { text: name, target } in links(&text).filter(|link| link.target.ends_with(".rs")) {
            let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) else { continue };
            let is_a_test = name.contains('_') && name.chars().all(|char| char.is_ascii_lowercase() || char == '_');
            if is_a_test {
                let code = read(&path.with_file_name(target));
                assert!(code.contains(&format!("fn {name}(")), "{target} has no test {name}");
                named += 1;
            }
        }
    }
    assert!(named > 50, "only {named} tests are named: has the documents' form changed?");
}

#[test]
fn the_guides_excerpts_are_lines_of_the_example() {
    let example = read(&root().join("raft/examples/counter.rs"));
    let mut excerpts = 0;
    for name in ["README.md", "docs/state-machine.md"] {
        let text = read(&root().join(name));
        for block in blocks(&text, "rust") {
            assert!(example.contains(block), "{name} shows what is not in the example:\n{block}");
            excerpts += 1;
        }
    }
    assert!(excerpts > 5, "only {excerpts} excerpts were found");
}
