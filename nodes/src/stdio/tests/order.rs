//! What starts when: barriers, clients, keys, faults.

use super::play;

#[tokio::test(start_paused = true)]
async fn a_request_sees_every_write_above_it_whoever_sent_it() {
    let seen = play(
        r#"
        > {"src":"c1","dest":"n1","body":{"type":"put","msg_id":1,"key":"x","value":1,"ms":100}}
        > {"src":"c2","dest":"n2","body":{"type":"get","msg_id":1,"key":"x"}}
        > {"src":"c3","dest":"n1","body":{"type":"get","msg_id":1,"key":"y"}}
        # The other key does not wait.
        < {"src":"n1","dest":"c3","body":{"type":"get_ok","in_reply_to":1,"msg_id":1,"key":"y"}}
        < {"src":"n1","dest":"c1","body":{"type":"put_ok","in_reply_to":1,"msg_id":2}}
        < {"src":"n2","dest":"c2","body":{"type":"get_ok","in_reply_to":1,"msg_id":0,"key":"x","value":1}}
        "#,
    )
    .await;
    assert_eq!(seen, ["c1 put x=1", "c3 get y", "c1 put x=1 done", "c2 get x"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_is_answered_in_its_own_order() {
    play(
        r#"
        > {"src":"c1","dest":"n1","body":{"type":"put","msg_id":1,"key":"x","value":1,"ms":100}}
        > {"src":"c1","dest":"n1","body":{"type":"get","msg_id":2,"key":"y"}}
        > {"src":"c1","dest":"n1","body":{"type":"mystery","msg_id":3}}
        > {"src":"c1","dest":"n1","body":{"type":"stale","msg_id":4,"key":"x"}}
        < {"src":"n1","dest":"c1","body":{"type":"put_ok","in_reply_to":1,"msg_id":1}}
        < {"src":"n1","dest":"c1","body":{"type":"get_ok","in_reply_to":2,"msg_id":2,"key":"y"}}
        < {"src":"n1","dest":"c1","body":{"type":"error","in_reply_to":3,"msg_id":3,"code":10,"text":"..."}}
        < {"src":"n1","dest":"c1","body":{"type":"stale_ok","in_reply_to":4,"msg_id":4,"key":"x","value":1}}
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_read_that_accepts_staleness_does_not_wait_for_other_clients_writes() {
    play(
        r#"
        > {"src":"c1","dest":"n1","body":{"type":"put","msg_id":1,"key":"x","value":1,"ms":100}}
        > {"src":"c2","dest":"n1","body":{"type":"stale","msg_id":1,"key":"x"}}
        < {"src":"n1","dest":"c2","body":{"type":"stale_ok","in_reply_to":1,"msg_id":1,"key":"x"}}
        < {"src":"n1","dest":"c1","body":{"type":"put_ok","in_reply_to":1,"msg_id":2}}
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_barrier_parts_what_is_above_it_from_what_is_below() {
    let seen = play(
        r#"
        > {"src":"c1","dest":"n1","body":{"type":"put","msg_id":1,"key":"x","value":1,"ms":100}}
        > {"src":"c2","dest":"n1","body":{"type":"config","msg_id":1,"ms":100}}
        > {"src":"c3","dest":"n1","body":{"type":"get","msg_id":1,"key":"y"}}
        < {"src":"n1","dest":"c1","body":{"type":"put_ok","in_reply_to":1,"msg_id":1}}
        < {"src":"n1","dest":"c2","body":{"type":"config_ok","in_reply_to":1,"msg_id":2}}
        < {"src":"n1","dest":"c3","body":{"type":"get_ok","in_reply_to":1,"msg_id":3,"key":"y"}}
        "#,
    )
    .await;
    assert_eq!(seen, ["c1 put x=1", "c1 put x=1 done", "c2 config", "c2 config done", "c3 get y"]);
}

#[tokio::test(start_paused = true)]
async fn a_fault_frees_what_a_barrier_waits_for() {
    let seen = play(
        r#"
        > {"src":"c1","dest":"n1","body":{"type":"put","msg_id":1,"key":"x","value":1,"gate":"n2"}}
        > {"src":"c2","dest":"n1","body":{"type":"config","msg_id":1}}
        > {"src":"c3","dest":"n1","body":{"type":"fault","msg_id":1,"action":"resume","target":"n2"}}
        > {"src":"c4","dest":"n1","body":{"type":"get","msg_id":1,"key":"x"}}
        < {"src":"n1","dest":"c3","body":{"type":"fault_ok","in_reply_to":1,"msg_id":1}}
        < {"src":"n1","dest":"c1","body":{"type":"put_ok","in_reply_to":1,"msg_id":2}}
        < {"src":"n1","dest":"c2","body":{"type":"config_ok","in_reply_to":1,"msg_id":3}}
        < {"src":"n1","dest":"c4","body":{"type":"get_ok","in_reply_to":1,"msg_id":4,"key":"x","value":1}}
        "#,
    )
    .await;
    assert_eq!(seen, ["c1 put x=1", "fault n2", "c1 put x=1 done", "c2 config", "c4 get x"]);
}

#[tokio::test(start_paused = true)]
async fn a_fault_acts_after_all_above_has_started_and_what_follows_waits_for_it() {
    let seen = play(
        r#"
        > {"src":"c1","dest":"n1","body":{"type":"put","msg_id":1,"key":"x","value":1,"ms":50}}
        > {"src":"c2","dest":"n1","body":{"type":"put","msg_id":1,"key":"x","value":2,"ms":50}}
        > {"src":"c3","dest":"n1","body":{"type":"fault","msg_id":1,"action":"delay","target":"n2","ms":100}}
        > {"src":"c4","dest":"n1","body":{"type":"get","msg_id":1,"key":"y"}}
        < {"src":"n1","dest":"c1","body":{"type":"put_ok","in_reply_to":1,"msg_id":1}}
        < {"src":"n1","dest":"c2","body":{"type":"put_ok","in_reply_to":1,"msg_id":2}}
        < {"src":"n1","dest":"c3","body":{"type":"fault_ok","in_reply_to":1,"msg_id":3}}
        < {"src":"n1","dest":"c4","body":{"type":"get_ok","in_reply_to":1,"msg_id":4,"key":"y"}}
        "#,
    )
    .await;
    assert_eq!(seen, ["c1 put x=1", "c1 put x=1 done", "c2 put x=2", "fault n2", "c2 put x=2 done", "c4 get y"]);
}

#[tokio::test(start_paused = true)]
async fn a_fault_whose_target_a_barrier_above_makes_known_waits_for_it() {
    play(
        r#"
        > {"src":"c1","dest":"n1","body":{"type":"config","msg_id":1,"ms":100}}
        > {"src":"c1","dest":"n1","body":{"type":"fault","msg_id":2,"action":"stop","target":"g1"}}
        > {"src":"c1","dest":"n1","body":{"type":"fault","msg_id":3,"action":"stop","target":"nowhere"}}
        < {"src":"n1","dest":"c1","body":{"type":"config_ok","in_reply_to":1,"msg_id":1}}
        < {"src":"n1","dest":"c1","body":{"type":"fault_ok","in_reply_to":2,"msg_id":2}}
        < {"src":"n1","dest":"c1","body":{"type":"error","in_reply_to":3,"msg_id":3,"code":1,"text":"..."}}
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_without_msg_id_is_carried_out_in_its_place_and_not_answered() {
    play(
        r#"
        > {"src":"c1","dest":"n1","body":{"type":"put","key":"x","value":1,"ms":100}}
        > {"src":"c2","dest":"n1","body":{"type":"get","msg_id":1,"key":"x"}}
        > {"src":"c1","dest":"n1","body":{"type":"mystery"}}
        < {"src":"n1","dest":"c2","body":{"type":"get_ok","in_reply_to":1,"msg_id":1,"key":"x","value":1}}
        "#,
    )
    .await;
}
