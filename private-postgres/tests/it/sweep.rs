use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown, symlink};

use private_postgres::Server;

use crate::scratch::Scratch;

#[test]
fn a_start_removes_what_is_nobodys_any_more_and_nothing_else() {
    let scratch = Scratch::new();
    let first = Server::start_blocking(scratch.options()).expect("a server");
    let meta = fs::metadata(first.dir()).expect("its directory");
    let make = |name: &str, locks: &[&str]| {
        let dir = scratch.join(name);
        fs::create_dir_all(dir.join("data")).expect("a directory");
        for lock in locks {
            File::create(dir.join(lock)).expect("a lock file");
        }
        chown(dir, Some(meta.uid()), Some(meta.gid())).expect("given to the server's user");
    };
    make("cegid-pg-abandoned", &["owner.lock", "server.lock"]);
    make("cegid-pg-early", &["owner.lock"]);
    make("cegid-pg-newborn", &[]);
    make("cegid-pg-owned", &["owner.lock"]);
    make("cegid-pg-serving", &["owner.lock", "server.lock"]);
    make("other", &["owner.lock"]);
    symlink("other", scratch.join("cegid-pg-link")).expect("a link");
    let locks = ["cegid-pg-owned/owner.lock", "cegid-pg-serving/server.lock"].map(|path| {
        let file = File::open(scratch.join(path)).expect("the lock file");
        file.lock().expect("locked");
        file
    });

    let second = Server::start_blocking(scratch.options()).expect("a server");
    let names = scratch.names();
    for kept in ["cegid-pg-newborn", "cegid-pg-owned", "cegid-pg-serving", "cegid-pg-link", "other"] {
        assert!(names.contains(&kept.to_owned()), "{kept}: {names:?}");
    }
    assert!(first.dir().exists());
    for swept in ["cegid-pg-abandoned", "cegid-pg-early"] {
        assert!(!names.contains(&swept.to_owned()), "{swept}: {names:?}");
    }
    drop((first, second, locks));
}
