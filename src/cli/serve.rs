//! `serve`, `migrate` and `healthcheck`.

use std::{net::IpAddr, path::Path, process::ExitCode, time::Duration};

use cegid_indexer::{
    app::{App, StartError},
    clock::Clock,
    database::Database,
    lifecycle::{Stop, permit_open_files, stop_on_signals},
    settings::Settings,
    telemetry,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{EXIT_CONFIG, EXIT_SOFTWARE, EXIT_UNAVAILABLE, fail, settings, source};

/// A container's health check gives up before the engine does.
const HEALTH_PATIENCE: Duration = Duration::from_secs(4);

/// How much the threads of the workers stand back when both want the machine: callbacks are answered first.
#[cfg(target_os = "linux")]
const STAND_BACK: i32 = 10;

/// The workers' runtime: decoding and settling may take every core, but only what receiving leaves.
fn work_runtime() -> Result<tokio::runtime::Runtime, ExitCode> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("work")
        .on_thread_start(|| {
            // On Linux this is about the calling thread alone.
            #[cfg(target_os = "linux")]
            if let Err(error) = rustix::process::setpriority_process(None, STAND_BACK) {
                tracing::debug!(error = %error, "lowering the priority of a worker thread failed");
            }
        })
        .build()
        .map_err(|error| fail(EXIT_SOFTWARE, &format!("starting the runtime: {error}")))
}

pub fn runtime() -> Result<tokio::runtime::Runtime, ExitCode> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| fail(EXIT_SOFTWARE, &format!("starting the runtime: {error}")))
}

fn prepared(file: Option<&Path>) -> Result<(Settings, tokio::runtime::Runtime), ExitCode> {
    let settings = settings(file)?;
    telemetry::start(&settings.log).map_err(|error| fail(EXIT_CONFIG, &error))?;
    Ok((settings, runtime()?))
}

pub fn serve(file: Option<&Path>) -> ExitCode {
    let (settings, runtime) = match prepared(file) {
        Ok(prepared) => prepared,
        Err(code) => return code,
    };
    match permit_open_files() {
        Ok(most) => tracing::debug!(most, "files that may be open"),
        Err(error) => tracing::warn!(error = %error, "raising the number of files that may be open failed"),
    }
    let work = match work_runtime() {
        Ok(work) => work,
        Err(code) => return code,
    };
    let ended = runtime.block_on(async {
        let app = match App::bind(settings, Clock::machine()).await {
            Ok(app) => app.work_on(work.handle().clone()).reload_from(source(file)),
            Err(error @ StartError::Database(_)) => return fail(EXIT_CONFIG, &error),
            Err(error) => return fail(EXIT_UNAVAILABLE, &error),
        };
        let stop = Stop::default();
        if let Err(error) = stop_on_signals(stop.clone()) {
            return fail(EXIT_SOFTWARE, &format!("listening for signals: {error}"));
        }
        match (app.public_addr(), app.operators_addr()) {
            (Ok(public), Ok(operators)) => tracing::info!(%public, %operators, "listening"),
            _ => tracing::info!("listening"),
        }
        match app.run(stop).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(EXIT_SOFTWARE, &error),
        }
    });
    // A record that is being decoded is not waited for: its subject stays due.
    work.shutdown_background();
    ended
}

pub fn migrate(file: Option<&Path>) -> ExitCode {
    let (settings, runtime) = match prepared(file) {
        Ok(prepared) => prepared,
        Err(code) => return code,
    };
    runtime.block_on(async {
        let migrated = match Database::new(&settings.database, settings.worker.lease) {
            Ok(database) => database.migrate().await,
            Err(error) => return fail(EXIT_CONFIG, &error),
        };
        match migrated {
            Ok(()) => {
                print_line!("the schema is current");
                ExitCode::SUCCESS
            }
            Err(error) => fail(EXIT_UNAVAILABLE, &error),
        }
    })
}

pub fn healthcheck(file: Option<&Path>) -> ExitCode {
    let (settings, runtime) = match settings(file).and_then(|settings| Ok((settings, runtime()?))) {
        Ok(prepared) => prepared,
        Err(code) => return code,
    };
    let mut address = settings.receive.bind;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            IpAddr::from([127, 0, 0, 1])
        } else {
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])
        });
    }
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(4096).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned())
    };
    match runtime.block_on(async { timeout(HEALTH_PATIENCE, asked).await }) {
        Ok(Ok(status)) if status.contains(" 200 ") => {
            print_line!("ready");
            ExitCode::SUCCESS
        }
        Ok(Ok(status)) => fail(1, &format!("not ready: {status}")),
        Ok(Err(error)) => fail(1, &format!("asking {address}: {error}")),
        Err(_) => fail(1, &format!("asking {address}: no answer in {} s", HEALTH_PATIENCE.as_secs())),
    }
}
