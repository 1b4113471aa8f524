//! Reads `database.url`. sqlx takes several hosts for one name, and ignores parameters that it does not know, such as a
//! misspelt `sslmode`: both are refused here.
//!
//! The way to a server on another machine is encrypted and its certificate verified. Anything less has to be named.

use std::{net::IpAddr, str::FromStr};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tracing::warn;
use url::Url;

use super::DatabaseError;

/// Parameters that sqlx follows, beside `options[name]`.
const PARAMETERS: [&str; 19] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "options[]",
];

const SEVERAL_HOSTS: &str = "it names several hosts, or target_session_attrs, which is not supported: name one address that \
                             leads to the primary, such as a virtual address, a DNS name or a proxy that follows it";

/// Says what is wrong with the address of the database.
///
/// # Errors
/// What is wrong, without the address.
pub fn check_address(text: &str) -> Result<(), String> {
    match parse(text) {
        Err(DatabaseError::Address(why)) => Err(why),
        _ => Ok(()),
    }
}

/// What it says is not shown in an error: it may hold a password.
pub(super) fn parse(text: &str) -> Result<PgConnectOptions, DatabaseError> {
    let refused = |why: String| Err(DatabaseError::Address(why));
    let Some(rest) = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")) else {
        return refused("it is not a postgres:// address".to_owned());
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.rsplit('@').next().is_some_and(|hosts| hosts.contains(',')) {
        return refused(SEVERAL_HOSTS.to_owned());
    }
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return refused(format!("{error}; in a password, / ? # @ : and % are written as %2F and so on")),
    };
    let mut names_mode = false;
    for (at, (name, value)) in url.query_pairs().enumerate() {
        names_mode |= matches!(&*name, "sslmode" | "ssl-mode");
        if name == "target_session_attrs" || name.starts_with("host") && value.contains(',') {
            return refused(SEVERAL_HOSTS.to_owned());
        }
        let is_known = PARAMETERS.contains(&&*name) || (name.starts_with("options[") && name.ends_with(']'));
        if !is_known {
            let known = PARAMETERS.join(", ");
            return refused(format!("its parameter number {} is not known: there are {known}", at + 1));
        }
    }
    let Ok(options) = PgConnectOptions::from_str(text) else {
        return refused("a value of its parameters is wrong, such as that of sslmode or port".to_owned());
    };
    Ok(if names_mode || is_local(&options) { options } else { options.ssl_mode(PgSslMode::VerifyFull) })
}

/// Whether the way to the server leaves this machine nowhere.
fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    options.get_socket().is_some()
        || host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Warns of a way to the server that is not encrypted, or on which the server is not verified.
pub(super) fn warn_of_mode(options: &PgConnectOptions) {
    if is_local(options) {
        return;
    }
    let (host, mode) = (options.get_host(), options.get_ssl_mode());
    match mode {
        PgSslMode::VerifyFull => {}
        PgSslMode::VerifyCa | PgSslMode::Require => {
            warn!(
                host,
                ?mode,
                "the way to the database is encrypted, and who answers there is not verified: sslmode says so"
            );
        }
        PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer => {
            warn!(host, ?mode, "the way to the database may be in plain text: sslmode in database.url says so");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        parse(text).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn an_address_is_read_as_sqlx_reads_it() {
        for text in [
            "postgres://indexer:p%40ss@db.example.com:5433/indexer?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgresql://indexer@db.example.com/indexer",
            "postgres:///indexer?host=/run/postgresql&options[search_path]=indexer",
            "postgres://postgres@%2Frun%2Fpostgresql/postgres",
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
        let options = parse("postgres://indexer:p%40ss@db.example.com:5433/one").unwrap();
        assert_eq!(
            (options.get_host(), options.get_port(), options.get_username(), options.get_database()),
            ("db.example.com", 5433, "indexer", Some("one"))
        );
    }

    #[test]
    fn who_answers_on_another_machine_is_verified_unless_the_address_says_otherwise() {
        let mode = |text: &str| parse(text).unwrap().get_ssl_mode();
        for text in [
            "postgres://indexer@db.example.com/one",
            "postgres://indexer@10.0.3.7:5433/one",
            "postgres://indexer@db/one?sslrootcert=/etc/ca.pem",
            "postgres:///one?host=db.example.com",
            "postgres://indexer@localhost.example.com/one",
            "postgres://indexer@db/one?sslmode=verify-full",
        ] {
            assert!(matches!(mode(text), PgSslMode::VerifyFull), "{text}: {:?}", mode(text));
        }
        for text in [
            "postgres://indexer@localhost/one",
            "postgres://indexer@127.0.0.2/one",
            "postgres://indexer@[::1]/one",
            "postgres:///one?host=/run/postgresql",
            "postgres://indexer@%2Frun%2Fpostgresql/one",
            "postgres://indexer@db/one?sslmode=prefer",
        ] {
            assert!(matches!(mode(text), PgSslMode::Prefer), "{text}: {:?}", mode(text));
        }
        assert!(matches!(mode("postgres://indexer@db/one?ssl-mode=disable"), PgSslMode::Disable));
    }

    #[test]
    fn what_sqlx_would_pass_over_or_mistake_is_refused_without_showing_it() {
        for (text, why) in [
            ("mysql://indexer:hidden@db/one", "not a postgres:// address"),
            ("db.example.com", "not a postgres:// address"),
            ("postgres://indexer:hidden@one,two/one", "several hosts"),
            ("postgres://indexer:hidden@one:5432,two:5432/one", "several hosts"),
            ("postgres:///one?host=one,two", "several hosts"),
            ("postgres://indexer:hidden@one/one?target_session_attrs=read-write", "target_session_attrs"),
            ("postgres://indexer:hidden@one/one?application_name=x&sslmod=verify-full", "parameter number 2"),
            ("postgres://indexer:1?hidden@one/one", "parameter number 1"),
            ("postgres://indexer:hidden@one/one?sslmode=secure", "a value"),
            ("postgres://indexer:hid#den@one/one", "in a password"),
        ] {
            let says = refusal(text);
            assert!(says.contains(why) && !says.contains("hidden") && !says.contains("secure"), "{text}: {says}");
        }
    }
}
