//! The table against a model that remembers everything and forgets by rule.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{WINDOW, digest};
use super::*;

const TTL_MS: u64 = 1000;

fn client(name: u8) -> ClientId {
    ClientId::new(format!("c{name}"))
}

fn stamp(name: u8, seq: u64, acked: Option<u64>) -> Stamp {
    Stamp { client: client(name), seq, acked }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Opens c0 at 0 and carries out the numbers, replying each with its own text.
fn table_with(seqs: impl IntoIterator<Item = u64>) -> Table {
    let mut table = Table::new(Duration::from_millis(TTL_MS));
    table.open(&client(0), LogTime(0), Index(1));
    for seq in seqs {
        assert_eq!(carry_out(&mut table, seq), Begin::Fresh, "number {seq}");
    }
    table
}

fn carry_out(table: &mut Table, seq: u64) -> Begin {
    let stamp = stamp(0, seq, None);
    let begun = table.begin(&stamp, digest(b"x"), LogTime(0));
    if begun == Begin::Fresh {
        table.record(&stamp, digest(b"x"), bytes(&seq.to_string()), Index(seq + 2));
    }
    begun
}

#[test]
fn a_retry_gets_its_first_reply_and_another_command_under_its_number_is_refused() {
    let mut table = table_with([7]);
    assert_eq!(table.begin(&stamp(0, 7, None), digest(b"x"), LogTime(0)), Begin::Replay(bytes("7")));
    assert_eq!(table.begin(&stamp(0, 7, None), digest(b"y"), LogTime(0)), Begin::Refused(Refusal::Reused));
}

#[test]
fn numbers_inside_the_window_are_carried_out_in_any_order_and_none_below_it() {
    let mut table = table_with([5000, 5000 - WINDOW + 1, 4500]);
    assert_eq!(carry_out(&mut table, 5000 - WINDOW), Begin::Refused(Refusal::BelowWindow));
    assert_eq!(carry_out(&mut table, 4499), Begin::Fresh);
}

#[test]
fn the_newest_replies_are_kept_however_far_apart_their_numbers_are() {
    let mut table = table_with((0..WINDOW).map(|i| i * 5000));
    assert_eq!(carry_out(&mut table, 0), Begin::Replay(bytes("0")));
    assert_eq!(carry_out(&mut table, WINDOW * 5000), Begin::Fresh);
    assert_eq!(carry_out(&mut table, 0), Begin::Refused(Refusal::BelowWindow), "pushed out by the newest");
}

#[test]
fn an_acknowledged_number_is_neither_kept_nor_carried_out_again() {
    let mut table = table_with([1, 2, 3]);
    assert_eq!(table.begin(&stamp(0, 5, Some(2)), 1, LogTime(0)), Begin::Fresh);
    assert_eq!(carry_out(&mut table, 2), Begin::Refused(Refusal::BelowWindow));
    assert_eq!(carry_out(&mut table, 3), Begin::Replay(bytes("3")));
    assert_eq!(table.records().next().unwrap().replies.len(), 1);
}

#[test]
fn a_command_cannot_acknowledge_itself() {
    let mut table = table_with([]);
    let own = stamp(0, 4, Some(9));
    assert_eq!(table.begin(&own, 1, LogTime(0)), Begin::Fresh);
    table.record(&own, 1, bytes("first"), Index(9));
    assert_eq!(table.begin(&own, 1, LogTime(0)), Begin::Replay(bytes("first")));
}

#[test]
fn an_unknown_or_expired_session_carries_nothing_out_even_before_it_is_removed() {
    let mut table = table_with([1]);
    assert_eq!(table.begin(&stamp(1, 1, None), 1, LogTime(0)), Begin::Refused(Refusal::Expired));
    assert_eq!(table.begin(&stamp(0, 1, None), digest(b"x"), LogTime(TTL_MS)), Begin::Replay(bytes("1")));
    assert_eq!(table.begin(&stamp(0, 2, None), 1, LogTime(2 * TTL_MS + 1)), Begin::Refused(Refusal::Expired));
    assert!(table.is_empty());
}

#[test]
fn expiry_removes_the_idle_ones_a_bounded_number_at_a_call() {
    let mut table = Table::new(Duration::from_millis(TTL_MS));
    for name in 0..40 {
        table.open(&client(name), LogTime(u64::from(name)), Index(u64::from(name)));
    }
    table.open(&client(0), LogTime(500), Index(41));
    let now = LogTime(TTL_MS + 30);
    let removed: Vec<_> = std::iter::from_fn(|| Some(table.expire(now)).filter(|some| !some.is_empty())).collect();
    assert!(removed.iter().all(|some| some.len() <= EXPIRE_AT_ONCE));
    assert_eq!(removed.concat(), (1..30).map(client).collect::<Vec<_>>(), "the least recently used first");
    assert_eq!(table.len(), 11);
}

#[derive(Clone, Debug)]
enum Step {
    Open(u8),
    Run { client: u8, first: u64, count: u64, variant: u8, acked: Option<u64> },
    Wait(u64),
    Expire,
    Follow,
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    let seq = prop_oneof![0..40u64, 0..3000u64, Just(u64::MAX - 1)];
    let count = prop_oneof![4 => Just(1u64), 1 => 1..1500u64];
    let acked = prop_oneof![3 => Just(None), 1 => (0..3000u64).prop_map(Some)];
    prop_oneof![
        2 => (0..3u8).prop_map(Step::Open),
        8 => (0..3u8, seq, count, 0..2u8, acked)
            .prop_map(|(client, first, count, variant, acked)| Step::Run { client, first, count, variant, acked }),
        2 => (0..700u64).prop_map(Step::Wait),
        1 => Just(Step::Expire),
        2 => Just(Step::Follow),
        1 => Just(Step::Restore),
    ]
}

/// What the table promises, by remembering all that ever happened to a session.
#[derive(Default)]
struct Model {
    sessions: BTreeMap<ClientId, ModelSession>,
}

#[derive(Default)]
struct ModelSession {
    last_used: u64,
    acked: Option<u64>,
    done: BTreeMap<u64, (u64, Bytes)>,
}

impl Model {
    fn session(&mut self, client: &ClientId, now: u64) -> Option<&mut ModelSession> {
        self.sessions.retain(|_, session| now - session.last_used <= TTL_MS);
        let session = self.sessions.get_mut(client)?;
        session.last_used = now;
        Some(session)
    }

    fn begin(&mut self, stamp: &Stamp, digest: u64, now: u64) -> Begin {
        let Some(session) = self.session(&stamp.client, now) else { return Begin::Refused(Refusal::Expired) };
        session.acked = session.acked.max(stamp.acked.filter(|_| stamp.seq > 0).map(|a| a.min(stamp.seq - 1)));
        let higher = session.done.range(stamp.seq..).filter(|(seq, _)| **seq > stamp.seq).count() as u64;
        let kept = Some(stamp.seq) > session.acked && higher < WINDOW;
        let highest = session.done.keys().next_back().copied();
        match session.done.get(&stamp.seq) {
            Some((first, reply)) if kept && *first == digest => Begin::Replay(reply.clone()),
            Some(_) if kept => Begin::Refused(Refusal::Reused),
            Some(_) => Begin::Refused(Refusal::BelowWindow),
            None if Some(stamp.seq) <= session.acked => Begin::Refused(Refusal::BelowWindow),
            None if highest.is_some_and(|h| h >= WINDOW && stamp.seq <= h - WINDOW) => {
                Begin::Refused(Refusal::BelowWindow)
            }
            None => Begin::Fresh,
        }
    }
}

/// A copy of the table in another log, whose time runs `LEAD_MS` ahead: followed by whole copies first, then by what changed.
struct Follower {
    table: Table,
    marks: BTreeMap<ClientId, Index>,
    at: Option<Index>,
}

const LEAD_MS: u64 = 100_000;

impl Follower {
    fn follow(&mut self, source: &Table, now: u64, index: Index) {
        let clients: Vec<_> = match self.at {
            None => source.records().map(|record| record.client).collect(),
            Some(at) => self.marks.iter().filter(|(_, mark)| **mark > at).map(|(client, _)| client.clone()).collect(),
        };
        for client in clients {
            match source.copy(&client, self.at, LogTime(now)) {
                Some(copy) => self.table.merge(copy, LogTime(now + LEAD_MS), Index(index.0 * 2)),
                None => _ = self.table.remove(&client),
            }
        }
        self.at = Some(index);
    }
}

/// What two tables must share: not the indexes, and not the exact ages.
fn content(table: &Table) -> Vec<SessionRecord> {
    let unplaced = |kept| KeptReply { at: Index(0), ..kept };
    table
        .records()
        .map(|session| SessionRecord {
            opened: Index(0),
            last_used: LogTime(0),
            replies: session.replies.into_iter().map(unplaced).collect(),
            ..session
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 96, ..Default::default() })]

    #[test]
    fn a_table_does_what_a_model_that_forgets_nothing_says_and_so_does_its_copy(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let mut table = Table::new(Duration::from_millis(TTL_MS));
        let mut model = Model::default();
        let mut follower = Follower { table: table.clone(), marks: BTreeMap::new(), at: None };
        let (mut now, mut index) = (0, 0);
        for step in steps {
            index += 1;
            match step {
                Step::Open(name) => {
                    table.open(&client(name), LogTime(now), Index(index));
                    follower.marks.insert(client(name), Index(index));
                    if model.session(&client(name), now).is_none() {
                        model.sessions.insert(client(name), ModelSession { last_used: now, ..Default::default() });
                    }
                }
                Step::Run { client: name, first, count, variant, acked } => {
                    for seq in first..first.saturating_add(count) {
                        index += 1;
                        let stamp = stamp(name, seq, acked);
                        let digest = digest(&[variant]);
                        let known = table.contains(&stamp.client);
                        let begun = table.begin(&stamp, digest, LogTime(now));
                        prop_assert_eq!(&begun, &model.begin(&stamp, digest, now), "{:?}", stamp);
                        if begun == Begin::Fresh {
                            let reply = bytes(&index.to_string());
                            table.record(&stamp, digest, reply.clone(), Index(index));
                            model.sessions.get_mut(&stamp.client).unwrap().done.insert(seq, (digest, reply));
                        }
                        if known {
                            follower.marks.insert(stamp.client, Index(index));
                        }
                    }
                }
                Step::Wait(ms) => now += ms,
                Step::Expire => {
                    for gone in table.expire(LogTime(now)) {
                        prop_assert!(now - model.sessions.remove(&gone).map_or(0, |s| s.last_used) > TTL_MS);
                        follower.marks.insert(gone, Index(index));
                    }
                }
                Step::Follow => {
                    follower.follow(&table, now, Index(index));
                    prop_assert_eq!(content(&follower.table), content(&table));
                }
                Step::Restore => {
                    let mut restored = Table::new(Duration::from_millis(TTL_MS));
                    table.records().for_each(|record| restored.restore(record));
                    prop_assert!(restored.records().eq(table.records()));
                    prop_assert_eq!(&restored.by_use, &table.by_use);
                    table = restored;
                }
            }
        }
        follower.follow(&table, now, Index(index));
        prop_assert_eq!(content(&follower.table), content(&table));
    }
}
