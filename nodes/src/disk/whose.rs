//! Whose the data of a binary on standard input and output is: the binary's, and of which of its nodes.

use std::fmt::{self, Write as _};
use std::path::Path;

use quorate::fs::Fs;
use serde::{Deserialize, Serialize};

use super::identity::{FORMAT, Identity, check_empty, claim, is_claimed};

/// The topology that a directory's data makes sense in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Whose {
    format: u32,
    /// The binary, and what else tells its data from another's.
    of: String,
    /// The node that the process is; none if it is all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// All nodes.
    nodes: Vec<String>,
    /// The replicas of each group, where the nodes do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replicas: Option<usize>,
}

impl Whose {
    /// Of a process that is the whole cluster.
    pub(crate) fn whole(of: &str, nodes: Vec<String>, replicas: Option<usize>) -> Self {
        Whose { format: FORMAT, of: of.to_owned(), node: None, nodes, replicas }
    }

    /// Of a process that is one node among others.
    pub(crate) fn one(of: &str, node: &str, nodes: Vec<String>) -> Self {
        Whose { format: FORMAT, of: of.to_owned(), node: Some(node.to_owned()), nodes, replicas: None }
    }
}

impl Identity for Whose {}

impl Whose {
    /// Makes `dir` this one's, if it is new, or finds that it is.
    ///
    /// # Errors
    /// When it is anybody else's, or damaged, or holds something without saying whose it is.
    pub(crate) fn take(&self, fs: &dyn Fs, dir: &Path) -> anyhow::Result<()> {
        if is_claimed(fs, dir, self)? {
            return Ok(());
        }
        check_empty(fs, dir)?;
        claim(fs, dir, self)
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.of)?;
        if let Some(node) = &self.node {
            write!(f, " (node {node} alone)")?;
        }
        write!(f, " with the nodes {}", self.nodes.join(", "))?;
        match self.replicas {
            Some(replicas) => write!(f, " and {replicas} replicas of each group"),
            None => Ok(()),
        }
    }
}

/// The name of a node's directory: the node's own name, with whatever does not go into a file's name written as `%` and two
/// hexadecimal digits.
pub(crate) fn directory_of(node: &str) -> String {
    if node.is_empty() {
        return "%".to_owned();
    }
    let mut name = String::new();
    for (nth, byte) in node.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || byte == b'.' && nth > 0;
        if plain {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "%{byte:02x}");
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use quorate::fs::{OpenMode, SimFs};

    use super::*;

    #[test]
    fn a_directory_serves_one_topology_and_says_whose_it_is() {
        let (fs, dir) = (SimFs::new(), Path::new("/data"));
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let own = Whose::one("replica", "n1", names(&["n1", "n2"]));
        own.take(&fs, dir).expect("new");
        own.take(&fs, dir).expect("its own");
        let others = [
            Whose::one("replica", "n2", names(&["n1", "n2"])),
            Whose::one("replica", "n1", names(&["n1", "n2", "n3"])),
            Whose::one("master", "n1", names(&["n1", "n2"])),
            Whose::whole("replica", names(&["n1", "n2"]), None),
        ];
        for other in others {
            let refusal = other.take(&fs, dir).expect_err("another's").to_string();
            assert!(refusal.contains("the data of replica (node n1 alone) with the nodes n1, n2"), "{refusal}");
        }
    }

    #[test]
    fn a_directory_with_anything_but_an_identity_is_refused() {
        let (fs, dir) = (SimFs::new(), Path::new("/data"));
        fs.create_dir_all(&dir.join("log")).expect("a directory");
        let own = Whose::whole("replica", vec!["n1".into()], None);
        assert!(own.take(&fs, dir).expect_err("strange").to_string().contains("holds log"));
        let file = fs.open(&dir.join("identity.json"), OpenMode::CreateNew).expect("a file");
        file.write_at(b"{\"format\":1,", 0).expect("written");
        assert!(own.take(&fs, dir).expect_err("damaged").to_string().contains("damaged"));
    }

    #[test]
    fn no_name_of_a_node_leads_out_of_the_directory() {
        let table = [
            ("n1", "n1"),
            ("a-b_c.d", "a-b_c.d"),
            ("..", "%2e."),
            ("a/b", "a%2fb"),
            ("é", "%c3%a9"),
            ("%2e", "%252e"),
            ("", "%"),
        ];
        for (node, name) in table {
            assert_eq!(directory_of(node), name, "{node:?}");
        }
    }
}
