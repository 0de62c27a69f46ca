//! Making a backup: every group copied by a server that replicates it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tonic::Code;
use tonic::transport::Channel;
use twox_hash::xxhash3_128::Hasher;

use super::manifest::{FILE, Manifest, Part, hex};
use crate::server::CONTROLLER_NAME;
use crate::server::proto::copy_piece::Piece;
use crate::server::proto::quorate_client::QuorateClient;
use crate::server::proto::{self, ConfigurationReply};

type Client = QuorateClient<Channel>;

/// How often the groups are waited for until nothing moves, and how long each time.
const LOOKS: usize = 100;
const LOOK: Duration = Duration::from_millis(200);

/// Copies all groups of the cluster of `servers` into `dir`, which is to be new or empty. Calls `progress` with what was done.
///
/// # Errors
/// When shards keep moving, when a group has no replica on any of the servers, when `dir` cannot be written. What was written
/// then is no backup.
pub(crate) async fn make(
    servers: &[Client],
    dir: &Path,
    timeout: Duration,
    mut progress: impl FnMut(String),
) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    ensure!(std::fs::read_dir(dir)?.next().is_none(), "{} is not empty", dir.display());
    let cluster = any(servers, async |mut server| server.status(proto::StatusRequest {}).await).await?.cluster;
    for _ in 0..LOOKS {
        let before = configuration(servers).await?;
        let Some(groups) = copy_all(servers, dir, &before, timeout, &mut progress).await? else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        // Nothing has moved in between: each group was settled at this configuration, and there was none after it.
        if configuration(servers).await?.number != before.number {
            continue;
        }
        let manifest = Manifest::new(cluster, before.number, groups).to_bytes()?;
        write_durably(&dir.join(FILE), |file| Ok(file.write_all(&manifest)?))?;
        File::open(dir)?.sync_all()?;
        return Ok(());
    }
    bail!("shards keep moving: no configuration stayed until all groups were copied")
}

async fn configuration(servers: &[Client]) -> anyhow::Result<ConfigurationReply> {
    any(servers, async |mut server| server.configuration(proto::ConfigurationRequest {}).await).await
}

/// What the first server says that says anything.
async fn any<T>(
    servers: &[Client],
    ask: impl AsyncFn(Client) -> Result<tonic::Response<T>, tonic::Status>,
) -> anyhow::Result<T> {
    let mut last = None;
    for server in servers {
        match ask(server.clone()).await {
            Ok(reply) => return Ok(reply.into_inner()),
            Err(status) => last = Some(status),
        }
    }
    bail!("no server answers: {}", last.map(|status| status.message().to_owned()).unwrap_or_default())
}

/// Nothing if shards are moving.
async fn copy_all(
    servers: &[Client],
    dir: &Path,
    config: &ConfigurationReply,
    timeout: Duration,
    progress: &mut impl FnMut(String),
) -> anyhow::Result<Option<Vec<Part>>> {
    let placed = any(servers, async |mut server| server.nodes(proto::NodesRequest {}).await).await?.groups;
    let mut parts = Vec::new();
    for (nth, group) in placed.into_iter().enumerate() {
        let number = settled_at(&group, config.number);
        let name = &group.group;
        let nodes = if name == CONTROLLER_NAME { Vec::new() } else { group.wanted };
        // Of the number: a name may contain anything.
        let file = format!("{nth}.group");
        match copy_from_any(servers, name, number, timeout, &dir.join(&file)).await? {
            Some(Copied { term, index, bytes, xxh3 }) => {
                progress(format!("{name}: {bytes} bytes, up to entry {index}"));
                let (name, fixed) = (name.to_owned(), group.fixed);
                parts.push(Part { name, nodes, term, index, file, bytes, xxh3: hex(xxh3), fixed });
            }
            None => return Ok(None),
        }
    }
    Ok(Some(parts))
}

/// The configuration at which a group is to be settled when it is copied. One that has left too: it may still be giving away what
/// the copy of another group then has as well.
fn settled_at(group: &proto::Placement, number: u64) -> Option<u64> {
    (!group.fixed).then_some(number)
}

struct Copied {
    term: u64,
    index: u64,
    bytes: u64,
    xxh3: u128,
}

/// Asks one server after the other; nothing if the group is to be settled at `number` and is not.
async fn copy_from_any(
    servers: &[Client],
    name: &str,
    number: Option<u64>,
    timeout: Duration,
    path: &Path,
) -> anyhow::Result<Option<Copied>> {
    let mut failures = Vec::new();
    for server in servers {
        match copy(server.clone(), name, number, timeout, path).await {
            Ok(copied) => return Ok(Some(copied)),
            Err(error) => match error.downcast_ref::<tonic::Status>() {
                Some(status) if status.code() == Code::FailedPrecondition => return Ok(None),
                Some(status) => failures.push(status.message().to_owned()),
                None => return Err(error),
            },
        }
    }
    bail!("group {name} could not be copied: {}", failures.join("; "))
}

async fn copy(
    mut server: Client,
    name: &str,
    number: Option<u64>,
    timeout: Duration,
    path: &Path,
) -> anyhow::Result<Copied> {
    let timeout_ms = u64::try_from(timeout.as_millis())?;
    let request = proto::CopyRequest { group: name.to_owned(), number, timeout_ms };
    let mut pieces = server.copy(request).await?.into_inner();
    let Some(Piece::Begin(begin)) = pieces.message().await?.and_then(|message| message.piece) else {
        bail!("a copy of {name} that does not begin");
    };
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    let (mut bytes, mut hasher) = (0, Hasher::new());
    loop {
        match pieces.message().await?.and_then(|message| message.piece) {
            Some(Piece::Content(content)) => {
                bytes += content.len() as u64;
                hasher.write(&content);
                file.write_all(&content).with_context(|| format!("cannot write {}", path.display()))?;
            }
            Some(Piece::End(end)) => {
                ensure!(end.bytes == bytes, "a copy of {name} came short: {bytes} bytes of {}", end.bytes);
                file.sync_all().with_context(|| format!("cannot write {}", path.display()))?;
                return Ok(Copied { term: begin.term, index: begin.index, bytes, xxh3: hasher.finish_128() });
            }
            Some(Piece::Begin(_)) => bail!("a copy of {name} that begins twice"),
            None => bail!("a copy of {name} that does not end"),
        }
    }
}

fn write_durably(path: &Path, write: impl FnOnce(&mut File) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut file = File::create(&unfinished).with_context(|| format!("cannot write {}", unfinished.display()))?;
    write(&mut file)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_has_left_is_copied_no_sooner_than_it_has_given_everything_away() {
        let group = proto::Placement { group: "g1".into(), ..Default::default() };
        assert_eq!(settled_at(&group, 7), Some(7));
        assert_eq!(settled_at(&proto::Placement { left: true, ..group.clone() }, 7), Some(7));
        assert_eq!(settled_at(&proto::Placement { fixed: true, ..group }, 7), None, "it has no shards");
    }
}
