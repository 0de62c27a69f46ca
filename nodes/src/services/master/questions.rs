//! Questions about the metadata: answered by the primary, linearizably.

use std::sync::Arc;

use quorate::Consistency;
use quorate::env::Moment;
use quorate_statemachines::master::{Epoch, Found, MasterAnswer, MasterQuery};

use super::masters::Masters;
use super::refusals::{no_such_path, wrong_epoch};
use super::replies::texts;
use crate::stdio::{ErrorReply, Reply};

impl Masters {
    /// Asks the metadata as this master, which must be the primary.
    pub(super) async fn ask(
        self: &Arc<Self>,
        nth: usize,
        query: &MasterQuery,
        deadline: Moment,
    ) -> Result<MasterAnswer, ErrorReply> {
        let mut after = None;
        loop {
            let epoch = self.in_office(nth, after, deadline).await?;
            let node = self.node(nth)?;
            let reply = node.read(Consistency::Linearizable, query, self.left(deadline)).await?;
            // Another master may have answered, or this one may be in office anew.
            if reply.proof.served_by == node.node() && reply.answer.office.epoch == epoch {
                return Ok(reply.answer);
            }
            after = Some(epoch);
        }
    }

    pub(super) async fn answer(
        self: &Arc<Self>,
        nth: usize,
        query: MasterQuery,
        claimed: Option<Epoch>,
        deadline: Moment,
    ) -> Result<Reply, ErrorReply> {
        let MasterAnswer { office, found } = self.ask(nth, &query, deadline).await?;
        if let Some(claimed) = claimed.filter(|claimed| *claimed != office.epoch) {
            return Err(wrong_epoch(claimed, &office));
        }
        match (query, found) {
            (MasterQuery::List { .. }, Found::Paths(listing)) => {
                let paths: Vec<&str> = listing.paths.iter().map(|path| &**path).collect();
                Ok(Reply::new().field("paths", paths).field("more", listing.more))
            }
            (MasterQuery::Stat { path }, Found::Chunks(Some(chunks))) => {
                let chunks: Vec<u64> = chunks.iter().map(|chunk| chunk.0).collect();
                Ok(Reply::new().field("path", &**path.text()).field("chunks", chunks))
            }
            (MasterQuery::Stat { .. }, Found::Chunks(None)) => Err(no_such_path()),
            (MasterQuery::Locate { .. }, Found::Placed(Some(placed))) => Ok(Reply::new()
                .field("chunk", placed.chunk.0)
                .field("version", placed.version.0)
                .field("servers", texts(&placed.servers))),
            (MasterQuery::Locate { .. }, Found::Placed(None)) => {
                Err(ErrorReply::key_missing("there is no such path, or it has no such chunk").reason("no_such_chunk"))
            }
            (query, found) => Err(ErrorReply::crash(format!("{found:?} is no answer to {query:?}"))),
        }
    }
}
