//! The committer: the only one that writes. It takes what all groups have queued, writes it in one go, syncs once, and then
//! tells everybody who waits, in order.
//!
//! Promises: at most one batch is written and not synced; nothing is written after an operation has failed; a segment is
//! deleted only when everything that made it unnecessary is on disk.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::metrics::LogMetrics;
use super::queue::{Batch, Op};
use super::record::{self, Effect};
use super::rewrite::Rewriter;
use super::room::Room;
use super::segment::{Checkpoint, USED};
use super::shared::{Pace, Shared};
use super::spare::{Current, allocate_spare, is_full, make_room, new_segment};
use super::state::End;
use crate::fs::DirLock;
use crate::log::Full;
use crate::planted::{self, Bug};
use crate::types::GroupId;
use crate::watch;

/// How long the committer waits for others when only they can go on.
const BREATH: Duration = Duration::from_micros(50);

/// How many files are kept that were segments.
const USED_MAX: usize = 2;

/// What is left to do after a round.
enum Next {
    Round,
    Wait,
    End,
}

pub(super) struct Committer {
    shared: Arc<Shared>,
    pace: Pace,
    /// All groups without their entries, as of the last record written.
    checkpoint: Checkpoint,
    current: Current,
    synced: u64,
    /// Whether the last batch is not yet marked as synced.
    unmarked: bool,
    rewriter: Rewriter,
    metrics: LogMetrics,
    /// Files that were segments.
    used: Vec<PathBuf>,
    buffer: Vec<u8>,
    _lock: DirLock,
    /// Dropped last: whoever waits for the end finds the lock released.
    _ended: watch::Sender<()>,
}

impl Committer {
    /// Begins a new segment on what was recovered.
    pub(super) fn new(
        shared: Arc<Shared>,
        checkpoint: Checkpoint,
        number: u32,
        synced: u64,
        lock: DirLock,
        ended: watch::Sender<()>,
    ) -> io::Result<Committer> {
        make_room(&shared)?;
        let file = new_segment(&shared, &checkpoint, number, synced + 1)?;
        {
            let mut state = shared.state();
            let spare = state.room.spare.take().unwrap_or(0);
            state.room.current = Room::of_spare(spare, state.groups.len());
        }
        let pace = match shared.env.simulation() {
            Some(_) => Pace::Task(Arc::clone(&shared.env)),
            None => Pace::Thread,
        };
        let mut committer = Committer {
            shared,
            pace,
            checkpoint,
            current: file,
            synced,
            unmarked: false,
            rewriter: Rewriter::default(),
            metrics: LogMetrics::new(),
            used: Vec::new(),
            buffer: Vec::new(),
            _lock: lock,
            _ended: ended,
        };
        committer.prepare_spare()?;
        Ok(committer)
    }

    /// Starts to commit: on a thread of its own, or in a simulation as a task.
    pub(super) fn start(self) -> io::Result<()> {
        match &self.pace {
            Pace::Task(env) => {
                let env = Arc::clone(env);
                env.spawn(Box::pin(self.run()));
            }
            Pace::Thread => {
                let run = move || futures::executor::block_on(self.run());
                std::thread::Builder::new().name("quorate-log".into()).spawn(run)?;
            }
        }
        Ok(())
    }

    async fn run(mut self) {
        loop {
            match self.round().await {
                Ok(Next::Round) => {}
                Ok(Next::Wait) => self.shared.wanted.notified().await,
                Ok(Next::End) => return self.shared.finish(End::Closed),
                Err(error) => {
                    tracing::error!(dir = %self.shared.dir.display(), %error, "the log has failed");
                    return self.shared.finish(End::poisoned_by(&error));
                }
            }
        }
    }

    async fn round(&mut self) -> io::Result<Next> {
        let (batch, dead) = {
            let mut state = self.shared.state();
            // What is dead now is so by what is on disk or in this batch: it can go when the batch is synced.
            let buffer = std::mem::take(&mut self.buffer);
            (state.take_batch(buffer), state.segments.dead())
        };
        let has_worked = !batch.ops.is_empty() || !dead.is_empty();
        self.commit(batch).await?;
        self.remove(&dead)?;
        let full = self.prepare_spare()?;
        let is_waited_for = self.answer_wants(full.as_ref());
        let has_rewritten = self.rewriter.step(&self.shared)?;
        if has_worked || has_rewritten || is_waited_for {
            // Those who were told that there is room are about to use it; those behind them wait for that.
            let is_idle = !has_worked && !has_rewritten;
            self.pace.pause(if is_idle { BREATH } else { Duration::ZERO }).await;
            return Ok(Next::Round);
        }
        let (is_empty, closing) = {
            let state = self.shared.state();
            (state.queue.is_empty(), state.closing)
        };
        if !is_empty {
            return Ok(Next::Round);
        }
        self.mark()?;
        Ok(if closing { Next::End } else { Next::Wait })
    }

    /// Writes a batch, syncs it, tells who waits for it.
    async fn commit(&mut self, mut batch: Batch) -> io::Result<()> {
        let outcome = self.write(&mut batch).await;
        if let Err(error) = &outcome {
            // Before anybody is told, so that whoever acts on it finds the log closed.
            self.shared.finish(End::poisoned_by(error));
        }
        for done in std::mem::take(&mut batch.done) {
            done.complete(outcome.as_ref().map_err(|error| End::poisoned_by(error).error()).copied());
        }
        batch.bytes.clear();
        batch.bytes.shrink_to(1 << 20);
        self.buffer = batch.bytes;
        outcome
    }

