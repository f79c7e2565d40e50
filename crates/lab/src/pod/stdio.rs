//! Our ends of what a container's process reads and writes: pipes, or a terminal's master.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;

/// What a process writes, until all that could write there have ended.
#[derive(Debug)]
pub(crate) struct Source(pipe::Receiver);

/// Everything a process is connected to.
#[derive(Debug)]
pub(crate) struct Streams {
    /// What it reads; `None` if that is empty.
    pub stdin: Option<pipe::Sender>,
    /// What it writes; with a terminal, all of it.
    pub stdout: Source,
    /// What it writes as errors; `None` with a terminal.
    pub stderr: Option<Source>,
    /// The master of its terminal, if it has one: as long as this is open, the terminal is.
    pub terminal: Option<OwnedFd>,
}

/// The ends that a process gets.
pub(crate) type Theirs = Vec<OwnedFd>;

impl Streams {
    /// Pipes for a process: our ends, and its standard input, output and error. Without
    /// `has_stdin` it reads nothing.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn pipes(has_stdin: bool) -> io::Result<(Self, Theirs)> {
        let (stdout, their_stdout) = io::pipe()?;
        let (stderr, their_stderr) = io::pipe()?;
        let (stdin, their_stdin) = if has_stdin {
            let (theirs, ours) = io::pipe()?;
            (Some(pipe::Sender::from_owned_fd(ours.into())?), theirs.into())
        } else {
            (None, std::fs::File::open("/dev/null")?.into())
        };
        let ours = Self {
            stdin,
            stdout: Source(pipe::Receiver::from_owned_fd(stdout.into())?),
            stderr: Some(Source(pipe::Receiver::from_owned_fd(stderr.into())?)),
            terminal: None,
        };
        Ok((ours, vec![their_stdin, their_stdout.into(), their_stderr.into()]))
    }

    /// The streams of a process on the terminal whose master is `master`.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn terminal(master: OwnedFd, has_stdin: bool) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&master, FcntlArg::F_GETFL)?);
        fcntl(&master, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        let stdin = has_stdin.then(|| master.try_clone()).transpose()?;
        let stdin = stdin.map(pipe::Sender::from_owned_fd_unchecked).transpose()?;
        let stdout = Source(pipe::Receiver::from_owned_fd_unchecked(master.try_clone()?)?);
        Ok(Self { stdin, stdout, stderr: None, terminal: Some(master) })
    }
}

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.0).poll_read(context, buffer)) {
            // What a master says when the last process has left the terminal.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => Poll::Ready(Ok(())),
            read => Poll::Ready(read),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_one_side_writes_the_other_reads_until_it_is_closed() {
        let (mut ours, theirs) = Streams::pipes(true).unwrap();
        let [stdin, stdout, stderr] = <[OwnedFd; 3]>::try_from(theirs).unwrap();
        let mut stdin = pipe::Receiver::from_owned_fd(stdin).unwrap();
        ours.stdin.take().unwrap().write_all(b"in").await.unwrap();
        let mut read = String::new();
        stdin.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "in");
        let mut stdout = pipe::Sender::from_owned_fd(stdout).unwrap();
        stdout.write_all(b"out").await.unwrap();
        drop((stdout, stderr));
        ours.stdout.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "inout");
    }
}
