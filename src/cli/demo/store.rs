//! Where the demo's data are: a private PostgreSQL, or a database of its own on a server that was named.

use std::{path::Path, str::FromStr, time::Duration};

use anyhow::Context as _;
use private_postgres::{Error, Found, Options, Server};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{Demo, ending::Failure, ending::Interrupt, screen::Screen};

/// The database in the private server.
const NAME: &str = "cegid_indexer";
/// A server that was named answers in this time.
const CONNECT: Duration = Duration::from_secs(10);
/// Between two looks at the private server's log.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How PostgreSQL words a full disk; its log is in English.
const NO_SPACE: &str = "No space left on device";
/// SQLSTATE of a statement that found the disk full.
const SQLSTATE_DISK_FULL: &str = "53100";
/// A start that is not finished when a signal comes is waited for so long; it then cleans up by itself.
const START_AFTER_SIGNAL: Duration = Duration::from_secs(15);

/// The demo's database, and what has to go with it.
pub struct Store {
    url: String,
    kind: Kind,
}

enum Kind {
    Private(Server),
    /// The server's address and the name of the database on it.
    Named(PgConnectOptions, String),
}

impl Store {
    /// Starts a private server, or makes a database on the one that was named.
    ///
    /// # Errors
    /// Each kind of [`Failure`] but a taken address; nothing is left then.
    pub async fn start(demo: &Demo, screen: &Screen, interrupt: &Interrupt) -> Result<Store, Failure> {
        match &demo.database_url {
            Some(url) => interrupt.cut(on_named(url, screen)).await?,
            None => private(screen, interrupt).await,
        }
    }

    /// For the service.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends when the private server's disk is full: the service would wait until it is not.
    pub async fn filled(&self) -> Failure {
        loop {
            if let Kind::Private(server) = &self.kind
                && server.log_tail().contains(NO_SPACE)
            {
                return full_disk(server.dir().parent().unwrap_or(server.dir()));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// A failure that a full disk explains becomes that.
    pub fn explain(&self, failure: Failure) -> Failure {
        let Failure::Other(error) = &failure else { return failure };
        let refused = error.chain().filter_map(|cause| cause.downcast_ref::<sqlx::Error>());
        let full = refused
            .filter_map(sqlx::Error::as_database_error)
            .any(|error| error.code().is_some_and(|code| code == SQLSTATE_DISK_FULL));
        match &self.kind {
            Kind::Private(server) if full || server.log_tail().contains(NO_SPACE) => {
                full_disk(server.dir().parent().unwrap_or(server.dir()))
            }
            Kind::Named(..) if full => Failure::DiskFull("the disk of the named PostgreSQL server is full".to_owned()),
            _ => failure,
        }
    }

    /// Stops the server and removes its directory, or drops the database.
    ///
    /// # Errors
    /// When that failed, with what is left.
    pub async fn stop(self, screen: &Screen) -> Result<(), Failure> {
        match self.kind {
            Kind::Private(server) => {
                server.stop().await.context("stopping the private PostgreSQL")?;
                screen.line("PostgreSQL is stopped and its directory removed");
            }
            Kind::Named(options, name) => {
                let dropped = timeout(CONNECT, async {
                    let mut connection = options.connect().await?;
                    let statement = format!(r#"drop database if exists "{name}" with (force)"#);
                    execute(&mut connection, statement).await?;
                    connection.close().await
                });
                dropped
                    .await
                    .map_err(|_| sqlx::Error::PoolTimedOut)
                    .flatten()
                    .with_context(|| format!("dropping the database {name}: drop it by hand"))?;
                screen.line(&format!("the database {name} is dropped"));
            }
        }
        Ok(())
    }
}

fn full_disk(dir: &Path) -> Failure {
    Failure::DiskFull(format!(
        "no space left on the disk that holds {}: free some, or set TMPDIR to a directory on another disk",
        dir.display()
    ))
}

async fn private(screen: &Screen, interrupt: &Interrupt) -> Result<Store, Failure> {
    let mut options = Options::from_env();
    options.durable = true;
    options.databases = vec![NAME.to_owned()];
    options.instead = Some("name a server with --database-url".to_owned());
    let search = options.search.clone();
    let looking = tokio::task::spawn_blocking(move || private_postgres::find(&search));
    match interrupt.cut(looking).await?.context("looking for PostgreSQL")? {
        Ok(Found::Here(programs)) => screen.line(&format!(
            "PostgreSQL  {} of {}, private to this demo",
            programs.version,
            programs.bin.display()
        )),
        Ok(Found::ToFetch { into, .. }) => {
            screen.line(&format!("PostgreSQL  none on this machine: fetching it once into {}", into.display()))
        }
        // The start says it, with what to do.
        Err(_) => {}
    }
    // In a task of its own: a start that is given up is finished there, and what it started goes with its value.
    let mut starting = tokio::spawn(Server::start(options));
    let started = match interrupt.cut(&mut starting).await {
        Ok(started) => started.context("starting PostgreSQL")?,
        Err(interrupted) => {
            // Where it takes longer, as a download may, the guardian and the next start tidy up.
            if let Ok(Ok(Ok(server))) = timeout(START_AFTER_SIGNAL, starting).await {
                server.stop().await.ok();
            }
            return Err(interrupted);
        }
    };
    let server = started.map_err(|error| match error {
        Error::NoPrograms { .. } => Failure::NoDatabase(error.to_string()),
        Error::DiskFull { dir } => full_disk(&dir),
        error => Failure::Other(anyhow::Error::new(error).context("starting a private PostgreSQL")),
    })?;
    Ok(Store { url: server.url(NAME), kind: Kind::Private(server) })
}

async fn on_named(url: &str, screen: &Screen) -> Result<Store, Failure> {
    let refused = |error: sqlx::Error| {
        Failure::NoDatabase(format!("connecting to the server of --database-url: {error}: is it up and the URL right?"))
    };
    // The URL may hold a password: neither it nor what a parser says about it is shown.
    let mut own = url::Url::parse(url)
        .ok()
        .filter(|url| matches!(url.scheme(), "postgres" | "postgresql"))
        .ok_or_else(|| anyhow::anyhow!("reading --database-url: it is not a postgres:// address"))?;
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| anyhow::anyhow!("reading --database-url: it is not a postgres:// address"))?;
    let connected = timeout(CONNECT, options.connect()).await;
    let mut connection = connected.map_err(|_| refused(sqlx::Error::PoolTimedOut))?.map_err(refused)?;
    let name = format!("cegid_indexer_demo_{}", Uuid::now_v7().simple());
    execute(&mut connection, format!(r#"create database "{name}""#))
        .await
        .context("making a database on the server of --database-url: the user needs the right CREATEDB")?;
    connection.close().await.ok();
    own.set_path(&name);
    screen.line(&format!("PostgreSQL  the database {name} on the named server"));
    Ok(Store { url: own.into(), kind: Kind::Named(options, name) })
}

/// A statement about databases takes no parameters; the name in it is made here.
async fn execute(connection: &mut PgConnection, statement: String) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(drop)
}