    async fn write(&mut self, batch: &mut Batch) -> io::Result<()> {
        let (Some(first), Some(last)) = (batch.ops.first(), batch.ops.last()) else { return Ok(()) };
        if batch.rolls {
            self.roll(first.sequence)?;
        }
        let last = last.sequence;
        record::seal(&mut batch.bytes, self.synced, self.current.salt);
        self.current.file.write_at(&batch.bytes, self.current.end)?;
        self.shared.state().written(&batch.ops, self.current.number, self.current.end);
        self.current.end += batch.bytes.len() as u64;
        for op in &batch.ops {
            match &op.effect {
                Effect::Removed => drop(self.checkpoint.remove(&op.group)),
                effect => self.checkpoint.entry(op.group).or_default().apply(effect),
            }
        }
        if planted::is(Bug::AckBeforeSync) {
            std::mem::take(&mut batch.done).into_iter().for_each(|done| done.complete(Ok(())));
        }
        let start = self.shared.env.now();
        self.pace.pause(self.current.file.sync_delay()).await;
        if !is_left_unsynced(&batch.ops) {
            self.current.file.sync_data()?;
        }
        let took = self.shared.env.now().since(start);
        self.synced = last;
        self.unmarked = true;
        self.shared.state().synced(&batch.ops, took);
        self.metrics.synced(batch.bytes.len(), took);
        let rewritten = batch.ops.iter().filter(|op| op.from.is_some()).map(|op| u64::from(op.length)).sum();
        self.metrics.rewritten(rewritten);
        Ok(())
    }

    /// Goes on in the spare file. All that was written before is synced.
    fn roll(&mut self, first: u64) -> io::Result<()> {
        // Space that was allocated and not used. Should this not survive a crash, nothing is wrong.
        self.current.file.set_size(self.current.end)?;
        self.current = new_segment(&self.shared, &self.checkpoint, self.current.number + 1, first)?;
        Ok(())
    }

    /// Says behind the last batch that it was synced, so that damage to it is not taken for a torn write. Not synced
    /// itself, and written over by the next batch, which says the same.
    fn mark(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.unmarked) {
            let mut marker = Vec::new();
            record::push(&mut marker, &Effect::Synced, GroupId(0), self.synced + 1, &[]);
            record::seal(&mut marker, self.synced, self.current.salt);
            self.current.file.write_at(&marker, self.current.end)?;
        }
        Ok(())
    }

    /// Deletes segments, oldest first and one by one: what is left after a crash has no gap. A few files are kept to be
    /// segments again: a disk syncs what was written before sooner than what was only allocated.
    fn remove(&mut self, dead: &[u32]) -> io::Result<()> {
        for number in dead {
            let mut state = self.shared.state();
            let Some(segment) = state.segments.0.remove(number) else { continue };
            state.look_again |= state.full.is_some();
            let is_usual = segment.end <= state.spare_needed();
            drop(state);
            // Somebody may still be reading; nobody can begin to any more.
            let is_unread = Arc::strong_count(&segment.file) == 1;
            if is_usual && is_unread && self.used.len() < USED_MAX {
                let used = self.shared.dir.join(format!("{USED}{number}"));
                self.shared.fs.rename(&segment.path, &used)?;
                self.used.push(used);
            } else {
                self.shared.fs.remove(&segment.path)?;
            }
            self.shared.fs.sync_dir(&self.shared.dir)?;
        }
        Ok(())
    }

    /// Sees to it that there is a file for the next segment, if the disk has room for one. Says why not, also if only
    /// somebody waits for one that is larger than usual.
    fn prepare_spare(&mut self) -> io::Result<Option<Full>> {
        let sizes = {
            let mut state = self.shared.state();
            let look_again = std::mem::take(&mut state.look_again);
            let is_short = state.is_short();
            let is_missing = !state.has_spare() && (state.full.is_none() || look_again || is_short);
            let usual = is_missing.then(|| state.spare_needed());
            usual.into_iter().chain(is_short.then(|| state.spare_wanted()))
        };
        for bytes in sizes {
            let made = allocate_spare(&self.shared, bytes, &mut self.used);
            let mut state = self.shared.state();
            state.full_seen = self.shared.env.now();
            match made {
                Ok(()) => {
                    state.room.spare = state.room.spare.max(Some(bytes));
                    state.full = None;
                }
                Err(error) if is_full(&error) => {
                    let full = Full(error.to_string());
                    if !state.has_spare() && state.full.replace(full.clone()).is_none() {
                        tracing::warn!(dir = %self.shared.dir.display(), %error, "the log takes no entries: disk full");
                    }
                    return Ok(Some(full));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Tells those who wait for room that it is there, or why there is none. Whether anybody still waits.
    fn answer_wants(&self, full: Option<&Full>) -> bool {
        let mut state = self.shared.state();
        // In their order: the first that does not fit behind the others holds up those behind it.
        let mut promised = 0;
        while let Some(want) = state.wants.front() {
            let fits = state.fits_behind(promised, want.group, want.bytes, want.purpose);
            let answer = match full.filter(|_| promised == 0 && state.queue.is_empty()) {
                _ if fits => Ok(()),
                Some(full) => Err(io::Error::new(io::ErrorKind::StorageFull, full.clone())),
                None => break,
            };
            if let Some(want) = state.wants.pop_front() {
                promised += want.bytes;
                // Whoever has given up waiting does not want it.
                let _ = want.answer.send(answer);
            }
        }
        !state.wants.is_empty()
    }
}

/// Never, but for the bugs of these names.
fn is_left_unsynced(ops: &[Op]) -> bool {
    let only_votes = || ops.iter().all(|op| matches!(op.effect, Effect::Vote(_)));
    planted::is(Bug::NoSync) || planted::is(Bug::VoteNotSynced) && only_votes()
}

impl Drop for Committer {
    /// However it ended, nobody is left waiting.
    fn drop(&mut self) {
        self.shared.finish(End::Poisoned("its committer was dropped".into()));
    }
}
