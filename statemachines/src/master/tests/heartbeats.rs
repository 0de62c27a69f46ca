//! Chunk servers: where chunks are placed, what becomes of them when a server is lost, returns, or reports anything else.

use super::*;

fn wanting(heard: &Heard) -> Vec<(u64, &str)> {
    heard.wanting.iter().map(|wanting| (wanting.chunk.0, &*wanting.to)).collect()
}

fn deleted(heard: &Heard) -> Vec<u64> {
    heard.delete.iter().map(|chunk| chunk.0).collect()
}

/// One chunk, of two replicas, on `a` and `b`, both of which have reported it; `c` and `d` are free.
fn placed() -> Log {
    let mut log = Log::with_servers(&[("a", 9), ("b", 9), ("c", 5), ("d", 5)]);
    log.create("/f");
    let placed = log.allocate("/f", 2).unwrap();
    assert_eq!((placed.chunk.0, names(&placed.servers)), (1, vec!["a", "b"]));
    for server in ["a", "b"] {
        assert_eq!(log.heartbeat(server, &[(1, 1)]), Heard::default());
    }
    log
}

fn lose(log: &mut Log, server: &str) {
    log.op(MasterOp::Lose { server: server.into() });
    let forget = MasterOp::Forget { server: server.into(), chunks_max: 100 };
    assert_eq!(log.op(forget), MasterReply::Done(Done::Forgotten { left: 0 }));
}

#[test]
fn chunks_go_where_most_room_is_and_ties_go_by_name() {
    let mut log = Log::with_servers(&[("c", 2), ("a", 2), ("b", 3)]);
    log.create("/f");
    let rounds = [vec!["b", "a"], vec!["b", "c"], vec!["a", "b"]];
    for expected in rounds {
        assert_eq!(names(&log.allocate("/f", 2).unwrap().servers), expected);
    }
    assert_eq!(log.allocate("/f", 2), Err(Refusal::NotEnoughServers { available: 1 }));
    assert_eq!(names(&log.allocate("/f", 1).unwrap().servers), ["c"]);
    assert_eq!(log.allocate("/x", 1), Err(Refusal::NoSuchPath));
    assert_eq!(log.locate("/f", 1).map(|placed| placed.chunk), Some(ChunkId(2)));
    assert_eq!(log.locate("/f", 4), None);
}

#[test]
fn a_lost_servers_chunks_are_copied_elsewhere_and_the_copy_counts_once_reported() {
    let mut log = placed();
    log.op(MasterOp::Lose { server: "a".into() });
    assert_eq!(names(&log.locate("/f", 0).unwrap().servers), ["b"], "nobody is sent to a lost server");
    lose(&mut log, "a");
    assert_eq!(wanting(&log.heartbeat("b", &[(1, 1)])), [(1, "c")]);
    assert_eq!(log.heartbeat("c", &[(1, 1)]), Heard::default());
    assert_eq!(names(&log.locate("/f", 0).unwrap().servers), ["b", "c"]);
    assert_eq!(log.heartbeat("b", &[(1, 1)]), Heard::default());
    // The lost one is back: its copy is one too many.
    assert_eq!(deleted(&log.heartbeat("a", &[(1, 1)])), [1]);
}

#[test]
fn a_server_that_is_back_in_time_keeps_its_chunks() {
    let mut log = placed();
    log.op(MasterOp::Lose { server: "a".into() });
    log.heartbeat("a", &[(1, 1)]);
    let forget = MasterOp::Forget { server: "a".into(), chunks_max: 100 };
    assert_eq!(log.op(forget), MasterReply::Done(Done::Forgotten { left: 0 }));
    assert_eq!(names(&log.locate("/f", 0).unwrap().servers), ["a", "b"]);
}

#[test]
fn what_nobody_owns_is_deleted() {
    let mut log = placed();
    log.op(MasterOp::Delete { path: path("/f") });
    assert_eq!(deleted(&log.heartbeat("a", &[(1, 1), (77, 3)])), [1, 77]);
}

#[test]
fn a_server_that_lost_its_disk_is_not_a_holder_any_more() {
    let mut log = placed();
    assert_eq!(log.heartbeat("a", &[]), Heard::default());
    assert_eq!(names(&log.locate("/f", 0).unwrap().servers), ["b"]);
    // It is copied back there if there is most room.
    assert_eq!(wanting(&log.heartbeat("b", &[(1, 1)])), [(1, "a")]);
}

#[test]
fn a_chunk_that_was_just_allocated_is_not_missed_yet() {
    let mut log = placed();
    log.allocate("/f", 2).unwrap();
    assert_eq!(log.heartbeat("a", &[(1, 1)]), Heard::default());
    assert_eq!(names(&log.locate("/f", 1).unwrap().servers), ["a", "b"]);
}

#[test]
fn a_newer_version_makes_the_others_stale() {
    let mut log = placed();
    log.heartbeat("b", &[(1, 2)]);
    let placed = log.locate("/f", 0).unwrap();
    assert_eq!((placed.version, names(&placed.servers)), (Version(2), vec!["b"]));
    assert_eq!(deleted(&log.heartbeat("a", &[(1, 1)])), [1]);
    log.heartbeat("a", &[(1, 2)]);
    assert_eq!(names(&log.locate("/f", 0).unwrap().servers), ["a", "b"]);
}

#[test]
fn the_last_copy_is_never_deleted() {
    let mut log = placed();
    // The only server with the newest version is gone: what is stale is all there is.
    log.heartbeat("b", &[(1, 2)]);
    log.op(MasterOp::Lose { server: "b".into() });
    assert_eq!(deleted(&log.heartbeat("a", &[(1, 1)])), [0; 0]);
    lose(&mut log, "b");
    assert_eq!(deleted(&log.heartbeat("a", &[(1, 1)])), [0; 0]);
    // A copy too many is kept as long as the holders have not all said that they hold it.
    let mut log = placed();
    log.allocate("/f", 2).unwrap();
    log.heartbeat("a", &[(1, 1), (2, 1)]);
    assert_eq!(deleted(&log.heartbeat("c", &[(1, 1), (2, 1)])), [1]);
    log.heartbeat("b", &[(1, 1), (2, 1)]);
    assert_eq!(deleted(&log.heartbeat("c", &[(1, 1), (2, 1)])), [1, 2]);
}

#[test]
fn copies_are_spread_over_those_with_room() {
    let mut log = Log::with_servers(&[("a", 9), ("b", 8), ("c", 2), ("d", 3)]);
    log.create("/f");
    for _ in 0..4 {
        log.allocate("/f", 2).unwrap();
    }
    let all = [(1, 1), (2, 1), (3, 1), (4, 1)];
    for server in ["a", "b"] {
        assert_eq!(log.heartbeat(server, &all), Heard::default());
    }
    lose(&mut log, "a");
    assert_eq!(wanting(&log.heartbeat("b", &all)), [(1, "d"), (2, "c"), (3, "d"), (4, "c")]);
}
