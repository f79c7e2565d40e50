//! The agent's CNI socket.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wire::cni::{
    Code, Command, Environment, Error, MAX_MESSAGE, Paths, Reply, Version, decode_call,
};

use super::answer::answer;
use super::pending;
use crate::Handle;
use crate::observe::Metrics;
use crate::sockets::Sockets;

/// How long a plugin may take to say what it wants, and to take its reply.
const TALK_WITHIN: Duration = Duration::from_secs(5);

/// Most requests at a time. A kubelet starts at most 110 pods at once on a node.
const MOST: usize = 256;

/// How often DELs that a plugin left on disk are looked for. They are rare: it asks first.
const PENDING_EVERY: Duration = Duration::from_secs(2);

/// How long to wait when the process has no descriptor left for a plugin.
const PAUSE: Duration = Duration::from_millis(100);

/// The listening CNI socket.
#[derive(Debug)]
pub struct Server {
    listener: Arc<UnixListener>,
    paths: Paths,
}

/// The socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error("listen on {}", path.display())]
pub struct ServeError {
    path: PathBuf,
    #[source]
    cause: io::Error,
}

impl Server {
    /// Opens the socket in `paths.run_dir`, for this user (root) alone: that of the agent before, or a new
    /// one in its place, so a plugin never finds none.
    ///
    /// # Errors
    /// [`ServeError`] when the directory cannot be made or does not take a socket.
    pub(crate) fn open(paths: Paths, sockets: &Sockets) -> Result<Self, ServeError> {
        let path = paths.socket();
        match sockets.unix("cni.sock", &path) {
            Ok(listener) => Ok(Server { listener, paths }),
            Err(cause) => Err(ServeError { path, cause }),
        }
    }

    /// Answers plugins, and does the DELs that wait on disk, until `closing`. Who was heard by then is
    /// answered; who connects later waits in the socket, which is given back.
    pub(crate) async fn serve(
        self,
        handle: Handle,
        metrics: Arc<Metrics>,
        closing: impl Future<Output = ()>,
    ) -> Self {
        let desk = Arc::new(Desk { handle, paths: self.paths.clone(), metrics });
        tokio::select! {
            () = desk.do_pending_for_ever() => {}
            () = accept(&self.listener, &desk, closing) => {}
        }
        self
    }
}

/// Talks to every plugin that connects before `closing`, and ends its talks when it is dropped.
async fn accept(listener: &UnixListener, desk: &Arc<Desk>, closing: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(MOST));
    let mut talks = JoinSet::new();
    let mut closing = pin!(closing);
    loop {
        tokio::select! {
            () = &mut closing => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let place = places.clone().try_acquire_owned();
                    let desk = Arc::clone(desk);
                    talks.spawn(async move {
                        desk.talk(stream, place.is_err()).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("accept on the CNI socket: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = talks.join_next() => {}
        }
    }
    while talks.join_next().await.is_some() {}
}

/// What every request is answered with.
struct Desk {
    handle: Handle,
    paths: Paths,
    metrics: Arc<Metrics>,
}

impl Desk {
    async fn do_pending_for_ever(&self) {
        let mut looks = tokio::time::interval(PENDING_EVERY);
        loop {
            looks.tick().await;
            self.do_pending().await;
        }
    }

    async fn do_pending(&self) {
        let directory = self.paths.pending();
        let waiting = pending::list(&directory).unwrap_or_else(|error| {
            tracing::warn!("read {}: {error}", directory.display());
            Vec::new()
        });
        for del in waiting {
            match del.key {
                Ok(key) => match self.handle.detach(key.clone()).await {
                    Ok(()) => tracing::info!(attachment = %key, "did a DEL that waited"),
                    Err(error) => {
                        tracing::warn!(attachment = %key, "a DEL keeps waiting: {error}");
                        continue;
                    }
                },
                Err(why) => tracing::warn!("drop {}: {why}", del.file.display()),
            }
            if let Err(error) = pending::remove(&del.file) {
                tracing::warn!("remove {}: {error}", del.file.display());
            }
        }
    }

    /// One plugin process: its call, its reply.
    async fn talk(&self, mut stream: UnixStream, busy: bool) {
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == nix::unistd::geteuid().as_raw() => {}
            Ok(peer) => return tracing::warn!(uid = peer.uid(), "only the agent's user may ask"),
            Err(error) => return tracing::warn!("who asks on the CNI socket: {error}"),
        }
        let (bytes, netns) = match tokio::time::timeout(TALK_WITHIN, read_call(&mut stream)).await {
            Ok(Ok(call)) => call,
            Ok(Err(error)) => return tracing::warn!("read from the CNI socket: {error}"),
            Err(_) => return tracing::warn!("a CNI plugin connected and said nothing"),
        };
        let (environment, stdin) = match decode_call(&bytes) {
            Ok(call) => call,
            Err(error) => return tracing::warn!("read from the CNI socket: {error}"),
        };
        let reply = self.reply(&environment, stdin, netns, busy).await;
        // A plugin that was killed does not take its reply; its runtime will call DEL.
        drop(tokio::time::timeout(TALK_WITHIN, write_reply(&mut stream, &reply)).await);
    }

    async fn reply(
        &self,
        environment: &Environment,
        stdin: &[u8],
        netns: Option<OwnedFd>,
        busy: bool,
    ) -> Reply {
        let start = Instant::now();
        let outcome = if busy {
            let msg = format!("{MOST} requests are being served already");
            Err(Error::new(Code::TryAgainLater, msg))
        } else {
            answer(&self.handle, &self.paths, environment, stdin, netns).await
        };
        let operation = environment.command.parse().map_or("other", Command::as_str);
        let error = outcome.as_ref().err();
        self.metrics.cni(operation, error.map(|error| error.code), start.elapsed());
        match outcome {
            Ok(stdout) => Reply { success: true, stdout },
            Err(error) => {
                let (container, code) = (&environment.container_id, error.code.number());
                tracing::warn!(operation, %container, code, "{error}");
                super::plugin::refused(&error, Version::of(stdin))
            }
        }
    }
}

/// The bytes of a call and the network namespace that came with them.
async fn read_call(stream: &mut UnixStream) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let (mut length, mut fds) = (Vec::new(), Vec::new());
    while length.len() < 4 {
        let room = 4 - length.len();
        let receive = || kernel::process::receive_fds(&*stream, room);
        let (bytes, received) = stream.async_io(Interest::READABLE, receive).await?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        length.extend(bytes);
        fds.extend(received);
    }
    let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
    if length > MAX_MESSAGE {
        return Err(io::Error::other("a call longer than 1 MiB"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok((bytes, fds.into_iter().next()))
}

async fn write_reply(stream: &mut UnixStream, reply: &Reply) -> io::Result<()> {
    let bytes = reply.encode();
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&bytes).await
}
