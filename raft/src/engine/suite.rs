//! openraft's own storage suite on the stores.

use std::io;
use std::path::Path;
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
use crate::env::{Env, VirtualEnv};
use crate::fs::SimFs;
use crate::log::{DiskLog, DiskLogOptions, LogStore, MemoryLog};
use crate::machine::{EntryContext, Machine, Undecodable};
use crate::metrics::HostMetrics;
use crate::snapshot::{
    DiskSnapshots, MemorySnapshots, Records, SnapshotReader, SnapshotStore, SnapshotView, read_records,
};
use crate::types::GroupId;

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

fn adapters(log: Arc<dyn LogStore>, snapshots: Arc<dyn SnapshotStore>) -> ((), LogAdapter, MachineAdapter) {
    let state = State::new(Box::<Count>::default(), Duration::from_secs(60));
    let env: Arc<dyn Env> = Arc::new(VirtualEnv::new(1));
    let shared = Shared::new(state, Arc::clone(&log), snapshots, u64::MAX, Arc::new(HostMetrics::new()), env);
    ((), LogAdapter::new(log, true), MachineAdapter(Arc::new(shared)))
}

struct MemoryStores;

impl StoreBuilder<TypeConfig, LogAdapter, MachineAdapter> for MemoryStores {
    async fn build(&self) -> Result<((), LogAdapter, MachineAdapter), StorageError<TypeConfig>> {
        Ok(adapters(Arc::new(MemoryLog::new()), Arc::new(MemorySnapshots::new())))
    }
}

struct DiskStores;

impl StoreBuilder<TypeConfig, LogAdapter, MachineAdapter> for DiskStores {
    async fn build(&self) -> Result<((), LogAdapter, MachineAdapter), StorageError<TypeConfig>> {
        let env: Arc<dyn Env> = Arc::new(VirtualEnv::new(1));
        let options = DiskLogOptions { segment_bytes: 4096, cache_bytes: 100, ..DiskLogOptions::default() };
        let (fs, group) = (Arc::new(SimFs::new()), GroupId(1));
        let log = DiskLog::open(Arc::clone(&fs) as _, Arc::clone(&env), Path::new("/log"), options).unwrap();
        let snapshots = DiskSnapshots::open(fs, env, Path::new("/snapshots"), group).unwrap();
        Ok(adapters(log.group(group), Arc::new(snapshots)))
    }
}

#[test]
fn the_memory_stores_pass_openrafts_storage_suite() {
    use openraft::AsyncRuntime;
    Runtime::new(1).block_on(async { Suite::test_all(MemoryStores).await }).unwrap();
}

#[test]
fn the_stores_on_disk_pass_openrafts_storage_suite() {
    use openraft::AsyncRuntime;
    Runtime::new(1).block_on(async { Suite::test_all(DiskStores).await }).unwrap();
}
