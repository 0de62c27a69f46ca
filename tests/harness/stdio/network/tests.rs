use serde_json::json;

use super::*;
use crate::run::MessageFate;
use crate::stdio::latency::Distribution;

fn message(src: &str, dest: &str, nth: u64) -> Message {
    Message::from_body(src, dest, json!({ "type": "x", "msg_id": nth }).as_object().unwrap())
}

fn latency(mean_ms: u64, distribution: Distribution) -> Latency {
    Latency { mean: Duration::from_millis(mean_ms), distribution }
}

/// Three nodes that run, and a client.
fn network(weather: Weather) -> (Network, mpsc::UnboundedReceiver<Arrival>) {
    let network = Network::new(weather, 7, 1_000);
    for node in ["n1", "n2", "n3"] {
        network.add_node(node, "c0");
        network.set_standing(node, Standing::Up);
    }
    let client = network.add_client("c0");
    (network, client)
}

async fn numbers(network: &Network, node: &str, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.push(network.receive(node).await.unwrap().msg_id.unwrap());
    }
    numbers
}

#[tokio::test(start_paused = true)]
async fn messages_between_nodes_take_their_latency_and_those_of_clients_none() {
    let (network, mut client) = network(Weather { latency: latency(30, Distribution::Constant), ..Weather::default() });
    let began = Instant::now();
    network.send(message("n1", "c0", 1)).unwrap();
    assert!(matches!(client.recv().await, Some(Arrival::Message(message)) if message.msg_id == Some(1)));
    network.send(message("c0", "n2", 2)).unwrap();
    network.send(message("n1", "n2", 3)).unwrap();
    assert_eq!(numbers(&network, "n2", 1).await, [2]);
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(numbers(&network, "n2", 1).await, [3]);
    assert!((30..32).contains(&began.elapsed().as_millis()));
    let counts = |count| Counts { send_count: count, recv_count: count, msg_count: count };
    let expected = Traffic { all: counts(3), clients: counts(2), servers: counts(1) };
    assert_eq!(network.traffic(), expected);
}

