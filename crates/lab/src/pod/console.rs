//! What a running container can be attached to: its standard input, and what it writes from now on.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

/// How much is under way to a container's standard input or to a listener, in pieces of at most
/// 32 KiB. A listener that takes nothing holds up the container, as with containerd.
const UNDER_WAY: usize = 8;

/// One run of a container, for those who attach to it.
#[derive(Clone, Debug)]
pub(crate) struct Console {
    /// Its standard input, if it has one.
    pub stdin: Option<mpsc::Sender<Input>>,
    /// Whether it reads no more once its first client says no more (Container API `stdinOnce`).
    pub once: bool,
    /// The master of its terminal, if it has one.
    pub terminal: Option<Arc<OwnedFd>>,
    listeners: mpsc::Sender<Listener>,
}

/// What comes into a container.
#[derive(Debug)]
pub(crate) enum Input {
    /// Bytes.
    Bytes(Bytes),
    /// Nothing more, from anybody.
    End,
}

/// Which of its outputs a container wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Standard output; with a terminal, all of it.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Somebody who wants to have what a container writes.
pub(crate) type Listener = mpsc::Sender<(Output, Bytes)>;

impl Console {
    /// A console, and what will come from it to the one who copies the container's output.
    pub(crate) fn new(
        (stdin, once): (Option<pipe::Sender>, bool),
        terminal: Option<OwnedFd>,
    ) -> (Self, mpsc::Receiver<Listener>) {
        let (listeners, told) = mpsc::channel(UNDER_WAY);
        let stdin = stdin.map(|stdin| {
            let (sender, inputs) = mpsc::channel(UNDER_WAY);
            tokio::spawn(feed(stdin, inputs));
            sender
        });
        (Self { stdin, once, terminal: terminal.map(Arc::new), listeners }, told)
    }

    /// What the container writes from now on, until it ends.
    pub(crate) async fn listen(&self) -> mpsc::Receiver<(Output, Bytes)> {
        let (listener, heard) = mpsc::channel(UNDER_WAY);
        // A container that has ended says nothing more: the receiver is at its end then.
        drop(self.listeners.send(listener).await);
        heard
    }
}

/// Writes what comes into a container's standard input until there is no more or it doesn't want it.
async fn feed(mut stdin: pipe::Sender, mut inputs: mpsc::Receiver<Input>) {
    while let Some(Input::Bytes(bytes)) = inputs.recv().await {
        if stdin.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
