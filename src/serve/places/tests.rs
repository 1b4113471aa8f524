use futures_util::FutureExt;
use tokio::time::advance;

use super::*;

const LIMIT: usize = 16;

fn places(limit: usize) -> Arc<Places> {
    Places::new("public", limit, vec!["10.0.3.0/24".parse().unwrap()], Arc::default())
}

fn take(places: &Arc<Places>, peer: &str) -> Option<Taken> {
    places.take(SocketAddr::new(peer.parse().unwrap(), 1)).now_or_never()
}

/// Connections of as many peers.
fn take_of_many(places: &Arc<Places>, count: usize) -> Vec<Taken> {
    (0..count).map(|nth| take(places, &format!("192.0.2.{nth}")).unwrap()).collect()
}

/// Connections of as many peers whose time for the first request is over.
async fn take_silent(places: &Arc<Places>, count: usize) -> Vec<Taken> {
    let taken = take_of_many(places, count);
    advance(FIRST_REQUEST_GRACE).await;
    taken
}

fn leaving(taken: &[Taken]) -> Vec<usize> {
    (0..taken.len()).filter(|nth| taken[*nth].place().is_leaving()).collect()
}

fn serve(taken: &Taken) {
    taken.place().request_is_complete();
    taken.place().answer_is_ready();
}