#[tokio::test(start_paused = true)]
async fn messages_overtake_each_other_unless_all_take_as_long() {
    for (distribution, is_in_order) in [(Distribution::Constant, true), (Distribution::Uniform, false)] {
        let (network, _client) = network(Weather { latency: latency(50, distribution), ..Weather::default() });
        (0..40).for_each(|nth| network.send(message("n1", "n2", nth)).unwrap());
        let numbers = numbers(&network, "n2", 40).await;
        assert_eq!(numbers.is_sorted(), is_in_order, "{numbers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_stops_what_is_under_way_in_its_direction_and_no_client() {
    let (network, _client) = network(Weather { latency: latency(30, Distribution::Constant), ..Weather::default() });
    network.send(message("n1", "n2", 1)).unwrap();
    network.send(message("n1", "n3", 2)).unwrap();
    let mut cuts = Cuts::default();
    cuts.cut("n1", "n2");
    network.cut(cuts);
    network.send(message("n2", "n1", 3)).unwrap();
    network.send(message("c0", "n2", 4)).unwrap();
    assert_eq!(numbers(&network, "n2", 1).await, [4]);
    assert_eq!(numbers(&network, "n3", 1).await, [2]);
    assert_eq!(numbers(&network, "n1", 1).await, [3]);
    // The cut is mended, and what it has stopped does not come again.
    let later = async {
        tokio::time::sleep(Duration::from_millis(31)).await;
        network.cut(Cuts::default());
        network.send(message("n1", "n2", 5)).unwrap();
    };
    let (numbers, ()) = tokio::join!(numbers(&network, "n2", 1), later);
    assert_eq!(numbers, [5]);
    assert_eq!(network.messages().iter().filter(|message| message.fate == MessageFate::Lost).count(), 1);
}

#[tokio::test]
async fn those_who_are_cut_off_together_hear_each_other_and_nobody_else() {
    let (network, _client) = network(Weather::default());
    network.cut_off(&["n1", "n2"]);
    let said = [("n1", "n3"), ("n3", "n2"), ("n2", "n1"), ("c0", "n3"), ("c0", "n2")];
    for (nth, (src, dest)) in said.into_iter().enumerate() {
        network.send(message(src, dest, nth as u64)).unwrap();
    }
    assert_eq!(numbers(&network, "n1", 1).await, [2]);
    assert_eq!(numbers(&network, "n3", 1).await, [3]);
    assert_eq!(numbers(&network, "n2", 1).await, [4]);
    network.cut_off(&[]);
    network.send(message("n3", "n2", 5)).unwrap();
    assert_eq!(numbers(&network, "n2", 1).await, [5], "what met the cut does not come later");
    assert_eq!(network.sent("x"), 4, "of nodes to nodes");
    assert_eq!(network.sent("y"), 0);
}

#[tokio::test(start_paused = true)]
async fn messages_between_nodes_are_lost_and_doubled_as_often_as_was_asked_for() {
    for (lost, doubled, expected) in
        [(0.5, 0.0, 450..550), (0.0, 0.5, 1450..1550), (1.0, 1.0, 0..1), (0.0, 1.0, 2000..2001)]
    {
        let (network, mut client) = network(Weather { lost, doubled, ..Weather::default() });
        for nth in 0..1000 {
            network.send(message("n1", "n2", nth)).unwrap();
            network.send(message("n1", "c0", nth)).unwrap();
            assert!(client.try_recv().is_ok(), "a client's messages are neither");
        }
        network.send(message("c0", "n2", 1000)).unwrap();
        let mut arrived = 0;
        while network.receive("n2").await.unwrap().msg_id != Some(1000) {
            arrived += 1;
        }
        assert!(expected.contains(&arrived), "{arrived} for {lost} and {doubled}");
    }
}

#[tokio::test]
async fn a_client_learns_at_once_that_its_node_is_down_or_has_died() {
    let (network, mut client) = network(Weather::default());
    network.expect("c0", Some(("n1", 1)));
    network.send(message("c0", "n1", 1)).unwrap();
    numbers(&network, "n1", 1).await;
    network.set_standing("n1", Standing::Down);
    assert!(matches!(client.recv().await, Some(Arrival::Died)), "the node had the request");
    network.expect("c0", Some(("n1", 2)));
    network.send(message("c0", "n1", 2)).unwrap();
    assert!(matches!(client.recv().await, Some(Arrival::Down)));
    network.set_standing("n1", Standing::Up);
    network.expect("c0", Some(("n1", 3)));
    network.send(message("c0", "n1", 3)).unwrap();
    network.set_standing("n1", Standing::Down);
    assert!(matches!(client.recv().await, Some(Arrival::Down)), "it was not read");
    assert!(client.try_recv().is_err());
}

#[tokio::test]
async fn a_starting_node_hears_its_host_and_other_nodes_alone() {
    let (network, _host) = network(Weather::default());
    let mut other = network.add_client("c1");
    network.set_standing("n1", Standing::Starting);
    network.send(message("c1", "n1", 1)).unwrap();
    assert!(matches!(other.recv().await, Some(Arrival::Down)));
    network.send(message("c0", "n1", 2)).unwrap();
    network.send(message("n2", "n1", 3)).unwrap();
    assert_eq!(numbers(&network, "n1", 2).await, [2, 3]);
}

#[test]
fn only_known_names_speak_and_are_spoken_to() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _guard = runtime.enter();
    let (network, _client) = network(Weather::default());
    assert_eq!(network.send(message("n1", "n9", 1)), Err(UnknownName("n9".to_owned())));
    assert_eq!(network.send(message("n9", "n1", 1)), Err(UnknownName("n9".to_owned())));
    assert_eq!(network.send(message("n2", "n1", 1)), Ok(()));
    assert_eq!(network.traffic().all.send_count, 1);
}
