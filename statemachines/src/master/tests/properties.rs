//! Any sequence of operations: the machine does what the model does, and its indexes are right.

use proptest::prelude::*;

use super::model::Model;
use super::*;

fn some_path() -> impl Strategy<Value = FilePath> {
    prop::collection::vec("[ab]", 1..4).prop_map(|names| path(&format!("/{}", names.join("/"))))
}

fn some_server() -> impl Strategy<Value = Name> {
    "[a-e]".prop_map(Name::from)
}

fn some_chunks() -> impl Strategy<Value = Vec<(ChunkId, Version)>> {
    prop::collection::vec(((1u64..12).prop_map(ChunkId), (1u64..4).prop_map(Version)), 0..4)
}

pub(super) fn some_op() -> impl Strategy<Value = MasterOp> {
    prop_oneof![
        4 => some_path().prop_map(|path| MasterOp::Create { path }),
        1 => some_path().prop_map(|path| MasterOp::Delete { path }),
        2 => (some_path(), some_path()).prop_map(|(from, to)| MasterOp::Rename { from, to }),
        4 => (some_path(), 1u32..4).prop_map(|(path, replicas)| MasterOp::AllocateChunk { path, replicas }),
        3 => (some_server(), 0u64..6).prop_map(|(server, capacity)| MasterOp::Register { server, capacity }),
        1 => some_server().prop_map(|who| MasterOp::Subscribe { who }),
        3 => (some_server(), some_chunks(), prop::collection::vec((1u64..12).prop_map(ChunkId), 0..3))
            .prop_map(|(server, has, lacks)| MasterOp::Report { server, has, lacks }),
        1 => some_server().prop_map(|server| MasterOp::Lose { server }),
        1 => (some_server(), 0u32..3).prop_map(|(server, chunks_max)| MasterOp::Forget { server, chunks_max }),
    ]
}

fn check(log: &Log, model: &Model) {
    let machine = &log.machine;
    assert_eq!(log.list(), model.paths.keys().cloned().collect::<Vec<_>>());
    for (text, chunks) in &model.paths {
        assert_eq!(log.stat(text), Some(chunks.iter().copied().map(ChunkId).collect()), "{text}");
        for (index, chunk) in chunks.iter().enumerate() {
            let placed = log.locate(text, index as u64).unwrap();
            let chunk = &model.chunks[chunk];
            let live = |name: &&String| !model.servers[*name].1;
            assert_eq!(placed.version, Version(chunk.version));
            assert_eq!(names(&placed.servers), chunk.holders.iter().filter(live).collect::<Vec<_>>());
        }
    }
    assert_eq!(machine.chunks.by_id.len(), model.chunks.len());
    let wanting: Vec<u64> =
        model.chunks.iter().filter(|(_, chunk)| chunk.holders.len() < chunk.wanted).map(|(id, _)| *id).collect();
    assert_eq!(machine.chunks.wanting.iter().map(|id| id.0).collect::<Vec<_>>(), wanting);
    let mut rooms: Vec<_> = model
        .servers
        .iter()
        .filter(|(name, (_, lost))| !lost && model.free(name) > 0)
        .map(|(name, _)| (std::cmp::Reverse(model.free(name)), name.as_str()))
        .collect();
    rooms.sort();
    let with_room = machine.servers.with_room().map(|(name, room)| (std::cmp::Reverse(room), &**name));
    assert_eq!(with_room.collect::<Vec<_>>(), rooms);
}

proptest! {
    #[test]
    fn the_machine_does_what_the_model_does(ops in prop::collection::vec(some_op(), 0..120)) {
        let mut log = Log::with_servers(&[]);
        let mut model = Model::default();
        for op in ops {
            let expected = model.apply(&op);
            match (log.op(op.clone()), expected) {
                (MasterReply::Done(Done::Allocated { placed, .. }), Ok(Some((chunk, servers)))) => {
                    prop_assert_eq!(placed.chunk.0, chunk);
                    prop_assert_eq!(names(&placed.servers), servers);
                }
                (MasterReply::Done(_), Ok(None)) => {}
                (MasterReply::Refused(refusal), Err(expected)) => prop_assert_eq!(refusal, expected),
                (reply, expected) => prop_assert!(false, "{op:?}: {reply:?}, not {expected:?}"),
            }
            check(&log, &model);
        }
    }

    #[test]
    fn a_heartbeats_news_leave_nothing_to_tell_and_no_last_copy_is_deleted(
        ops in prop::collection::vec(some_op(), 0..80),
        server in some_server(),
        report in some_chunks(),
    ) {
        let mut log = Log::with_servers(&[("a", 5)]);
        ops.into_iter().for_each(|op| _ = log.op(op));
        let report: Vec<_> = report.iter().map(|(id, version)| (id.0, version.0)).collect();
        if log.machine.servers.get(&server).is_none() {
            return Ok(());
        }
        let heard = log.heartbeat(&server, &report);
        for chunk in heard.delete {
            if let Some(chunk) = log.machine.chunks.by_id.get(&chunk) {
                let others = chunk.holders.iter().filter(|holder| holder.confirmed && holder.server != server);
                prop_assert!(others.count() > 0);
            }
        }
    }
}
