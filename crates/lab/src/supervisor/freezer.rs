//! Stops every process of a node, and has them go on: what a frozen machine looks like.
//!
//! A node's processes are those below its first one, and those that were started inside of its
//! process namespaces from elsewhere, as `lab exec` does. The supervisor sees all processes of the
//! lab and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Rounds until everything has stopped. One that is being forked is seen in the next.
const ROUNDS: u32 = 500;

/// Time between two rounds.
const PAUSE: Duration = Duration::from_millis(10);

/// What is seen of a process.
struct Seen {
    parent: i32,
    /// Its process namespace; `None` when it has just ended.
    namespace: Option<String>,
    is_stopped: bool,
}

/// Stops every process of the node whose first process is `first`.
///
/// # Errors
/// When one does not stop, with its number.
pub(super) async fn stop(first: i32) -> io::Result<()> {
    for _ in 0..ROUNDS {
        let running: Vec<i32> = members(first)?
            .into_iter()
            .filter_map(|(pid, seen)| (!seen.is_stopped).then_some(pid))
            .collect();
        if running.is_empty() {
            return Ok(());
        }
        running.iter().try_for_each(|pid| signal(*pid, Signal::SIGSTOP))?;
        tokio::time::sleep(PAUSE).await;
    }
    Err(io::Error::other("not every process has stopped"))
}

/// Has every process of the node go on.
///
/// # Errors
/// When processes cannot be listed or told.
pub(super) fn go_on(first: i32) -> io::Result<()> {
    members(first)?.keys().try_for_each(|pid| signal(*pid, Signal::SIGCONT))
}

/// One that has ended needs no signal.
fn signal(pid: i32, signal: Signal) -> io::Result<()> {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The processes of the node, by number.
fn members(first: i32) -> io::Result<BTreeMap<i32, Seen>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        all.extend(look(pid).map(|seen| (pid, seen)));
    }
    let below = |mut pid: i32| {
        // The supervisor is 1, and its own parent 0.
        while pid != first && pid > 1 {
            pid = all.get(&pid).map_or(0, |seen| seen.parent);
        }
        pid == first
    };
    let own: BTreeSet<i32> = all.keys().copied().filter(|pid| below(*pid)).collect();
    let of_own = all.iter().filter(|(pid, _)| own.contains(pid));
    let namespaces: BTreeSet<String> =
        of_own.filter_map(|(_, seen)| seen.namespace.clone()).collect();
    all.retain(|pid, seen| {
        let inside = seen.namespace.as_ref().is_some_and(|it| namespaces.contains(it));
        own.contains(pid) || inside
    });
    Ok(all)
}

/// Source: proc_pid_stat(5): after the name in parentheses come the state and the parent.
fn look(pid: i32) -> Option<Seen> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_whitespace();
    let (state, parent) = (words.next()?, words.next()?.parse().ok()?);
    // One that has ended and waits for its parent will not run again either.
    let is_stopped = matches!(state, "T" | "t" | "Z" | "X");
    let namespace = std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let namespace = namespace.map(|link| link.to_string_lossy().into_owned());
    Some(Seen { parent, namespace, is_stopped })
}
