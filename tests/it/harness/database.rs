//! One private PostgreSQL for the whole binary, a database of its own for each test.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use super::history::TRIGGERS;
use private_postgres::{Options, Server};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};

/// Names a server to be used instead; its databases are made and dropped.
const URL: &str = "CEGID_INDEXER_TEST_DATABASE_URL";
const TEMPLATE: &str = "cegid_indexer_it_template";

/// Ends with the process: its guardian stops it and removes its directory.
enum Place {
    Private(Box<Server>),
    Named(String),
}

impl Place {
    fn url(&self, database: &str) -> String {
        match self {
            Place::Private(server) => server.url(database),
            Place::Named(url) => {
                let mut url = url::Url::parse(url).expect("CEGID_INDEXER_TEST_DATABASE_URL is a URL");
                url.set_path(database);
                url.into()
            }
        }
    }
}

async fn connect(place: &Place, database: &str) -> PgConnection {
    place.url(database).parse::<PgConnectOptions>().unwrap().connect().await.unwrap()
}

async fn run(place: &Place, statement: String) {
    let mut connection = connect(place, "postgres").await;
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Migrates, and has the history kept.
async fn migrate(url: String) {
    let environment = [("CEGID_INDEXER__DATABASE__URL".to_owned(), url)];
    let settings = cegid_indexer::settings::Settings::load(None, environment).unwrap();
    let database = cegid_indexer::database::Database::new(&settings.database, settings.worker.lease).unwrap();
    database.migrate().await.unwrap();
    sqlx::raw_sql(TRIGGERS).execute(database.pool()).await.unwrap();
    database.pool().close().await;
}

/// The server. A private one has a migrated template; on somebody else's nothing is made that outlives its test.
fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        // Tests run side by side, each with connections to both its ends.
        cegid_indexer::lifecycle::permit_open_files().expect("more open files than by default");
        #[allow(clippy::disallowed_methods, reason = "the one variable of the tests")]
        let place = match std::env::var(URL) {
            Ok(url) => Place::Named(url),
            Err(_) => {
                let options =
                    Options { settings: vec![("max_connections".into(), "400".into())], ..Options::from_env() };
                Place::Private(Box::new(Server::start_blocking(options).expect("a private PostgreSQL")))
            }
        };
        if let Place::Private(_) = place {
            let prepared = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    run(&place, format!("create database {TEMPLATE}")).await;
                    migrate(place.url(TEMPLATE)).await;
                });
            };
            thread::scope(|scope| scope.spawn(prepared).join().unwrap());
        }
        place
    })
}

/// A database that is dropped with its test.
pub struct Named {
    url: String,
    /// On the common server.
    name: Option<String>,
}

impl Named {
    /// Migrated.
    pub async fn create() -> Named {
        let place = tokio::task::spawn_blocking(place).await.unwrap();
        let named = match place {
            Place::Private(_) => Named::made(&format!(" template {TEMPLATE}")).await,
            Place::Named(_) => Named::empty().await,
        };
        if let Place::Named(_) = place {
            migrate(named.url()).await;
        }
        named
    }

    /// Without any table.
    pub async fn empty() -> Named {
        Named::made("").await
    }

    async fn made(from: &str) -> Named {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cegid_indexer_it_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let place = tokio::task::spawn_blocking(place).await.unwrap();
        run(place, format!("create database {name}{from}")).await;
        Named { url: place.url(&name), name: Some(name) }
    }

    /// One that goes with its server.
    pub fn of_another_server(url: String) -> Named {
        Named { url, name: None }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let Some(name) = &self.name else { return };
        let statement = format!("drop database if exists {name} with (force)");
        // A runtime of its own: the test's may be going down.
        let dropped = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(place(), statement));
        });
        let _failed = dropped.join();
    }
}
