//! Epochs and sessions: who may do what, and how often it happens.

use quorate::sessions::{Refusal as SessionRefusal, Stamp};
use quorate::types::ClientId;

use super::*;

fn stamp(seq: u64) -> Stamp {
    Stamp { client: ClientId::new("c"), seq, acked: None }
}

fn create(epoch: u64, claimed: Option<u64>, seq: Option<u64>, text: &str) -> MasterCommand {
    let op = MasterOp::Create { path: path(text) };
    MasterCommand::Op { epoch: Epoch(epoch), claimed: claimed.map(Epoch), session: seq.map(stamp), op }
}

fn office(log: &Log) -> (u64, Option<String>) {
    let office = log.machine.office();
    (office.epoch.0, office.primary.as_ref().map(ToString::to_string))
}

#[test]
fn a_term_has_one_epoch_and_an_epoch_one_primary() {
    let mut log = Log::default();
    assert_eq!(office(&log), (0, None));
    log.term = 3;
    log.begin("n1");
    assert_eq!(office(&log), (1, Some("n1".into())));
    // Said twice, because the first answer was lost.
    assert!(matches!(log.begin("n1"), MasterReply::Began { .. }));
    assert_eq!(office(&log), (1, Some("n1".into())));
    assert_eq!(log.begin("n2"), MasterReply::TermOver);
    // A deposed leader's word, handed on to its successor.
    log.term = 4;
    let late = MasterCommand::BeginEpoch { primary: "n1".into(), term: Term(3) };
    assert_eq!(log.apply(late), MasterReply::TermOver);
    log.begin("n2");
    assert_eq!(office(&log), (2, Some("n2".into())));
}

#[test]
fn the_audience_of_an_epoch_is_everybody_once() {
    let mut log = Log::with_servers(&[("s2", 1), ("s1", 1)]);
    for who in ["c1", "s1", "c1"] {
        log.op(MasterOp::Subscribe { who: who.into() });
    }
    log.op(MasterOp::Lose { server: "s2".into() });
    log.term = 2;
    match log.begin("n2") {
        MasterReply::Began { audience, .. } => assert_eq!(names(&audience), ["c1", "s1", "s2"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_primary_that_asks_once_more_whether_its_epoch_has_begun_is_told_whom_to_tell() {
    let mut log = Log::with_servers(&[("s1", 1)]);
    log.term = 2;
    // The first answer may have been lost, and nobody told.
    let first = log.begin("n2");
    assert!(matches!(&first, MasterReply::Began { audience, .. } if names(audience) == ["s1"]), "{first:?}");
    assert_eq!(log.begin("n2"), first);
}

#[test]
fn what_an_older_primary_took_changes_nothing() {
    let mut log = Log::with_servers(&[]);
    log.term = 2;
    log.begin("n2");
    let reply = log.apply(create(1, None, None, "/a"));
    assert_eq!(reply, MasterReply::Deposed(log.machine.office().clone()));
    assert_eq!(log.list(), [""; 0]);
    assert_eq!(log.apply(create(2, None, None, "/a")), MasterReply::Done(Done::Plainly));
}

#[test]
fn a_client_that_believes_in_another_epoch_is_refused() {
    let mut log = Log::with_servers(&[]);
    log.term = 2;
    log.begin("n2");
    for claimed in [0, 1, 3] {
        let reply = log.apply(create(2, Some(claimed), None, "/a"));
        assert_eq!(reply, MasterReply::WrongEpoch(log.machine.office().clone()), "{claimed}");
    }
    assert_eq!(log.apply(create(2, Some(2), None, "/a")), MasterReply::Done(Done::Plainly));
}

#[test]
fn a_retry_gets_the_first_reply_whatever_epoch_it_comes_under() {
    let mut log = Log::with_servers(&[("s1", 9)]);
    log.create("/a");
    log.apply(MasterCommand::OpenSession { client: ClientId::new("c") });
    let allocate = |epoch, claimed| MasterCommand::Op {
        epoch: Epoch(epoch),
        claimed,
        session: Some(stamp(1)),
        op: MasterOp::AllocateChunk { path: path("/a"), replicas: 1 },
    };
    let first = log.apply(allocate(1, None));
    log.term = 2;
    log.begin("n2");
    assert!(matches!(log.apply(allocate(1, None)), MasterReply::Deposed(_)));
    assert_eq!(log.apply(allocate(2, Some(Epoch(1)))), first);
    assert_eq!(log.stat("/a").map(|chunks| chunks.len()), Some(1));
    // Another operation under the same number.
    assert_eq!(log.apply(create(2, None, Some(1), "/b")), MasterReply::Session(SessionRefusal::Reused));
}

#[test]
fn a_refusal_for_the_epoch_leaves_the_number_free() {
    let mut log = Log::with_servers(&[]);
    log.apply(MasterCommand::OpenSession { client: ClientId::new("c") });
    assert!(matches!(log.apply(create(1, Some(7), Some(1), "/a")), MasterReply::WrongEpoch(_)));
    assert!(matches!(log.apply(create(0, None, Some(1), "/a")), MasterReply::Deposed(_)));
    assert_eq!(log.apply(create(1, None, Some(1), "/a")), MasterReply::Done(Done::Plainly));
}

#[test]
fn the_outcome_of_an_operation_can_be_asked_for() {
    let mut log = Log::with_servers(&[]);
    let outcome = |log: &Log, seq| {
        let query = MasterQuery::Outcome { stamp: stamp(seq), op: MasterOp::Create { path: path("/a") } };
        match log.machine.query(query).found {
            Found::Outcome(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(outcome(&log, 1), Some(MasterReply::Session(SessionRefusal::Expired)));
    log.apply(MasterCommand::OpenSession { client: ClientId::new("c") });
    assert_eq!(outcome(&log, 1), None);
    log.apply(create(1, None, Some(1), "/a"));
    assert_eq!(outcome(&log, 1), Some(MasterReply::Done(Done::Plainly)));
    assert_eq!(outcome(&log, 2), None, "asking leaves no trace");
}

#[test]
fn a_business_refusal_is_replayed_too() {
    let mut log = Log::with_servers(&[]);
    log.apply(MasterCommand::OpenSession { client: ClientId::new("c") });
    log.create("/a");
    let refusal = MasterReply::Refused(Refusal::Exists);
    assert_eq!(log.apply(create(1, None, Some(1), "/a")), refusal);
    log.op(MasterOp::Delete { path: path("/a") });
    assert_eq!(log.apply(create(1, None, Some(1), "/a")), refusal);
}
