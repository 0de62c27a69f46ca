//! What a shard holds at one moment, for whoever keeps a copy of it: all of it, or what changed since a view that this server
//! gave before.
//!
//! Promises: a view is one moment, however long it takes to send, and is as fresh as it was asked to be; it is sent in pieces well
//! below what gRPC takes in one message, as fast as they are taken.
//! Leaves out: views that another server gave, or this one in an earlier life: then everything is sent.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, stream};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use quorate::env::{Env, Moment, RealEnv};
use quorate::{Consistency, NodeId, Proof};
use quorate_statemachines::ShardId;
use quorate_statemachines::kv::{Json, KvMachine};
use tonic::Status;

use super::outcome::{read_failed, rejected, timeout};
use super::proto::view_piece::Piece;
use super::proto::{Item, ViewBegin, ViewEnd, ViewKeys, ViewPiece, ViewRequest};
use crate::served::Served;

/// About how long a piece is; one key and its value may be longer.
const PIECE: usize = 256 << 10;

/// So many views of a shard are kept, to tell what changed since: each costs what changed.
const KEPT: usize = 4;

/// One that nobody named for so long is let go.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// A shard's keys and their values; a clone costs nothing.
pub(super) type Keys = OrdMap<Arc<str>, Json>;

pub(super) type ViewStream = Pin<Box<dyn Stream<Item = Result<ViewPiece, Status>> + Send>>;

/// The views that were given last.
#[derive(Default)]
pub(super) struct Views(Mutex<BTreeMap<Place, VecDeque<Kept>>>);

type Place = (String, ShardId);

struct Kept {
    id: u64,
    keys: Keys,
    named: Moment,
}

impl Views {
    /// A view of a shard of the group that `served` has here.
    ///
    /// # Errors
    /// When this node has no replica, or it does not serve the shard, or cannot be as fresh as it is to be in time.
    pub(super) async fn open(
        &self,
        served: &Served<KvMachine>,
        node: NodeId,
        request: ViewRequest,
    ) -> Result<ViewStream, Status> {
        let ViewRequest { group, shard, since, max_staleness_ms, timeout_ms } = request;
        let nowhere = || rejected(Status::failed_precondition(format!("{group} has no replica on this node")));
        let here = served.here().ok_or_else(nowhere)?;
        let consistency = match max_staleness_ms {
            Some(bound) => Consistency::Bounded(Duration::from_millis(bound)),
            None if here.watch().borrow().leader == Some(node) => Consistency::Linearizable,
            None => Consistency::LinearizableHere,
        };
        let shard = ShardId(shard);
        let reply = here.with_state(consistency, timeout(timeout_ms), |machine: &KvMachine| machine.keys(shard)).await;
        let reply = reply.map_err(|error| read_failed(&error))?;
        let keys = reply.answer.map_err(|refusal| rejected(Status::unavailable(refusal.to_string())))?;
        let (id, known) = self.take((group, shard), &keys, since);
        let content = match known {
            Some(known) if known.ptr_eq(&keys) => Content::Changes(VecDeque::new()),
            Some(known) => {
                let changes = tokio::task::spawn_blocking(move || changes(&known, &keys)).await;
                Content::Changes(changes.map_err(|error| rejected(Status::internal(error.to_string())))?)
            }
            None => Content::All { keys, after: None },
        };
        Ok(pieces(begin(id, &content, &reply.proof), content))
    }

    /// Takes note of a view; gives its number, and the keys of the earlier one that is named, if they are still here.
    fn take(&self, place: Place, keys: &Keys, since: Option<u64>) -> (u64, Option<Keys>) {
        let now = RealEnv.now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for kept in all.values_mut() {
            kept.retain(|view| now.since(view.named) <= KEPT_FOR);
        }
        let kept = all.entry(place).or_default();
        let named = kept.iter_mut().find(|view| Some(view.id) == since);
        let known = named.map(|view| {
            view.named = now;
            view.keys.clone()
        });
        let id = match kept.iter_mut().find(|view| view.keys.ptr_eq(keys)) {
            Some(same) => {
                same.named = now;
                same.id
            }
            None => {
                // A number that no view of an earlier life of this server has had.
                let id = RealEnv.random();
                kept.push_back(Kept { id, keys: keys.clone(), named: now });
                id
            }
        };
        while kept.len() > KEPT {
            kept.pop_front();
        }
        (id, known)
    }
}

/// A key with its new value, or without one.
type Changed = (Arc<str>, Option<Json>);

fn changes(known: &Keys, keys: &Keys) -> VecDeque<Changed> {
    let changed = |difference: DiffItem<'_, '_, Arc<str>, Json>| match difference {
        DiffItem::Add(key, value) | DiffItem::Update { new: (key, value), .. } => {
            (Arc::clone(key), Some(value.clone()))
        }
        DiffItem::Remove(key, _) => (Arc::clone(key), None),
    };
    known.diff(keys).map(changed).collect()
}

/// What is still to be sent.
enum Content {
    All {
        keys: Keys,
        /// The last key that was sent.
        after: Option<Arc<str>>,
    },
    Changes(VecDeque<Changed>),
}

