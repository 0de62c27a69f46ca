//! The namespace: paths and their chunks, flat in one ordered map.
//!
//! A path exists once it was created. What it lies below is implied: it need not exist, and is not listed unless it was
//! created itself. A path may have chunks of its own and others below it.

use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, Vector};
use serde::{Deserialize, Serialize};

use super::command::{ChunkId, Refusal};
use super::path::FilePath;

/// The most paths that one listing gives.
pub const LIST_MAX: u64 = 10_000;

/// Paths in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The paths.
    pub paths: Vec<Arc<str>>,
    /// Whether there are more behind the last one.
    pub more: bool,
}

/// All paths that exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Namespace {
    pub(super) paths: OrdMap<Arc<str>, Vector<ChunkId>>,
}

impl Namespace {
    pub(super) fn get(&self, path: &FilePath) -> Option<&Vector<ChunkId>> {
        self.paths.get(path.text())
    }

    pub(super) fn create(&mut self, path: &FilePath) -> Result<(), Refusal> {
        if self.paths.contains_key(path.text()) {
            return Err(Refusal::Exists);
        }
        self.paths.insert(Arc::clone(path.text()), Vector::new());
        Ok(())
    }

    /// Removes a path and says which chunks it had.
    pub(super) fn delete(&mut self, path: &FilePath) -> Result<Vector<ChunkId>, Refusal> {
        self.paths.remove(path.text()).ok_or(Refusal::NoSuchPath)
    }

    pub(super) fn append(&mut self, path: &FilePath, chunk: ChunkId) {
        if let Some(chunks) = self.paths.get_mut(path.text()) {
            chunks.push_back(chunk);
        }
    }

    /// Moves a path and all below it. Nothing may be at the new path or below it, which a path below itself never
    /// satisfies, nor one above itself: so no two of them can meet.
    pub(super) fn rename(&mut self, from: &FilePath, to: &FilePath) -> Result<(), Refusal> {
        let moved: Vec<Arc<str>> = self.subtree(from).cloned().collect();
        if moved.is_empty() {
            return Err(Refusal::NoSuchPath);
        }
        if from == to || from.is_above(to.text()) || self.subtree(to).next().is_some() {
            return Err(Refusal::Exists);
        }
        for path in moved {
            let renamed: Arc<str> = format!("{to}{}", &path[from.text().len()..]).into();
            if let Some(chunks) = self.paths.remove(&path) {
                self.paths.insert(renamed, chunks);
            }
        }
        Ok(())
    }

    /// The path itself, if it exists, and what lies below it.
    fn subtree(&self, path: &FilePath) -> impl Iterator<Item = &Arc<str>> {
        let below: Arc<str> = format!("{path}/").into();
        let itself = self.paths.get_key_value(path.text()).map(|(path, _)| path);
        itself.into_iter().chain(self.starting_with(below.clone(), below))
    }

    /// The paths from `from` on, as long as they begin with `prefix`.
    fn starting_with(&self, from: Arc<str>, prefix: Arc<str>) -> impl Iterator<Item = &Arc<str>> {
        let range = (Bound::Included(from), Bound::Unbounded);
        self.paths.range(range).map(|(path, _)| path).take_while(move |path| path.starts_with(&*prefix))
    }

    pub(super) fn list(&self, prefix: Arc<str>, from: Option<Arc<str>>, limit: u64) -> Listing {
        let from = from.map_or(Arc::clone(&prefix), |from| from.max(Arc::clone(&prefix)));
        let limit = usize::try_from(limit.min(LIST_MAX)).unwrap_or(usize::MAX);
        let mut rest = self.starting_with(from, prefix);
        let paths = rest.by_ref().take(limit).cloned().collect();
        Listing { paths, more: rest.next().is_some() }
    }
}
