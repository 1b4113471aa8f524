use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::Error;

/// The users PostgreSQL is run as when we are root, the best first.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// An unprivileged user of this machine.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Our effective user id. The standard library does not tell it; `id` is in
/// POSIX and spares a call into C.
pub(crate) fn own_uid() -> Result<u32, Error> {
    let id = Command::new("id").arg("-u").output();
    id.and_then(|id| {
        let text = String::from_utf8_lossy(&id.stdout).into_owned();
        text.trim().parse().map_err(io::Error::other)
    })
    .map_err(|source| Error::Io { doing: "asking `id -u` who we are".to_owned(), source })
}

/// Whom to run PostgreSQL as: `None` is ourselves.
pub(crate) fn choose(own_uid: u32) -> Result<Option<Account>, Error> {
    if own_uid != 0 {
        return Ok(None);
    }
    let path = Path::new("/etc/passwd");
    let passwd = fs::read_to_string(path).map_err(Error::io("reading", path))?;
    UNPRIVILEGED.iter().find_map(|name| lookup(&passwd, name)).map(Some).ok_or(Error::NoAccount)
}

fn lookup(passwd: &str, name: &str) -> Option<Account> {
    let mut fields = passwd
        .lines()
        .map(|line| line.split(':'))
        .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    let (uid, gid) = (fields.nth(1)?, fields.next()?);
    Some(Account { name: name.to_owned(), uid: number(uid)?, gid: number(gid)? })
}

/// macOS writes nobody's id as -2.
fn number(text: &str) -> Option<u32> {
    let signed = || text.parse::<i32>().ok().map(i32::cast_unsigned);
    text.parse().ok().or_else(signed)
}

impl Account {
    /// Whether this user may pass through `dir` and everything above it.
    pub(crate) fn reaches(&self, dir: &Path) -> bool {
        dir.ancestors().all(|dir| {
            fs::metadata(dir).is_ok_and(|meta| {
                let bit = if meta.uid() == self.uid {
                    0o100
                } else if meta.gid() == self.gid {
                    0o010
                } else {
                    0o001
                };
                meta.mode() & bit != 0
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
        nobody2:x:7:7::/:\n\
        nobody:*:-2:-2:Unprivileged User:/var/empty:/usr/bin/false\n\
        postgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash\n";

    #[test]
    fn users_are_read_as_linux_and_macos_write_them() {
        let postgres = lookup(PASSWD, "postgres").expect("there");
        assert_eq!((postgres.uid, postgres.gid), (101, 104));
        assert_eq!(lookup(PASSWD, "nobody").expect("there").uid, u32::MAX - 1);
        assert!(lookup(PASSWD, "post").is_none());
    }
}
