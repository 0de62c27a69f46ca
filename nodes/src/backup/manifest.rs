//! What is in a backup: written last, so that a directory without it is none.

use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

/// The manifest's name.
pub(super) const FILE: &str = "backup.json";

/// The only format so far.
const FORMAT: u32 = 1;

/// A backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    format: u32,
    /// The cluster that it was made of.
    pub(super) cluster: u64,
    /// The configuration at which its groups were settled.
    pub(super) number: u64,
    /// The configuration log's group, then the shard groups.
    pub(super) groups: Vec<Part>,
}

/// One group in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    pub(super) name: String,
    /// The nodes that replicate it; none for the configuration log, which follows the configuration file.
    pub(super) nodes: Vec<u64>,
    /// The last entry that is in it.
    pub(super) term: u64,
    pub(super) index: u64,
    /// Where its content is.
    pub(super) file: String,
    pub(super) bytes: u64,
    /// XXH3-128 of the content, in hexadecimal digits.
    pub(super) xxh3: String,
    /// The configuration file names it: the masters, or a group of a program's own machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) fixed: bool,
}

impl Manifest {
    pub(super) fn new(cluster: u64, number: u64, groups: Vec<Part>) -> Self {
        Manifest { format: FORMAT, cluster, number, groups }
    }

    pub(super) fn read(dir: &Path) -> anyhow::Result<Manifest> {
        let path = dir.join(FILE);
        let text = std::fs::read(&path);
        let text = text.with_context(|| format!("{} is no finished backup: there is no {FILE}", dir.display()))?;
        let checked: Checked =
            serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
        let manifest = checked.backup;
        let found = digest(&serde_json::to_vec(&manifest)?);
        ensure!(found == checked.xxh3, "{} is damaged: it does not have the checksum it names", path.display());
        ensure!(manifest.format == FORMAT, "{} has format {}; this is {FORMAT}", path.display(), manifest.format);
        Ok(manifest)
    }

    /// What is written for it.
    pub(super) fn to_bytes(&self) -> anyhow::Result<Vec<u8>> {
        let xxh3 = digest(&serde_json::to_vec(self)?);
        Ok(serde_json::to_vec_pretty(&Checked { backup: self.clone(), xxh3 })?)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checked {
    backup: Manifest,
    /// XXH3-128 of `backup` without white space.
    xxh3: String,
}

fn digest(bytes: &[u8]) -> String {
    hex(XxHash3_128::oneshot(bytes))
}

pub(super) fn hex(digest: u128) -> String {
    format!("{digest:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_no_byte_of_it_may_change() {
        let dir = tempfile::tempdir().expect("a directory");
        let part = Part {
            name: "g1".into(),
            nodes: vec![1, 2, 3],
            term: 4,
            index: 17,
            file: "g1.group".into(),
            bytes: 9,
            xxh3: hex(7),
            fixed: false,
        };
        let manifest = Manifest::new(7, 3, vec![part]);
        let path = dir.path().join(FILE);
        let bytes = manifest.to_bytes().expect("bytes");
        std::fs::write(&path, &bytes).expect("a file");
        assert_eq!(Manifest::read(dir.path()).expect("a manifest"), manifest);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            std::fs::write(&path, &flipped).expect("a file");
            // White space may become other white space.
            let read = Manifest::read(dir.path());
            assert!(read.is_err() || read.is_ok_and(|read| read == manifest), "byte {at}");
        }
        std::fs::remove_file(&path).expect("removed");
        assert!(Manifest::read(dir.path()).is_err());
    }
}
