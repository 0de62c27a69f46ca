//! The bugs that there are: what a careless author might have written, and what it must break.

use std::fmt;

macro_rules! bugs {
    ($($(#[doc = $layer_doc:literal])+ $layer:ident { $($(#[doc = $doc:literal])+ $bug:ident = $name:literal,)+ })+) => {
        /// The part of the system that a bug is in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Layer {
            $($(#[doc = $layer_doc])+ $layer,)+
        }

        /// A bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Bug {
            $($($(#[doc = $doc])+ $bug,)+)+
        }

        impl Bug {
            /// All of them, layer by layer.
            pub const ALL: &[Bug] = &[$($(Bug::$bug,)+)+];

            /// Its name on a command line.
            pub const fn name(self) -> &'static str {
                match self { $($(Bug::$bug => $name,)+)+ }
            }

            /// The part of the system that it is in.
            pub const fn layer(self) -> Layer {
                match self { $($(Bug::$bug => Layer::$layer,)+)+ }
            }

            /// What it is and what it breaks, as the catalogue says it.
            pub fn about(self) -> &'static str {
                match self { $($(Bug::$bug => concat!($($doc),+),)+)+ }.trim_start()
            }
        }
    };
}

bugs! {
    /// The log on disk.
    Log {
        /// A batch is written and not synced. A power failure takes acknowledged writes.
        NoSync = "no-sync",
        /// Whoever waits for a batch is told when it is written, before it is synced. As above, in a shorter window.
        AckBeforeSync = "ack-before-sync",
        /// A batch that holds nothing but votes is left for the next sync. After a power failure a node votes twice in a
        /// term: two leaders.
        VoteNotSynced = "vote-not-synced",
        /// Recovery skips truncations: an entry that replaced others is put in its place, and those after it stay. The log
        /// then ends with entries of a dead term, and its node votes for candidates that lack committed ones.
        TruncateForgotten = "truncate-forgotten",
        /// A purge takes every entry that there is. Those that no snapshot has are nowhere.
        PurgeTooFar = "purge-too-far",
        /// The first records after the last whole one are taken for whole, torn as they are. Entries of zeros are applied.
        TornTailRead = "torn-tail-read",
        /// A record's checksum is not looked at. Bytes that a disk has spoilt are applied.
        ChecksumIgnored = "checksum-ignored",
    }
    /// Between the log, the machine and the consensus core.
    Engine {
        /// An append that nobody answered counts as one that succeeded. Writes are acknowledged that only their leader has,
        /// before they are committed.
        LostAppendCounted = "lost-append-counted",
        /// A snapshot is stored without the index that it stands for. After the purge behind it the replica cannot start.
        SnapshotWithoutIndex = "snapshot-without-index",
        /// A snapshot is stored without the membership that it stands for. A restarted replica does not know its voters.
        SnapshotWithoutMembership = "snapshot-without-membership",
        /// A snapshot brings the machine, and the sessions stay as they were. A retry is carried out again.
        SessionsNotReset = "sessions-not-reset",
        /// Entries are applied with this node's clock in place of the leader's stamp. Replicas part.
        LocalClockApplied = "local-clock-applied",
        /// After a restart the entries that the log still holds are applied to the snapshot, though it has their effects.
        AppliedTwice = "applied-twice",
        /// An answer that belongs to another question, or to an earlier life of the asker, is accepted.
        StaleAnswerAccepted = "stale-answer-accepted",
        /// A write that the network delivers twice is proposed twice.
        DuplicateLetIn = "duplicate-let-in",
        /// A write of no session whose outcome is unknown is sent again.
        UnknownRetried = "unknown-retried",
        /// A write whose time is up is called refused, though it may be carried out.
        UnknownCalledRefused = "unknown-called-refused",
        /// A replica that restarts takes part at once, though it had promised to wait for a leader's lease.
        LeaseNotOutwaited = "lease-not-outwaited",
    }
    /// Reads that do not enter the log.
    Reads {
        /// The leader answers a linearizable read from what it has applied, without a read index.
        NoReadIndex = "no-read-index",
        /// A read index is given by a node that believes that it leads, without asking a quorum.
        UnconfirmedReadIndex = "unconfirmed-read-index",
        /// A lease read does not look at the lease.
        LeaseUnchecked = "lease-unchecked",
        /// A follower asks for a read index and answers before it has applied it.
        FollowerDoesNotWait = "follower-does-not-wait",
        /// The leader answers a read at an index that it has not applied yet.
        LeaderDoesNotWait = "leader-does-not-wait",
        /// A state's age is counted from the answer of a probe in place of the question.
        StalenessStampedLate = "staleness-stamped-late",
        /// A bounded read is answered whatever its state's age, and claims to be within the bound.
        BoundIgnored = "bound-ignored",
    }
    /// Sessions.
    Sessions {
        /// A number that was seen is carried out again.
        NoDedupe = "no-dedupe",
        /// A snapshot is written without the sessions.
        SessionsNotInSnapshot = "sessions-not-in-snapshot",
        /// A retry is answered with the newest reply of its session in place of its own.
        WrongReplyKept = "wrong-reply-kept",
        /// Replicas expire sessions by their own clocks.
        LocalClockExpires = "local-clock-expires",
        /// A command of a session that there is not is carried out, unprotected.
        UnknownSessionServed = "unknown-session-served",
    }
    /// Moves of shards between groups.
    Moves {
        /// A shard moves without its sessions.
        SessionsNotMoved = "sessions-not-moved",
        /// A shard's sessions move, and the replies that they keep do not.
        RepliesNotMoved = "replies-not-moved",
        /// A source deletes a shard that it has handed off without asking whether it was installed.
        DeletedBeforeInstalled = "deleted-before-installed",
        /// A group jumps from its configuration to the newest.
        ConfigSkipped = "config-skipped",
        /// A group takes the next configuration while shards of this one are still on their way.
        ConfigWhileMoving = "config-while-moving",
        /// A destination installs its copy without having the source freeze the shard.
        NoFreeze = "no-freeze",
        /// A source serves a shard that it has frozen.
        ServedFrozen = "served-frozen",
        /// The last changes before the freeze count as staged and are not.
        LastDeltaForgotten = "last-delta-forgotten",
        /// A key that was removed while its shard was copied is not removed in the copy.
        TombstonesNotCopied = "tombstones-not-copied",
        /// What changes in a shard while it is copied is not marked.
        ChangesNotMarked = "changes-not-marked",
        /// A snapshot of a source is written without the marks of what has changed.
        MarksNotInSnapshot = "marks-not-in-snapshot",
        /// A delta is staged wherever the copy stands.
        DeltaOutOfPlace = "delta-out-of-place",
        /// A delete that comes late deletes the shard that has come back since.
        LateDelete = "late-delete",
    }
    /// The masters.
    Masters {
        /// A new primary keeps the epoch of the one before: two primaries in one epoch.
        EpochNotRaised = "epoch-not-raised",
        /// A primary that asks once more which epoch has begun, since the first answer was lost, tells nobody of it.
        NotificationNotRepeated = "notification-not-repeated",
        /// A command of a primary that was deposed is carried out under the next one.
        EpochUnchecked = "epoch-unchecked",
        /// One of two masters goes on alone without a vote that fences the other off, in a term that may be the other's. The
        /// other's last entries then pass for its own.
        TakeOverUnfenced = "take-over-unfenced",
        /// One of two masters goes on alone whatever its log says of the other.
        TakeOverUnjudged = "take-over-unjudged",
        /// One of two masters goes on alone before the other's lease is over.
        TakeOverTooSoon = "take-over-too-soon",
        /// Of two masters, one sends entries that it has not flushed.
        SentBeforeFlush = "sent-before-flush",
    }
    /// Queries over all shards.
    Scatter {
        /// A shard that did not answer in time counts as one that has nothing.
        TimedOutCounted = "timed-out-counted",
        /// After a retry the answers of the first attempt count too.
        RowsCountedTwice = "rows-counted-twice",
    }
    /// Changes of membership.
    Membership {
        /// A node is made a voter without waiting until it has caught up, or lives at all.
        VoterNotCaughtUp = "voter-not-caught-up",
        /// A node that is removed keeps its vote.
        RemovedKeepsVote = "removed-keeps-vote",
    }
    /// Groups that sleep.
    Quiet {
        /// A sleeping leader answers a lease read on the strength of a lease that nobody renews.
        SleeperServesLease = "sleeper-serves-lease",
        /// A sleeping follower sees its leader's node die and does not wake.
        NobodyWakes = "nobody-wakes",
    }
}

impl Bug {
    /// The bug of this name.
    pub fn named(name: &str) -> Option<Bug> {
        Bug::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_bug_has_a_name_of_its_own_and_is_found_by_it() {
        let names: BTreeSet<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        assert_eq!(names.len(), Bug::ALL.len());
        assert!(Bug::ALL.iter().all(|bug| Bug::named(bug.name()) == Some(*bug)));
        assert_eq!(Bug::named("none"), None);
    }
}
