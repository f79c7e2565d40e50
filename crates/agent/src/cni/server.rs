//! The agent's CNI socket.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wire::cni::{Code, Error, MAX_MESSAGE, Paths, Reply, Version, decode_call};

use super::answer::answer;
use super::pending;
use crate::Handle;

/// How long a plugin may take to say what it wants, and to take its reply.
const TALK_WITHIN: Duration = Duration::from_secs(5);

/// Most requests at a time. A kubelet starts at most 110 pods at once on a node.
const MOST: usize = 256;

/// How often DELs that a plugin left on disk are looked for. They are rare: it asks first.
const PENDING_EVERY: Duration = Duration::from_secs(2);

/// The listening CNI socket.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
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
    /// Makes the socket in `paths.run_dir`, for this user (root) alone. The one of an earlier agent is replaced
    /// in one step, so a plugin never finds none.
    ///
    /// # Errors
    /// [`ServeError`] when the directory cannot be made or does not take a socket.
    pub fn bind(paths: Paths) -> Result<Self, ServeError> {
        let path = paths.socket();
        let draft = path.with_extension("new");
        let bound = (|| {
            fs::create_dir_all(&paths.run_dir)?;
            pending::remove(&draft)?;
            let listener = UnixListener::bind(&draft)?;
            fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
            fs::rename(&draft, &path)?;
            Ok(listener)
        })();
        match bound {
            Ok(listener) => Ok(Server { listener, paths }),
            Err(cause) => Err(ServeError { path, cause }),
        }
    }

    /// Answers plugins until it is dropped. DELs that wait on disk come first: what they release
    /// is free for the first ADD.
    pub async fn serve(self, handle: Handle) {
        let Server { listener, paths } = self;
        let paths = Arc::new(paths);
        let places = Arc::new(Semaphore::new(MOST));
        let mut talks = JoinSet::new();
        let mut looks = tokio::time::interval(PENDING_EVERY);
        loop {
            tokio::select! {
                biased;
                _ = looks.tick() => do_pending(&handle, &paths).await,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let place = places.clone().try_acquire_owned();
                        let (handle, paths) = (handle.clone(), paths.clone());
                        talks.spawn(async move {
                            let busy = place.is_err();
                            talk(stream, &handle, &paths, busy).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::warn!("accept on the CNI socket: {error}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_) = talks.join_next() => {}
            }
        }
    }
}

async fn do_pending(handle: &Handle, paths: &Paths) {
    let waiting = pending::list(&paths.pending()).unwrap_or_else(|error| {
        tracing::warn!("read {}: {error}", paths.pending().display());
        Vec::new()
    });
    for del in waiting {
        match del.key {
            Ok(key) => match handle.detach(key.clone()).await {
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
async fn talk(mut stream: UnixStream, handle: &Handle, paths: &Paths, busy: bool) {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == nix::unistd::geteuid().as_raw() => {}
        Ok(peer) => return tracing::warn!(uid = peer.uid(), "only the agent's user may ask"),
        Err(error) => return tracing::warn!("who asks on the CNI socket: {error}"),
    }
    let reply = match tokio::time::timeout(TALK_WITHIN, read_call(&mut stream)).await {
        Ok(Ok((bytes, netns))) => match decode_call(&bytes) {
            Ok((_, stdin)) if busy => {
                let msg = format!("{MOST} requests are being served already");
                super::plugin::refused(&Error::new(Code::TryAgainLater, msg), Version::of(stdin))
            }
            Ok((environment, stdin)) => answer(handle, paths, &environment, stdin, netns).await,
            Err(error) => return tracing::warn!("CNI socket: {error}"),
        },
        Ok(Err(error)) => return tracing::warn!("read from the CNI socket: {error}"),
        Err(_) => return tracing::warn!("a CNI plugin connected and said nothing"),
    };
    // A plugin that was killed does not take its reply; its runtime will call DEL.
    drop(tokio::time::timeout(TALK_WITHIN, write_reply(&mut stream, &reply)).await);
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
