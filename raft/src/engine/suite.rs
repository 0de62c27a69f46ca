//! openraft's own storage suite on the memory stores.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};

use super::log::LogAdapter;
use super::machine::{MachineAdapter, Shared};
use super::runtime::Runtime;
use super::state::State;
use super::types::TypeConfig;
use crate::log::{LogStore, MemoryLog};
use crate::machine::{EntryContext, Machine, Undecodable};
use crate::metrics::HostMetrics;
use crate::snapshot::{MemorySnapshots, Records, SnapshotReader, SnapshotView, read_records};

/// Counts what it applied.
#[derive(Default)]
struct Count(u64);

impl Machine for Count {
    fn apply(&mut self, _: EntryContext, _: &[u8]) -> Result<Bytes, Undecodable> {
        self.0 += 1;
        Ok(Bytes::new())
    }

    fn query(&self, _: &[u8]) -> Result<Bytes, Undecodable> {
        Ok(Bytes::new())
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        let count = self.0;
        Records::view(move || std::iter::once(count))
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        for count in read_records(reader) {
            self.0 = count?;
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

struct MemoryStores;

impl StoreBuilder<TypeConfig, LogAdapter, MachineAdapter> for MemoryStores {
    async fn build(&self) -> Result<((), LogAdapter, MachineAdapter), StorageError<TypeConfig>> {
        let log: Arc<dyn LogStore> = Arc::new(MemoryLog::new());
        let state = State::new(Box::<Count>::default(), Duration::from_secs(60));
        let shared = Shared::new(
            state,
            Arc::clone(&log),
            Arc::new(MemorySnapshots::new()),
            u64::MAX,
            Arc::new(HostMetrics::new()),
            true,
        );
        Ok(((), LogAdapter::new(log, true), MachineAdapter(Arc::new(shared))))
    }
}

#[test]
fn the_memory_stores_pass_openrafts_storage_suite() {
    use openraft::AsyncRuntime;
    Runtime::new(1).block_on(async { Suite::test_all(MemoryStores).await }).unwrap();
}
