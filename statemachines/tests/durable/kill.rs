//! A process that applies and persists is killed, again and again; what it leaves is a state that it had persisted.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use quorate::machine::StateMachine;
use quorate_statemachines::kv::KvMachine;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::common::{TTL, apply, bytes_of, how_many, open, persist, position, seed, take_in};

/// Names the directory to the process that is to be killed.
const DIR: &str = "QUORATE_KV_KILLED_DIR";

#[test]
fn a_killed_process_leaves_exactly_a_state_that_it_had_persisted() {
    if std::env::var(DIR).is_ok() {
        return;
    }
    let random = &mut SmallRng::seed_from_u64(seed());
    let dir = tempfile::tempdir().unwrap();
    let mut model = KvMachine::new(TTL);
    let (mut reached, mut unannounced) = (0, 0);
    for kill in 0..how_many("QUORATE_KILLS", 10) {
        let mut child = spawn(dir.path());
        let announced = let_run(&mut child, random);
        child.kill().unwrap();
        child.wait().unwrap();

        let announced = announced.expect("it has persisted something before it was killed");
        let (_database, machine) = open(dir.path()).unwrap();
        let found = position(&machine);
        assert!(found >= announced, "kill {kill}: {announced} was persisted, {found} is there");
        unannounced += u64::from(found > announced);
        (reached + 1..=found).for_each(|index| drop(apply(&mut model, index)));
        reached = found;
        let (state, expected) = (bytes_of(&*machine.snapshot()).unwrap(), bytes_of(&*model.snapshot()).unwrap());
        assert!(state == expected, "kill {kill}: the state at {found} is another one");
    }
    eprintln!("{reached} entries; {unannounced} kills after a batch was synced and before it was announced");
}

fn spawn(dir: &std::path::Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::the_process_that_is_killed", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Waits until it has persisted some states and then a moment, to be killed in the midst of anything. Says which state it
/// announced last.
fn let_run(child: &mut Child, random: &mut SmallRng) -> Option<u64> {
    let stdout = BufReader::new(child.stdout.as_mut().unwrap());
    let numbers = stdout.lines().filter_map(|line| line.unwrap().strip_prefix("persisted ")?.parse().ok());
    let last = numbers.take(random.random_range(1..8)).last();
    std::thread::sleep(Duration::from_micros(random.random_range(0..20_000)));
    last
}

/// Not a test of its own: it does nothing unless told where.
#[test]
fn the_process_that_is_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let (_database, mut machine) = open(dir.as_ref()).unwrap();
    let mut index = position(&machine);
    let random = &mut SmallRng::seed_from_u64(index);
    println!();
    // Nobody waits for it for ever: whoever started it may have been stopped itself.
    for _ in 0..10_000 {
        for _ in 0..random.random_range(1..300) {
            index += 1;
            apply(&mut machine, index);
        }
        match random.random_range(0..4) {
            0 => take_in(&mut machine, index).unwrap(),
            _ => persist(&mut machine, index).unwrap(),
        }
        println!("persisted {index}");
        std::io::stdout().flush().unwrap();
    }
}
