//! Which claims could notice which bug, the likeliest first.

use quorate::planted::Bug;

use super::targets::Target;
use super::targets::Target::{Disk, Groups, Machines, Sharded, Simulation};

/// A claim that is tried while a bug is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hunt {
    pub(crate) target: Target,
    pub(crate) claim: &'static str,
}

const fn by(target: Target, claim: &'static str) -> Hunt {
    Hunt { target, claim }
}

const REGISTERS: Hunt = by(Simulation, "registers");
const SESSIONS: Hunt = by(Simulation, "sessions");
const WRITES: Hunt = by(Simulation, "writes");
const BOUNDED: Hunt = by(Simulation, "bounded");
const MEMBERSHIP: Hunt = by(Simulation, "membership");
const QUIET: Hunt = by(Simulation, "quiet-groups");
const DURABLE: Hunt = by(Simulation, "durable");
const SHARDED: Hunt = by(Simulation, "sharded-kv");
const FOLLOWERS: Hunt = by(Simulation, "follower-reads");
const SCATTER: Hunt = by(Simulation, "scatter");
const MASTERS: Hunt = by(Simulation, "masters-3");
const TWO_MASTERS: Hunt = by(Simulation, "masters-2");

const POWER_LOSS: Hunt = by(Disk, "crashes::power_loss_at_any_operation_loses_nothing_that_was_reported_durable");
const SCATTERED: Hunt = by(Disk, "crashes::power_loss_that_leaves_any_sectors_loses_nothing_that_was_reported_durable");
const MANY_LIVES: Hunt = by(Disk, "crashes::many_lives_of_random_steps_and_crashes_always_find_what_was_durable");
const FLIPS: Hunt = by(Disk, "damage::every_flipped_byte_of_a_log_at_rest_is_reported_or_does_no_harm");
const POWER_OF_ALL: Hunt = by(Groups, "durable::every_acknowledged_write_is_there_after_power_was_lost_on_all_nodes");
const HISTORIES: Hunt =
    by(Groups, "histories::in_virtual_time::what_concurrent_clients_see_could_have_happened_one_after_the_other");
const FATES: Hunt =
    by(Groups, "histories::in_virtual_time::what_was_acknowledged_happened_once_what_was_rejected_never");
const BAD_NETWORK: Hunt =
    by(Groups, "faults::in_virtual_time::duplicated_delayed_and_reordered_messages_break_nothing");
const STALENESS: Hunt =
    by(Groups, "bounded::in_virtual_time::a_bounded_read_is_never_older_than_it_claims_whatever_goes_wrong");
const CUT_OFF: Hunt = by(Groups, "bounded::in_virtual_time::a_follower_that_is_cut_off_never_answers_beyond_its_bound");
const STALE_LEADER: Hunt = by(Groups, "reads::in_virtual_time::a_stale_leader_cannot_serve_a_linearizable_read");
const LEASE_OVER: Hunt = by(
    Groups,
    "reads::in_virtual_time::a_lease_read_needs_no_message_and_is_refused_once_the_leader_is_cut_off_for_longer_than_its_lease",
);
const LAGGING: Hunt = by(Groups, "reads::in_virtual_time::a_follower_whose_applies_lag_waits_for_them");
const HEIR: Hunt = by(
    Groups,
    "reads::in_virtual_time::a_new_leader_answers_no_read_before_it_has_applied_what_its_predecessor_acknowledged",
);
const OLD_LEASE: Hunt =
    by(Groups, "reads::in_virtual_time::a_voter_that_restarts_keeps_to_the_lease_that_it_acknowledged");
const ONCE: Hunt = by(Groups, "sessions::in_virtual_time::a_sessions_commands_take_effect_once_through_every_fault");
const FIRST_REPLY: Hunt = by(
    Groups,
    "sessions::in_virtual_time::a_repeated_command_gets_its_first_reply_also_from_a_later_leader_and_after_a_restart",
);
const UNKNOWN_SESSION: Hunt =
    by(Groups, "sessions::in_virtual_time::a_command_of_an_expired_or_unknown_session_is_not_carried_out");
const WRONG_CLOCK: Hunt = by(Groups, "sessions::in_virtual_time::one_wrong_clock_expires_no_session");
const RESTART_OF_ALL: Hunt =
    by(Groups, "restarts::in_virtual_time::restarting_all_nodes_keeps_every_acknowledged_write");
const FAR_BEHIND: Hunt =
    by(Groups, "snapshots::in_virtual_time::a_follower_that_is_far_behind_catches_up_by_a_snapshot");
