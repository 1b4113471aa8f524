use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;

use private_postgres::{Error, Options, Server};

use crate::client::{authentication_over_tcp, query};
use crate::scratch::{Scratch, is_alive};

#[tokio::test]
async fn a_stop_leaves_neither_process_nor_directory() {
    let scratch = Scratch::new();
    let server = Server::start(scratch.options()).await.expect("a server");
    let pid = server.pid().expect("it runs");
    let meta = fs::metadata(server.dir()).expect("its directory");
    assert_eq!(meta.mode() & 0o777, 0o700);
    assert_ne!(meta.uid(), 0, "PostgreSQL refuses root");
    assert!(server.socket().as_os_str().len() < 90);
    assert!(server.log_tail().contains("ready to accept connections"));
    server.stop().await.expect("stopped");
    assert!(!is_alive(pid));
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
}

#[test]
fn a_drop_leaves_neither_process_nor_directory_and_needs_no_runtime() {
    let scratch = Scratch::new();
    let server = Server::start_blocking(scratch.options()).expect("a server");
    let pid = server.pid().expect("it runs");
    drop(server);
    assert!(!is_alive(pid));
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
}

#[test]
fn a_server_comes_back_with_its_data_and_address_after_a_stop_and_after_a_crash() {
    let scratch = Scratch::new();
    let server = Server::start_blocking(scratch.options()).expect("a server");
    let url = server.url("postgres");
    query(&server, "postgres", "CREATE TABLE kept AS SELECT 'a' AS word").expect("made");

    server.stop_postgres().expect("stopped");
    assert_eq!(server.pid(), None);
    query(&server, "postgres", "SELECT 1").expect_err("it is down");
    server.start_again().expect("back");
    query(&server, "postgres", "INSERT INTO kept VALUES ('b')").expect("inserted");

    let pid = server.pid();
    server.kill().expect("killed");
    assert!(!is_alive(pid.expect("it ran")));
    query(&server, "postgres", "SELECT 1").expect_err("it is down");
    server.start_again().expect("back");
    assert_ne!(server.pid(), pid);
    let words = query(&server, "postgres", "SELECT word FROM kept ORDER BY word");
    assert_eq!(words.expect("kept"), ["a", "b"]);
    assert_eq!(server.url("postgres"), url);

    // One that is up is left alone.
    let pid = server.pid();
    server.start_again().expect("up");
    assert_eq!(server.pid(), pid);
    server.stop_blocking().expect("stopped");
    assert!(scratch.names().is_empty());
}

#[test]
fn settings_databases_and_durability_are_as_asked() {
    let scratch = Scratch::new();
    let options = Options {
        databases: vec!["plain".into(), "q\"ö b".into()],
        settings: vec![("max_connections".into(), "17".into())],
        ..scratch.options()
    };
    let server = Server::start_blocking(options).expect("a server");
    let show = |what: &str| query(&server, "q\"ö b", &format!("SHOW {what}")).expect("shown").concat();
    assert_eq!(show("max_connections"), "17");
    assert_eq!(show("server_encoding"), "UTF8");
    assert_eq!((show("fsync"), show("synchronous_commit")), ("off".into(), "on".into()));
    assert_eq!(show("listen_addresses"), "");
    query(&server, "plain", "SELECT 1").expect("it is there");
    let url = server.url("q\"ö b");
    assert!(url.starts_with("postgres://postgres@localhost:5432/q%22%C3%B6%20b?host=%2F"), "{url}");
    assert_eq!((server.tcp_url("plain"), server.tcp_port()), (None, None));
}

#[test]
fn a_port_is_opened_on_request_and_wants_the_password() {
    const SASL: u32 = 10;
    let scratch = Scratch::new();
    let options = Options { tcp_port: Some(0), durable: true, ..scratch.options() };
    let server = Server::start_blocking(options).expect("a server");
    let port = server.tcp_port().expect("a port");
    assert_eq!(authentication_over_tcp(port), SASL);
    assert!(!server.dir().join("password").exists());
    let url = server.tcp_url("postgres").expect("a port");
    let password = url.strip_prefix("postgres://postgres:").and_then(|rest| rest.split('@').next());
    let password = password.expect("a password");
    assert_eq!(password.len(), 48);
    assert!(!format!("{server:?}").contains(password));
    assert_eq!(query(&server, "postgres", "SHOW fsync").expect("shown"), ["on"]);

    server.kill().expect("killed");
    server.start_again().expect("back");
    assert_eq!(server.tcp_port(), Some(port));
    assert_eq!(authentication_over_tcp(port), SASL);
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_left() {
    let scratch = Scratch::new();
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let options = Options { tcp_port: Some(port), ..scratch.options() };
    match Server::start_blocking(options) {
        Err(Error::PortTaken { port: named }) => assert_eq!(named, port),
        other => panic!("{other:?}"),
    }
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
}

#[test]
fn a_file_grows_to_its_limit_and_the_server_goes_on() {
    let scratch = Scratch::new();
    let server = Server::start_blocking(scratch.options()).expect("a server");
    query(&server, "postgres", "CREATE TABLE filled (bytes text)").expect("made");
    query(&server, "postgres", "ALTER TABLE filled ALTER bytes SET STORAGE EXTERNAL").expect("set");
    let fill = "INSERT INTO filled SELECT repeat('x', 1000000) FROM generate_series(1, 20)";
    server.stop_postgres().expect("stopped");
    server.limit_files(Some(16 * 1024 * 1024));
    server.start_again().expect("back");
    query(&server, "postgres", fill).expect_err("20 MB in a file of 16 MiB");
    assert_eq!(query(&server, "postgres", "SELECT count(*) FROM filled").expect("it goes on"), ["0"]);
    server.stop_postgres().expect("stopped");
    server.limit_files(None);
    server.start_again().expect("back");
    query(&server, "postgres", fill).expect("room");
}
