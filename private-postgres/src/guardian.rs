//! A shell that waits on a pipe whose other end we hold. The kernel closes our
//! end however we end; the shell then stops the server and removes its
//! directory. It is told beforehand which process to stop, and at a proper stop
//! that there is nothing left to do.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Each line read replaces the process to stop: a number, `none`, or `done`.
/// The wait is bounded because a container without an init process keeps dead
/// servers as zombies, which `kill -0` calls alive. Removal is tried again:
/// a server that is still ending may put a file back.
const SCRIPT: &str = r#"
pid=none
while read -r word; do
  [ "$word" = done ] && exit 0
  pid=$word
done
if [ "$pid" != none ]; then
  kill -s INT "$pid"
  tries=0
  while [ $tries -lt 100 ] && kill -0 "$pid"; do sleep 0.1; tries=$((tries + 1)); done
  kill -s QUIT "$pid"
fi
tries=0
while [ $tries -lt 20 ] && ! { rm -rf "$1" && [ ! -e "$1" ]; }; do sleep 0.2; tries=$((tries + 1)); done
"#;

#[derive(Debug)]
pub(crate) struct Guardian {
    shell: Child,
}

impl Guardian {
    /// Guards `dir`; no process yet.
    pub(crate) fn start(dir: &Path) -> io::Result<Self> {
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "private-postgres-guardian"])
            .arg(dir)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What is sent to our group, a Ctrl-C first of all, is not for it.
            .process_group(0)
            .spawn()?;
        Ok(Self { shell })
    }

    /// From now on `pid` is to be stopped when we end.
    pub(crate) fn watch(&mut self, pid: Option<u32>) {
        self.tell(&pid.map_or_else(|| "none".to_owned(), |pid| pid.to_string()));
    }

    /// The directory is gone: the guardian ends, having done nothing.
    pub(crate) fn dismiss(&mut self) -> io::Result<()> {
        self.tell("done");
        drop(self.shell.stdin.take());
        self.shell.wait().map(drop)
    }

    /// A guardian that somebody killed does not hear; that is no failure of the
    /// server, and the next start's sweep stands in for it.
    fn tell(&mut self, word: &str) {
        if let Some(pipe) = &mut self.shell.stdin
            && pipe.write_all(format!("{word}\n").as_bytes()).is_err()
        {
            self.shell.stdin = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    /// A shell without job control starts what is in its background with SIGINT ignored, and so would the process be that
    /// stands in for the server here; PostgreSQL sets its own handler.
    fn interrupts_are_ignored() -> bool {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored =
            status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
        ignored.is_some_and(|mask| mask & (1 << (libc::SIGINT - 1)) != 0)
    }

    /// The guardian alone, without the kernel's death signal: as on macOS.
    #[test]
    fn when_the_pipe_closes_the_process_is_interrupted_and_the_directory_removed() {
        if interrupts_are_ignored() {
            eprintln!("skipped: this process was started with SIGINT ignored");
            return;
        }
        let dir = std::env::temp_dir().join(format!("guarded-{}", std::process::id()));
        fs::create_dir_all(dir.join("data")).expect("a directory");
        let mut guardian = Guardian::start(&dir).expect("a guardian");
        let mut server = Command::new("sleep").arg("60").spawn().expect("a process");
        guardian.watch(None);
        guardian.watch(Some(server.id()));
        drop(guardian.shell.stdin.take());
        let status = server.wait().expect("it ends");
        assert_eq!(status.signal(), Some(libc::SIGINT));
        guardian.shell.wait().expect("it ends");
        assert!(!dir.exists());
    }
}
