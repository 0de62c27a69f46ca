//! Sessions of a group that expire, in a test's own time.

use std::sync::Arc;
use std::time::Duration;

use quorate::env::VirtualEnv;
use quorate::sessions::{Refusal, Stamp};
use quorate::types::ClientId;
use quorate::{Consistency, GroupOptions, Unknown, WriteError};
use quorate_statemachines::register::{RegisterCommand, RegisterMachine, RegisterQuery};

use super::group_sessions::GroupSessions;
use crate::embedded::{EmbeddedGroup, World};

const TTL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn a_retry_of_an_expired_session_is_not_carried_out_again() {
    let env = Arc::new(VirtualEnv::new(1));
    let options = GroupOptions { session_ttl: TTL, ..GroupOptions::default() };
    let world = World::with_env(env, options, 1);
    let group = EmbeddedGroup::start(&world, 3, RegisterMachine::new).await.unwrap();
    group.led(TIMEOUT).await.unwrap();
    let node = group.running(1).unwrap();
    let sessions = GroupSessions::new(Arc::clone(world.env()));
    let write = async |value: &str, seq: u64| {
        let command = RegisterCommand::Write { key: "k".into(), value: value.into() };
        let session = Stamp { client: ClientId::new("alice"), seq, acked: None };
        sessions.write(&node, &command, Some(session), TIMEOUT).await.map(|written| written.replayed)
    };
    assert_eq!(write("1", 1).await, Ok(false));
    assert_eq!(write("1", 1).await, Ok(true));
    assert_eq!(write("2", 2).await, Ok(false));
    tokio::time::sleep(TTL * 2).await;
    let refused = |refusal| Err(WriteError::Unknown(Unknown::Session(refusal)));
    let asked = world.env().now();
    assert_eq!(write("2", 2).await, refused(Refusal::Expired), "it may be the retry that it is");
    assert!(world.env().now().since(asked) < TIMEOUT / 2, "a follower hands the refusal on at once");
    assert_eq!(write("1", 1).await, refused(Refusal::BelowWindow));
    assert_eq!(write("3", 3).await, Ok(false), "a new number opens the session again");
    assert_eq!(write("1", 1).await, refused(Refusal::BelowWindow), "what was below it is not taken");
    let read = node.read(Consistency::Linearizable, &RegisterQuery::Get { key: "k".into() }, TIMEOUT).await;
    assert_eq!(read.unwrap().answer.as_deref(), Some("3"));
    group.shutdown().await;
}
