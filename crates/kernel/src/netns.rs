//! Network namespaces: open one, make one, run something inside one.
//!
//! A thread that entered another namespace stays there, and a thread pool would hand it to the next
//! task. So nothing here moves the caller's thread: work inside a namespace runs on a thread of its
//! own ([`Netns::run`]) or on a thread kept for that purpose ([`Entrant`]).

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// The calling thread's namespace, whatever thread calls: `/proc/self` is the main thread's.
const CURRENT: &str = "/proc/thread-self/ns/net";

/// An open network namespace. It lives at least as long as this value and its clones.
#[derive(Clone)]
pub struct Netns {
    fd: Arc<OwnedFd>,
    path: Option<PathBuf>,
}

/// A namespace could not be opened, made or entered.
#[derive(Debug, thiserror::Error)]
#[error("{attempt}")]
pub struct NetnsError {
    attempt: String,
    #[source]
    cause: io::Error,
}

impl NetnsError {
    fn new(attempt: impl Into<String>, cause: impl Into<io::Error>) -> Self {
        NetnsError { attempt: attempt.into(), cause: cause.into() }
    }

    /// What was attempted, and why it failed.
    pub(crate) fn into_parts(self) -> (String, io::Error) {
        (self.attempt, self.cause)
    }

    /// Whether there is no such namespace: nothing at the path, or a file left from one that is gone.
    pub fn is_gone(&self) -> bool {
        matches!(
            self.cause.raw_os_error(),
            Some(libc::ENOENT | libc::ENOTDIR | libc::ESRCH | libc::EINVAL)
        )
    }
}

impl Netns {
    /// Opens the namespace at `path`, like `/var/run/netns/blue` or `/proc/1234/ns/net`.
    ///
    /// # Errors
    /// When there is nothing, or something that is no network namespace (an empty file remains where
    /// one was bound).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, NetnsError> {
        let path = path.as_ref();
        let failed = |cause| NetnsError::new(format!("open netns {}", path.display()), cause);
        let file = File::open(path).map_err(failed)?;
        if !is_netns(file.as_fd()) {
            let kind = io::Error::from_raw_os_error(libc::EINVAL);
            return Err(NetnsError::new(format!("{} is not a netns", path.display()), kind));
        }
        Ok(Netns { fd: Arc::new(file.into()), path: Some(path.to_owned()) })
    }

    /// The namespace the calling thread is in.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn current() -> Result<Self, NetnsError> {
        Ok(Netns { path: None, ..Netns::open(CURRENT)? })
    }

    /// The namespace of process `pid`.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of_pid(pid: u32) -> Result<Self, NetnsError> {
        Netns::open(format!("/proc/{pid}/ns/net"))
    }

    /// A new, empty namespace that nothing pins: it is gone with the last value, socket or process
    /// that holds it. Its loopback link is down.
    ///
    /// # Errors
    /// Without CAP_SYS_ADMIN, or when the machine has no room for more namespaces.
    pub fn fresh() -> Result<Self, NetnsError> {
        on_own_thread(|| {
            unshare_thread()?;
            Netns::current()
        })
    }

    /// The path it was opened by; `None` for namespaces without one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Inode of the namespace: equal for two values exactly when they are the same namespace.
    ///
    /// # Errors
    /// Never in practice: the descriptor is open.
    pub fn inode(&self) -> Result<u64, NetnsError> {
        let failed = |cause| NetnsError::new(format!("stat {self}"), cause);
        let file = File::from(self.fd.try_clone().map_err(failed)?);
        Ok(file.metadata().map_err(failed)?.ino())
    }

    /// Runs `work` inside this namespace, on a thread of its own that ends with it.
    ///
    /// Sockets opened there stay in the namespace; the caller's thread never leaves its own.
    ///
    /// # Errors
    /// When the namespace could not be entered; `work` was not run then.
    ///
    /// # Panics
    /// With the panic of `work`, if it panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        on_own_thread(|| {
            self.enter()?;
            Ok(work())
        })
    }

    /// Moves the calling thread into this namespace, for good.
    ///
    /// Only for threads of one's own: a pool's thread would carry it to the next task.
    ///
    /// # Errors
    /// Without CAP_SYS_ADMIN.
    pub fn enter(&self) -> Result<(), NetnsError> {
        setns(&self.fd, CloneFlags::CLONE_NEWNET)
            .map_err(|cause| NetnsError::new(format!("enter {self}"), cause))
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "netns {}", path.display()),
            None => write!(f, "netns fd {}", self.fd.as_raw_fd()),
        }
    }
}

