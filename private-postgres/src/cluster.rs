use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;

use crate::account::Account;
use crate::home::Home;
use crate::programs::Programs;
use crate::{Error, launch};

/// The best first: PostgreSQL knows C.UTF-8 everywhere since 17, before that
/// the system has to (macOS and old Linux systems do not).
const LOCALES: [&str; 2] = ["C.UTF-8", "C"];

/// `initdb`. With a password, TCP connections need it; without one they are
/// rejected, should somebody open a port.
pub(crate) fn init(
    programs: &Programs,
    home: &Home,
    account: Option<&Account>,
    password: Option<&str>,
) -> Result<(), Error> {
    let password_file = home.dir.join("password");
    if let Some(password) = password {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&password_file)
            .and_then(|mut file| writeln!(file, "{password}"))
            .map_err(Error::io("writing", &password_file))?;
        if let Some(account) = account {
            home.give(&password_file, account)?;
        }
    }
    let initdb = programs.bin.join("initdb");
    let mut said = String::new();
    for locale in LOCALES {
        let mut command = launch::command(&initdb, account);
        command
            .arg("-D")
            .arg(home.data())
            .args(["-U", "postgres", "--encoding=UTF8", "--no-sync"])
            .args(["--no-instructions", "--auth-local=trust"])
            .arg(format!("--locale={locale}"));
        match password {
            Some(_) => command.arg("--auth-host=scram-sha-256").arg("--pwfile").arg(&password_file),
            None => command.arg("--auth-host=reject"),
        };
        match launch::output(&mut command).map_err(Error::io("running", &initdb))? {
            Ok(_) => {
                if password.is_some() {
                    fs::remove_file(&password_file).map_err(Error::io("removing", &password_file))?;
                }
                return Ok(());
            }
            Err(text) => said = text,
        }
        if !said.contains("invalid locale") {
            break;
        }
    }
    Err(Error::from_log("initdb", &home.dir, said))
}

/// Makes databases while no server runs: single-user mode needs no client
/// program, and is over when it returns.
pub(crate) fn create_databases(
    programs: &Programs,
    data: &Path,
    account: Option<&Account>,
    names: &[String],
) -> Result<(), Error> {
    const DOING: &str = "making the databases";
    if names.is_empty() {
        return Ok(());
    }
    let postgres = programs.bin.join("postgres");
    let statements: String =
        names.iter().map(|name| format!("CREATE DATABASE \"{}\";\n", name.replace('"', "\"\""))).collect();
    let done = launch::command(&postgres, account)
        .args(["--single", "-F", "-D"])
        .arg(data)
        .arg("postgres")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            let mut stdin = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
            stdin.write_all(statements.as_bytes())?;
            drop(stdin);
            child.wait_with_output()
        })
        .map_err(Error::io("running", &postgres))?;
    let said = String::from_utf8_lossy(&done.stderr);
    // A failed statement does not fail the program.
    let refused = said.contains("ERROR:") || said.contains("FATAL:") || said.contains("PANIC:");
    if !done.status.success() || refused {
        let said = launch::tail(&said).to_owned();
        return Err(Error::from_log(DOING, data, said));
    }
    Ok(())
}
