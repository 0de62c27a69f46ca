//! Every request is answered in time, by somebody.

use std::time::Duration;

use tokio::time::Instant;

use super::{options, play, play_with};
use crate::stdio::ServeOptions;

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_answered_with_an_open_outcome_and_its_late_answer_is_dropped() {
    let start = Instant::now();
    let seen = play(
        r#"
        > {"src":"c1","dest":"n1","body":{"type":"put","msg_id":1,"key":"x","value":1,"ms":2500}}
        > {"src":"c2","dest":"n1","body":{"type":"get","msg_id":1,"key":"y","ms":1000}}
        < {"src":"n1","dest":"c2","body":{"type":"get_ok","in_reply_to":1,"msg_id":1,"key":"y"}}
        < {"src":"n1","dest":"c1","body":{"type":"error","in_reply_to":1,"msg_id":2,"code":0,"text":"..."}}
        > {"src":"c1","dest":"n1","body":{"type":"get","msg_id":2,"key":"x","ms":1000}}
        < {"src":"n1","dest":"c1","body":{"type":"get_ok","in_reply_to":2,"msg_id":3,"key":"x","value":1}}
        "#,
    )
    .await;
    assert!(seen.contains(&"c1 put x=1 done".to_owned()), "it had its effect, only too late");
    assert_eq!(start.elapsed().as_millis(), 3000);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_turn_does_not_come_is_never_carried_out() {
    let seen = play(
        r#"
        > {"src":"c1","dest":"n1","body":{"type":"put","msg_id":1,"key":"x","value":1,"ms":1500}}
        > {"src":"c2","dest":"n1","body":{"type":"put","msg_id":1,"key":"x","value":2,"ms":1500}}
        > {"src":"c3","dest":"n1","body":{"type":"put","msg_id":1,"key":"x","value":3}}
        > {"src":"c3","dest":"n1","body":{"type":"mystery","msg_id":2}}
        < {"src":"n1","dest":"c1","body":{"type":"put_ok","in_reply_to":1,"msg_id":1}}
        < {"src":"n1","dest":"c2","body":{"type":"error","in_reply_to":1,"msg_id":2,"code":0,"text":"..."}}
        < {"src":"n1","dest":"c3","body":{"type":"error","in_reply_to":1,"msg_id":3,"code":11,"text":"...","reason":"not_started"}}
        < {"src":"n1","dest":"c3","body":{"type":"error","in_reply_to":2,"msg_id":4,"code":10,"text":"..."}}
        "#,
    )
    .await;
    assert_eq!(seen, ["c1 put x=1", "c1 put x=1 done", "c2 put x=2"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_may_have_a_timeout_of_its_own_and_those_behind_it_keep_theirs() {
    let start = Instant::now();
    play(
        r#"
        > {"src":"c1","dest":"n1","body":{"type":"failover","msg_id":1,"ms":11000}}
        > {"src":"c2","dest":"n1","body":{"type":"get","msg_id":1,"key":"x"}}
        < {"src":"n1","dest":"c2","body":{"type":"error","in_reply_to":1,"msg_id":1,"code":11,"text":"...","reason":"not_started"}}
        < {"src":"n1","dest":"c1","body":{"type":"failover_ok","in_reply_to":1,"msg_id":2}}
        > {"src":"c2","dest":"n1","body":{"type":"get","msg_id":2,"key":"x"}}
        < {"src":"n1","dest":"c2","body":{"type":"get_ok","in_reply_to":2,"msg_id":3,"key":"x"}}
        "#,
    )
    .await;
    assert_eq!(start.elapsed().as_millis(), 11_000);
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_never_found_its_target_is_known_not_to_have_acted() {
    play(
        r#"
        > {"src":"c1","dest":"n1","body":{"type":"failover","msg_id":1,"ms":11000}}
        > {"src":"c2","dest":"n1","body":{"type":"fault","msg_id":1,"action":"stop","target":"nowhere"}}
        < {"src":"n1","dest":"c2","body":{"type":"error","in_reply_to":1,"msg_id":1,"code":1,"text":"..."}}
        < {"src":"n1","dest":"c1","body":{"type":"failover_ok","in_reply_to":1,"msg_id":2}}
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_request_timeout_is_an_option() {
    let start = Instant::now();
    play_with(
        ServeOptions { request_timeout: Duration::from_millis(300), ..options() },
        r#"
        > {"src":"c1","dest":"n1","body":{"type":"get","msg_id":1,"key":"x","gate":"never"}}
        < {"src":"n1","dest":"c1","body":{"type":"error","in_reply_to":1,"msg_id":1,"code":0,"text":"no answer within 300 ms"}}
        "#,
    )
    .await;
    assert_eq!(start.elapsed().as_millis(), 300);
}
