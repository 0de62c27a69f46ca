//! Before, during and after `init`.

use std::time::Duration;

use tokio::time::sleep;

use super::{Scripted, options, play};
use crate::stdio::ServeOptions;
use crate::stdio::transcript::{self, Conversation};

async fn play_raw(script: &str) {
    transcript::play(Scripted::default(), options(), script).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_but_init_is_done_before_init() {
    play_raw(
        r#"
        > {"src":"c1","dest":"n1","body":{"type":"get","msg_id":1,"key":"x"}}
        > {"src":"c1","dest":"n1","body":{"type":"mystery","msg_id":2}}
        > {"src":"c1","dest":"n1","body":{"type":"get","msg_id":3}}
        > {"src":"c1","dest":"n1","body":{"type":"fault","msg_id":4,"action":"stop","target":"n1"}}
        < {"src":"n1","dest":"c1","body":{"type":"error","in_reply_to":1,"msg_id":0,"code":11,"text":"...","reason":"not_initialised"}}
        < {"src":"n1","dest":"c1","body":{"type":"error","in_reply_to":2,"msg_id":1,"code":11,"text":"...","reason":"not_initialised"}}
        < {"src":"n1","dest":"c1","body":{"type":"error","in_reply_to":3,"msg_id":2,"code":11,"text":"...","reason":"not_initialised"}}
        < {"src":"n1","dest":"c1","body":{"type":"error","in_reply_to":4,"msg_id":3,"code":11,"text":"...","reason":"not_initialised"}}
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_stands_below_an_init_waits_for_it() {
    play_raw(
        r#"
        > {"src":"c0","dest":"n1","body":{"type":"init","msg_id":1,"node_id":"n1","node_ids":["n1"],"ms":500}}
        > {"src":"c2","dest":"n1","body":{"type":"fault","msg_id":1,"action":"stop","target":"n1"}}
        > {"src":"c1","dest":"n1","body":{"type":"get","msg_id":1,"key":"x"}}
        < {"src":"n1","dest":"c0","body":{"type":"init_ok","in_reply_to":1,"msg_id":0}}
        < {"src":"n1","dest":"c2","body":{"type":"fault_ok","in_reply_to":1,"msg_id":1}}
        < {"src":"n1","dest":"c1","body":{"type":"get_ok","in_reply_to":1,"msg_id":2,"key":"x"}}
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_init_that_failed_may_be_tried_again() {
    play_raw(
        r#"
        > {"src":"c0","dest":"n1","body":{"type":"init","msg_id":1,"node_id":"n1"}}
        > {"src":"c0","dest":"n1","body":{"type":"init","msg_id":2,"node_id":7,"node_ids":["n1"]}}
        > {"src":"c0","dest":"n1","body":{"type":"init","msg_id":3,"node_id":"n2","node_ids":["n1"]}}
        > {"src":"c0","dest":"n1","body":{"type":"init","msg_id":4,"node_id":"n1","node_ids":["n1"]}}
        < {"src":"n1","dest":"c0","body":{"type":"error","in_reply_to":1,"msg_id":0,"code":12,"text":"..."}}
        < {"src":"n1","dest":"c0","body":{"type":"error","in_reply_to":2,"msg_id":1,"code":12,"text":"..."}}
        < {"src":"n1","dest":"c0","body":{"type":"error","in_reply_to":3,"msg_id":2,"code":12,"text":"..."}}
        < {"src":"n1","dest":"c0","body":{"type":"init_ok","in_reply_to":4,"msg_id":3}}
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_hosted_node_may_be_initialised_alike_and_no_other_way() {
    let seen = play(
        r#"
        > {"src":"c9","dest":"n2","body":{"type":"init","msg_id":7,"node_ids":["n1","n2"],"node_id":"n2"}}
        < {"src":"n2","dest":"c9","body":{"type":"init_ok","in_reply_to":7,"msg_id":0}}
        > {"src":"c9","dest":"n1","body":{"type":"init","msg_id":8,"node_id":"n1","node_ids":["n2","n1"]}}
        < {"src":"n1","dest":"c9","body":{"type":"error","in_reply_to":8,"msg_id":1,"code":12,"text":"...","reason":"already_initialised"}}
        > {"src":"c9","dest":"n3","body":{"type":"init","msg_id":9,"node_id":"n3","node_ids":["n1","n2"]}}
        < {"src":"n3","dest":"c9","body":{"type":"error","in_reply_to":9,"msg_id":0,"code":1,"text":"...","reason":"unknown_node"}}
        "#,
    )
    .await;
    assert_eq!(seen, [] as [&str; 0], "the service is started once");
}

#[tokio::test(start_paused = true)]
async fn a_node_is_known_by_init_or_by_the_service() {
    play(
        r#"
        > {"src":"c1","dest":"n3","body":{"type":"get","msg_id":1,"key":"x"}}
        < {"src":"n3","dest":"c1","body":{"type":"error","in_reply_to":1,"msg_id":0,"code":1,"text":"...","reason":"unknown_node"}}
        > {"src":"c1","dest":"g1","body":{"type":"get","msg_id":2,"key":"x"}}
        > {"src":"c1","dest":"n2","body":{"type":"config","msg_id":3}}
        > {"src":"c1","dest":"g1","body":{"type":"get","msg_id":4,"key":"x"}}
        < {"src":"g1","dest":"c1","body":{"type":"error","in_reply_to":2,"msg_id":0,"code":1,"text":"...","reason":"unknown_node"}}
        < {"src":"n2","dest":"c1","body":{"type":"config_ok","in_reply_to":3,"msg_id":0}}
        < {"src":"g1","dest":"c1","body":{"type":"get_ok","in_reply_to":4,"msg_id":1,"key":"x"}}
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn faults_are_unknown_unless_they_are_allowed() {
    let script = r#"
        > {"src":"c0","dest":"n1","body":{"type":"init","msg_id":1,"node_id":"n1","node_ids":["n1"]}}
        > {"src":"c0","dest":"n1","body":{"type":"fault","msg_id":2,"action":"stop","target":"n1"}}
        < {"src":"n1","dest":"c0","body":{"type":"init_ok","in_reply_to":1,"msg_id":0}}
        < {"src":"n1","dest":"c0","body":{"type":"error","in_reply_to":2,"msg_id":1,"code":10,"text":"..."}}
    "#;
    transcript::play(Scripted::default(), ServeOptions::default(), script).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn notifications_and_replies_are_numbered_together() {
    play_raw(
        r#"
        > {"src":"c0","dest":"n1","body":{"type":"init","msg_id":1,"node_id":"n1","node_ids":["n1"],"notify":true}}
        < {"src":"n1","dest":"watcher","body":{"type":"hello","msg_id":0}}
        < {"src":"n1","dest":"c0","body":{"type":"init_ok","in_reply_to":1,"msg_id":1}}
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_init_that_ends_late_still_counts() {
    let mut conversation = Conversation::start(Scripted::default(), options());
    let mut ask = async |line: &str| {
        conversation.send(line).await.unwrap();
        conversation.receive().await.unwrap().unwrap()["body"].clone()
    };
    let init =
        r#"{"src":"c0","dest":"n1","body":{"type":"init","msg_id":1,"node_id":"n1","node_ids":["n1"],"ms":5000}}"#;
    assert_eq!(ask(init).await["code"], 0);
    let again = init.replace(r#""msg_id":1"#, r#""msg_id":2"#);
    assert_eq!(ask(&again).await["reason"], "not_initialised", "it is not called a second time meanwhile");
    let get = r#"{"src":"c0","dest":"n1","body":{"type":"get","msg_id":3,"key":"x"}}"#;
    assert_eq!(ask(get).await["reason"], "not_initialised");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(ask(&get.replace(r#""msg_id":3"#, r#""msg_id":4"#)).await["type"], "get_ok");
}
