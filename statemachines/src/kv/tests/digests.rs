//! Digests: the same for the same state, wherever it is and whatever way it came, and another one for any other.

use quorate::sessions::DEFAULT_TTL;
use quorate::types::ClientId;

use super::bench::{Bench, config};
use super::disk::{Place, database, persist};
use super::*;

/// A group with a few keys and a session.
fn filled(mut group: Bench) -> Bench {
    group.configure(config(1, 0, &[0, 1]));
    group.open(0);
    group.stamped(0, 1, KvOp::Put { key: key("a"), value: json(1) });
    for nth in 0..20 {
        group.put(1, &format!("k{nth}"), nth);
    }
    group.delete(1, "k3");
    group
}

#[test]
fn a_state_has_one_digest_in_memory_on_a_disk_after_a_restart_and_from_a_snapshot() {
    let (_dir, database) = database();
    let place = Place::new(&database);
    let (memory, mut disk) = (filled(Bench::new("g1")), filled(place.bench()));
    let expected = digest_of(&memory.machine);
    assert_eq!(digest_of(&disk.machine), expected);
    persist(&mut disk.machine, 1);
    assert_eq!(digest_of(&disk.machine), expected);
    assert_eq!(digest_of(&place.open(DEFAULT_TTL)), expected);
    assert_eq!(digest_of(&restored(&disk.machine, DEFAULT_TTL)), expected);
    assert_eq!(digest_of(&restored(&memory.machine, DEFAULT_TTL)), expected);
}

#[test]
fn a_state_that_differs_in_a_value_a_key_or_a_session_has_another_digest() {
    let (one, mut others) = (filled(Bench::new("g1")), Vec::new());
    for change in 0..5 {
        let mut other = filled(Bench::new("g1"));
        // Past the log, as a mistake or a damaged memory would.
        let Some(holding) = other.machine.state.holdings.get_mut(&ShardId(u32::from(change != 4))) else { panic!() };
        let contents = holding.each_contents().next().expect("a copy");
        match change {
            0 => contents.put(key("k1"), json(2)),
            1 => contents.put(key("k20"), json(20)),
            2 => assert!(contents.remove("k1")),
            3 => {
                // The values of two keys are exchanged: a sum of both parts alone would not tell.
                contents.put(key("k1"), json(2));
                contents.put(key("k2"), json(1));
            }
            _ => assert!(contents.sessions.remove(&ClientId::new("c"))),
        }
        others.push(digest_of(&other.machine));
    }
    assert!(!others.contains(&digest_of(&one.machine)), "{others:x?}");
}
