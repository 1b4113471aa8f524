use fault_proxy::{Pattern, Trap};

use crate::target::{Client, Target, is_reset};

fn marked() -> Pattern {
    Pattern::Bytes(b"mark".to_vec())
}

#[tokio::test]
async fn before_the_pattern_nothing_of_it_is_passed_on_and_both_sides_are_cut() {
    let (target, proxy) = Target::proxied().await;
    let mut client = Client::connect(&proxy).await;
    proxy.set_trap(Trap::before(marked()));
    client.ask("plain").await.unwrap();
    client.say("the mark\n").await;
    assert!(is_reset(&client.hear().await));
    target.wait_for(|seen| seen.ended == 1).await;
    assert_eq!(target.seen().lines, ["plain"]);
    let counts = proxy.counts();
    assert_eq!((counts.seen, counts.sprung, counts.cut), (1, 1, 1));
    // It springs once.
    let mut next = Client::connect(&proxy).await;
    assert_eq!(next.ask("mark").await.unwrap(), "<mark>");
}

#[tokio::test]
async fn after_the_pattern_the_target_has_it_and_the_client_no_answer() {
    let (target, proxy) = Target::proxied().await;
    let mut client = Client::connect(&proxy).await;
    client.ask("plain").await.unwrap();
    proxy.set_trap(Trap::after(marked()));
    client.say("the mark\n").await;
    assert!(is_reset(&client.hear().await));
    target.wait_for(|seen| seen.ended == 1).await;
    assert_eq!(target.seen().lines, ["plain", "the mark"]);
    assert_eq!((proxy.counts().sprung, proxy.counts().cut), (1, 1));
}

#[tokio::test]
async fn a_pattern_is_seen_across_reads() {
    let (target, proxy) = Target::proxied().await;
    let mut client = Client::connect(&proxy).await;
    proxy.set_trap(Trap::before(marked()));
    client.say("ma").await;
    proxy.wait_for(|counts| counts.to_target == 2).await;
    client.say("rk\n").await;
    assert!(is_reset(&client.hear().await));
    target.wait_for(|seen| seen.ended == 1).await;
    assert!(target.seen().lines.is_empty());
}

#[tokio::test]
async fn a_trap_lets_some_pass_and_springs_so_often() {
    let (target, proxy) = Target::proxied().await;
    proxy.set_trap(Trap::before(marked()).skip(2).times(2));
    let mut answered = Vec::new();
    for at in 0..6 {
        let mut client = Client::connect(&proxy).await;
        answered.push(client.ask(&format!("mark {at}")).await.is_ok());
    }
    assert_eq!(answered, [true, true, false, false, true, true]);
    assert_eq!((proxy.counts().seen, proxy.counts().sprung), (6, 2));
    assert_eq!(target.seen().lines, ["mark 0", "mark 1", "mark 4", "mark 5"]);
}

#[tokio::test]
async fn a_trap_that_holds_lets_neither_side_learn_of_anything_until_the_client_is_gone() {
    for trap in [Trap::before(marked()).holding(), Trap::after(marked()).holding()] {
        let (target, proxy) = Target::proxied().await;
        let mut client = Client::connect(&proxy).await;
        client.ask("plain").await.unwrap();
        proxy.set_trap(trap);
        client.say("mark\n").await;
        proxy.wait_for(|counts| counts.sprung == 1).await;
        client.say("more\n").await;
        assert!(client.hears_nothing().await);
        assert!(!target.seen().lines.contains(&"more".to_owned()));
        assert_eq!((target.seen().ended, proxy.counts().open), (0, 1));
        drop(client);
        target.wait_for(|seen| seen.ended == 1).await;
        assert_eq!(proxy.wait_for(|counts| counts.open == 0).await.cut, 0);
    }
}

#[tokio::test]
async fn a_held_connection_can_be_cut() {
    let (target, proxy) = Target::proxied().await;
    proxy.set_trap(Trap::after(marked()).holding());
    let mut client = Client::connect(&proxy).await;
    client.say("mark\n").await;
    proxy.wait_for(|counts| counts.sprung == 1).await;
    assert_eq!(proxy.cut().await, 1);
    assert!(is_reset(&client.hear().await));
    target.wait_for(|seen| seen.ended == 1).await;
}
