//! The network between nodes: each is found by its peers behind a proxy, which knows who calls and can hold back what one
//! node says to another.
//!
//! Promises: what is held back is as with packets that are lost: nothing ends, nothing is answered, and what was sent
//! arrives once the cut is over, unless its connection has been given up.
//! Leaves out: clients, who reach every node always; loss and delay of single messages, which the simulation has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::owners::owner;

/// From one node to another.
pub(crate) type Direction = (u64, u64);

/// The links of a cluster. Clones are the same.
#[derive(Clone)]
pub(crate) struct Links {
    cut: Arc<watch::Sender<BTreeSet<Direction>>>,
    /// The processes of the nodes that run.
    pids: Arc<Mutex<BTreeMap<u32, u64>>>,
}

impl Links {
    /// Links of which none is cut.
    pub(crate) fn new() -> Links {
        Links { cut: Arc::new(watch::Sender::new(BTreeSet::new())), pids: Arc::default() }
    }

    fn pids(&self) -> MutexGuard<'_, BTreeMap<u32, u64>> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node runs as this process from now on.
    pub(crate) fn runs(&self, pid: u32, node: u64) {
        self.pids().insert(pid, node);
    }

    /// A process has ended: its number may become another's.
    pub(crate) fn ended(&self, pid: u32) {
        self.pids().remove(&pid);
    }

    /// Puts a proxy at `found`, where a node's peers find it, in front of `real`, where it listens.
    ///
    /// # Errors
    /// When the address is taken.
    pub(crate) async fn lead_to(&self, node: u64, found: SocketAddr, real: SocketAddr) -> std::io::Result<()> {
        let listener = TcpListener::bind(found).await?;
        let links = self.clone();
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((caller, from)) => drop(tokio::spawn(links.clone().carry(caller, from, node, real))),
                    // Too many files are open, say: that passes.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        });
        Ok(())
    }

    /// Holds back what goes in these directions, and nothing else.
    pub(crate) fn cut(&self, directions: BTreeSet<Direction>) {
        self.cut.send_replace(directions);
    }

    /// One connection, until either side ends it.
    async fn carry(self, caller: TcpStream, from: SocketAddr, callee: u64, real: SocketAddr) {
        let candidates: Vec<u32> = self.pids().keys().copied().collect();
        let found = tokio::task::spawn_blocking(move || owner(from, &candidates)).await.ok().flatten();
        // A caller that is gone already, or is none of the nodes.
        let Some(node) = found.and_then(|pid| self.pids().get(&pid).copied()) else { return };
        let mut cut = self.cut.subscribe();
        // To reach the other at all takes both directions.
        let is_open = |cut: &BTreeSet<Direction>| !cut.contains(&(node, callee)) && !cut.contains(&(callee, node));
        if cut.wait_for(is_open).await.is_err() {
            return;
        }
        let Ok(callee_stream) = TcpStream::connect(real).await else { return };
        // What the heartbeats of a cluster say is small.
        let _ = (caller.set_nodelay(true), callee_stream.set_nodelay(true));
        let (caller_reads, caller_writes) = caller.into_split();
        let (callee_reads, callee_writes) = callee_stream.into_split();
        // Whichever ends, the connection does.
        tokio::select! {
            () = pump(caller_reads, callee_writes, self.cut.subscribe(), (node, callee)) => {}
            () = pump(callee_reads, caller_writes, self.cut.subscribe(), (callee, node)) => {}
        }
    }
}

/// Hands on what is said in one direction, as long as that is not cut.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut cut: watch::Receiver<BTreeSet<Direction>>,
    direction: Direction,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        if cut.wait_for(|cut| !cut.contains(&direction)).await.is_err() {
            return;
        }
        let Some(read) = buffer.get(..count) else { return };
        if to.write_all(read).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers what it hears, behind links from this process, which is called node 1.
    async fn echo(links: &Links) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let real = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut reads, mut writes) = stream.split();
            tokio::io::copy(&mut reads, &mut writes).await
        });
        links.runs(std::process::id(), 1);
        let found = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        links.lead_to(2, found, real).await.unwrap();
        TcpStream::connect(found).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_held_back_in_either_direction_arrives_when_the_cut_is_over() {
        let links = Links::new();
        let mut stream = echo(&links).await;
        let mut byte = [0];
        for direction in [(1, 2), (2, 1)] {
            stream.write_all(b"a").await.unwrap();
            stream.read_exact(&mut byte).await.unwrap();
            links.cut(BTreeSet::from([direction]));
            stream.write_all(b"b").await.unwrap();
            let early = tokio::time::timeout(Duration::from_millis(50), stream.read_exact(&mut byte)).await;
            assert!(early.is_err(), "{direction:?} is cut");
            links.cut(BTreeSet::from([(3, 1), (2, 3)]));
            stream.read_exact(&mut byte).await.unwrap();
            assert_eq!(byte, *b"b");
        }
    }
}
