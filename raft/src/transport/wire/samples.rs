//! One message of each kind, with a value in every place.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Message;
use crate::error::{AdminError, Fatal, ReadError, Rejected, Unknown, WriteError};
use crate::group::{Described, Role};
use crate::log::{Action, Entry, Payload, Proposal, Verdict, Write};
use crate::machine::{CommandVersion, Versions};
use crate::reads::{Consistency, Proof, ReadReply};
use crate::sessions::{Refusal, Stamp};
use crate::snapshot::SnapshotMeta;
use crate::transport::{
    Answer, Append, Appended, Ballot, Change, Chunk, ChunkReply, Envelope, ForwardedAdmin, ForwardedRead,
    ForwardedWrite, Quiesce, ReadIndex, Reply, Request, WriteOutcome,
};
use crate::types::{ClientId, ClusterId, GroupId, Incarnation, Index, LogId, LogTime, Membership, NodeId, Term, Vote};

const AT: LogId = LogId { term: Term(3), index: Index(700) };
const VOTE: Vote = Vote { term: Term(3), node: NodeId(2), committed: true };
const PATIENCE: Duration = Duration::from_millis(1500);

/// Names and messages. The names are those of the fixtures.
pub(super) fn samples() -> Vec<(String, Message)> {
    let requests = requests().into_iter().map(|(name, request)| {
        let envelope = Envelope {
            cluster: ClusterId(0x0102_0304_0506_0708),
            from: NodeId(2),
            incarnation: Incarnation(u64::MAX),
            id: 300,
            group: GroupId(17),
            request,
        };
        (format!("request/{name}"), Message::Envelope(envelope))
    });
    let replies = replies().into_iter().map(|(name, reply)| {
        (format!("reply/{name}"), Message::Answer(Answer { incarnation: Incarnation(u64::MAX), id: 300, reply }))
    });
    requests.chain(replies).collect()
}

fn requests() -> Vec<(&'static str, Request)> {
    let ballot = || Ballot { vote: VOTE, last: Some(AT), transfer: true };
    let append = |entries| Append { vote: VOTE, previous: Some(AT), entries, committed: Some(AT) };
    let all = [
        ("append", Request::Append(append(entries()))),
        ("heartbeat", Request::Append(append(Vec::new()))),
        ("vote", Request::Vote(ballot())),
        ("pre-vote", Request::PreVote(ballot())),
        ("transfer", Request::Transfer { from: VOTE, to: NodeId(3), last: Some(AT) }),
        ("snapshot", Request::Snapshot(chunk())),
        ("read-index", Request::ReadIndex),
        ("write", Request::Write(ForwardedWrite { writes: writes(), hops_left: 2, timeout: PATIENCE })),
        ("read", Request::Read(read(Consistency::Bounded(PATIENCE)))),
        ("admin", Request::Admin(admin(Change::Replace(NodeId(1), NodeId(9))))),
        ("who-leads", Request::WhoLeads),
        ("applied", Request::Applied { past: Some(Index(700)), timeout: PATIENCE }),
        ("describe", Request::Describe),
    ];
    let quiet = [
        ("quiesce", Request::Quiesce(Quiesce { vote: VOTE, last: AT, life: 1 << 40 })),
        ("wake", Request::Wake),
        ("ping", Request::Ping),
        ("versions", Request::Versions),
        ("admin/raise-version", Request::Admin(admin(Change::RaiseVersion(CommandVersion(3))))),
        ("write/raise-version", Request::Write(write(Action::RaiseVersion(CommandVersion(3))))),
        ("digest", Request::Digest { at: Index(700), timeout: PATIENCE }),
        ("admin/compare-states", Request::Admin(admin(Change::CompareStates))),
        ("write/digest", Request::Write(write(Action::Digest))),
        ("write/verdict", Request::Write(write(Action::Verdict(Verdict { at: Index(700), expected: Some(1 << 40) })))),
    ];
    let reads = [Consistency::Linearizable, Consistency::LinearizableHere, Consistency::Lease, Consistency::Local];
    let changes =
        [Change::AddLearner, Change::AddVoter, Change::Remove, Change::Transfer].map(|change| change(NodeId(9)));
    let names = ["read/linearizable", "read/here", "read/lease", "read/local"];
    let reads = names.into_iter().zip(reads.map(|consistency| Request::Read(read(consistency))));
    let names = ["admin/learner", "admin/voter", "admin/remove", "admin/transfer"];
    let changes = names.into_iter().zip(changes.map(|change| Request::Admin(admin(change))));
    all.into_iter().chain(reads).chain(changes).chain(quiet).collect()
}

