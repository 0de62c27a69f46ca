//! A shard at one moment, for those who read it where the machine is.

use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use super::store::{Fault, Keys};
use super::value::Json;

/// The keys of a shard and their values, as they were when [`super::KvMachine::shard`] gave it. A clone costs nothing.
///
/// While one of a machine on a disk is held, the disk keeps what it shows; so it is not to be held for long.
#[derive(Clone)]
pub struct ShardKeys {
    keys: Keys,
    fault: Option<Fault>,
}

impl fmt::Debug for ShardKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardKeys").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl ShardKeys {
    pub(super) fn new(keys: Keys, fault: Option<Fault>) -> Self {
        ShardKeys { keys, fault }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A key's value.
    ///
    /// # Errors
    /// When the disk failed; the replica then stops.
    pub fn get(&self, key: &str) -> io::Result<Option<Json>> {
        let value = self.keys.get(key);
        self.check().map(|()| value)
    }

    /// The keys from `start` on, in their order, read as the iterator comes to them.
    ///
    /// An error is the last item: the disk failed, and the replica stops.
    pub fn range(&self, start: Bound<&str>) -> impl Iterator<Item = io::Result<(Arc<str>, Json)>> + '_ {
        let mut keys = Some(self.keys.range(start));
        std::iter::from_fn(move || {
            let found = keys.as_mut()?.next();
            match self.check() {
                Ok(()) => found.map(Ok),
                Err(error) => {
                    keys = None;
                    Some(Err(error))
                }
            }
        })
    }

    fn check(&self) -> io::Result<()> {
        self.fault.as_ref().map_or(Ok(()), Fault::check)
    }
}