const UNCERTAIN: Hunt = by(
    Groups,
    "deadlines::in_virtual_time::a_write_that_an_isolated_leader_accepted_ends_unknown_and_one_that_it_did_not_accept_ends_rejected",
);
const PAIR: Hunt = by(
    Groups,
    "two_masters::simulation::whatever_goes_wrong_at_most_one_goes_on_alone_and_nothing_acknowledged_is_lost",
);
const TAIL: Hunt =
    by(Groups, "two_masters::claims::in_virtual_time::the_old_primarys_tail_is_dropped_and_its_clients_told_unknown");
const FLUSHED_FIRST: Hunt =
    by(Groups, "two_masters::claims::in_virtual_time::no_follower_has_an_entry_that_its_leader_could_lose");
const STEPS: Hunt = by(Machines, "kv::tests::moves::clients_see_one_store_whatever_happens_to_the_steps_of_the_moves");
const ONE_MOVE: Hunt = by(
    Machines,
    "kv::tests::handoff::a_move_takes_everything_written_before_the_freeze_and_brings_nothing_deleted_back",
);
const DELTAS: Hunt =
    by(Machines, "kv::tests::handoff::a_delta_that_comes_twice_or_out_of_place_or_damaged_changes_nothing");
const DELETED_LATE: Hunt = by(Machines, "kv::tests::handoff::a_late_delete_touches_nothing_that_was_gained_since");
const ONE_BY_ONE: Hunt = by(Machines, "kv::tests::steps::configurations_are_taken_in_order_each_once");
const EPOCHS: Hunt = by(Machines, "master::tests::epochs::a_term_has_one_epoch_and_an_epoch_one_primary");
const ACROSS_MOVES: Hunt =
    by(Sharded, "unreliable::on_an_unreliable_network_the_whole_store_is_linearizable_per_key_across_moves");
const DESTINATION_DIES: Hunt =
    by(Sharded, "move_steps::a_move_survives_the_loss_of_the_destinations_leader_at_every_step");
const IN_ORDER: Hunt = by(Sharded, "holding::groups_go_through_every_configuration_in_order_however_slow_the_moves");
const STRAYS: Hunt =
    by(Groups, "strays::in_virtual_time::an_answer_to_an_earlier_question_proves_nothing_about_a_later_one");
const NOT_THERE: Hunt = by(Groups, "membership::in_virtual_time::a_node_that_is_not_there_is_not_made_a_voter");
const REMOVED: Hunt = by(Groups, "membership::in_virtual_time::a_removed_node_counts_no_more_and_the_others_go_on");
const DEPOSED: Hunt = by(Groups, "quiet::in_virtual_time::a_quiet_leader_that_was_deposed_serves_nobody_by_its_lease");
const LOST_NODE: Hunt = by(Groups, "quiet::in_virtual_time::the_groups_of_a_lost_node_elect_without_being_asked");
const OLDER_PRIMARY: Hunt = by(Machines, "master::tests::epochs::what_an_older_primary_took_changes_nothing");
const AUDIENCE: Hunt = by(
    Machines,
    "master::tests::epochs::a_primary_that_asks_once_more_whether_its_epoch_has_begun_is_told_whom_to_tell",
);
const DEAD_GROUP: Hunt = by(Sharded, "scans::a_scan_fails_rather_than_leave_out_the_shards_of_a_dead_group");
const OLD_CONFIG: Hunt = by(Sharded, "scans::a_scan_that_began_by_an_old_configuration_counts_no_key_twice");
const DELETED_KEY: Hunt =
    by(Sharded, "holding::a_key_deleted_in_mid_move_stays_deleted_though_the_source_returns_from_a_snapshot");