fn replies() -> Vec<(&'static str, Reply)> {
    let outcome = WriteOutcome { at: AT, reply: Bytes::from_static(b"done"), replayed: true };
    let write_errors = [
        WriteError::Rejected(Rejected::Overloaded),
        WriteError::Unknown(Unknown::LeaderLost),
        WriteError::Fatal(Fatal("disk".into())),
    ];
    let results = write_errors.clone().into_iter().map(Err).chain([Ok(outcome)]).rev().collect();
    let proof = Proof {
        served_by: NodeId(2),
        applied: Some(Index(700)),
        linearizable: false,
        staleness: Some(PATIENCE),
        redirected: true,
    };
    let read = ReadReply { answer: Bytes::from_static(b"answer"), proof };
    let index = ReadIndex { term: Term(3), index: Some(Index(700)) };
    let mut all = vec![
        ("append/success", Reply::Append(Appended::Success)),
        ("append/partial", Reply::Append(Appended::Partial(Some(AT)))),
        ("append/conflict", Reply::Append(Appended::Conflict)),
        ("append/higher-vote", Reply::Append(Appended::HigherVote(VOTE))),
        ("vote", Reply::Vote { vote: VOTE, granted: true, last: Some(AT) }),
        ("transfer", Reply::Transfer(Ok(()))),
        ("transfer/refused", Reply::Transfer(Err("not a voter".into()))),
        ("snapshot/held", Reply::Snapshot(ChunkReply::Held(1 << 40))),
        ("snapshot/installed", Reply::Snapshot(ChunkReply::Installed(VOTE))),
        ("snapshot/failed", Reply::Snapshot(ChunkReply::Failed("full".into()))),
        ("read-index", Reply::ReadIndex(Ok(index))),
        ("read-index/error", Reply::ReadIndex(Err(ReadError::Rejected(Rejected::NoLeader)))),
        ("write", Reply::Write(Ok(results))),
        ("write/error", Reply::Write(Err(WriteError::Unknown(Unknown::Deadline(PATIENCE))))),
        ("read", Reply::Read(Ok(read))),
        ("read/deadline", Reply::Read(Err(ReadError::Deadline(PATIENCE)))),
        ("read/fatal", Reply::Read(Err(ReadError::Fatal(Fatal("torn".into()))))),
        ("admin", Reply::Admin(Ok(()))),
        ("admin/rejected", Reply::Admin(Err(AdminError::Rejected(Rejected::Stopped)))),
        ("admin/unknown", Reply::Admin(Err(AdminError::Unknown(Unknown::AnswerLost("cut".into()))))),
        ("admin/fatal", Reply::Admin(Err(AdminError::Fatal(Fatal("gone".into()))))),
        ("leader", Reply::Leader { leader: Some(NodeId(2)), term: Term(3) }),
        ("session", Reply::Write(Err(WriteError::Unknown(Unknown::Session(Refusal::BelowWindow))))),
    ];
    let refused = [
        ("refused/no-leader", Rejected::NoLeader),
        ("refused/not-leader", Rejected::NotLeader { leader: Some(NodeId(2)) }),
        ("refused/not-ready", Rejected::LeaderNotReady("lease".into())),
        ("refused/overloaded", Rejected::Overloaded),
        ("refused/deadline", Rejected::Deadline(PATIENCE)),
        ("refused/no-such-group", Rejected::NoSuchGroup(GroupId(17))),
        ("refused/stopped", Rejected::Stopped),
        ("refused/invalid", Rejected::Invalid("what?".into())),
        ("refused/expired", Rejected::Session(Refusal::Expired)),
        ("refused/reused", Rejected::Session(Refusal::Reused)),
        ("refused/consistency", Rejected::Consistency("too old".into())),
        ("refused/disk-full", Rejected::DiskFull("no space".into())),
    ];
    all.push(("applied", Reply::Applied(Some(Index(701)))));
    all.push(("described", Reply::Described(Box::new(described()))));
    all.extend(refused.map(|(name, cause)| (name, Reply::Refused(cause))));
    all.push(("quiesced", Reply::Quiesced(true)));
    all.push(("alive", Reply::Alive { life: 1 << 40 }));
    all.push(("versions", Reply::Versions(Versions::new(1, 3))));
    all.push(("digest", Reply::Digest(Some(1 << 40))));
    all
}

fn entries() -> Vec<Entry> {
    let at = |index| LogId { term: Term(3), index: Index(index) };
    let proposal = Proposal { stamped: LogTime(1_760_000_000_000), writes: writes() };
    vec![
        Entry { id: at(701), payload: Payload::Blank },
        Entry { id: at(702), payload: Payload::Writes(Arc::new(proposal)) },
        Entry { id: at(703), payload: Payload::Membership(Box::new(membership())) },
    ]
}

fn described() -> Described {
    Described {
        node: NodeId(2),
        role: Role::Follower,
        term: Term(3),
        leader: Some(NodeId(1)),
        membership: membership(),
        last: Some(Index(703)),
        committed: Some(Index(702)),
        applied: Some(Index(701)),
        snapshot: None,
        log_bytes: 1 << 20,
    }
}

fn writes() -> Vec<Write> {
    let client = ClientId::new("c1");
    let stamp = Stamp { client: client.clone(), seq: 7, acked: Some(6) };
    vec![
        Write { session: Some(stamp), action: Action::Apply(Bytes::from_static(b"put a 1")) },
        Write { session: None, action: Action::OpenSession(client) },
    ]
}

fn write(action: Action) -> ForwardedWrite {
    ForwardedWrite { writes: vec![Write { session: None, action }], hops_left: 1, timeout: PATIENCE }
}

fn membership() -> Membership {
    let set = |nodes: &[u64]| nodes.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
    Membership { voters: vec![set(&[1, 2, 3]), set(&[2, 3, 4])], learners: set(&[5]) }
}

fn chunk() -> Chunk {
    let meta = SnapshotMeta { last: Some(AT), membership: membership(), membership_at: Some(AT) };
    Chunk { vote: VOTE, meta, offset: 4096, bytes: Bytes::from_static(b"piece"), done: true }
}

fn read(consistency: Consistency) -> ForwardedRead {
    ForwardedRead { consistency, query: Bytes::from_static(b"get a"), hops_left: 1, timeout: PATIENCE }
}

fn admin(change: Change) -> ForwardedAdmin {
    ForwardedAdmin { change, hops_left: 1, timeout: PATIENCE }
}
