//! The first frame in each direction: whether two nodes may speak at all.
//!
//! Promises: nodes of different clusters, of no common version, or at a wrong address find it out before the first
//! message.

use super::config::GrpcConfig;
use super::proto::{Content, Frame, Hello};
use crate::transport::wire;
use crate::types::{ClusterId, NodeId};

/// The versions of records that this node reads and writes.
const VERSIONS: (u32, u32) = (wire::VERSION as u32, wire::VERSION as u32);

/// Why a node will not speak to another one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HelloError {
    #[error("the stream does not begin with a hello")]
    Missing,
    #[error("{peer} belongs to another cluster: {theirs}, not {ours}")]
    Cluster { peer: NodeId, theirs: ClusterId, ours: ClusterId },
    #[error("no common version: {peer} speaks {} to {}, this node {} to {}", theirs.0, theirs.1, ours.0, ours.1)]
    Version { peer: NodeId, theirs: (u32, u32), ours: (u32, u32) },
    #[error("a wrong address: {wanted} is wanted, {met} is here")]
    Receiver { wanted: NodeId, met: NodeId },
    #[error("{0} and this node have one name")]
    Itself(NodeId),
}

/// What `config`'s node says to `receiver`.
pub(super) fn hello(config: &GrpcConfig, receiver: NodeId) -> Hello {
    Hello {
        version_min: VERSIONS.0,
        version_max: VERSIONS.1,
        cluster: config.cluster.0,
        node: config.node.0,
        incarnation: config.incarnation.0,
        receiver: receiver.0,
        record_bytes_max: config.limits.message_bytes_max as u64,
    }
}

/// The hello of a stream's first frame.
pub(super) fn hello_in(frame: Option<Frame>) -> Result<Hello, HelloError> {
    match frame.and_then(|frame| frame.content) {
        Some(Content::Hello(hello)) => Ok(hello),
        _ => Err(HelloError::Missing),
    }
}

/// Whether this node, which was called, speaks to the caller.
pub(super) fn check_caller(config: &GrpcConfig, caller: &Hello) -> Result<NodeId, HelloError> {
    check(config, caller)?;
    let (peer, wanted) = (NodeId(caller.node), NodeId(caller.receiver));
    if wanted != config.node {
        return Err(HelloError::Receiver { wanted, met: config.node });
    }
    if peer == config.node {
        return Err(HelloError::Itself(peer));
    }
    Ok(peer)
}

/// Whether the one who answered a call to `wanted` is the right one.
pub(super) fn check_callee(config: &GrpcConfig, wanted: NodeId, callee: &Hello) -> Result<(), HelloError> {
    check(config, callee)?;
    let met = NodeId(callee.node);
    if met == wanted { Ok(()) } else { Err(HelloError::Receiver { wanted, met }) }
}

fn check(config: &GrpcConfig, hello: &Hello) -> Result<(), HelloError> {
    let (peer, theirs) = (NodeId(hello.node), (hello.version_min, hello.version_max));
    // The cluster first: what another cluster's nodes speak is nobody's business.
    if hello.cluster != config.cluster.0 {
        return Err(HelloError::Cluster { peer, theirs: ClusterId(hello.cluster), ours: config.cluster });
    }
    if theirs.1 < VERSIONS.0 || theirs.0 > VERSIONS.1 {
        return Err(HelloError::Version { peer, theirs, ours: VERSIONS });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::config::GrpcLimits;
    use super::*;
    use crate::types::Incarnation;

    fn config(node: u64) -> GrpcConfig {
        let (node, cluster, incarnation) = (NodeId(node), ClusterId(1), Incarnation(7));
        GrpcConfig { node, cluster, incarnation, tls: None, limits: GrpcLimits::default() }
    }

    #[test]
    fn nodes_speak_only_to_whom_they_want_and_understand() {
        let (one, two) = (config(1), config(2));
        let good = hello(&one, two.node);
        assert_eq!(check_caller(&two, &good), Ok(one.node));
        assert_eq!(check_callee(&one, two.node, &hello(&two, one.node)), Ok(()));
        let refused = |change: fn(&mut Hello)| {
            let mut hello = good;
            change(&mut hello);
            check_caller(&two, &hello).unwrap_err()
        };
        assert!(matches!(refused(|hello| hello.cluster = 2), HelloError::Cluster { .. }));
        assert!(matches!(refused(|hello| hello.version_min = 2), HelloError::Version { .. }));
        assert!(matches!(refused(|hello| (hello.version_min, hello.version_max) = (0, 0)), HelloError::Version { .. }));
        assert!(matches!(refused(|hello| hello.receiver = 3), HelloError::Receiver { .. }));
        assert!(matches!(refused(|hello| hello.node = 2), HelloError::Itself(_)));
        let elsewhere = check_callee(&one, NodeId(3), &hello(&two, one.node)).unwrap_err();
        assert_eq!(elsewhere.to_string(), "a wrong address: n3 is wanted, n2 is here");
    }

    #[test]
    fn ranges_that_overlap_are_enough() {
        let mut newer = hello(&config(1), NodeId(2));
        (newer.version_min, newer.version_max) = (1, 9);
        assert_eq!(check_caller(&config(2), &newer), Ok(NodeId(1)));
    }
}
