//! What a state keeps to, whatever is applied to it and restored from.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::State;
use crate::engine::types::{Outcome, Outcomes};
use crate::log::{Action, Entry, Payload, Proposal, Write};
use crate::machine::{CommandVersion, EntryContext, Typed, Versions};
use crate::snapshot::{MemorySnapshots, Records, SnapshotReader, SnapshotStore, SnapshotView, read_records};
use crate::types::{LogId, LogTime};
use crate::{StateMachine, Term};

/// Remembers the last command.
#[derive(Default)]
struct Last(u64);

impl StateMachine for Last {
    type Command = u64;
    type Reply = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, _: EntryContext, command: u64) -> u64 {
        std::mem::replace(&mut self.0, command)
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        let last = self.0;
        Records::view(move || [last, last].into_iter())
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        for record in read_records(reader) {
            self.0 = record?;
        }
        Ok(())
    }
}

fn state() -> State {
    State::new(Box::<Typed<Last>>::default(), Duration::from_secs(60))
}

fn applied(state: &mut State, index: u64, stamped: u64, command: u64) -> Outcome {
    let id = LogId { term: Term(1), index: crate::Index(index) };
    let action = Action::Apply(crate::machine::encode(&command));
    let proposal = Proposal { stamped: LogTime(stamped), writes: vec![Write { session: None, action }] };
    state.apply_entry(&Entry { id, payload: Payload::Writes(Arc::new(proposal)) }).unwrap().0.remove(0)
}

#[tokio::test]
async fn a_state_whose_restore_failed_half_way_answers_nothing() {
    let mut source = state();
    applied(&mut source, 0, 5, 7);
    let view = source.view();
    let mut pieces = view.open();
    let mut whole = Vec::new();
    while let Some(piece) = pieces.next().unwrap() {
        whole.extend_from_slice(&piece);
    }
    let mut sink = MemorySnapshots::new().receive().await.unwrap();
    sink.write(Bytes::copy_from_slice(&whole[..whole.len() - 1])).await.unwrap();
    let cut = sink.finish().await.unwrap();

    let mut target = state();
    let query = crate::machine::encode(&());
    assert!(target.restore(cut.as_ref()).is_err());
    assert!(target.query(&query).is_err());
    target.restore(view.as_ref()).unwrap();
    assert_eq!(target.query(&query), Ok(crate::machine::encode(&7u64)));
}

#[test]
fn the_logs_time_never_goes_back_and_one_wrong_clock_moves_it_by_a_bounded_step() {
    let mut state = state();
    applied(&mut state, 0, 1_000_000, 1);
    assert_eq!(state.own.time, LogTime(1_000_000), "the first entry sets it");
    applied(&mut state, 1, 999_000, 1);
    assert_eq!(state.own.time, LogTime(1_000_000));
    applied(&mut state, 2, u64::MAX, 1);
    assert_eq!(state.own.time, LogTime(1_060_000));
}

fn raise(to: u32) -> Write {
    Write { session: None, action: Action::RaiseVersion(CommandVersion(to)) }
}

fn propose(state: &mut State, index: u64, writes: Vec<Write>) -> io::Result<Outcomes> {
    let proposal = Proposal { stamped: LogTime(index), writes };
    let id = LogId { term: Term(1), index: crate::Index(index) };
    state.apply_entry(&Entry { id, payload: Payload::Writes(Arc::new(proposal)) })
}

#[test]
fn a_program_that_does_not_know_the_version_in_force_applies_nothing_by_it() {
    let mut state = state();
    state.versions = Versions::new(0, 2);
    propose(&mut state, 0, vec![raise(1), raise(2), raise(1)]).unwrap();
    assert_eq!(state.version(), (CommandVersion(2), true), "it never goes back");
    let error = propose(&mut state, 1, vec![raise(3)]).unwrap_err();
    assert_eq!(error.to_string(), "version 3 of the commands is in force, and this program applies versions 0 to 2");
    assert_eq!(state.last.map(|last| last.index.0), Some(0));
    // One that has forgotten the old ones can be told of a new one, and nothing else.
    let mut late = self::state();
    late.versions = Versions::new(2, 3);
    let command = Write { session: None, action: Action::Apply(crate::machine::encode(&1u64)) };
    assert!(propose(&mut late, 0, vec![command.clone()]).is_err());
    propose(&mut late, 0, vec![raise(3), command]).unwrap();
}

#[test]
fn a_snapshot_carries_the_version_in_force_and_a_program_that_is_too_old_refuses_it() {
    let mut source = state();
    source.versions = Versions::new(0, 2);
    let plain = source.view();
    propose(&mut source, 0, vec![raise(2)]).unwrap();
    let raised = source.view();
    let mut target = state();
    target.restore(plain.as_ref()).unwrap();
    assert!(target.restore(raised.as_ref()).is_err());
    target.versions = Versions::new(1, 2);
    target.restore(raised.as_ref()).unwrap();
    assert_eq!(target.version(), (CommandVersion(2), true));
    target.restore(plain.as_ref()).unwrap();
    assert_eq!(target.version(), (CommandVersion(0), false), "the log that follows may raise it");
}
