//! Taking office: a replica that has come to lead commits an epoch, tells everybody, and serves.

use std::sync::{Arc, Weak};
use std::time::Duration;

use quorate::{Leadership, Role, Term as RaftTerm, WriteOptions};
use quorate_statemachines::master::{MasterCommand, MasterReply, Name, Office};

use super::masters::{Masters, Node};
use super::standing::{Standing, Term};

/// How long one attempt to commit an epoch may take, and how long to wait after one that failed.
const ATTEMPT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(5));

impl Masters {
    /// Starts the tasks of this process's masters, which end with the masters.
    pub(super) fn follow_all(self: &Arc<Self>) {
        for nth in (0..self.names.len()).filter(|nth| self.group.is_here(*nth)) {
            let masters = Arc::downgrade(self);
            self.env.spawn(Box::pin(run(masters, nth)));
        }
    }

    /// Follows one life of a replica.
    async fn follow(self: &Arc<Self>, nth: usize, node: &Node) {
        let mut leadership = node.watch();
        // Not asked while it leads; then it has not listened either, and begins anew.
        let mut silence = std::pin::pin!(self.outwait_the_other(nth, node));
        let leads = |now: &Leadership| now.role == Role::Leader && now.leader == Some(node.node());
        loop {
            let now = leadership.borrow_and_update().clone();
            if now.stopped.is_some() {
                return;
            }
            if !leads(&now) {
                let primary = now.leader.and_then(|leader| self.group.replica_of(leader));
                let primary = primary.filter(|primary| *primary != nth);
                self.show(nth, primary.map_or(Standing::Waiting, Standing::Shadow));
                tokio::select! {
                    biased;
                    changed = leadership.changed() => if changed.is_err() { return },
                    () = &mut silence => return,
                }
                continue;
            }
            self.show(nth, Standing::Waiting);
            let term = now.term;
            tokio::select! {
                biased;
                deposed = leadership.wait_for(|now| !leads(now) || now.term != term || now.stopped.is_some()) => {
                    // Nobody will say any more who leads: the process ends, and this must not keep it from doing so.
                    if deposed.is_err() {
                        return;
                    }
                }
                () = self.hold_office(nth, node, term) => {}
            }
        }
    }

    /// Serves as the primary of this term, until dropped.
    async fn hold_office(self: &Arc<Self>, nth: usize, node: &Node, term: RaftTerm) {
        let me = self.name(nth);
        let begin = MasterCommand::BeginEpoch { primary: me.clone(), term };
        let options = WriteOptions { session: None, timeout: ATTEMPT.0 };
        let (office, audience) = loop {
            // Never handed on: an entry that names a leader stands in the log at a term that it led.
            match node.write_as_leader(&begin, options.clone()).await.map(|written| written.reply) {
                Ok(MasterReply::Began { office, audience }) => break (office, audience),
                // Another one leads, and this one is about to hear of it.
                Ok(_) | Err(_) => self.env.sleep(ATTEMPT.1).await,
            }
        };
        self.announce(&me, &office, &audience);
        let (since, applied) = (self.env.now(), node.applied());
        self.show(nth, Standing::Primary(Term { epoch: office.epoch, since, applied }));
        tokio::join!(self.watch_chunkservers(nth), self.take_in_the_other(nth, node));
    }

    /// Tells everybody of an epoch, once.
    fn announce(&self, me: &str, office: &Office, audience: &[Name]) {
        let is_news = self.announced.modify(|announced| {
            let is_news = office.epoch > announced.epoch;
            if is_news {
                *announced = office.clone();
            }
            is_news
        });
        for who in audience.iter().filter(|_| is_news) {
            (self.tell)(me, who, office);
        }
    }
}

/// Follows a replica through all its lives.
async fn run(masters: Weak<Masters>, nth: usize) {
    loop {
        let Some(masters) = masters.upgrade() else { return };
        let Some(mut life) = masters.group.watch(nth) else { return };
        drop(life.borrow_and_update());
        match masters.group.running(nth) {
            Some(node) => {
                masters.follow(nth, &node).await;
                masters.show(nth, Standing::Waiting);
                // Its handle may be there for a moment longer than it runs.
                masters.env.sleep(ATTEMPT.1).await;
            }
            None => {
                masters.show(nth, Standing::Down);
                drop(masters);
                if life.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}
