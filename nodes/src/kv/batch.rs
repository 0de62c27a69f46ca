//! Writing a statement's part on one shard: a batch, tried until its outcome is known, under the statement's number.
//!
//! Promises: over all attempts, and over all batches that are worked out anew for it, a statement's part takes effect at
//! most once; an attempt of unknown outcome makes a later refusal unknown too.
//! Leaves out: what the batch is, and when it is to be worked out anew.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate::WriteError;
use quorate::env::Env;
use quorate::sessions::{Call, Refusal, Stamp, WINDOW};
use quorate::types::ClientId;
use quorate_statemachines::ShardId;
use quorate_statemachines::kv::{Batch, BatchOutcome, Check, Expect, KvCommand, KvMachine, KvReply};

use super::attempts::Attempts;
use super::error::{KvError, of_harmless};
use super::reach::Reach;
use super::sessions::{OpenedSessions, OwnSessions, Sending};

/// Writes batches. Shared by all statements of a process.
pub struct BatchWriter {
    env: Arc<dyn Env>,
    own: OwnSessions,
    opened: OpenedSessions<ShardId>,
    effects: Effects,
}

impl std::fmt::Debug for BatchWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BatchWriter")
    }
}

/// A statement's number: the same on each of its shards. Keep it until no attempt will follow.
#[derive(Debug)]
pub struct StatementNumber {
    stamp: Stamp,
    own: Option<Call>,
}

impl StatementNumber {
    /// The number, as every attempt carries it.
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// Whether a client gave it, who may come again with it.
    pub fn is_named(&self) -> bool {
        self.own.is_none()
    }
}

/// What came of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What came of it, or of an earlier batch of the statement.
    pub outcome: BatchOutcome,
    /// Whether it was an earlier one, perhaps of an earlier run of the statement.
    pub replayed: bool,
}

/// The part of a statement on one shard, over all its batches.
pub struct BatchPart<'a> {
    writer: &'a BatchWriter,
    number: &'a StatementNumber,
    shard: ShardId,
    group: &'a dyn Reach<KvMachine>,
    attempts: Attempts,
    was_sent: bool,
    statement: u64,
}

impl std::fmt::Debug for BatchPart<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchPart").field("shard", &self.shard).field("number", self.number).finish_non_exhaustive()
    }
}

impl BatchWriter {
    /// A writer with sessions of its own.
    pub fn new(env: Arc<dyn Env>) -> Self {
        BatchWriter {
            own: OwnSessions::new(Arc::clone(&env)),
            opened: OpenedSessions::default(),
            effects: Effects::default(),
            env,
        }
    }

    /// A number for a statement: the one that its client names, or one of our own.
    pub fn number(&self, session: Option<Stamp>) -> StatementNumber {
        match session {
            Some(stamp) => StatementNumber { stamp, own: None },
            None => {
                let call = self.own.call();
                StatementNumber { stamp: call.stamp().clone(), own: Some(call) }
            }
        }
    }

    /// The part on `shard` of the statement with this digest, to be done within `timeout`.
    pub fn part<'a>(
        &'a self,
        number: &'a StatementNumber,
        shard: ShardId,
        group: &'a dyn Reach<KvMachine>,
        statement: u64,
        timeout: Duration,
    ) -> BatchPart<'a> {
        let was_sent = self.opened.was_sent(&number.stamp, &shard);
        BatchPart {
            writer: self,
            number,
            shard,
            group,
            attempts: Attempts::new(&self.env, timeout),
            was_sent,
            statement,
        }
    }
}