/// The scenarios and claims that could notice this bug.
pub(crate) fn hunts(bug: Bug) -> &'static [Hunt] {
    match bug {
        Bug::NoSync | Bug::AckBeforeSync => {
            &[POWER_LOSS, REGISTERS, DURABLE, SESSIONS, SCATTERED, MANY_LIVES, POWER_OF_ALL]
        }
        Bug::VoteNotSynced => &[MANY_LIVES, REGISTERS, DURABLE, MEMBERSHIP, POWER_LOSS],
        Bug::TruncateForgotten | Bug::PurgeTooFar | Bug::TornTailRead => {
            &[MANY_LIVES, REGISTERS, DURABLE, SESSIONS, SCATTERED]
        }
        Bug::ChecksumIgnored => &[FLIPS, REGISTERS, DURABLE, MANY_LIVES],
        Bug::LostAppendCounted => &[BAD_NETWORK, WRITES, REGISTERS, FATES],
        Bug::SnapshotWithoutIndex => &[RESTART_OF_ALL, WRITES, REGISTERS, MEMBERSHIP, FAR_BEHIND],
        Bug::SnapshotWithoutMembership => &[RESTART_OF_ALL, REGISTERS, MEMBERSHIP, FAR_BEHIND],
        Bug::SessionsNotReset | Bug::SessionsNotInSnapshot => &[FIRST_REPLY, SESSIONS, ONCE],
        Bug::LocalClockApplied => &[REGISTERS, SESSIONS],
        Bug::LocalClockExpires => &[WRONG_CLOCK, SESSIONS],
        Bug::AppliedTwice => &[WRITES, REGISTERS, SESSIONS, FIRST_REPLY],
        Bug::StaleAnswerAccepted => &[STRAYS],
        Bug::DuplicateLetIn => &[BAD_NETWORK, WRITES, REGISTERS, FATES],
        Bug::UnknownRetried => &[BAD_NETWORK, WRITES, REGISTERS, FATES],
        Bug::UnknownCalledRefused => &[UNCERTAIN, WRITES, REGISTERS, FATES],
        Bug::LeaseNotOutwaited => &[OLD_LEASE, REGISTERS, PAIR],
        Bug::NoReadIndex | Bug::UnconfirmedReadIndex => &[STALE_LEADER, REGISTERS, BOUNDED, HISTORIES],
        Bug::LeaseUnchecked => &[LEASE_OVER, REGISTERS, STALE_LEADER],
        Bug::FollowerDoesNotWait => &[LAGGING, REGISTERS, FOLLOWERS, HISTORIES],
        Bug::LeaderDoesNotWait => &[HEIR, REGISTERS, HISTORIES],
        Bug::StalenessStampedLate => &[STALENESS, BOUNDED, FOLLOWERS, CUT_OFF],
        Bug::BoundIgnored => &[CUT_OFF, BOUNDED, FOLLOWERS, STALENESS],
        Bug::NoDedupe | Bug::WrongReplyKept => &[FIRST_REPLY, SESSIONS, SHARDED, ONCE, STEPS],
        Bug::UnknownSessionServed => &[UNKNOWN_SESSION, SESSIONS, SHARDED, ONCE, STEPS],
        Bug::SessionsNotMoved | Bug::RepliesNotMoved => &[STEPS, SHARDED, ACROSS_MOVES],
        Bug::DeletedBeforeInstalled => &[SHARDED, DESTINATION_DIES, ACROSS_MOVES],
        Bug::ConfigSkipped => &[IN_ORDER, SHARDED, ACROSS_MOVES],
        Bug::ConfigWhileMoving => &[ONE_BY_ONE, SHARDED, IN_ORDER],
        Bug::NoFreeze | Bug::ServedFrozen => &[STEPS, SHARDED, ACROSS_MOVES],
        Bug::LastDeltaForgotten | Bug::ChangesNotMarked => &[ONE_MOVE, SHARDED, STEPS, ACROSS_MOVES],
        Bug::DeltaOutOfPlace => &[DELTAS, STEPS, SHARDED, ACROSS_MOVES],
        Bug::TombstonesNotCopied | Bug::MarksNotInSnapshot => &[STEPS, SHARDED, DELETED_KEY],
        Bug::LateDelete => &[DELETED_LATE, STEPS, SHARDED],
        Bug::EpochNotRaised => &[EPOCHS, MASTERS],
        Bug::EpochUnchecked => &[OLDER_PRIMARY, MASTERS],
        Bug::NotificationNotRepeated => &[AUDIENCE, MASTERS],
        Bug::TakeOverUnfenced => &[TAIL, PAIR, TWO_MASTERS],
        Bug::TakeOverTooSoon => &[PAIR],
        Bug::TakeOverUnjudged => &[PAIR, TWO_MASTERS],
        Bug::SentBeforeFlush => &[FLUSHED_FIRST, PAIR, TWO_MASTERS],
        Bug::TimedOutCounted => &[DEAD_GROUP, SCATTER],
        Bug::RowsCountedTwice => &[SCATTER, OLD_CONFIG],
        Bug::VoterNotCaughtUp => &[NOT_THERE, MEMBERSHIP],
        Bug::RemovedKeepsVote => &[REMOVED, MEMBERSHIP],
        Bug::SleeperServesLease => &[DEPOSED, QUIET],
        Bug::NobodyWakes => &[LOST_NODE, QUIET],
    }
}

/// Bugs that a scenario of the simulation notices within three seeds: what a sample is taken of.
pub(crate) const QUICK: &[(Bug, Hunt)] = &[
    (Bug::LocalClockApplied, REGISTERS),
    (Bug::LostAppendCounted, WRITES),
    (Bug::SnapshotWithoutIndex, WRITES),
    (Bug::AppliedTwice, WRITES),
    (Bug::NoFreeze, SHARDED),
    (Bug::LastDeltaForgotten, SHARDED),
    (Bug::ChangesNotMarked, SHARDED),
    (Bug::EpochNotRaised, MASTERS),
    (Bug::RowsCountedTwice, SCATTER),
];
