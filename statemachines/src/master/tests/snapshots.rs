//! Snapshots: what is read back is what was written.

use std::io;

use bytes::Bytes;
use proptest::prelude::*;
use quorate::sessions::Stamp;
use quorate::snapshot::{SnapshotReader, SnapshotView};
use quorate::types::ClientId;

use super::properties::some_op;
use super::*;
use crate::master::namespace::Namespace;

struct Stream(std::vec::IntoIter<Bytes>);

impl SnapshotReader for Stream {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.0.next())
    }
}

fn pieces(view: &dyn SnapshotView) -> Vec<Bytes> {
    let mut reader = view.open();
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

fn assert_same(one: &MasterMachine, other: &MasterMachine) {
    assert_eq!(one.office, other.office);
    assert_eq!(one.time, other.time);
    assert_eq!(one.namespace, other.namespace);
    assert_eq!(one.chunks, other.chunks);
    assert_eq!(one.servers, other.servers);
    assert_eq!(one.subscribers, other.subscribers);
    let sessions = |machine: &MasterMachine| {
        pieces(&*quorate::snapshot::Records::view({
            let sessions = machine.sessions.clone();
            move || sessions.records()
        }))
    };
    assert_eq!(sessions(one), sessions(other));
}

fn stamped(log: &mut Log, seq: u64, op: MasterOp) -> MasterReply {
    let epoch = log.machine.office().epoch;
    let session = Some(Stamp { client: ClientId::new("c"), seq, acked: None });
    log.apply(MasterCommand::Op { epoch, claimed: None, session, op })
}

proptest! {
    #[test]
    fn a_snapshot_restores_the_state_it_was_taken_of(
        before in prop::collection::vec(some_op(), 0..80),
        after in prop::collection::vec(some_op(), 0..40),
    ) {
        let mut log = Log::with_servers(&[("a", 3)]);
        log.apply(MasterCommand::OpenSession { client: ClientId::new("c") });
        for (seq, op) in before.into_iter().enumerate() {
            stamped(&mut log, seq as u64, op);
        }
        let taken = log.machine.clone();
        let view = log.machine.snapshot();
        after.into_iter().for_each(|op| _ = log.op(op));
        let mut restored = MasterMachine::new();
        restored.restore(&mut Stream(pieces(&*view).into_iter())).unwrap();
        assert_same(&restored, &taken);
    }
}

#[test]
fn a_stream_that_is_cut_or_goes_on_is_an_error() {
    let mut log = Log::with_servers(&[("a", 3)]);
    log.create("/a");
    log.allocate("/a", 1).unwrap();
    let whole: Vec<u8> = pieces(&*log.machine.snapshot()).concat();
    let restore = |bytes: &[u8]| {
        let pieces = vec![Bytes::copy_from_slice(bytes)];
        MasterMachine::new().restore(&mut Stream(pieces.into_iter()))
    };
    assert!(restore(&whole).is_ok());
    for cut in 0..whole.len() {
        assert!(restore(&whole[..cut]).is_err(), "cut at {cut}");
    }
    assert!(restore(&[whole.clone(), whole].concat()).is_err());
}

#[test]
fn a_state_has_one_digest_whatever_way_it_came_and_another_one_has_another() {
    let digest = |machine: &MasterMachine| machine.digest().and_then(|digest| digest()).expect("a digest");
    let filled = || {
        let mut log = Log::with_servers(&[("a", 3), ("b", 3)]);
        log.apply(MasterCommand::OpenSession { client: ClientId::new("c") });
        stamped(&mut log, 0, MasterOp::Create { path: path("/x") });
        stamped(&mut log, 1, MasterOp::AllocateChunk { path: path("/x"), replicas: 1 });
        log.machine
    };
    let machine = filled();
    assert_eq!(digest(&machine), digest(&filled()));
    let mut restored = MasterMachine::new();
    restored.restore(&mut Stream(pieces(&*machine.snapshot()).into_iter())).unwrap();
    assert_eq!(digest(&restored), digest(&machine));
    // Past the log, as a mistake or a damaged memory would.
    let mut others = [filled(), filled(), filled(), filled()];
    others[0].namespace = Namespace::default();
    others[1].subscribers.insert("d".into());
    assert!(others[2].sessions.remove(&ClientId::new("c")));
    others[3].office.epoch.0 += 1;
    for other in &others {
        assert_ne!(digest(other), digest(&machine));
    }
}
