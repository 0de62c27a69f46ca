//! Random worlds: whatever is lost, repeated, reordered, lags or restarts, clients see one store.

use std::collections::BTreeMap;

use proptest::prelude::*;
use quorate::sessions::Stamp;
use quorate::types::ClientId;

use super::world::{SHARDS, World};
use super::*;

#[derive(Clone, Debug)]
enum Action {
    /// A client's command at the group that serves the shard, or at any; a late duplicate may stay in the network.
    Op {
        group: Option<usize>,
        shard: u32,
        session: Option<Numbered>,
        what: What,
        linger: bool,
    },
    Open {
        group: usize,
        shard: u32,
        client: u8,
    },
    Assign(BTreeMap<ShardId, Option<usize>>),
    /// The driver of a group does one of the things it could do; several at once are several actions.
    Drive {
        group: usize,
        replica: usize,
        source_replica: usize,
        bytes: u64,
        pick: usize,
        now: bool,
    },
    Deliver {
        pick: usize,
        again: bool,
    },
    Lose {
        pick: usize,
    },
    CatchUp {
        group: usize,
        count: usize,
    },
    Restore {
        group: usize,
        replica: usize,
        from: usize,
    },
    Wait {
        ms: u64,
    },
    /// The replica on a disk is persisted, and applies meanwhile.
    Persist {
        group: usize,
        meanwhile: usize,
    },
    /// The replica on a disk starts again from what is persisted.
    Crash {
        group: usize,
    },
}

/// What a client asks for.
#[derive(Clone, Debug)]
enum What {
    Op(KvOp),
    Batch(Batch),
}

impl What {
    fn command(self, shard: ShardId, session: Option<Stamp>) -> KvCommand {
        match self {
            What::Op(op) => KvCommand::Op { shard, session, op },
            What::Batch(batch) => KvCommand::Batch { shard, session, batch },
        }
    }
}

/// A number of a client's session.
#[derive(Clone, Copy, Debug)]
struct Numbered {
    client: u8,
    seq: u64,
    acked: Option<u64>,
}

impl Numbered {
    fn stamp(self) -> Stamp {
        Stamp { client: client(self.client), seq: self.seq, acked: self.acked }
    }
}

fn client(name: u8) -> ClientId {
    ClientId::new(format!("client {name}"))
}

fn name() -> impl Strategy<Value = Arc<str>> {
    (0..16u8).prop_map(|k| Arc::<str>::from(format!("k{k}")))
}

fn value() -> impl Strategy<Value = Json> {
    prop_oneof![(0..3u8).prop_map(|i| json(format!("v{i}"))), Just(json(1)), Just(json(Vec::<u8>::new()))]
}

fn op() -> impl Strategy<Value = KvOp> {
    (name(), 0..10u8, value(), value(), any::<bool>()).prop_map(|(key, kind, value, from, create_if_not_exists)| {
        match kind {
            0..4 => KvOp::Put { key, value },
            4..6 => KvOp::Append { key, value },
            6..8 => KvOp::Delete { key },
            _ => KvOp::Cas { key, from, to: value, create_if_not_exists },
        }
    })
}

/// Expects what may well be, so that many are carried out; few different statements, so that numbers meet again.
fn batch() -> impl Strategy<Value = Batch> {
    let expect = || {
        prop_oneof![
            4 => Just(Expect::Anything),
            1 => Just(Expect::Absent),
            1 => value().prop_map(|value| Expect::Seen(value.digest())),
        ]
    };
    let check = (name(), expect()).prop_map(|(key, expect)| Check { key, expect });
    let change = (name(), expect(), prop::option::weighted(0.7, value())).prop_map(|(key, expect, value)| Change {
        key,
        expect,
        value,
    });
    (0..2u64, prop::collection::vec(check, 0..2), prop::collection::vec(change, 0..6), 0..100u64)
        .prop_map(|(statement, checks, changes, rows)| Batch { statement, checks, changes, rows })
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![2 => op().prop_map(What::Op), 1 => batch().prop_map(What::Batch)]
}

