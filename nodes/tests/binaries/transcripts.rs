//! Golden transcripts: every message and every error of the protocol's parts that the binaries speak, as conversations
//! with real processes. One file of `transcripts/` is one test.

macro_rules! transcripts {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            let name = concat!(stringify!($name), ".txt");
            crate::transcript::play(name, include_str!(concat!("../transcripts/", stringify!($name), ".txt")));
        })*

        const ALL: &[&str] = &[$(stringify!($name)),*];
    };
}

transcripts! {
    master_alone
    master_chunkservers
    master_failover
    master_faults
    master_lost_server
    master_metadata
    master_paused
    master_rules
    master_sessions
    master_two
    replica_deadlines
    replica_faults
    replica_follower_reads
    replica_group_configs
    replica_group_deadlines
    replica_group_moves
    replica_group_rules
    replica_registers
    replica_rules
    shardkv_configs
    shardkv_data
    shardkv_deadlines
    shardkv_faults
    shardkv_groups
    shardkv_rules
    shardkv_sessions
}

#[test]
fn every_transcript_is_played() {
    let directory = crate::workspace().join("nodes/tests/transcripts");
    let names = crate::sample::transcripts(&directory);
    let mut all = ALL.to_vec();
    all.sort_unstable();
    assert_eq!(names, all);
}