#[tokio::test(start_paused = true)]
async fn nobody_gives_way_before_three_quarters_of_the_places_are_taken() {
    let places = places(LIMIT);
    let mut taken = take_silent(&places, 12).await;
    assert!(leaving(&taken).is_empty());
    taken.push(take(&places, "192.0.2.99").unwrap());
    assert_eq!(leaving(&taken), [0]);
    taken.push(take(&places, "192.0.2.98").unwrap());
    assert_eq!(leaving(&taken), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_above_its_share_gives_way_before_others_and_a_blocked_one_before_a_silent_one() {
    let places = places(LIMIT);
    let mut taken = take_silent(&places, 9).await;
    taken.extend((0..3).map(|_| take(&places, "198.51.100.1").unwrap()));
    serve(&taken[4]);
    taken[4].place().block();
    taken.push(take(&places, "192.0.2.99").unwrap());
    assert_eq!(leaving(&taken), [9]);
    // With one connection less the peer holds its share only.
    drop(taken.remove(9));
    taken.push(take(&places, "192.0.2.98").unwrap());
    assert_eq!(leaving(&taken), [4]);
    taken.push(take(&places, "192.0.2.97").unwrap());
    assert_eq!(leaving(&taken), [0, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_answered_or_has_been_does_not_give_way() {
    let places = places(LIMIT);
    let mut taken = Vec::new();
    for nth in 0..LIMIT - 1 {
        taken.push(take(&places, &format!("192.0.2.{nth}")).unwrap());
        taken[nth].place().request_is_complete();
        if nth > 0 {
            taken[nth].place().answer_is_ready();
        }
    }
    taken.push(take(&places, "192.0.2.99").unwrap());
    assert!(leaving(&taken).is_empty());
    // The last one has sent no request.
    advance(FIRST_REQUEST_GRACE).await;
    assert!(take(&places, "192.0.2.98").is_none());
    assert_eq!(leaving(&taken), [LIMIT - 1]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_still_has_time_for_its_first_request_gives_way_last() {
    let places = places(LIMIT);
    let mut taken = vec![take(&places, "192.0.2.99").unwrap()];
    serve(&taken[0]);
    taken.extend(take_of_many(&places, LIMIT - 1));
    assert!(leaving(&taken).is_empty());
    assert!(take(&places, "192.0.2.98").is_none());
    assert_eq!(leaving(&taken), [0]);
    drop(taken.remove(0));
    taken.push(take(&places, "192.0.2.98").unwrap());
    // Only new connections are left, so the oldest of them gives way.
    assert!(take(&places, "192.0.2.97").is_none());
    assert_eq!(leaving(&taken), [0]);
}

#[tokio::test(start_paused = true)]
async fn of_idle_connections_those_of_the_peer_with_the_most_give_way_when_all_places_are_taken() {
    let places = places(LIMIT);
    let mut taken: Vec<Taken> = (0..3).map(|_| take(&places, "198.51.100.1").unwrap()).collect();
    taken.iter().for_each(serve);
    for _ in 3..LIMIT {
        taken.push(take(&places, "198.51.100.2").unwrap());
        serve(taken.last().unwrap());
    }
    assert!(leaving(&taken).is_empty());
    assert!(take(&places, "198.51.100.3").is_none());
    assert_eq!(leaving(&taken), [3]);
    drop(taken.remove(3));
    // One that has sent no request, of a peer within its share, does not give way before these.
    let _new = take(&places, "198.51.100.4").unwrap();
    assert!(take(&places, "198.51.100.3").is_none());
    assert_eq!(leaving(&taken), [3]);
    drop(taken.remove(3));
    assert!(take(&places, "198.51.100.3").is_some());
}

#[test]
fn proxies_do_not_give_way() {
    let places = places(LIMIT);
    let mut taken: Vec<Taken> = (1..LIMIT).map(|_| take(&places, "10.0.3.7").unwrap()).collect();
    taken.push(take(&places, "::ffff:10.0.3.8").unwrap());
    taken[0].place().block();
    assert!(take(&places, "192.0.2.1").is_none());
    assert!(leaving(&taken).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_complete_before_the_connection_is_ended_is_answered_and_another_gives_way() {
    let places = places(4);
    let taken = take_silent(&places, 4).await;
    let waiting = places.take(SocketAddr::new([192, 0, 2, 99].into(), 1));
    tokio::pin!(waiting);
    assert!((&mut waiting).now_or_never().is_none());
    for nth in [0, 1] {
        assert_eq!(leaving(&taken), [nth]);
        taken[nth].place().request_is_complete();
        assert!(taken[nth].place().must_leave().now_or_never().is_none());
        assert!((&mut waiting).now_or_never().is_none());
    }
    assert_eq!(leaving(&taken), [2]);
    taken[2].place().must_leave().await;
    drop(taken);
    waiting.await;
}

#[tokio::test]
async fn a_connection_that_waits_for_a_place_has_it_once_another_can_give_way() {
    let places = places(1);
    let first = take(&places, "192.0.2.1").unwrap();
    first.place().request_is_complete();
    let waiting = places.take(SocketAddr::new([192, 0, 2, 2].into(), 1));
    tokio::pin!(waiting);
    assert!((&mut waiting).now_or_never().is_none());
    first.place().block();
    assert!((&mut waiting).now_or_never().is_none());
    first.place().must_leave().await;
    drop(first);
    waiting.await;
}

#[test]
fn a_network_of_ipv6_is_one_peer() {
    let peer = |address: &str| peer_of(address.parse().unwrap());
    assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1"));
    assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
    assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
}

#[test]
fn places_that_are_given_back_are_forgotten() {
    let places = places(LIMIT);
    drop(take_of_many(&places, LIMIT));
    let open = places.lock();
    assert!(open.places.is_empty() && open.peers.is_empty() && open.shortage.is_none());
}

#[tokio::test(start_paused = true)]
async fn who_was_ranked_to_leave_and_is_being_answered_by_then_or_has_gone_is_passed_over() {
    let places = places(256);
    let mut taken = take_silent(&places, 192).await;
    taken.push(take(&places, "198.51.100.1").unwrap());
    assert_eq!(leaving(&taken), [0]);
    // The next ones were ranked with it.
    taken[1].place().request_is_complete();
    drop(taken.remove(2));
    taken.push(take(&places, "198.51.100.2").unwrap());
    assert_eq!(leaving(&taken), [0, 2]);
}
