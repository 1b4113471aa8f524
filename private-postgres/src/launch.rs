use std::env;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::account::Account;

/// How much of a program's output an error carries: its end.
const EXCERPT_BYTES: usize = 2_000;

/// A program of PostgreSQL, to be run as `account` with an environment that
/// does not depend on the caller's: no `PG…` variable redirects it, its
/// messages are English, and `initdb` need not search for the time zone.
///
/// On Linux the program gets SIGINT when the thread that spawned it ends.
pub(crate) fn command(program: &Path, account: Option<&Account>) -> Command {
    let mut command = Command::new(program);
    // Its own process group: a Ctrl-C at the terminal is ours to handle.
    command.current_dir("/").stdin(Stdio::null()).process_group(0);
    for (name, _) in env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
    command.env_remove("LANGUAGE").env("LC_ALL", "C").env("TZ", "UTC");
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    die_with_thread(&mut command);
    command
}

/// The kernel stops the program (SIGINT: PostgreSQL's fast shutdown) when the
/// thread that spawned it ends, however it ends. The hook runs after the change
/// of user, which would clear the setting.
#[cfg(target_os = "linux")]
#[allow(
    unsafe_code,
    reason = "pre_exec is unsafe: the hook runs between fork and exec. It makes two system calls \
              that are async-signal-safe and allocates nothing"
)]
fn die_with_thread(command: &mut Command) {
    let parent = std::process::id();
    let hook = move || {
        // SAFETY: neither call touches memory of ours.
        let (set, ppid) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT), libc::getppid()) };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
        // A parent that died before the call sends no signal any more.
        if u32::try_from(ppid) != Ok(parent) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: see the reason above.
    unsafe { command.pre_exec(hook) };
}

/// Elsewhere the guardian alone stops the server.
#[cfg(not(target_os = "linux"))]
fn die_with_thread(_command: &mut Command) {}

/// No file that the program writes grows beyond so many bytes: writing more fails.
#[allow(
    unsafe_code,
    reason = "pre_exec is unsafe: the hook runs between fork and exec. It makes one system call that is \
              async-signal-safe and allocates nothing"
)]
pub(crate) fn limit_files(command: &mut Command, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    let hook = move || {
        // SAFETY: the call reads `limit` alone, which lives as long as the hook.
        if unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: see the reason above.
    unsafe { command.pre_exec(hook) };
}

/// Runs `command` to its end: what it printed, as `Err` when it failed.
pub(crate) fn output(command: &mut Command) -> io::Result<Result<String, String>> {
    let done = command.output()?;
    let mut text = String::from_utf8_lossy(&done.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&done.stderr));
    Ok(if done.status.success() { Ok(text) } else { Err(format!("{} ({})", tail(&text), done.status)) })
}

/// The end of `text`, from the start of a line.
pub(crate) fn tail(text: &str) -> &str {
    let text = text.trim();
    if text.len() <= EXCERPT_BYTES {
        return text;
    }
    let cut = text.ceil_char_boundary(text.len() - EXCERPT_BYTES);
    let end = &text[cut..];
    end.split_once('\n').map_or(end, |(_, lines)| lines)
}

/// Sends a signal ("INT", "QUIT") to a process that is not reaped yet, so that
/// its number is still its own. Through the shell's `kill`, which PostgreSQL
/// needs the shell for anyway: the standard library can only send SIGKILL.
pub(crate) fn signal(pid: u32, name: &str) -> io::Result<()> {
    let status = Command::new("/bin/sh")
        .args(["-c", "kill -s \"$1\" \"$2\"", "kill", name])
        .arg(pid.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("kill -s {name} {pid}: {status}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_the_end_in_whole_lines() {
        assert_eq!(tail("a\nb\n"), "a\nb");
        let long = format!("{}\nlast line", "é".repeat(EXCERPT_BYTES));
        assert_eq!(tail(&long), "last line");
    }
}
