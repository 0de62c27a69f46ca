//! Files that are not as they were written: reported, or without effect, but never a wrong answer.
//!
//! Without effect may also mean an older state, whole, that was persisted once: where the database's journal makes no sense,
//! it is taken for its end, as after a crash. The engine refuses to start on it if the log does not go back that far.
//!
//! Each damaged copy is looked at by a process of its own: the database meets some damage with a panic, and may end the
//! process by it.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use quorate::machine::StateMachine;
use quorate_statemachines::kv::{KvDatabaseOptions, KvMachine};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::common::{apply, bytes_of, how_many, open_with, persist, position, seed, small, take_in};

/// Names the directory to the process that looks at it.
const DIR: &str = "QUORATE_KV_DAMAGED_DIR";

/// What ends each batch in a journal; the next one's beginning follows.
const BATCH_END: &[u8] = b"FJL";

/// What came of a flip.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    RefusedToOpen,
    RefusedToRead,
    OlderState,
    NoEffect,
}

#[test]
fn a_flipped_byte_in_the_stores_files_is_reported_or_leaves_a_state_that_was_persisted() {
    flipped(small());
}

#[test]
fn a_flipped_byte_in_the_stores_journal_is_reported_or_leaves_a_state_that_was_persisted() {
    flipped(in_journal());
}

/// All of it stays in the journal.
fn in_journal() -> KvDatabaseOptions {
    KvDatabaseOptions { table_bytes: 1 << 30, ..small() }
}

/// Flips single bits in copies of a database, and says what came of it.
fn flipped(options: KvDatabaseOptions) {
    let random = &mut SmallRng::seed_from_u64(seed());
    let dir = tempfile::tempdir().unwrap();
    let states = written(dir.path(), options);
    let files: Vec<_> = files_in(dir.path()).into_iter().map(|file| (file.clone(), contents(&file))).collect();
    let mut outcomes: BTreeMap<Outcome, u64> = BTreeMap::new();
    assert_eq!(look(dir.path(), &states), Ok(Outcome::NoEffect), "nothing is damaged yet");
    for _ in 0..how_many("QUORATE_FLIPS", 40) {
        let copy = tempfile::tempdir().unwrap();
        let damaged = pick(&files, random);
        let at = place(&files[damaged].1, random);
        for (number, (path, bytes)) in files.iter().enumerate() {
            let path = copy.path().join(path.strip_prefix(dir.path()).unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut bytes = bytes.clone();
            if number == damaged {
                bytes[at] ^= 1 << random.random_range(0..8);
            }
            fs::write(path, bytes).unwrap();
        }
        let outcome = look(copy.path(), &states);
        let outcome = outcome.unwrap_or_else(|wrong| panic!("byte {at} of {}: {wrong}", files[damaged].0.display()));
        *outcomes.entry(outcome).or_default() += 1;
    }
    eprintln!("{outcomes:?}");
}

/// Any file that is not empty; as often one by its size.
fn pick(files: &[(PathBuf, Vec<u8>)], random: &mut SmallRng) -> usize {
    if random.random_bool(0.5) {
        let full: Vec<usize> = (0..files.len()).filter(|file| !files[*file].1.is_empty()).collect();
        return full[random.random_range(0..full.len())];
    }
    let mut byte = random.random_range(0..files.iter().map(|(_, bytes)| bytes.len()).sum());
    files
        .iter()
        .take_while(|(_, bytes)| {
            byte >= bytes.len() && {
                byte -= bytes.len();
                true
            }
        })
        .count()
}

/// Anywhere; in a journal, often where a batch begins, which its checksum does not cover.
fn place(bytes: &[u8], random: &mut SmallRng) -> usize {
    let anywhere = random.random_range(0..bytes.len());
    let mut ends = bytes.windows(BATCH_END.len()).enumerate().filter(|(_, window)| *window == BATCH_END);
    match ends.by_ref().count() {
        0 => anywhere,
        _ if random.random_bool(0.3) => anywhere,
        count => {
            let mut ends = bytes.windows(BATCH_END.len()).enumerate().filter(|(_, window)| *window == BATCH_END);
            let (end, _) = ends.nth(random.random_range(0..count)).unwrap();
            (end + BATCH_END.len() + 1 + random.random_range(0..13)).min(bytes.len() - 1)
        }
    }
}

/// Makes a database; gives the states that were persisted, by their digests.
fn written(dir: &Path, options: KvDatabaseOptions) -> BTreeMap<u64, u64> {
    let (_database, mut machine) = open_with(dir, options).unwrap();
    let mut states = BTreeMap::from([(0, digest(&machine).unwrap())]);
    for index in 1..=4_000 {
        apply(&mut machine, index);
        if index % 250 == 0 {
            match index % 1_000 {
                0 => take_in(&mut machine, index).unwrap(),
                _ => persist(&mut machine, index).unwrap(),
            }
            states.insert(index, digest(&machine).unwrap());
        }
    }
    states
}

fn digest(machine: &KvMachine) -> std::io::Result<u64> {
    let mut hasher = DefaultHasher::new();
    bytes_of(&*machine.snapshot())?.hash(&mut hasher);
    Ok(hasher.finish())
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(files_in(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

/// A file's bytes, without the zeros that a journal has been given in advance.
fn contents(file: &Path) -> Vec<u8> {
    let mut bytes = fs::read(file).unwrap();
    if file.extension().is_some_and(|extension| extension == "jnl") {
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    }
    bytes
}

/// Has another process look.
fn look(dir: &Path, states: &BTreeMap<u64, u64>) -> Result<Outcome, String> {
    let looked = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "flips::the_process_that_looks", "--nocapture"])
        .env(DIR, dir)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&looked.stdout);
    let numbers = |line: &str| line.split(' ').map(|number| number.parse().ok()).collect::<Option<Vec<u64>>>();
    let found = said.lines().find_map(|line| line.strip_prefix("found ").and_then(numbers));
    let Some(&[found, digest]) = found.as_deref() else {
        return Ok(if said.contains("opened") { Outcome::RefusedToRead } else { Outcome::RefusedToOpen });
    };
    match states.get(&found) {
        None => Err(format!("{found} was never persisted")),
        Some(expected) if *expected != digest => Err(format!("the state at {found} is another one")),
        Some(_) if states.last_key_value().is_some_and(|(newest, _)| *newest == found) => Ok(Outcome::NoEffect),
        Some(_) => Ok(Outcome::OlderState),
    }
}

/// Not a test of its own: it does nothing unless told where.
#[test]
fn the_process_that_looks() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let (_database, machine) = open_with(dir.as_ref(), small()).unwrap();
    println!("\nopened");
    println!("found {} {}", position(&machine), digest(&machine).unwrap());
}