fn action() -> impl Strategy<Value = Action> {
    let group = || 0..3usize;
    let replica = || 0..2usize;
    let numbered = (0..3u8, 1..100u64, prop::option::weighted(0.05, 0..40u64))
        .prop_map(|(client, seq, acked)| Numbered { client, seq, acked });
    let assignment =
        prop::collection::btree_map((0..SHARDS).prop_map(ShardId), prop::option::weighted(0.75, group()), 1..3);
    prop_oneof![
        18 => (prop::option::weighted(0.2, group()), 0..SHARDS, prop::option::weighted(0.7, numbered), what(), any::<bool>())
            .prop_map(|(group, shard, session, what, linger)| Action::Op { group, shard, session, what, linger }),
        2 => (group(), 0..SHARDS, 0..3u8).prop_map(|(group, shard, client)| Action::Open { group, shard, client }),
        1 => assignment.prop_map(Action::Assign),
        30 => (group(), replica(), replica(), 0..200u64, any::<u8>(), prop::bool::weighted(0.7)).prop_map(
            |(group, replica, source_replica, bytes, pick, now)| {
                Action::Drive { group, replica, source_replica, bytes, pick: pick.into(), now }
            }
        ),
        8 => (any::<u8>(), prop::bool::weighted(0.3)).prop_map(|(pick, again)| Action::Deliver { pick: pick.into(), again }),
        1 => any::<u8>().prop_map(|pick| Action::Lose { pick: pick.into() }),
        5 => (group(), 1..60usize).prop_map(|(group, count)| Action::CatchUp { group, count }),
        1 => (group(), replica(), replica())
            .prop_map(|(group, replica, from)| Action::Restore { group, replica, from }),
        1 => (0..5000u64).prop_map(|ms| Action::Wait { ms }),
        2 => (group(), 0..20usize).prop_map(|(group, meanwhile)| Action::Persist { group, meanwhile }),
        1 => group().prop_map(|group| Action::Crash { group }),
    ]
}

fn run(world: &mut World, action: Action) {
    match action {
        Action::Op { group, shard, session, what, linger } => {
            let shard = ShardId(shard);
            let Some(group) = group.or(world.server_of(shard)) else { return };
            let command = what.command(shard, session.map(Numbered::stamp));
            if linger {
                world.send((group, command.clone()));
            }
            world.commit(group, command);
        }
        Action::Open { group, shard, client: name } => {
            world.commit(group, KvCommand::OpenSession { shard: ShardId(shard), client: client(name) });
        }
        Action::Assign(changes) => world.assign(&changes),
        Action::Drive { group, replica, source_replica, bytes, pick, now } => {
            let mut jobs = world.jobs(group, replica, source_replica, bytes);
            if jobs.is_empty() {
                return;
            }
            let (to, command) = jobs.swap_remove(pick % jobs.len());
            if now {
                world.commit(to, command);
            } else {
                world.send((to, command));
            }
        }
        Action::Deliver { pick, again } => world.deliver(pick, again),
        Action::Lose { pick } => world.lose(pick),
        Action::CatchUp { group, count } => world.catch_up(group, count),
        Action::Restore { group, replica, from } => world.restore(group, replica, from),
        Action::Wait { ms } => world.wait(ms),
        Action::Persist { group, meanwhile } => world.persist(group, meanwhile),
        Action::Crash { group } => world.crash(group),
    }
}

/// `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(64);
    let default = ProptestConfig::default();
    let max_shrink_iters = default.max_shrink_iters.min(4096);
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters, ..default }
}

fn play(session_ttl_ms: u64, actions: Vec<Action>, database: Option<&KvDatabase>) {
    let mut world = World::new(session_ttl_ms, database);
    world.assign(&(0..SHARDS).map(|shard| (ShardId(shard), Some(shard as usize % 2))).collect());
    world.settle();
    for (shard, name) in (0..SHARDS).flat_map(|shard| (0..3).map(move |name| (shard, name))) {
        run(&mut world, Action::Open { group: shard as usize % 2, shard, client: name });
    }
    for action in actions {
        run(&mut world, action);
    }
    let homeless = (0..SHARDS).map(ShardId).filter(|shard| !world.last_config().contains_key(shard));
    let homes = homeless.map(|shard| (shard, Some(shard.0 as usize))).collect();
    world.assign(&homes);
    world.settle();
    world.check_settled();
}

fn session_ttl_ms() -> impl Strategy<Value = u64> {
    prop_oneof![Just(3_600_000), 500..20_000u64]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn clients_see_one_store_whatever_happens_to_the_steps_of_the_moves(
        session_ttl_ms in session_ttl_ms(),
        actions in prop::collection::vec(action(), 1..800),
    ) {
        play(session_ttl_ms, actions, None);
    }

    #[test]
    fn a_replica_on_a_disk_answers_like_one_in_memory_whenever_it_is_persisted_and_wherever_it_crashes(
        session_ttl_ms in session_ttl_ms(),
        actions in prop::collection::vec(action(), 1..800),
    ) {
        play(session_ttl_ms, actions, Some(disk::shared()));
    }
}
