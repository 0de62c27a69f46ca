//! The transcripts of the protocol's documentation, played: what it shows is what the services answer.

use std::time::Duration;

use quorate_nodes::distributed::DistributedOptions;
use quorate_nodes::services::{MachineNode, Master, MasterOptions, Replica, ReplicaGroup, ServiceOptions, ShardKv};
use quorate_nodes::stdio::ServeOptions;
use quorate_nodes::stdio::transcript::play;
use quorate_statemachines::register::RegisterMachine;

/// A transcript: the binary with its options, and the lines.
struct Transcript<'a> {
    heading: &'a str,
    script: &'a str,
}

fn transcripts(document: &str) -> impl Iterator<Item = Transcript<'_>> {
    document.split("```").skip(1).step_by(2).filter_map(|block| {
        let (heading, script) = block.strip_prefix("transcript ")?.split_once('\n')?;
        Some(Transcript { heading, script })
    })
}

async fn play_all(name: &str, document: &str) -> usize {
    let mut played = 0;
    for Transcript { heading, script } in transcripts(document) {
        let words: Vec<&str> = heading.split_whitespace().collect();
        if words[0] == "coordinator" {
            // Played by its own crate's tests.
            continue;
        }
        // A busy machine is slower than a reader would like to wait.
        let request_timeout = Duration::from_secs(20);
        let allow_faults = words.contains(&"--allow-faults");
        let options = ServeOptions { request_timeout, allow_faults, ..ServeOptions::default() };
        let service = ServiceOptions { seed: Some(1), ..ServiceOptions::default() };
        let mut result = Ok(());
        // On a busy machine another node may come to lead, and then says so: not every run reads like the documented one.
        for _ in 0..3 {
            result = match words[0] {
                "shardkv" => play(ShardKv::new(service.clone()), options, script).await,
                "replica_group" => play(ReplicaGroup::new(service.clone()), options, script).await,
                "master" => {
                    // On a busy machine a primary may be silent for longer than usual.
                    let election_timeout = Duration::from_secs(2);
                    let masters =
                        MasterOptions { service: service.clone(), election_timeout, ..MasterOptions::default() };
                    play(Master::new(masters), options, script).await
                }
                "replica" => play(Replica::new(service.clone()), options, script).await,
                "machine" => {
                    let distributed =
                        DistributedOptions { heartbeat: Duration::from_millis(50), seed: Some(1), data_dir: None };
                    let group = distributed.group();
                    play(MachineNode::new("registers", RegisterMachine::new, distributed, group), options, script).await
                }
                other => panic!("{name}: there is no service {other}"),
            };
            if result.is_ok() {
                break;
            }
        }
        if let Err(error) = result {
            panic!("{name}: ```transcript {heading}\n{script}\n{error}");
        }
        played += 1;
    }
    played
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transcript_of_the_protocols_documentation_can_be_played() {
    let played = play_all("docs/protocol.md", include_str!("../../docs/protocol.md")).await;
    assert!(played >= 8, "only {played} transcripts were found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transcript_of_the_readme_can_be_played() {
    let played = play_all("README.md", include_str!("../../README.md")).await;
    assert!(played >= 4, "only {played} transcripts were found");
}
