//! Answers that belong to another question, or to an earlier life of the asker.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorate::log::MemoryLog;
use quorate::snapshot::MemorySnapshots;
use quorate::transport::{Answer, Envelope, Link, MemoryTransport, Request, Transport, TransportError};
use quorate::{ClusterId, Consistency, GroupSpec, Host, HostConfig, NodeId};

use crate::common::{self, CALL, Cluster, Command, GROUP, Query, Register, World, claims};

claims!(an_answer_to_an_earlier_question_proves_nothing_about_a_later_one,);

/// A network that gives the first answer to a question for a read index to whoever asks for one later.
struct Repeating {
    inner: Arc<MemoryTransport>,
    first: Mutex<Option<Answer>>,
}

#[async_trait::async_trait]
impl Transport for Repeating {
    async fn call(&self, to: NodeId, envelope: Envelope, timeout: Duration) -> Result<Answer, TransportError> {
        if !matches!(envelope.request, Request::ReadIndex) {
            return self.inner.call(to, envelope, timeout).await;
        }
        let first = self.first.lock().unwrap().clone();
        if let Some(first) = first {
            return Ok(first);
        }
        let answer = self.inner.call(to, envelope, timeout).await?;
        *self.first.lock().unwrap() = Some(answer.clone());
        Ok(answer)
    }
}

async fn an_answer_to_an_earlier_question_proves_nothing_about_a_later_one(world: World) {
    let cluster = Cluster::new(&world, World::options());
    let fooled = NodeId(3);
    for node in [1, 2] {
        cluster.start(NodeId(node)).await;
    }
    let inner = cluster.network.transport(fooled);
    let transport = Arc::new(Repeating { inner, first: Mutex::default() });
    let config = HostConfig { node: fooled, cluster: ClusterId(1) };
    let host = Host::new(config, Arc::clone(&world.env), transport);
    cluster.network.register(fooled, &host);
    let spec = GroupSpec {
        id: GROUP,
        machine: Register::default(),
        log: Arc::new(MemoryLog::new()),
        snapshots: Arc::new(MemorySnapshots::new()),
        options: World::options(),
    };
    let group = host.create_group(spec).await.unwrap();
    cluster.group(NodeId(1)).initialize([1, 2, 3].map(NodeId).into()).await.unwrap();
    let to = NodeId(1);
    while cluster.group(to).transfer_leadership(to, CALL).await.is_err() {
        world.sleep(Duration::from_millis(10)).await;
    }
    cluster.raise(to, 1, 1).await;
    let read = || group.read(Consistency::LinearizableHere, &Query::Value(1), Duration::from_millis(300));
    assert!(matches!(read().await.unwrap().answer, common::Answer::Value(1)), "the first answer is a true one");
    // From now on it hears nothing but that answer.
    cluster.network.cut(Link::into(fooled));
    cluster.write(to, Command::Raise { key: 1, to: 2 }, CALL).await.unwrap();
    let stale = read().await;
    assert!(stale.is_err(), "an old answer counted for a new question: {:?}", stale.map(|reply| reply.proof));
}
