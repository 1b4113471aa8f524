use std::fs;
use std::path::PathBuf;

use private_postgres::{Error, Options, Search, Server, find};

use crate::scratch::{Scratch, nowhere};

const VERSION: &str = "[ \"$1\" = --version ] && echo 'postgres (PostgreSQL) 15.1' && exit 0";

fn start(scratch: &Scratch, search: Search) -> Error {
    let options = Options { search, instead: Some("name a server with --url".into()), ..scratch.options() };
    let error = Server::start_blocking(options).expect_err("no server");
    let left: Vec<_> = scratch.names().into_iter().filter(|name| name.starts_with("cegid-pg-")).collect();
    assert!(left.is_empty(), "{left:?}");
    error
}

fn fake_programs(scratch: &Scratch, initdb: &str) -> Search {
    scratch.script("postgres", VERSION);
    scratch.script("initdb", initdb);
    Search { pg_bin: Some(scratch.to_path_buf()), ..nowhere() }
}

#[test]
fn no_programs_and_no_download_say_what_was_tried_and_what_to_do() {
    let scratch = Scratch::new();
    // A cache that cannot be made stands for a download that cannot be had.
    fs::write(scratch.join("file"), "").expect("a file");
    let search = Search { cache: Some(scratch.join("file")), download: true, ..nowhere() };
    let error = start(&scratch, search);
    let text = error.to_string();
    let Error::NoPrograms { tried, download_error, .. } = error else { panic!("{text}") };
    assert!(tried.contains(&"PATH".to_owned()), "{tried:?}");
    assert!(download_error.expect("one was tried").contains("making"));
    for part in ["set PG_BIN", "install the package postgresql", "or name a server with --url"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_wrong_pg_bin_is_an_error_even_where_other_programs_are() {
    let scratch = Scratch::new();
    let search = Search { pg_bin: Some(PathBuf::from("/nonexistent")), ..Search::from_env() };
    let error = start(&scratch, search);
    assert!(matches!(&error, Error::NoPrograms { download_error: None, .. }), "{error:?}");
    assert!(error.to_string().contains("PG_BIN=/nonexistent: no postgres there"), "{error}");
}

#[test]
fn programs_that_are_too_old_or_broken_are_passed_over_with_a_reason() {
    let scratch = Scratch::new();
    for (name, says) in [("old", "echo 'postgres (PostgreSQL) 9.6.24'"), ("broken", "exit 3"), ("half", "exit 0")] {
        fs::create_dir(scratch.join(name)).expect("a directory");
        scratch.script(&format!("{name}/postgres"), says);
        if name != "half" {
            scratch.script(&format!("{name}/initdb"), "exit 0");
        }
    }
    let path = ["old", "broken", "half", "absent"].map(|name| scratch.join(name));
    let error = find(&Search { path: path.into(), ..nowhere() }).expect_err("none is usable");
    let Error::NoPrograms { tried, .. } = error else { panic!("{error:?}") };
    let all = tried.join("\n");
    for part in ["old: version 9.6.24 is older than 14", "broken: postgres --version failed", "half: no initdb there"] {
        assert!(all.contains(part), "{all}");
    }
    assert!(!all.contains("absent"), "{all}");
}

#[test]
fn a_full_disk_is_told_from_other_failures_of_initdb() {
    let scratch = Scratch::new();
    let full = "echo 'initdb: error: could not write to file: No space left on device' >&2; exit 1";
    let error = start(&scratch, fake_programs(&scratch, full));
    assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
    let error = start(&scratch, fake_programs(&scratch, "echo 'some other trouble' >&2; exit 1"));
    let Error::Start { log, .. } = &error else { panic!("{error:?}") };
    assert!(log.contains("some other trouble"), "{log}");
}

#[test]
fn a_locale_that_the_system_lacks_is_replaced() {
    let scratch = Scratch::new();
    let initdb = "case \"$*\" in *--locale=C.UTF-8*) echo 'initdb: error: invalid locale name'; exit 1;; esac\n\
                  echo \"asked again: $*\"; exit 1";
    let error = start(&scratch, fake_programs(&scratch, initdb));
    assert!(error.to_string().contains("--locale=C"), "{error}");
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let scratch = Scratch::new();
    let settings = vec![("no_such_setting".to_owned(), "1".to_owned())];
    let error = Server::start_blocking(Options { settings, ..scratch.options() }).expect_err("refused");
    let Error::Start { log, .. } = &error else { panic!("{error:?}") };
    assert!(log.contains("no_such_setting"), "{log}");
    assert!(scratch.names().is_empty());
}

#[test]
fn a_place_that_cannot_hold_a_socket_is_refused_before_anything_is_made() {
    let scratch = Scratch::new();
    let long = scratch.join("x".repeat(60));
    fs::create_dir(&long).expect("a directory");
    let parent = Some(long.clone());
    let error = Server::start_blocking(Options { parent, ..scratch.options() }).expect_err("too long");
    assert!(matches!(error, Error::NoPlace { .. }), "{error:?}");
    assert_eq!(fs::read_dir(long).expect("there").count(), 0);
}
