//! Appends on their way: several to one follower at once, and many groups' in one frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quorate::transport::{Answer, Envelope, Inbound, Request};
use quorate::{GroupId, NodeId};

use crate::common::{Cluster, GROUP, Setting};
use crate::machine::Command;

/// How long an answer takes on its way back.
const WAY_BACK: Duration = Duration::from_millis(400);

/// A node whose answers to appends come late, and the largest number of them that were on their way at once.
struct Far {
    host: Arc<dyn Inbound>,
    under_way: AtomicUsize,
    most: Arc<AtomicUsize>,
}

#[async_trait::async_trait]
impl Inbound for Far {
    async fn deliver(&self, envelope: Envelope) -> Option<Answer> {
        let counted = matches!(&envelope.request, Request::Append(append) if !append.entries.is_empty());
        let answer = self.host.deliver(envelope).await;
        if counted {
            let now = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(now, Ordering::Relaxed);
            tokio::time::sleep(WAY_BACK).await;
            self.under_way.fetch_sub(1, Ordering::Relaxed);
        }
        answer
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_to_a_follower_do_not_wait_for_the_answers_to_those_before() {
    let most = Arc::<AtomicUsize>::default();
    let seen = Arc::clone(&most);
    let far = move |_: NodeId, host: Arc<dyn Inbound>| -> Arc<dyn Inbound> {
        Arc::new(Far { host, under_way: AtomicUsize::new(0), most: Arc::clone(&seen) })
    };
    let cluster = Cluster::start(3, Setting { inbound: Arc::new(far), ..Setting::default() }).await;
    let leader = cluster.leader().await;
    // Before its followers have answered for the first time, a leader sends them one message.
    cluster.write(leader, GROUP, Command::Push { value: 0 }).await;
    // One after the other, so that each is an entry of its own, and none waits for the one before.
    let writers = (0..40).map(|writer| {
        let cluster = &cluster;
        async move {
            tokio::time::sleep(WAY_BACK * writer / 40).await;
            cluster.write(leader, GROUP, Command::Push { value: 1 }).await;
        }
    });
    futures::future::join_all(writers).await;
    let most = most.load(Ordering::Relaxed);
    println!("at most {most} appends to one follower were under way at once");
    assert!(most >= 8, "only {most} were under way at once");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_groups_say_at_once_travels_together() {
    let groups: Vec<_> = (1..=20).map(GroupId).collect();
    let cluster = Cluster::start(3, Setting::of_groups(&groups)).await;
    let sent = || {
        let peers = cluster.running().into_iter().flat_map(|node| cluster.life(node).transport.peers());
        peers.fold((0, 0), |sum, (_, peer)| (sum.0 + peer.messages_sent, sum.1 + peer.frames_sent))
    };
    let before = sent();
    for value in 0..10 {
        let writes = groups.iter().map(|group| cluster.write(NodeId(1), *group, Command::Push { value }));
        futures::future::join_all(writes).await;
    }
    let (messages, frames) = (sent().0 - before.0, sent().1 - before.1);
    println!("{messages} messages in {frames} frames");
    assert!(frames < messages, "{messages} messages in {frames} frames");
    cluster.shutdown().await;
}
