//! Restoring a backup: the data directory of each node of a new cluster, before the node first runs.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Args;
use quorate::env::{Env, RealEnv};
use quorate::fs::{Fs, RealFs};
use quorate::log::{DiskLog, DiskLogOptions};
use quorate::snapshot::{DiskSnapshots, SnapshotReader, SnapshotView};
use quorate::types::{Index, Term};
use quorate::{GroupId, LogId, NodeId};
use quorate_statemachines::Gid;
use quorate_statemachines::configlog::{Book, ConfigLog};
use twox_hash::xxhash3_128::Hasher;

use super::manifest::{Manifest, Part, hex};
use crate::server::{
    CONTROLLER, CONTROLLER_NAME, FixedGroup, ServerConfig, ServerFlags, claim_filled, fixed_groups, group_id,
};

/// How much is read at a time.
const PIECE: usize = 256 << 10;

/// `quorate restore`'s flags.
#[derive(Args, Clone, Debug)]
pub struct RestoreFlags {
    /// The backup (`quorate ctl backup`).
    pub backup: PathBuf,
    /// The new cluster's configuration (TOML): a number of its own, and the nodes of the old one, wherever they are now.
    #[arg(long)]
    pub config: PathBuf,
    /// Which of the nodes to restore.
    #[arg(long)]
    pub node: u64,
    /// Its data directory: there is nothing in it yet.
    #[arg(long)]
    pub data_dir: PathBuf,
}

/// Makes the data directory of a node from a backup.
///
/// # Errors
/// When the backup is damaged or does not fit the configuration, when the directory is not empty or cannot be written.
pub async fn restore(flags: &RestoreFlags) -> anyhow::Result<()> {
    let server = ServerFlags::of_node(flags.config.clone(), flags.node, flags.data_dir.clone());
    let config = ServerConfig::read(&server)?;
    let restored = restore_node(&flags.backup, &config, flags.node, &flags.data_dir).await?;
    let names = restored.join(", ");
    println!("node {} of cluster {}: {names}; start it without --init", flags.node, config.cluster);
    Ok(())
}

/// Makes the data directory of a node of `config`, and says which groups are in it.
pub(crate) async fn restore_node(
    backup: &Path,
    config: &ServerConfig,
    node: u64,
    dir: &Path,
) -> anyhow::Result<Vec<String>> {
    let manifest = Manifest::read(backup)?;
    ensure!(
        manifest.cluster != config.cluster,
        "a restored cluster has a number of its own: as cluster {}, nodes of the one that was backed up would take it for theirs",
        config.cluster
    );
    let known: BTreeSet<u64> = config.nodes.iter().map(|node| node.id).collect();
    for part in &manifest.groups {
        let missing: Vec<String> =
            part.nodes.iter().filter(|node| !known.contains(node)).map(ToString::to_string).collect();
        ensure!(
            missing.is_empty(),
            "group {} has nodes that the configuration has not: {}",
            part.name,
            missing.join(", ")
        );
    }
    let (fs, env): (Arc<dyn Fs>, Arc<dyn Env>) = (Arc::new(RealFs), Arc::new(RealEnv));
    if fs.metadata(dir)?.is_some() {
        ensure!(fs.list(dir)?.is_empty(), "{} is not empty", dir.display());
    }
    let log_dir = dir.join("log");
    quorate::fs::create_dir_durably(fs.as_ref(), dir)?;
    let log = {
        let (fs, env) = (Arc::clone(&fs), Arc::clone(&env));
        tokio::task::spawn_blocking(move || DiskLog::open(fs, env, &log_dir, DiskLogOptions::default())).await?
    };
    let log = log.with_context(|| format!("cannot make a log in {}", dir.display()))?;
    let mut restored = Vec::new();
    for part in &manifest.groups {
        let (id, voters) = place(part, config)?;
        if !voters.contains(&NodeId(node)) {
            continue;
        }
        let content = read(backup, part).await?;
        let view: Arc<dyn SnapshotView> = match part.name == CONTROLLER_NAME {
            true => readdressed(&content, config).with_context(|| format!("group {}", part.name))?,
            false => Arc::new(content),
        };
        let snapshots = DiskSnapshots::open(Arc::clone(&fs), Arc::clone(&env), &dir.join("snapshots"), id)?;
        let last = LogId { term: Term(part.term), index: Index(part.index) };
        let own = log.group(id);
        let done = quorate::snapshot::restore(own.as_ref(), &snapshots, NodeId(node), voters, last, view);
        done.await.with_context(|| format!("group {} cannot be restored", part.name))?;
        restored.push(part.name.clone());
    }
    log.close().await;
    // Last: a directory that is half made is no node's.
    claim_filled(fs.as_ref(), dir, config.cluster, node)?;
    Ok(restored)
}

/// Which group of the new cluster it is, and who replicates it.
fn place(part: &Part, config: &ServerConfig) -> anyhow::Result<(GroupId, BTreeSet<NodeId>)> {
    let nodes: BTreeSet<NodeId> = part.nodes.iter().copied().map(NodeId).collect();
    if part.name == CONTROLLER_NAME {
        return Ok((CONTROLLER, config.controllers()));
    }
    if !part.fixed {
        return Ok((group_id(&Gid::new(part.name.as_str())), nodes));
    }
    let found = fixed_groups(config).into_iter().find(|group| group.name == part.name && group.nodes == nodes);
    let FixedGroup { id, nodes, .. } =
        found.with_context(|| format!("the configuration has no group {} on nodes {:?}", part.name, part.nodes))?;
    Ok((id, nodes))
}

/// The configuration log with the nodes of the new cluster in its address book.
fn readdressed(content: &Content, config: &ServerConfig) -> io::Result<Arc<dyn SnapshotView>> {
    let Book { nodes, controllers, .. } = config.book();
    quorate::snapshot::edited(content, ConfigLog::new(), |log| {
        log.readdress(nodes, controllers).map_err(io::Error::other)
    })
}

/// A group's content, after all of it was checked.
async fn read(backup: &Path, part: &Part) -> anyhow::Result<Content> {
    let content = Content(backup.join(&part.file));
    let (bytes, found) = {
        let content = content.clone();
        tokio::task::spawn_blocking(move || content.digest()).await?
    }
    .with_context(|| format!("cannot read {}", content.0.display()))?;
    ensure!(
        bytes == part.bytes && hex(found) == part.xxh3,
        "{} is damaged: it does not have the length or the checksum that the backup names",
        content.0.display()
    );
    Ok(content)
}

/// A file as the content of a snapshot.
#[derive(Clone, Debug)]
struct Content(PathBuf);

impl Content {
    fn digest(&self) -> io::Result<(u64, u128)> {
        let (mut bytes, mut hasher) = (0, Hasher::new());
        let mut reader = self.open();
        while let Some(piece) = reader.next()? {
            bytes += piece.len() as u64;
            hasher.write(&piece);
        }
        Ok((bytes, hasher.finish_128()))
    }
}

impl SnapshotView for Content {
    fn open(&self) -> Box<dyn SnapshotReader> {
        Box::new(ContentReader { path: self.0.clone(), file: None })
    }
}

struct ContentReader {
    path: PathBuf,
    file: Option<File>,
}

impl SnapshotReader for ContentReader {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(File::open(&self.path)?),
        };
        let mut piece = Vec::with_capacity(PIECE);
        let read = file.take(PIECE as u64).read_to_end(&mut piece)?;
        Ok((read > 0).then(|| piece.into()))
    }
}
