//! Whose a server's data directory is: a node's of a cluster.

use std::fmt;
use std::path::Path;

use anyhow::ensure;
use quorate::fs::Fs;
use serde::{Deserialize, Serialize};

use crate::disk::identity::{self, FORMAT};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    format: u32,
    cluster: u64,
    node: u64,
}

impl identity::Identity for Identity {}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} of cluster {}", self.node, self.cluster)
    }
}

/// Makes `dir` the directory of this node if it is new, or finds that it is.
///
/// # Errors
/// When it is another node's, or another cluster's, or of another format; when a node that is not new has none.
pub(crate) fn claim(fs: &dyn Fs, dir: &Path, cluster: u64, node: u64, init: bool) -> anyhow::Result<()> {
    let own = Identity { format: FORMAT, cluster, node };
    if identity::is_claimed(fs, dir, &own)? {
        return Ok(());
    }
    ensure!(
        init,
        "{} has no data of a node. If this node is new, say so (--init). If it has lost its disk, replace it by a node of \
         another number: it would forget its votes",
        dir.display()
    );
    identity::claim(fs, dir, &own)
}

/// Makes `dir`, which holds what a new node is to begin with, the directory of that node.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn claim_filled(fs: &dyn Fs, dir: &Path, cluster: u64, node: u64) -> anyhow::Result<()> {
    identity::claim(fs, dir, &Identity { format: FORMAT, cluster, node })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate::fs::SimFs;

    #[test]
    fn a_data_directory_serves_one_node_of_one_cluster() {
        let fs = SimFs::new();
        let claim = |cluster, node, init| claim(&fs, Path::new("/data"), cluster, node, init);
        assert!(claim(7, 1, false).is_err(), "it is not known to be new");
        claim(7, 1, true).expect("new");
        claim(7, 1, false).expect("known");
        claim(7, 1, true).expect("known, though told to be new");
        assert!(claim(7, 2, true).is_err());
        assert!(claim(8, 1, true).is_err());
    }
}