impl fmt::Debug for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Gives the calling thread a new network namespace of its own, for good. For tests: each runs on
/// its own thread, and the namespace is gone with it.
///
/// # Errors
/// Without CAP_SYS_ADMIN: the message says that root is needed.
pub fn unshare_thread() -> Result<(), NetnsError> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|cause| NetnsError::new("make a network namespace (needs root)", cause))
}

/// Whether `fd` is a network namespace, asked from the kernel.
#[expect(unsafe_code, reason = "nix has no wrapper for the ioctls of nsfs")]
fn is_netns(fd: BorrowedFd<'_>) -> bool {
    /// `_IO(0xb7, 3)` of linux/nsfs.h.
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: the request takes no argument and writes no memory; the descriptor is open.
    // WHY: entering is the only other test, and it would move the thread.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) };
    kind == CloneFlags::CLONE_NEWNET.bits()
}

/// Runs `work` on a thread made for it and waits; a panic there goes on here.
fn on_own_thread<T: Send>(
    work: impl FnOnce() -> Result<T, NetnsError> + Send,
) -> Result<T, NetnsError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)
            .map_err(|cause| NetnsError::new("start a thread", cause))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread kept for work in other namespaces, so that a pod costs two `setns` calls and no thread.
///
/// It is at home in the namespace of the thread that made it, and holds no other between jobs.
pub struct Entrant {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
    home: Netns,
}

impl Entrant {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start() -> Result<Self, NetnsError> {
        let home = Netns::current()?;
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = thread::Builder::new()
            .name("entrant".to_owned())
            .spawn(move || queue.into_iter().for_each(|job| job()))
            .map_err(|cause| NetnsError::new("start a thread", cause))?;
        Ok(Entrant { jobs: Some(jobs), thread: Some(thread), home })
    }

    /// Runs `work` inside `netns` and waits for what it returns.
    ///
    /// # Errors
    /// When the namespace could not be entered, or `work` panicked.
    pub fn run<T: Send + 'static>(
        &mut self,
        netns: &Netns,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NetnsError> {
        let (reply, answer) = mpsc::sync_channel(1);
        let (target, home) = (netns.clone(), self.home.clone());
        let job = move || {
            let outcome = target.enter().map(|()| work());
            // A thread that cannot go home must not take another job: ending the process's only
            // way into namespaces is loud, work in a wrong namespace is not.
            home.enter().expect("the home namespace is held open and was entered before");
            drop(target);
            let _gone = reply.send(outcome);
        };
        let ended = || NetnsError::new(format!("work in {netns}"), io::Error::other("it panicked"));
        let jobs = self.jobs.as_ref().ok_or_else(ended)?;
        if jobs.send(Box::new(job)).is_err() {
            return Err(self.restart(ended()));
        }
        match answer.recv() {
            Ok(outcome) => outcome,
            Err(_) => Err(self.restart(ended())),
        }
    }

    /// Replaces a thread that a panic ended; returns the error to report.
    fn restart(&mut self, ended: NetnsError) -> NetnsError {
        match Entrant::start() {
            Ok(next) => {
                *self = next;
                ended
            }
            Err(error) => error,
        }
    }
}

impl Drop for Entrant {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic in a job was already reported to whoever asked for it.
            let _reported = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_runs_inside_and_the_caller_stays_where_it_was() {
        let home = Netns::current().unwrap().inode().unwrap();
        let fresh = Netns::fresh().unwrap();
        let inside = fresh.run(|| Netns::current().unwrap().inode().unwrap()).unwrap();
        assert_eq!(inside, fresh.inode().unwrap());
        assert_ne!(inside, home);
        assert_eq!(Netns::current().unwrap().inode().unwrap(), home);
    }

    #[test]
    fn an_entrant_serves_many_namespaces_and_outlives_a_panic() {
        let mut entrant = Entrant::start().unwrap();
        for _ in 0..3 {
            let fresh = Netns::fresh().unwrap();
            let inside = entrant.run(&fresh, || Netns::current().unwrap().inode().unwrap());
            assert_eq!(inside.unwrap(), fresh.inode().unwrap());
        }
        let fresh = Netns::fresh().unwrap();
        let broken: Result<(), _> = entrant.run(&fresh, || panic!("broken work"));
        assert!(broken.is_err());
        assert_eq!(entrant.run(&fresh, || 7).unwrap(), 7);
    }

    #[test]
    fn what_is_no_namespace_is_refused_by_name() {
        let error = Netns::open("/dev/null").unwrap_err();
        assert_eq!(error.to_string(), "/dev/null is not a netns");
        assert!(Netns::open("/run/netns/no-such").unwrap_err().is_gone());
    }
}
