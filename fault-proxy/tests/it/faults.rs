use std::{io, time::Duration};

use fault_proxy::{Proxy, Way};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener},
    time::Instant,
};

use crate::target::{Client, Target, is_reset};

#[tokio::test]
async fn without_a_fault_everything_goes_through_and_so_do_the_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).await.unwrap();
    let sent: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut all = Vec::new();
        // The client's end comes while the other way is open.
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(&all).await.unwrap();
    });
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(&sent).await.unwrap();
    client.shutdown().await.unwrap();
    let mut back = Vec::new();
    client.read_to_end(&mut back).await.unwrap();
    assert!(back == sent, "{} bytes came back of {}", back.len(), sent.len());
    echo.await.unwrap();
    let counts = proxy.wait_for(|counts| counts.open == 0).await;
    assert_eq!((counts.to_target, counts.to_client), (3_000_000, 3_000_000));
    assert_eq!((counts.accepted, counts.cut), (1, 0));
}

#[tokio::test]
async fn a_unix_socket_is_a_target() {
    let path = std::env::temp_dir().join(format!("fault-proxy-{}.sock", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let proxy = Proxy::start(path.as_path()).await.unwrap();
    let mut client = Client::connect(&proxy).await;
    client.say("there\n").await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut heard = [0; 6];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"there\n");
    stream.write_all(b"back\n").await.unwrap();
    assert_eq!(client.hear().await.unwrap(), "back");
    proxy.cut().await;
    assert_eq!(stream.read(&mut heard).await.unwrap(), 0);
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_target_that_is_away_resets_its_clients() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Proxy::start(unused).await.unwrap();
    let mut client = Client::connect(&proxy).await;
    assert!(is_reset(&client.hear().await));
    assert_eq!(proxy.counts().unreachable, 1);
}

#[tokio::test]
async fn latency_holds_each_way_back_and_open_connections_see_it() {
    let (_target, proxy) = Target::proxied().await;
    let mut client = Client::connect(&proxy).await;
    assert_eq!(client.ask("before").await.unwrap(), "<before>");
    for (there, back) in [(200, 0), (0, 200), (100, 100)] {
        proxy.set_latency(Duration::from_millis(there), Duration::from_millis(back));
        let since = Instant::now();
        assert_eq!(client.ask("late").await.unwrap(), "<late>");
        assert!(since.elapsed() >= Duration::from_millis(200), "{there} + {back}: {:?}", since.elapsed());
    }
}

#[tokio::test]
async fn a_late_byte_keeps_its_time_and_is_overtaken_by_none() {
    let (target, proxy) = Target::proxied().await;
    proxy.set_latency(Duration::from_secs(3600), Duration::ZERO);
    let mut client = Client::connect(&proxy).await;
    client.say("first\n").await;
    // It is under way when the link becomes fast.
    assert!(client.hears_nothing().await);
    proxy.set_latency(Duration::ZERO, Duration::ZERO);
    client.say("second\n").await;
    assert!(client.hears_nothing().await);
    assert!(target.seen().lines.is_empty());
}

#[tokio::test]
async fn a_cut_resets_both_sides_of_every_open_connection_and_of_no_later_one() {
    let (target, proxy) = Target::proxied().await;
    let mut clients = [Client::connect(&proxy).await, Client::connect(&proxy).await];
    for client in &mut clients {
        client.ask("before").await.unwrap();
    }
    assert_eq!(proxy.cut().await, 2);
    for client in &mut clients {
        assert!(is_reset(&client.hear().await));
    }
    target.wait_for(|seen| seen.ended == 2).await;
    let mut later = Client::connect(&proxy).await;
    assert_eq!(later.ask("after").await.unwrap(), "<after>");
    assert_eq!((proxy.counts().cut, proxy.counts().open), (2, 1));
}

#[tokio::test]
async fn connections_are_refused_while_open_ones_stay_and_taken_again_at_the_same_address() {
    let (_target, proxy) = Target::proxied().await;
    let mut open = Client::connect(&proxy).await;
    open.ask("before").await.unwrap();
    proxy.refuse().await.unwrap();
    for _ in 0..3 {
        let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
    assert_eq!(open.ask("meanwhile").await.unwrap(), "<meanwhile>");
    proxy.accept_again().await.unwrap();
    assert_eq!(Client::connect(&proxy).await.ask("after").await.unwrap(), "<after>");
    assert_eq!(open.ask("still").await.unwrap(), "<still>");
    assert_eq!(proxy.counts().refused, 1);
}

#[tokio::test]
async fn a_black_hole_passes_nothing_on_and_loses_nothing() {
    let (target, proxy) = Target::proxied().await;
    let mut open = Client::connect(&proxy).await;
    open.ask("before").await.unwrap();
    proxy.set_black_hole(true);
    open.say("into it\n").await;
    let mut new = Client::connect(&proxy).await;
    new.say("new\n").await;
    proxy.wait_for(|counts| counts.accepted == 2).await;
    assert!(open.hears_nothing().await && new.hears_nothing().await);
    assert_eq!((target.seen().connections, target.seen().lines.len()), (1, 1));
    let mut gone = Client::connect(&proxy).await;
    gone.say("gone").await;
    drop(gone);
    proxy.set_black_hole(false);
    assert_eq!(open.hear().await.unwrap(), "<into it>");
    assert_eq!(new.hear().await.unwrap(), "<new>");
    target.wait_for(|seen| seen.rests == ["gone"]).await;
}

#[tokio::test]
async fn a_black_hole_can_be_cut() {
    let (_target, proxy) = Target::proxied().await;
    proxy.set_black_hole(true);
    let mut client = Client::connect(&proxy).await;
    proxy.wait_for(|counts| counts.accepted == 1).await;
    assert_eq!(proxy.cut().await, 1);
    assert!(is_reset(&client.hear().await));
}

#[tokio::test]
async fn answers_are_dropped_and_a_connection_that_lost_one_gets_none_any_more() {
    let (target, proxy) = Target::proxied().await;
    let mut client = Client::connect(&proxy).await;
    let mut idle = Client::connect(&proxy).await;
    client.ask("before").await.unwrap();
    proxy.set_drop_answers(true);
    client.say("asked\n").await;
    proxy.wait_for(|counts| counts.dropped == 8).await;
    assert_eq!(target.seen().lines, ["before", "asked"]);
    proxy.clear().await.unwrap();
    client.say("again\n").await;
    proxy.wait_for(|counts| counts.dropped == 16).await;
    assert!(client.hears_nothing().await);
    assert_eq!(idle.ask("idle").await.unwrap(), "<idle>");
}

#[tokio::test]
async fn those_that_are_open_fall_silent_and_new_ones_work() {
    let (target, proxy) = Target::proxied().await;
    let mut client = Client::connect(&proxy).await;
    client.ask("before").await.unwrap();
    assert_eq!(proxy.silence(), 1);
    client.say("asked\n").await;
    proxy.clear().await.unwrap();
    assert!(client.hears_nothing().await);
    let mut new = Client::connect(&proxy).await;
    assert_eq!(new.ask("new").await.unwrap(), "<new>");
    assert_eq!(target.seen().lines, ["before", "new"]);
}

#[tokio::test]
async fn an_answer_is_cut_after_exactly_so_many_bytes() {
    let (target, proxy) = Target::proxied().await;
    for bytes in 0..6 {
        let (mut client, mut idle) = (Client::connect(&proxy).await, Client::connect(&proxy).await);
        client.ask("whole").await.unwrap();
        idle.ask("whole").await.unwrap();
        proxy.cut_answer_after(bytes);
        client.say("words\n").await;
        let (part, _ended) = client.rest().await;
        assert_eq!(part, "<words>"[..bytes as usize], "{bytes}");
        // It is the one that asked.
        assert_eq!(idle.ask("whole").await.unwrap(), "<whole>");
        assert_eq!(proxy.counts().cut, bytes + 1);
    }
    assert_eq!(target.seen().lines.iter().filter(|line| *line == "words").count(), 6);
}

#[tokio::test]
async fn a_link_is_cut_when_so_many_more_bytes_have_gone_one_way() {
    let (target, proxy) = Target::proxied().await;
    let mut client = Client::connect(&proxy).await;
    client.ask("before").await.unwrap();
    proxy.cut_after(Way::ToTarget, 9);
    client.ask("four").await.unwrap();
    client.say("and five\n").await;
    target.wait_for(|seen| seen.ended == 1).await;
    assert_eq!(target.seen().rests, ["and "]);
    assert!(is_reset(&client.hear().await));

    let (mut one, mut other) = (Client::connect(&proxy).await, Client::connect(&proxy).await);
    proxy.cut_after(Way::ToClient, 10);
    assert_eq!(one.ask("one").await.unwrap(), "<one>");
    other.say("other\n").await;
    assert_eq!(other.rest().await.0, "<oth");
    assert_eq!(one.ask("still").await.unwrap(), "<still>");
    assert_eq!(proxy.counts().cut, 2);
}
