use fault_proxy::{Pattern, Proxy, Trap};
use private_postgres::{Options, Server};
use sqlx::{Connection, PgConnection};

async fn names(server: &Server) -> Vec<String> {
    let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
    sqlx::query_scalar("select name from kept order by name").fetch_all(&mut connection).await.unwrap()
}

/// Commits a row in a transaction through the proxy.
async fn commit(connection: &mut PgConnection, name: &str) -> sqlx::Result<()> {
    let mut tx = connection.begin().await?;
    sqlx::query("insert into kept values ($1)").bind(name).execute(&mut *tx).await?;
    tx.commit().await
}

#[tokio::test]
async fn a_commit_is_cut_on_either_side_of_it() {
    let server = Server::start(Options::from_env()).await.unwrap();
    let proxy = Proxy::start(server.socket()).await.unwrap();
    let url = format!("postgres://postgres@{}/postgres", proxy.address());
    let connect = || PgConnection::connect(&url);
    let mut connection = connect().await.unwrap();
    sqlx::query("create table kept (name text)").execute(&mut connection).await.unwrap();
    commit(&mut connection, "plain").await.unwrap();

    proxy.set_trap(Trap::before(Pattern::Commit));
    commit(&mut connection, "before").await.unwrap_err();
    assert_eq!(names(&server).await, ["plain"]);

    proxy.set_trap(Trap::after(Pattern::Commit).skip(1));
    let mut connection = connect().await.unwrap();
    commit(&mut connection, "skipped").await.unwrap();
    commit(&mut connection, "after").await.unwrap_err();
    // What was begun to be answered is committed: nothing is waited for.
    assert_eq!(names(&server).await, ["after", "plain", "skipped"]);

    // A statement by itself is found by what it carries.
    let mut connection = connect().await.unwrap();
    let alone = |name: &'static str| sqlx::query("insert into kept values ($1)").bind(name);
    alone("warm").execute(&mut connection).await.unwrap();
    proxy.set_trap(Trap::after(Pattern::Bytes(b"alone".to_vec())));
    alone("alone").execute(&mut connection).await.unwrap_err();
    assert_eq!(names(&server).await, ["after", "alone", "plain", "skipped", "warm"]);
    assert_eq!((proxy.counts().sprung, proxy.counts().cut), (3, 3));
    server.stop().await.unwrap();
}