impl BatchPart<'_> {
    /// How much time is left.
    pub fn left(&self) -> Duration {
        self.attempts.left()
    }

    /// Whether an attempt with this number was carried out, or may have been, or may yet be: of this run of the statement,
    /// or of an earlier one through this process.
    pub fn may_have_happened(&self) -> bool {
        self.attempts.is_open() || self.writer.effects.has(&self.number.stamp, self.shard)
    }

    /// A definite failure found on the way: unknown, if an attempt's outcome is open.
    pub fn fail(&mut self, error: KvError) -> KvError {
        self.attempts.fail(error)
    }

    /// Asks whether the statement's number was used here already, and for what came of it then; uses it for nothing.
    ///
    /// # Errors
    /// [`KvError`] when that is not known.
    pub async fn was_decided(&mut self) -> Result<Option<BatchOutcome>, KvError> {
        // No value has this digest and exists under this key: the batch can only be refused.
        let never = Check { key: "".into(), expect: Expect::Seen(0) };
        let statement = self.statement;
        let batch = Batch { statement, checks: vec![never], changes: Vec::new(), rows: 0 };
        while !self.attempts.left().is_zero() {
            if let Some(result) = self.attempt(&batch, false).await {
                return result.map(|Decided { outcome, replayed }| replayed.then_some(outcome));
            }
        }
        Err(self.attempts.over())
    }

    /// Writes a batch. After a [`BatchOutcome::Conflict`] the next one, worked out anew, may follow.
    ///
    /// # Errors
    /// [`KvError`]; definite only if no batch of the statement took effect here, and none will.
    pub async fn write(&mut self, batch: &Batch) -> Result<Decided, KvError> {
        while !self.attempts.left().is_zero() {
            if let Some(result) = self.attempt(batch, true).await {
                return result;
            }
        }
        Err(self.attempts.over())
    }

    /// `counts` says that it could take effect.
    async fn attempt(&mut self, batch: &Batch, counts: bool) -> Option<Result<Decided, KvError>> {
        let BatchPart { writer, number, shard, group, attempts, was_sent, .. } = self;
        let sending = writer.opened.send(&number.stamp, *shard, *was_sent || attempts.is_open());
        let command = match &sending {
            Sending::Forgotten => return Some(Err(KvError::SessionWindow)),
            Sending::Open => KvCommand::OpenSession { shard: *shard, client: number.stamp.client.clone() },
            Sending::First(stamp) | Sending::Retry(stamp) => {
                KvCommand::Batch { shard: *shard, session: Some(stamp.clone()), batch: batch.clone() }
            }
        };
        // An opened session changes nothing that anybody sees.
        let counts = counts && sending != Sending::Open;
        // Nobody comes again with a number of our own.
        let noted = counts && number.is_named();
        if noted {
            writer.effects.sent(&number.stamp, *shard);
        }
        match group.write(&command, attempts.patience(), attempts.nth).await {
            Ok(written) => self.replied(&sending, written.reply, noted).await,
            Err(error) => {
                match error {
                    WriteError::Rejected(_) if noted => writer.effects.nothing(&number.stamp, *shard),
                    WriteError::Unknown(_) | WriteError::Fatal(_) if counts => attempts.lost(error.to_string()),
                    _ => {}
                }
                attempts.another_replica(of_harmless(error)).await;
                None
            }
        }
    }

    async fn replied(&mut self, sending: &Sending, reply: KvReply, noted: bool) -> Option<Result<Decided, KvError>> {
        let BatchPart { writer, number, shard, attempts, .. } = self;
        match &reply {
            KvReply::Batch { outcome: BatchOutcome::Applied { .. }, .. } => {
                writer.effects.decided(&number.stamp, *shard, true);
            }
            KvReply::Batch { outcome: BatchOutcome::Exists { .. }, .. } => {
                writer.effects.decided(&number.stamp, *shard, false);
            }
            KvReply::Session(Refusal::BelowWindow) => {}
            _ if noted => writer.effects.nothing(&number.stamp, *shard),
            _ => {}
        }
        match reply {
            // Whatever is still open: unless this is a conflict, it has found its number used, or will.
            KvReply::Batch { outcome, replayed } => Some(Ok(Decided { outcome, replayed })),
            KvReply::SessionOpened { .. } => {
                writer.opened.opened(&number.stamp.client, *shard);
                None
            }
            KvReply::NotServed(why) => {
                attempts.refused(KvError::NotServed(why));
                attempts.pause().await;
                None
            }
            KvReply::Session(Refusal::Reused) => Some(Err(attempts.fail(KvError::SeqReused))),
            KvReply::Session(Refusal::BelowWindow) => Some(Err(KvError::SessionWindow)),
            KvReply::Session(Refusal::Expired) => {
                let retry = matches!(sending, Sending::Retry(_));
                writer.opened.expired(&number.stamp, *shard, retry);
                writer.own.retire(&number.stamp.client);
                retry.then_some(Err(KvError::SessionExpired))
            }
            other => Some(Err(attempts.fail(KvError::Invalid(format!("another command's reply: {other:?}"))))),
        }
    }
}

/// Of so many clients it is remembered which of their numbers may have taken effect.
const CLIENTS_MAX: usize = 65_536;

/// The numbers that clients gave, as far as they may have taken effect: attempts whose outcome is open, and those carried
/// out. A client that comes again with one is told nothing definite but what its session says.
#[derive(Default)]
struct Effects(Mutex<Noted>);

#[derive(Default)]
struct Noted {
    numbers: BTreeMap<(ClientId, ShardId), BTreeMap<u64, Effect>>,
    oldest_first: VecDeque<(ClientId, ShardId)>,
}

/// What is known of one number on one shard.
#[derive(Clone, Copy, Default)]
struct Effect {
    /// How many attempts' outcomes are open.
    open: usize,
    applied: bool,
}

impl Effects {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, stamp: &Stamp, shard: ShardId) -> bool {
        let noted = self.noted();
        noted.numbers.get(&(stamp.client.clone(), shard)).is_some_and(|numbers| numbers.contains_key(&stamp.seq))
    }

    /// An attempt is about to be sent.
    fn sent(&self, stamp: &Stamp, shard: ShardId) {
        let mut noted = self.noted();
        let place = (stamp.client.clone(), shard);
        if !noted.numbers.contains_key(&place) {
            noted.oldest_first.push_back(place.clone());
            if noted.oldest_first.len() > CLIENTS_MAX
                && let Some(oldest) = noted.oldest_first.pop_front()
            {
                noted.numbers.remove(&oldest);
            }
        }
        let numbers = noted.numbers.entry(place).or_default();
        numbers.entry(stamp.seq).or_default().open += 1;
        // The session forgets those, too, and says so.
        while let Some(first) = numbers.first_entry()
            && (Some(*first.key()) <= stamp.acked || first.key().saturating_add(WINDOW) < stamp.seq)
        {
            first.remove();
        }
    }

    /// One attempt was refused, or left the number free.
    fn nothing(&self, stamp: &Stamp, shard: ShardId) {
        self.change(stamp, shard, |effect| effect.open = effect.open.saturating_sub(1));
    }

    /// The number was decided: no open attempt can change anything any more.
    fn decided(&self, stamp: &Stamp, shard: ShardId, applied: bool) {
        self.change(stamp, shard, |effect| *effect = Effect { open: 0, applied });
    }

    fn change(&self, stamp: &Stamp, shard: ShardId, change: impl FnOnce(&mut Effect)) {
        let mut noted = self.noted();
        let Some(numbers) = noted.numbers.get_mut(&(stamp.client.clone(), shard)) else { return };
        let Some(effect) = numbers.get_mut(&stamp.seq) else { return };
        change(effect);
        if effect.open == 0 && !effect.applied {
            numbers.remove(&stamp.seq);
        }
    }
}
