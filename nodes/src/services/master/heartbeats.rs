//! Chunk servers as the primary hears them: who lives, who is lost, who is to copy what.
//!
//! None of this is replicated. A new primary begins with everybody present, and without any order out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate::env::Moment;
use quorate_statemachines::master::{
    ChunkId, Done, Found, Heard, MasterOp, MasterQuery, Name, ServerState, Version, Wanting,
};
use serde_json::json;

use super::masters::Masters;
use super::refusals::not_registered;
use crate::embedded::Power;
use crate::stdio::{ErrorReply, Reply};

/// So many chunks are taken off a lost server by one entry.
const FORGET: u32 = 1024;

/// How long one change of the primary's own may take.
const OWN_CHANGE: Duration = Duration::from_secs(1);

/// The shortest and the longest time between two looks at who is silent.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Who was heard when, and which orders are out.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    heard: BTreeMap<Name, Moment>,
    orders: BTreeMap<ChunkId, Order>,
}

/// A copy that was ordered and is not yet reported.
#[derive(Clone, Debug)]
struct Order {
    from: Name,
    to: Name,
    until: Moment,
}

impl Attendance {
    /// Everybody counts as present from now on.
    fn forgive(&mut self) {
        self.heard.clear();
    }

    /// What of `wanting` this server is to copy. Nobody else is asked for the same until that has had its time; the
    /// same server is asked again, in case it did not hear.
    fn orders(&mut self, server: &Name, wanting: Vec<Wanting>, now: Moment, time: Duration) -> Vec<Wanting> {
        self.orders.retain(|_, order| order.until > now);
        let mut orders = Vec::new();
        for Wanting { chunk, to } in wanting {
            let fresh = || Order { from: server.clone(), to, until: now + time };
            let order = self.orders.entry(chunk).or_insert_with(fresh);
            if order.from == *server {
                orders.push(Wanting { chunk, to: order.to.clone() });
            }
        }
        orders
    }
}

impl Masters {
    /// A chunk server lives.
    pub(super) async fn heartbeat(
        self: &Arc<Self>,
        nth: usize,
        server: Name,
        chunks: Vec<(ChunkId, Version)>,
        deadline: Moment,
    ) -> Result<Reply, ErrorReply> {
        let query = MasterQuery::Heartbeat { server: server.clone(), chunks };
        let (mut heard, mut epoch) = self.hear(nth, &query, deadline).await?;
        if let Some(mut attendance) = self.attendance(nth) {
            attendance.heard.insert(server.clone(), self.env.now());
        }
        if heard.is_news() {
            let Heard { has, lacks, .. } = heard;
            self.change(nth, MasterOp::Report { server: server.clone(), has, lacks }, None, None, deadline).await?;
            (heard, epoch) = self.hear(nth, &query, deadline).await?;
        }
        let delete: Vec<u64> = heard.delete.iter().map(|chunk| chunk.0).collect();
        let (now, time) = (self.env.now(), self.options.chunkserver_timeout);
        let orders = self.attendance(nth).map(|mut held| held.orders(&server, heard.wanting, now, time));
        let replicate: Vec<_> =
            orders.iter().flatten().map(|order| json!({ "chunk": order.chunk.0, "to": &*order.to })).collect();
        Ok(Reply::new()
            .field("primary", &*self.name(nth))
            .field("epoch", epoch)
            .field("delete", delete)
            .field("replicate", replicate))
    }

    async fn hear(
        self: &Arc<Self>,
        nth: usize,
        query: &MasterQuery,
        deadline: Moment,
    ) -> Result<(Heard, u64), ErrorReply> {
        let answer = self.ask(nth, query, deadline).await?;
        match answer.found {
            Found::Heard(Some(heard)) => Ok((heard, answer.office.epoch.0)),
            _ => Err(not_registered()),
        }
    }

    /// Declares silent chunk servers lost for as long as this master is the primary.
    pub(super) async fn watch_chunkservers(self: &Arc<Self>, nth: usize) {
        if let Some(mut attendance) = self.attendance(nth) {
            *attendance = Attendance::default();
        }
        let timeout = self.options.chunkserver_timeout;
        let look = (timeout / 8).clamp(LOOK.0, LOOK.1);
        let mut looked = self.env.now();
        loop {
            self.env.sleep(look).await;
            let now = self.env.now();
            // Who was deaf itself cannot say who was silent.
            let deaf = self.group.power(nth) != Some(Power::Running) || now.since(looked) > (look * 4).max(timeout / 2);
            looked = now;
            if deaf && let Some(mut attendance) = self.attendance(nth) {
                attendance.forgive();
                continue;
            }
            let Ok(answer) = self.ask(nth, &MasterQuery::Servers, now + OWN_CHANGE).await else { continue };
            let Found::Servers(servers) = answer.found else { continue };
            for (server, state) in servers {
                self.look_after(nth, server, state).await;
            }
        }
    }

    async fn look_after(self: &Arc<Self>, nth: usize, server: Name, state: ServerState) {
        let now = self.env.now();
        if !state.lost {
            let Some(last) = self.attendance(nth).map(|mut held| *held.heard.entry(server.clone()).or_insert(now))
            else {
                return;
            };
            if now.since(last) < self.options.chunkserver_timeout {
                return;
            }
            tracing::info!(%server, "a chunk server is lost");
            let lose = MasterOp::Lose { server: server.clone() };
            if self.change(nth, lose, None, None, now + OWN_CHANGE).await.is_err() {
                return;
            }
        } else if state.replicas == 0 {
            return;
        }
        loop {
            let forget = MasterOp::Forget { server: server.clone(), chunks_max: FORGET };
            match self.change(nth, forget, None, None, self.env.now() + OWN_CHANGE).await {
                Ok((Done::Forgotten { left }, _)) if left > 0 => self.env.sleep(LOOK.0).await,
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_ordered_of_one_server_at_a_time_and_of_the_same_one_again() {
        let mut attendance = Attendance::default();
        let (a, b) = (Name::from("a"), Name::from("b"));
        let at = |ms| Moment(Duration::from_millis(ms));
        let wanting = |to: &str| vec![Wanting { chunk: ChunkId(1), to: to.into() }];
        let time = Duration::from_millis(100);
        assert_eq!(attendance.orders(&a, wanting("x"), at(0), time), wanting("x"));
        assert_eq!(attendance.orders(&b, wanting("y"), at(10), time), []);
        assert_eq!(attendance.orders(&a, wanting("y"), at(20), time), wanting("x"));
        assert_eq!(attendance.orders(&b, wanting("y"), at(100), time), wanting("y"));
    }
}
