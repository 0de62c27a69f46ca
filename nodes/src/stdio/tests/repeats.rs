//! Lines that are delivered twice.

use super::play;

#[tokio::test(start_paused = true)]
async fn a_line_delivered_twice_is_carried_out_once_and_answered_twice() {
    let seen = play(
        r#"
        > {"src":"c1","dest":"n1","body":{"type":"put","msg_id":1,"key":"x","value":1,"ms":100}}
        > {"id":7,"dest":"n1","src":"c1","body":{"value":1,"type":"put","key":"x","ms":100,"msg_id":1}}
        < {"src":"n1","dest":"c1","body":{"type":"put_ok","in_reply_to":1,"msg_id":1}}
        < {"src":"n1","dest":"c1","body":{"type":"put_ok","in_reply_to":1,"msg_id":2}}
        > {"src":"c1","dest":"n1","body":{"type":"put","msg_id":1,"key":"x","value":1,"ms":100}}
        < {"src":"n1","dest":"c1","body":{"type":"put_ok","in_reply_to":1,"msg_id":3}}
        "#,
    )
    .await;
    assert_eq!(seen, ["c1 put x=1", "c1 put x=1 done"]);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_read_gets_the_first_reply_whatever_was_written_since() {
    play(
        r#"
        > {"src":"c1","dest":"n1","body":{"type":"get","msg_id":1,"key":"x"}}
        > {"src":"c2","dest":"n1","body":{"type":"put","msg_id":1,"key":"x","value":1}}
        > {"src":"c1","dest":"n1","body":{"type":"get","msg_id":1,"key":"x"}}
        > {"src":"c1","dest":"n1","body":{"type":"get","msg_id":2,"key":"x"}}
        < {"src":"n1","dest":"c1","body":{"type":"get_ok","in_reply_to":1,"msg_id":1,"key":"x"}}
        < {"src":"n1","dest":"c2","body":{"type":"put_ok","in_reply_to":1,"msg_id":2}}
        < {"src":"n1","dest":"c1","body":{"type":"get_ok","in_reply_to":1,"msg_id":3,"key":"x"}}
        < {"src":"n1","dest":"c1","body":{"type":"get_ok","in_reply_to":2,"msg_id":4,"key":"x","value":1}}
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn another_body_client_or_node_is_another_operation() {
    let seen = play(
        r#"
        > {"src":"c1","dest":"n1","body":{"type":"put","msg_id":1,"key":"x","value":1}}
        < {"src":"n1","dest":"c1","body":{"type":"put_ok","in_reply_to":1,"msg_id":1}}
        > {"src":"c1","dest":"n1","body":{"type":"put","msg_id":1,"key":"x","value":2}}
        < {"src":"n1","dest":"c1","body":{"type":"put_ok","in_reply_to":1,"msg_id":2}}
        > {"src":"c2","dest":"n1","body":{"type":"put","msg_id":1,"key":"x","value":1}}
        < {"src":"n1","dest":"c2","body":{"type":"put_ok","in_reply_to":1,"msg_id":3}}
        > {"src":"c1","dest":"n2","body":{"type":"put","msg_id":1,"key":"x","value":1}}
        < {"src":"n2","dest":"c1","body":{"type":"put_ok","in_reply_to":1,"msg_id":0}}
        > {"src":"c1","dest":"n1","body":{"type":"put","msg_id":1,"key":"x","value":1}}
        < {"src":"n1","dest":"c1","body":{"type":"put_ok","in_reply_to":1,"msg_id":4}}
        "#,
    )
    .await;
    assert_eq!(seen, ["c1 put x=1", "c1 put x=2", "c2 put x=1", "c1 put x=1"]);
}

#[tokio::test(start_paused = true)]
async fn a_repetition_of_what_timed_out_is_not_carried_out_again() {
    let seen = play(
        r#"
        > {"src":"c1","dest":"n1","body":{"type":"put","msg_id":1,"key":"x","value":1,"gate":"never"}}
        < {"src":"n1","dest":"c1","body":{"type":"error","in_reply_to":1,"msg_id":1,"code":0,"text":"..."}}
        > {"src":"c1","dest":"n1","body":{"type":"put","msg_id":1,"key":"x","value":1,"gate":"never"}}
        < {"src":"n1","dest":"c1","body":{"type":"error","in_reply_to":1,"msg_id":2,"code":0,"text":"..."}}
        "#,
    )
    .await;
    assert_eq!(seen, ["c1 put x=1"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_number_every_delivery_is_an_operation() {
    let seen = play(
        r#"
        > {"src":"c1","dest":"n1","body":{"type":"put","key":"x","value":1}}
        > {"src":"c1","dest":"n1","body":{"type":"put","key":"x","value":1}}
        "#,
    )
    .await;
    assert_eq!(seen, ["c1 put x=1", "c1 put x=1"]);
}
