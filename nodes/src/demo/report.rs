//! What was proven, as a table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::book::Book;
use super::load::counted;
use crate::kv::{ScanRange, ShardedStore};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Facts, and checks that may fail.
pub(super) struct Report {
    events: Vec<String>,
    facts: Vec<(String, String)>,
    checks: Vec<(String, Result<String, String>)>,
}

impl Report {
    pub(super) fn new(events: Vec<String>) -> Self {
        Report { events, facts: Vec::new(), checks: Vec::new() }
    }

    /// Tells of an event, at once.
    pub(super) fn event(&mut self, event: String) {
        println!("{event}");
        self.events.push(event);
    }

    pub(super) fn fact(&mut self, name: &str, value: String) {
        self.facts.push((name.into(), value));
    }

    pub(super) fn check(&mut self, name: &str, verdict: Result<String, String>) {
        self.checks.push((name.into(), verdict));
    }

    pub(super) fn passed(&self) -> bool {
        self.checks.iter().all(|(_, verdict)| verdict.is_ok())
    }

    /// Reads the book back out of the store: every position once, under its own word, and every count right.
    pub(super) async fn check_book(&mut self, store: &ShardedStore, book: &Book) {
        let verdict = match read_back(store, "word:").await {
            Ok(lists) => compare(&lists, book),
            Err(error) => Err(error),
        };
        self.check("every acknowledged append is there exactly once", verdict);
        let verdict = match read_back(store, "chapter:").await {
            Ok(counts) => compare_counts(&counts, book),
            Err(error) => Err(error),
        };
        self.check("every cas counted exactly once", verdict);
    }

    pub(super) fn print(&self, elapsed: Duration) {
        println!("\nWhat was seen ({} events, {:.1} s)", self.events.len(), elapsed.as_secs_f64());
        for (name, value) in &self.facts {
            println!("  {name:<44} {value}");
        }
        println!("\nWhat was proven");
        for (name, verdict) in &self.checks {
            match verdict {
                Ok(text) => println!("  ok    {name:<46} {text}"),
                Err(text) => println!("  FAIL  {name:<46} {text}"),
            }
        }
    }
}

/// All keys of a prefix, page by page.
async fn read_back(store: &ShardedStore, prefix: &str) -> Result<BTreeMap<String, String>, String> {
    let mut all = BTreeMap::new();
    let mut from: Option<Arc<str>> = None;
    loop {
        let range = ScanRange { from, prefix: Some(prefix.into()), limit: Some(1000), ..ScanRange::default() };
        let page = store.client().scan(range, TIMEOUT).await.map_err(|error| error.to_string())?;
        let last = page.items.last().map(|(key, _)| key.to_string());
        for (key, value) in page.items {
            let name = key.strip_prefix(prefix).unwrap_or(&key).to_string();
            if all.insert(name, value.text().to_string()).is_some() {
                return Err(format!("{key} was scanned twice"));
            }
        }
        match last {
            Some(last) if page.more => from = Some(format!("{last}\0").into()),
            _ => return Ok(all),
        }
    }
}

fn compare(lists: &BTreeMap<String, String>, book: &Book) -> Result<String, String> {
    let mut found = vec![false; book.words()];
    for (word, positions) in lists {
        for position in positions.trim_matches('"').split_whitespace() {
            let position: usize = position.parse().map_err(|_| format!("{word} has the position {position:?}"))?;
            match book.word(position) {
                Some((_, expected)) if **expected == **word => {}
                _ => return Err(format!("{word:?} is not the word at {position}")),
            }
            if std::mem::replace(&mut found[position], true) {
                return Err(format!("position {position} of {word:?} is there twice"));
            }
        }
    }
    match found.iter().position(|found| !found) {
        Some(position) => Err(format!("position {position} is missing")),
        None => Ok(format!("{} positions of {} words: the text, word for word", found.len(), lists.len())),
    }
}

fn compare_counts(counts: &BTreeMap<String, String>, book: &Book) -> Result<String, String> {
    let expected: BTreeMap<String, String> =
        counted(book).into_iter().map(|(chapter, count)| (chapter.to_string(), count.to_string())).collect();
    let total: u64 = counts.values().filter_map(|count| count.parse::<u64>().ok()).sum();
    if *counts == expected { Ok(format!("{total} in {} chapters", counts.len())) } else { Err(format!("{counts:?}")) }
}
