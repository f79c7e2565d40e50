//! The children of a process that is PID 1 of its PID namespace.
//!
//! Such a process inherits every orphan of the namespace and has to wait for it, so somebody must
//! wait for *any* child; and then nobody else may wait for a particular one, or the two steal each
//! other's exits. [`Children`] is that somebody: everything a node or the supervisor starts, it
//! starts here, and never through `std::process::Child::wait` or `tokio::process`.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Starts children and waits for all of them, orphans included. Clones share one family.
#[derive(Clone)]
pub struct Children {
    /// Who is told about which exit. The lock is held from before a child is started until it is
    /// entered here, and around every wait, so no exit can come before its entry.
    waiting: Arc<Mutex<BTreeMap<i32, oneshot::Sender<ExitStatus>>>>,
}

/// A running child. Dropping it neither ends the child nor leaves a zombie.
pub struct Child {
    /// Its process id, in this process's PID namespace.
    pub pid: i32,
    /// Names the process for good.
    pub pidfd: Arc<OwnedFd>,
    /// The parent's end of its standard output, if it was piped.
    pub stdout: Option<std::process::ChildStdout>,
    /// The parent's end of its standard error, if it was piped.
    pub stderr: Option<std::process::ChildStderr>,
    /// The parent's end of its standard input, if it was piped.
    pub stdin: Option<std::process::ChildStdin>,
    exit: oneshot::Receiver<ExitStatus>,
    ended: Option<ExitStatus>,
}

/// What a command that ran to its end left behind.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// All it wrote to standard output.
    pub stdout: Vec<u8>,
    /// All it wrote to standard error.
    pub stderr: Vec<u8>,
}

/// Why a command that had limited time left no output.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It took too long and was killed.
    #[error("it took too long")]
    Slow,
    /// It could not be started or talked to.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

impl Children {
    /// Takes over all waiting of this process. Call it once, inside the runtime that is to do it.
    ///
    /// # Errors
    /// When the runtime cannot listen for `SIGCHLD`.
    pub fn adopt() -> io::Result<Self> {
        let children = Children { waiting: Arc::default() };
        let mut exits = signal(SignalKind::child())?;
        let reaper = children.clone();
        tokio::spawn(async move {
            while exits.recv().await.is_some() {
                reaper.reap();
            }
        });
        Ok(children)
    }

    /// Starts `command`.
    ///
    /// # Errors
    /// As `std::process::Command::spawn`.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let mut waiting = self.lock();
        let mut child = command.spawn()?;
        let pid = child.id().cast_signed();
        let pidfd = Arc::new(kernel::process::open_pidfd(pid)?);
        let (told, exit) = oneshot::channel();
        waiting.insert(pid, told);
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        Ok(Child { pid, pidfd, stdout, stderr, stdin, exit, ended: None })
    }

    /// Starts `command` from a thread of its own that has run `prepare` before: the place to join or
    /// leave namespaces, which belong to a thread and are inherited by what it starts.
    ///
    /// # Errors
    /// Those of `prepare` and of [`spawn`](Children::spawn).
    pub fn spawn_after<F>(&self, prepare: F, command: &mut Command) -> io::Result<Child>
    where
        F: FnOnce() -> io::Result<()> + Send,
    {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                prepare()?;
                self.spawn(command)
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `command` to its end with `input` on standard input and collects what it writes.
    ///
    /// When the future is dropped before that, the command goes on alone.
    ///
    /// # Errors
    /// As [`spawn`](Children::spawn), or when a pipe fails. A command that does not read all its
    /// input is no error.
    pub async fn run(&self, command: &mut Command, input: &[u8]) -> io::Result<Output> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.spawn(command)?.converse(input).await
    }

    /// Like [`run`](Children::run), but kills the command when it takes longer than `limit`.
    ///
    /// # Errors
    /// See [`RunError`].
    pub async fn run_within(
        &self,
        limit: Duration,
        command: &mut Command,
        input: &[u8],
    ) -> Result<Output, RunError> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.spawn(command)?;
        match tokio::time::timeout(limit, child.converse(input)).await {
            Ok(output) => Ok(output?),
            Err(_) => {
                child.signal(Signal::SIGKILL)?;
                Err(RunError::Slow)
            }
        }
    }

    /// Waits for every child that has ended and tells whoever started it.
    fn reap(&self) {
        let mut waiting = self.lock();
        loop {
            let (pid, raw) = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, (code & 0xff) << 8),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, signal as i32),
                Err(Errno::EINTR) => continue,
                // Nothing more has ended, or there are no children at all.
                Ok(_) | Err(_) => return,
            };
            if let Some(told) = waiting.remove(&pid.as_raw()) {
                // Nobody listening is fine: the child was started and let go.
                told.send(ExitStatus::from_raw(raw)).ok();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, oneshot::Sender<ExitStatus>>> {
        // The map is whole between any two statements, whoever panicked while holding it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Children {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Children").field("running", &self.lock().len()).finish()
    }
}

impl Child {
    /// Waits for the end. Asked again, it says the same again.
    pub async fn wait(&mut self) -> ExitStatus {
        if let Some(status) = self.ended {
            return status;
        }
        // The sender lives in the family's table until the exit is known.
        let status = (&mut self.exit).await.unwrap_or_else(|_| ExitStatus::from_raw(0));
        self.ended = Some(status);
        status
    }

    /// Whether it has ended and been waited for.
    pub fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.exit.try_recv().ok();
        }
        self.ended.is_some()
    }

    /// Writes `input`, reads both outputs and waits for the end.
    async fn converse(&mut self, input: &[u8]) -> io::Result<Output> {
        let stdin = self.stdin.take();
        let write = async {
            let Some(stdin) = stdin else { return Ok(()) };
            let mut stdin = pipe::Sender::from_owned_fd(stdin.into())?;
            match stdin.write_all(input).await {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                other => other,
            }
        };
        let stdout = read_all(self.stdout.take().map(OwnedFd::from));
        let stderr = read_all(self.stderr.take().map(OwnedFd::from));
        let ((), stdout, stderr) = tokio::try_join!(write, stdout, stderr)?;
        Ok(Output { status: self.wait().await, stdout, stderr })
    }

    /// Sends `signal`; a child that has ended already is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match kernel::process::signal(self.pidfd.as_fd(), signal) {
            Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => Ok(()),
            other => other,
        }
    }
}

async fn read_all(from: Option<OwnedFd>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(fd) = from {
        pipe::Receiver::from_owned_fd(fd)?.read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}
