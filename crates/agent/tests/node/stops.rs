//! A debugger that kills a process right before one of its calls to the kernel.
//!
//! What others can see of a process changes only with calls that write, send or sync. So killing it
//! before each of those calls, and after the last, leaves behind every state that a crash at any
//! instruction can leave behind.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// Calls after which others may see something new, apart from those that only make a name or open
/// something for one of these.
const EFFECTS: [i64; 11] = [
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_writev,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
];

/// How long nothing is looked at when no thread has stopped.
const PAUSE: Duration = Duration::from_micros(20);

/// Stops every thread of `pid` at each call until the one numbered `at` (from 0) that has an effect, and
/// kills the process instead. Says by `ready` when counting begins. Ends early, without a kill, when
/// `is_over`. Returns whether the process has ended, by this or by itself: a successor gives up when its
/// predecessor loses patience with one that is stopped all the time.
///
/// Threads are let go when the calling thread ends, so it should be one of its own.
pub(crate) fn kill_before(pid: u32, at: usize, ready: Sender<()>, is_over: &AtomicBool) -> bool {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap());
    seize_all(pid);
    ready.send(()).unwrap();
    let (mut inside, mut seen) = (BTreeSet::new(), 0);
    while !is_over.load(Ordering::Relaxed) {
        // All that have stopped are let go together: the kernel names those first that call most, and
        // one that waits for its turn is taken for one that hangs.
        let mut stopped = Vec::new();
        loop {
            match stop() {
                Ok(Some(one)) => stopped.push(one),
                Ok(None) => break,
                Err(Errno::ECHILD) => return true,
                Err(errno) => panic!("wait for a stop: {errno}"),
            }
        }
        if stopped.is_empty() {
            std::thread::sleep(PAUSE);
        }
        for (thread, stop) in stopped {
            let signal = match stop {
                Stop::Call => {
                    // Entry and exit of a call take turns.
                    let enters = inside.insert(thread) || !inside.remove(&thread);
                    if enters && has_effect(pid, thread) {
                        if seen == at {
                            kill(pid, Signal::SIGKILL).unwrap();
                            return true;
                        }
                        seen += 1;
                    }
                    None
                }
                Stop::Event => None,
                Stop::Signal(signal) => Some(signal),
            };
            match ptrace::syscall(thread, signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => panic!("let thread {thread} go on: {errno}"),
            }
        }
    }
    false
}

/// Why a thread has stopped.
enum Stop {
    /// It enters or leaves a call.
    Call,
    /// It has started another one, or was told to stop.
    Event,
    Signal(Signal),
}

/// A traced thread that has stopped since it was last let go; `ECHILD` when none is left.
fn stop() -> nix::Result<Option<(Pid, Stop)>> {
    let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG;
    let own = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    Ok(match waitid(Id::All, flags | own)? {
        WaitStatus::PtraceSyscall(thread) => Some((thread, Stop::Call)),
        WaitStatus::PtraceEvent(thread, ..) => Some((thread, Stop::Event)),
        WaitStatus::Stopped(thread, signal) => Some((thread, Stop::Signal(signal))),
        WaitStatus::Exited(..)
        | WaitStatus::Signaled(..)
        | WaitStatus::Continued(_)
        | WaitStatus::StillAlive => None,
    })
}

/// Traces every thread that there is and, from then on, every one that they start.
fn seize_all(pid: Pid) {
    let mut seized = BTreeSet::new();
    loop {
        let threads: BTreeSet<Pid> = fs::read_dir(format!("/proc/{pid}/task"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().parse().unwrap())
            .map(Pid::from_raw)
            .collect();
        if threads.is_subset(&seized) {
            return;
        }
        for thread in threads.difference(&seized) {
            let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE;
            match ptrace::seize(*thread, options).and_then(|()| ptrace::interrupt(*thread)) {
                // One that is gone, or came traced.
                Ok(()) | Err(Errno::ESRCH | Errno::EPERM) => {}
                Err(errno) => panic!("trace thread {thread}: {errno}"),
            }
        }
        seized = threads;
    }
}

/// Whether the call that `thread` has stopped at may change what others see.
fn has_effect(pid: Pid, thread: Pid) -> bool {
    let call = fs::read_to_string(format!("/proc/{pid}/task/{thread}/syscall")).unwrap_or_default();
    let number = call.split(' ').next().and_then(|number| number.parse().ok());
    number.is_some_and(|number: i64| EFFECTS.contains(&number))
}
