use serde_json::json;

use super::*;

/// Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

struct Shells {
    watch: Watch,
    nodes: Nodes,
    client: Client,
    _dir: tempfile::TempDir,
}

/// The nodes `n1` and `n2`, which are a line of shell, and run, and the client `c0`. Nobody has to `init` them.
async fn launch(script: &str) -> Shells {
    let (network, watch) = (Network::new(Default::default(), 1, 0), Watch::new(|text| println!("{text}")));
    let dir = tempfile::tempdir().unwrap();
    let (data, logs) = (dir.path().join("data"), dir.path().join("logs"));
    let args = ["-c", script].map(str::to_owned).to_vec();
    let program = Program { bin: "/bin/sh".into(), args, data, logs, log_stderr: true };
    let client = Client::new(&network, "c0", PATIENCE);
    let mut hosts = 0;
    let host = || {
        hosts += 1;
        Client::new(&network, format!("host{hosts}"), PATIENCE)
    };
    let nodes = Nodes::new(&network, program, watch.clone(), Seat::peers(&["n1", "n2"]), host);
    nodes.launch(&["n1", "n2"]).await.unwrap();
    Shells { watch, nodes, client, _dir: dir }
}

#[test]
fn arguments_are_filled_in_for_each_node() {
    let program =
        Program { bin: "node".into(), args: Vec::new(), data: "/data".into(), logs: "/logs".into(), log_stderr: false };
    let placeholders = BTreeMap::from([("group", "g2".to_owned())]);
    let seat = Seat { name: "n2".to_owned(), placeholders, ..Seat::default() };
    let fill = |arg| program.fill_in(arg, &seat, "n1,n2");
    assert_eq!(fill("--data-dir={data}/x"), "--data-dir=/data/n2/x");
    assert_eq!(fill("{node} of {nodes} in {group}"), "n2 of n1,n2 in g2");
    assert_eq!(fill("{else}"), "{else}");
}

#[tokio::test]
async fn a_node_that_was_launched_hears_every_client_before_any_init() {
    let answer = r#"{"src":"{node}","dest":"c0","body":{"type":"x_ok","in_reply_to":0}}"#;
    let mut shells = launch(&format!("while read -r line; do echo '{answer}'; done")).await;
    assert!(shells.client.ask("n2", "x", json!({})).await.is_ok());
    assert_eq!(shells.nodes.end(PATIENCE).await, Ok(()));
}

#[tokio::test]
async fn nodes_end_when_their_inputs_do_and_are_heard_to_their_last_word() {
    let last = r#"{"src":"{node}","dest":"c0","body":{"type":"bye"}}"#;
    let mut shells = launch(&format!("cat > heard; echo '{last}'")).await;
    // One that is stopped is to end too, and one that is dead has.
    shells.nodes.pause(&["n1"]).await;
    shells.nodes.kill(&["n2"]).await;
    assert_eq!(shells.nodes.end(PATIENCE).await, Ok(()));
    shells.nodes.launch(&["n2"]).await.unwrap();
    assert_eq!(shells.nodes.end(PATIENCE).await, Ok(()));
    let told: Vec<_> = shells.client.take_told().into_iter().map(|message| (message.src, message.kind)).collect();
    assert_eq!(told, [("n1".to_owned(), "bye".to_owned()), ("n2".to_owned(), "bye".to_owned())]);
    assert_eq!(shells.watch.trouble(), None, "they were asked to");
}

#[tokio::test]
async fn a_bad_end_is_trouble_and_tells_what_the_node_said() {
    let shells = launch("cat > heard; echo {node} has had enough >&2; exit 7").await;
    let trouble = shells.nodes.end(PATIENCE).await.unwrap_err();
    let Trouble::EndedBadly { node, status, stderr, .. } = &trouble else { panic!("{trouble}") };
    assert_eq!((node.as_str(), status.code()), ("n1", Some(7)));
    assert_eq!(stderr.lines, ["n1 has had enough"]);
}

#[tokio::test]
async fn a_node_that_does_not_mind_the_end_of_its_input_is_killed() {
    let shells = launch("exec sleep 600").await;
    let limit = Duration::from_millis(100);
    assert_eq!(shells.nodes.end(limit).await, Err(Trouble::NotEnded { node: "n1".to_owned(), limit }));
    assert_eq!(shells.nodes.end(limit).await, Ok(()), "none runs any more");
    assert_eq!(shells.watch.trouble(), None);
}

#[tokio::test]
async fn a_node_that_speaks_in_anothers_name_is_not_heard_and_a_strict_watch_takes_it_ill() {
    let mut shells = launch(r#"echo '{"src":"n1","dest":"c0","body":{"type":"x"}}'; cat > heard"#).await;
    assert_eq!(shells.nodes.end(PATIENCE).await, Ok(()));
    assert_eq!(shells.client.take_told().len(), 1, "n1 may say so");
    let warnings = shells.watch.warnings();
    assert!(
        matches!(&warnings[..], [warning] if warning.contains("node n2") && warning.contains("in the name of \"n1\""))
    );
    assert_eq!(shells.watch.trouble(), None);

    let strict = Watch::new(|_| {}).strict();
    strict.warn("so not".to_owned());
    assert_eq!(strict.raised().await, Trouble::Improper("so not".to_owned()));
}
