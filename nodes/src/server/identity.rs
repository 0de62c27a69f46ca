//! Whose a data directory is: written when a node is new, compared whenever it starts.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use quorate::fs::{Fs, create_dir_durably, read_whole, replace_durably};
use serde::{Deserialize, Serialize};

const FILE: &str = "identity.json";

/// The only version of a data directory's layout so far.
const FORMAT: u32 = 1;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    format: u32,
    cluster: u64,
    node: u64,
}

/// Makes `dir` the directory of this node if it is new, or finds that it is.
///
/// # Errors
/// When it is another node's, or another cluster's, or of another format; when a node that is not new has none.
pub(crate) fn claim(fs: &dyn Fs, dir: &Path, cluster: u64, node: u64, init: bool) -> anyhow::Result<()> {
    let own = Identity { format: FORMAT, cluster, node };
    let path = dir.join(FILE);
    if fs.metadata(&path)?.is_some() {
        let bytes = read_whole(fs, &path)?;
        let found: Identity =
            serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
        ensure!(found.format == FORMAT, "{} has format {}; this is {FORMAT}", dir.display(), found.format);
        if found != own {
            let Identity { cluster, node, .. } = found;
            bail!("{} is the data of node {node} of cluster {cluster}", dir.display());
        }
        return Ok(());
    }
    ensure!(
        init,
        "{} has no data of a node. If this node is new, say so (--init). If it has lost its disk, replace it by a node of \
         another number: it would forget its votes",
        dir.display()
    );
    create_dir_durably(fs, dir)?;
    replace_durably(fs, &path, &serde_json::to_vec(&own)?)?;
    Ok(())
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
