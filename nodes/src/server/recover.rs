//! `quorate recover`: the last resort of a group whose quorum is lost for good, on a node that does not run.
//!
//! Promises: it says what this node's replica has, and what may be lost; without `--accept-data-loss` it changes nothing.
//! Leaves out: telling whether the quorum is lost, which one node cannot.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::Args;
use quorate::env::{Env, RealEnv};
use quorate::fs::{Fs, RealFs};
use quorate::{GroupOptions, LogId, NodeId, Recovery, Remains};
use quorate_statemachines::Gid;
use quorate_statemachines::configlog::ConfigLog;
use quorate_statemachines::master::MasterMachine;

use super::config::{Apart, ServerConfig, ServerFlags};
use super::groups::{CONTROLLER, CONTROLLER_NAME, Stores, group_id};
use super::identity;
use super::masters::{MASTERS, MASTERS_NAME};
use super::node::open_stores;

/// `quorate recover`'s flags.
#[derive(Args, Clone, Debug)]
pub struct RecoverFlags {
    /// The cluster's configuration.
    #[arg(long)]
    config: PathBuf,
    /// Which node this is. It must not run.
    #[arg(long)]
    node: Option<u64>,
    /// Where this node keeps everything.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// The group that has lost its quorum; `controller` is the configuration log's, `masters` the masters'.
    #[arg(long)]
    group: String,
    /// Make this node's replica the only one of the group. What the others have and it has not is lost, and none of them may
    /// ever run again with the data that it has.
    #[arg(long)]
    accept_data_loss: bool,
}

/// Shows what this node has of a group, and makes it the whole of it if that is accepted.
///
/// # Errors
/// When the node runs, or has nothing of the group; when the loss is not accepted.
pub async fn recover(flags: &RecoverFlags) -> anyhow::Result<()> {
    let RecoverFlags { config, node, data_dir, group, accept_data_loss } = flags.clone();
    let apart = Apart::default();
    let read = ServerFlags { config, node, data_dir, init: false, join: false, until_input_ends: false, apart };
    let config = ServerConfig::read(&read)?;
    let node = NodeId(config.address()?.id);
    let dir = config.data_dir.clone().context("where is the data? (--data-dir)")?;
    let (fs, env): (Arc<dyn Fs>, Arc<dyn Env>) = (Arc::new(RealFs), Arc::new(RealEnv));
    identity::claim(fs.as_ref(), &dir, config.cluster, node.0, false)?;
    let stores = open_stores(fs, env, &dir).await?;
    let log = Arc::clone(&stores.log);
    let result = recover_on(stores, node, &group, accept_data_loss).await;
    log.close().await;
    result
}

async fn recover_on(stores: Stores, node: NodeId, group: &str, accepted: bool) -> anyhow::Result<()> {
    let recovery = open(&stores, node, group).await?;
    let remains = recovery.remains().clone();
    ensure!(!remains.is_empty(), "{node} has nothing of group {group}");
    print!("{}", described(group, &remains));
    if remains.is_alone() {
        println!("{node} is its only voter already: nothing is to be done.");
        return Ok(());
    }
    println!("{}", warning(node, &remains));
    if !accepted {
        bail!("nothing was changed; --accept-data-loss goes on with what {node} has");
    }
    recovery.go_alone().await.context("the group was not recovered")?;
    println!(
        "{node} is the only voter of {group} now. Start it, and add nodes with new ids (quorate ctl replace-node). Never start \
         the others again with the data that they have."
    );
    Ok(())
}

async fn open(stores: &Stores, node: NodeId, group: &str) -> anyhow::Result<Recovery> {
    let options = GroupOptions::default();
    let id = match group {
        CONTROLLER_NAME => CONTROLLER,
        MASTERS_NAME => MASTERS,
        group => group_id(&Gid::new(group)),
    };
    ensure!(stores.log.groups().contains(&id), "{node} has nothing of group {group}");
    let opened = match id {
        CONTROLLER => Recovery::open(node, stores.spec(id, ConfigLog::default(), &options)?).await,
        MASTERS => Recovery::open(node, stores.spec(id, MasterMachine::new(), &options)?).await,
        _ => Recovery::open(node, stores.spec(id, stores.machine(id).await?, &options)?).await,
    };
    opened.with_context(|| format!("cannot read what {node} has of {group}"))
}

fn described(group: &str, remains: &Remains) -> String {
    let at =
        |id: Option<LogId>| id.map_or_else(|| "none".to_owned(), |id| format!("{} of term {}", id.index, id.term.0));
    let ids = |nodes: Vec<NodeId>| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let Remains { node, term, last, committed, kept, membership, .. } = remains;
    let voters = membership.voter_ids().into_iter().collect();
    let learners: Vec<NodeId> = membership.learners.iter().copied().collect();
    let learners = if learners.is_empty() { String::new() } else { format!("; learners: {}", ids(learners)) };
    format!(
        "group {group} on {node}, in term {}\n  last entry:           {}\n  known as committed:   {}\n  applied and on disk:  \
         {}\n  voters:               {}{learners}\n",
        term.0,
        at(*last),
        at(*committed),
        at(*kept),
        ids(voters),
    )
}

fn warning(node: NodeId, remains: &Remains) -> String {
    let last = remains.last.map_or(0, |last| last.index.0);
    let learner = match remains.membership.is_voter(node) {
        true => "",
        false => "\n- It is no voter: it may be far behind. A voter that is left has more.",
    };
    format!(
        "If it goes on alone:\n- What others acknowledged after entry {last} is lost. How much that is, nobody can tell from \
         here.\n- {} of its entries are not known to be committed. They will count, also where nobody was told that they \
         do.{learner}\n- It is safe only if none of the other voters ever runs again with the data that it has.\nOf several \
         nodes that are left, take the one whose last entry is of the highest term, and then the highest.",
        remains.uncertain(),
    )
}

#[cfg(test)]
mod tests {
    use quorate::{GroupId, Index, Membership, Term};

    use super::*;

    #[test]
    fn what_may_be_lost_is_said_in_numbers() {
        let id = |index| Some(LogId { term: Term(3), index: Index(index) });
        let voters = [1, 2, 3].map(NodeId).into();
        let remains = Remains {
            node: NodeId(1),
            group: GroupId(1),
            term: Term(4),
            last: id(20),
            committed: id(15),
            kept: id(10),
            membership: Membership { voters: vec![voters], learners: Default::default() },
        };
        let text = described("g1", &remains);
        for said in ["in term 4", "20 of term 3", "15 of term 3", "10 of term 3", "n1, n2, n3"] {
            assert!(text.contains(said), "{said}: {text}");
        }
        let warning = warning(NodeId(1), &remains);
        assert!(warning.contains("after entry 20 is lost") && warning.contains("- 5 of its entries"), "{warning}");
    }
}
