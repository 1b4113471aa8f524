//! A database that is away, takes nothing, or has no room, while callbacks come.

use tokio::task::block_in_place;

use crate::{
    database::{Apart, Told, body, post, run, send, send_again, stored, until_it_says, vacancies},
    harness::{
        Plan,
        log::{keep_log, warnings},
    },
};

fn plan() -> Plan {
    Plan::sized(12, 3)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_200_is_stored_when_the_database_stops_under_load() {
    let apart = Apart::start(plan(), &[]).await;
    let world = &apart.world;
    let outage = async {
        world.until_by_itself("callbacks are being stored", async |_| stored(world).await.len() >= 8).await;
        block_in_place(|| apart.server.stop_postgres().unwrap());
        until_it_says(world, "away").await;
        assert_eq!(world.get(&world.public, "/livez").await.0, 200);
        block_in_place(|| apart.server.start_again().unwrap());
    };
    let (mut told, ()) = tokio::join!(send(world, 6, 20, "stopped"), outage);
    // Those that waited may have been stored when it was back.
    assert!(told.with(200) >= 8, "{told:?}");
    assert_eq!(told.with(200) + told.with(503), 120);
    send_again(world, &mut told).await;
    until_it_says(world, "ok").await;
    apart.end(&told).await;
}

/// On one thread, whose log is kept.
#[tokio::test]
async fn an_outage_is_one_line_for_each_thing_that_fails_and_one_when_it_works_again() {
    let (log, _lines, _guard) = keep_log();
    let apart = Apart::start(plan(), &[]).await;
    let world = &apart.world;
    apart.server.stop_postgres().unwrap();
    let mut told = send(world, 6, 20, "stopped").await;
    assert_eq!(told.with(503), 120);
    until_it_says(world, "away").await;
    let again = log.text().matches("renewing the tenants' leases failed again").count();
    world
        .until("other parts have failed again and again", async |_| {
            log.text().matches("renewing the tenants' leases failed again").count() >= again + 5
        })
        .await;
    // A summary, which a slow machine may bring about, is another line.
    let failed = |doing: &str| warnings(&log, &format!("{doing} failed: ")).len();
    for doing in ["storing callbacks", "renewing the tenants' leases", "sharing the tenants among the replicas"] {
        assert_eq!(failed(doing), 1, "{doing}:\n{}", warnings(&log, "").join("\n"));
    }
    assert_eq!(warnings(&log, "reason=\"not_committed\"").len(), 1, "{}", warnings(&log, "").join("\n"));
    let first: Vec<String> = warnings(&log, " failed: ");
    let mut things: Vec<&str> =
        first.iter().filter_map(|line| line.split(" WARN ").nth(1)?.split(" failed: ").next()).collect();
    things.sort_unstable();
    let count = things.len();
    things.dedup();
    assert!(things.len() == count && count < 15, "{}", first.join("\n"));

    apart.server.start_again().unwrap();
    send_again(world, &mut told).await;
    assert!(log.text().contains("storing callbacks works again failures="), "{}", log.text());
    until_it_says(world, "ok").await;
    apart.end(&told).await;
}

#[tokio::test]
async fn a_database_that_can_only_be_read_is_not_ready_and_recovers() {
    let apart = Apart::start(plan(), &[]).await;
    let world = &apart.world;
    let mut told = send(world, 3, 2, "before").await;
    assert_eq!(told.with(200), 6);
    run(world, "alter system set default_transaction_read_only = on").await;
    run(world, "select pg_reload_conf()").await;
    until_it_says(world, "read-only").await;
    let refused = send(world, 3, 2, "read-only").await;
    assert_eq!(refused.with(503), 6, "{refused:?}");
    run(world, "alter system reset default_transaction_read_only").await;
    run(world, "select pg_reload_conf()").await;
    told.add(refused);
    send_again(world, &mut told).await;
    until_it_says(world, "ok").await;
    apart.end(&told).await;
}

/// A segment of the write-ahead log, which must have room, is as large.
const ROOM: u64 = 16 * 1024 * 1024;

/// Nearly as much in the file that holds large bodies.
const FILL: &str = "
    insert into delivery (tenant, request_id, received_at, event, ignored, body)
    select 'acme', gen_random_uuid(), now(), '', 'filling',
      (select decode(string_agg(md5(random()::text || n || m), ''), 'hex') from generate_series(1, 65536) m)
    from generate_series(1, 15) n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_callbacks_it_is_not_ready_and_recovers() {
    let apart = Apart::start(plan(), &[]).await;
    let (world, server) = (&apart.world, &apart.server);
    run(world, FILL).await;
    let restart = |limit| {
        block_in_place(|| {
            server.stop_postgres().unwrap();
            server.limit_files(limit);
            server.start_again().unwrap();
        });
    };
    restart(Some(ROOM));
    until_it_says(world, "ok").await;

    let key = &vacancies(world)[0];
    world.simulator.edit_silently(key).unwrap();
    let mut told = Told::default();
    // Of 60 KB that no compression makes much smaller, until nothing more goes in.
    let mut noise = 1_u64;
    for at in 0..100 {
        let filling: String = (0..60_000)
            .map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[(noise >> 58) as usize])
            })
            .collect();
        let body = body(key, &format!("{at} {filling}"));
        let status = post(world, &body).await;
        told.answers.insert(body, status);
        if told.with(503) == 3 {
            break;
        }
    }
    assert_eq!(told.with(503), 3, "{} were stored", told.with(200));
    assert!(apart.logged("could not extend file") >= 3);
    until_it_says(world, "refuses callbacks").await;
    assert_eq!(world.get(&world.public, "/livez").await.0, 200);

    restart(None);
    send_again(world, &mut told).await;
    until_it_says(world, "ok").await;
    apart.end(&told).await;
}