impl Content {
    /// The next keys.
    fn next(&mut self) -> ViewKeys {
        let (mut piece, mut bytes) = (ViewKeys::default(), 0);
        while bytes < PIECE
            && let Some((key, value)) = self.one()
        {
            bytes += key.len() + value.as_ref().map_or(0, |value| value.text().len());
            match value {
                Some(value) => {
                    piece.items.push(Item { key: key.to_string(), value: value.text().to_owned() });
                }
                None => piece.removed.push(key.to_string()),
            }
        }
        piece
    }

    fn one(&mut self) -> Option<Changed> {
        match self {
            Content::Changes(changes) => changes.pop_front(),
            Content::All { keys, after } => {
                let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let (key, value) = keys.range::<_, str>((from, Bound::Unbounded)).next()?;
                let one = (Arc::clone(key), Some(value.clone()));
                *after = Some(Arc::clone(&one.0));
                Some(one)
            }
        }
    }
}

fn begin(id: u64, content: &Content, proof: &Proof) -> ViewBegin {
    ViewBegin {
        id,
        changes: matches!(content, Content::Changes(_)),
        served_by: proof.served_by.0,
        applied: proof.applied.map_or(0, |index| index.0),
        staleness_ms: proof.staleness.unwrap_or_default().as_secs_f64() * 1000.0,
    }
}

fn pieces(begin: ViewBegin, content: Content) -> ViewStream {
    let next = |(begin, content, mut end): (Option<ViewBegin>, Option<Content>, ViewEnd)| async move {
        let mut content = content?;
        if let Some(begin) = begin {
            return Some((Ok(ViewPiece { piece: Some(Piece::Begin(begin)) }), (None, Some(content), end)));
        }
        let keys = content.next();
        if keys.items.is_empty() && keys.removed.is_empty() {
            return Some((Ok(ViewPiece { piece: Some(Piece::End(end)) }), (None, None, end)));
        }
        end.items += keys.items.len() as u64;
        end.removed += keys.removed.len() as u64;
        Some((Ok(ViewPiece { piece: Some(Piece::Keys(keys)) }), (None, Some(content), end)))
    };
    Box::pin(stream::unfold((Some(begin), Some(content), ViewEnd::default()), next))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    fn keys(names: &[(&str, &str)]) -> Keys {
        names.iter().map(|(key, value)| (Arc::from(*key), Json::made(*value))).collect()
    }

    fn place() -> Place {
        ("s1".into(), ShardId(0))
    }

    async fn sent(content: Content) -> Vec<Piece> {
        let pieces: Vec<_> = pieces(ViewBegin::default(), content).collect().await;
        pieces.into_iter().filter_map(|piece| piece.expect("a piece").piece).collect()
    }

    #[tokio::test]
    async fn a_large_shard_is_sent_in_pieces_and_ends_with_its_count() {
        let value = format!("\"{}\"", "x".repeat(10_000));
        let all: Keys = (0..100).map(|nth| (Arc::from(format!("k{nth:03}")), Json::made(value.as_str()))).collect();
        let sent = sent(Content::All { keys: all.clone(), after: None }).await;
        let mut seen = Vec::new();
        for piece in &sent {
            if let Piece::Keys(keys) = piece {
                let bytes: usize = keys.items.iter().map(|item| item.key.len() + item.value.len()).sum();
                assert!(bytes < 2 * PIECE, "{bytes}");
                seen.extend(keys.items.iter().map(|item| item.key.clone()));
            }
        }
        assert!(matches!(sent.first(), Some(Piece::Begin(_))) && sent.len() > 3, "{}", sent.len());
        assert_eq!(sent.last(), Some(&Piece::End(ViewEnd { items: 100, removed: 0 })));
        assert_eq!(seen, all.keys().map(ToString::to_string).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_changed_since_a_view_is_all_that_is_sent() {
        let views = Views::default();
        let old = keys(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let (first, known) = views.take(place(), &old, None);
        assert!(known.is_none());
        let new = old.update("b".into(), Json::made("7")).without("c").update("d".into(), Json::made("4"));
        let (second, known) = views.take(place(), &new, Some(first));
        assert_ne!(first, second);
        let sent = sent(Content::Changes(changes(&known.expect("it is kept"), &new))).await;
        let item = |key: &str, value: &str| Item { key: key.into(), value: value.into() };
        let expected = ViewKeys { items: vec![item("b", "7"), item("d", "4")], removed: vec!["c".into()] };
        assert_eq!(sent[1], Piece::Keys(expected));
        assert_eq!(sent[2], Piece::End(ViewEnd { items: 2, removed: 1 }));
    }

    #[test]
    fn a_view_that_did_not_change_keeps_its_number_and_old_ones_are_let_go() {
        let views = Views::default();
        let mut now = keys(&[("a", "1")]);
        let (first, _) = views.take(place(), &now, None);
        assert_eq!(views.take(place(), &now, Some(first)).0, first);
        for nth in 0..KEPT {
            now.insert("a".into(), Json::made(nth.to_string()));
            assert_ne!(views.take(place(), &now, None).0, first);
        }
        assert!(views.take(place(), &now, Some(first)).1.is_none(), "too many came after it");
    }
}
