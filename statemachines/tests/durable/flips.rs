//! Files that are not as they were written: reported, or without effect, but never a wrong answer.
//!
//! Without effect may also mean an older state, whole, that was persisted once: the end of the database's journal cannot be
//! told from a crash. The engine refuses to start on it if the log does not go back that far.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use quorate::machine::StateMachine;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::common::{apply, bytes_of, how_many, open, persist, position, seed, take_in};

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
    let random = &mut SmallRng::seed_from_u64(seed());
    let dir = tempfile::tempdir().unwrap();
    let states = written(dir.path());
    let newest = *states.last_key_value().unwrap().0;
    let files: Vec<_> = files_in(dir.path()).into_iter().map(|file| (file.clone(), contents(&file))).collect();
    let mut outcomes: BTreeMap<Outcome, u64> = BTreeMap::new();
    for _ in 0..how_many("QUORATE_FLIPS", 60) {
        let copy = tempfile::tempdir().unwrap();
        let (damaged, at) = loop {
            let file = random.random_range(0..files.len());
            if !files[file].1.is_empty() {
                break (file, random.random_range(0..files[file].1.len()));
            }
        };
        for (number, (path, bytes)) in files.iter().enumerate() {
            let path = copy.path().join(path.strip_prefix(dir.path()).unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut bytes = bytes.clone();
            if number == damaged {
                bytes[at] ^= 1 << random.random_range(0..8);
            }
            fs::write(path, bytes).unwrap();
        }
        let outcome = look(copy.path(), &states, newest);
        let outcome = outcome.unwrap_or_else(|wrong| panic!("byte {at} of {}: {wrong}", files[damaged].0.display()));
        *outcomes.entry(outcome).or_default() += 1;
    }
    eprintln!("{outcomes:?}");
}

/// Makes a database of several tables and a journal; gives the states that were persisted.
fn written(dir: &Path) -> BTreeMap<u64, Vec<u8>> {
    let (_database, mut machine) = open(dir).unwrap();
    let mut states = BTreeMap::from([(0, bytes_of(&*machine.snapshot()).unwrap())]);
    for index in 1..=4_000 {
        apply(&mut machine, index);
        if index % 250 == 0 {
            match index % 1_000 {
                0 => take_in(&mut machine, index).unwrap(),
                _ => persist(&mut machine, index).unwrap(),
            }
            states.insert(index, bytes_of(&*machine.snapshot()).unwrap());
        }
    }
    states
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

fn look(dir: &Path, states: &BTreeMap<u64, Vec<u8>>, newest: u64) -> Result<Outcome, String> {
    let Ok((_database, machine)) = open(dir) else { return Ok(Outcome::RefusedToOpen) };
    let found = position(&machine);
    // A panic stops a replica too.
    let read = catch_unwind(AssertUnwindSafe(|| bytes_of(&*machine.snapshot())));
    let Ok(Ok(state)) = read else { return Ok(Outcome::RefusedToRead) };
    match states.get(&found) {
        Some(expected) if *expected == state && found == newest => Ok(Outcome::NoEffect),
        Some(expected) if *expected == state => Ok(Outcome::OlderState),
        Some(_) => Err(format!("the state at {found} is another one")),
        None => Err(format!("{found} was never persisted")),
    }
}
