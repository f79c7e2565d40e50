//! The successor's end: the agent that runs already, as the one that starts sees it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

use super::talk::{Line, Talk};
use super::{FORMATS, HandoverError, MOST, SOCKET, talk_failed};

/// The agent that runs.
#[derive(Debug)]
pub(crate) struct Predecessor {
    talk: Talk,
    path: PathBuf,
}

impl Predecessor {
    /// Announces this agent to the one of `run_dir`; `None` when there is none.
    ///
    /// # Errors
    /// [`HandoverError::Refused`], and `Talk` when it answers with nonsense.
    pub(crate) async fn find(run_dir: &Path) -> Result<Option<Self>, HandoverError> {
        let Some((talk, path)) = connect(run_dir).await? else { return Ok(None) };
        let mut predecessor = Predecessor { talk, path };
        match predecessor.announce().await {
            Ok(None) => Ok(None),
            Ok(Some(Line::Welcome { .. })) => Ok(Some(predecessor)),
            Ok(Some(Line::Refuse { why })) => Err(HandoverError::Refused(why)),
            Ok(Some(other)) => Err(predecessor.failed(unexpected(&other))),
            Err(error) => Err(predecessor.failed(error)),
        }
    }

    async fn announce(&mut self) -> io::Result<Option<Line>> {
        let (oldest, newest) = FORMATS;
        let release = env!("CARGO_PKG_VERSION").to_owned();
        let announced = self.talk.say(&Line::Announce { oldest, newest, release }).await;
        match announced {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(None),
            announced => {
                announced?;
                self.talk.hear().await
            }
        }
    }

    /// Waits until it has ended.
    pub(crate) async fn gone(&mut self) {
        while let Ok(Some(_)) = self.talk.hear().await {}
    }

    /// Has it stop and give away what it has open; `None` when it has ended instead, and there is nothing
    /// to take over. It may take as long as the CNI requests that it has.
    ///
    /// # Errors
    /// [`HandoverError::Talk`].
    pub(crate) async fn take_over(
        &mut self,
    ) -> Result<Option<BTreeMap<String, OwnedFd>>, HandoverError> {
        match self.talk.say(&Line::TakeOver).await {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(None),
            said => said.map_err(talk_failed(&self.path))?,
        }
        let all = self.receive().await.map_err(talk_failed(&self.path))?;
        Ok(all.map(|all| all.into_iter().collect()))
    }

    /// What it gives away, with names; `None` when it has ended.
    ///
    /// # Errors
    /// The kernel's; `InvalidData` for anything else.
    pub(crate) async fn receive(&mut self) -> io::Result<Option<Vec<(String, OwnedFd)>>> {
        let mut sockets = Vec::new();
        loop {
            match self.talk.hear().await? {
                None => return Ok(None),
                Some(Line::Complete) => return Ok(Some(sockets)),
                Some(Line::Socket { name }) if sockets.len() < MOST => {
                    let socket = self.talk.received();
                    let socket = socket.ok_or_else(|| io::Error::other(format!("{name}: none")))?;
                    sockets.push((name, socket));
                }
                Some(other) => return Err(unexpected(&other)),
            }
        }
    }

    /// Tells it that this agent answers now.
    ///
    /// # Errors
    /// [`HandoverError::Talk`]: it may have gone on by itself, so this agent has to end.
    pub(crate) async fn go(&self) -> Result<(), HandoverError> {
        self.talk.say(&Line::Go).await.map_err(talk_failed(&self.path))
    }

    /// Waits until the agent of `run_dir` has ended; not at all when there is none.
    ///
    /// # Errors
    /// [`HandoverError::Talk`].
    pub(crate) async fn outlive(run_dir: &Path) -> Result<(), HandoverError> {
        let Some((mut talk, path)) = connect(run_dir).await? else { return Ok(()) };
        talk.say(&Line::StandBy).await.map_err(talk_failed(&path))?;
        while talk.hear().await.map_err(talk_failed(&path))?.is_some() {}
        Ok(())
    }

    fn failed(&self, cause: io::Error) -> HandoverError {
        HandoverError::Talk { path: self.path.clone(), cause }
    }
}

/// `None` when nobody is there.
async fn connect(run_dir: &Path) -> Result<Option<(Talk, PathBuf)>, HandoverError> {
    let path = run_dir.join(SOCKET);
    let stream = match UnixStream::connect(&path).await {
        Ok(stream) => stream,
        Err(error) if is_nobody(error.kind()) => return Ok(None),
        Err(cause) => return Err(HandoverError::Talk { path, cause }),
    };
    match Talk::with(stream) {
        Ok(talk) => Ok(Some((talk, path))),
        Err(cause) => Err(HandoverError::Talk { path, cause }),
    }
}

/// Never there, or its socket is all that a crash has left.
fn is_nobody(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn unexpected(line: &Line) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it says {line:?}"))
}
