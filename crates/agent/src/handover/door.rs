//! The predecessor's end: who comes to take over, and what becomes of it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::chain;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::talk::{Line, Talk};
use super::{FORMATS, HandoverError, SOCKET};
use crate::sockets::{Open, Sockets};

/// How long whoever connects may take to say who it is.
const ASK_WITHIN: Duration = Duration::from_secs(5);

/// How long a successor may take from what it was given to *go*.
const GO_WITHIN: Duration = Duration::from_secs(60);

/// Where successors announce themselves. Nobody is heard any more when it is dropped.
#[derive(Debug)]
pub(crate) struct Door {
    /// One successor at a time.
    seat: Arc<Semaphore>,
    heirs: mpsc::Receiver<Heir>,
    _tasks: JoinSet<()>,
}

/// A successor that has asked to take over.
#[derive(Debug)]
pub(crate) struct Heir {
    talk: Talk,
    _seat: OwnedSemaphorePermit,
}

/// What became of a successor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answers at every socket.
    Go,
    /// It ended, or took too long, or talks nonsense.
    Gone,
}

impl Door {
    /// Opens the socket in `run_dir`. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`HandoverError::Listen`].
    pub(crate) fn open(run_dir: &Path) -> Result<Self, HandoverError> {
        let path = run_dir.join(SOCKET);
        // The next agent makes its own: an open one would lead to who is no longer there.
        let listener = Sockets::default().unix(SOCKET, &path);
        let listener = listener.map_err(|cause| HandoverError::Listen { path, cause })?;
        let seat = Arc::new(Semaphore::new(1));
        let (announced, heirs) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(listener, Arc::clone(&seat), announced));
        Ok(Door { seat, heirs, _tasks: tasks })
    }

    /// Whether a successor has announced itself and has not asked to take over yet.
    pub(crate) fn is_expecting(&self) -> bool {
        self.seat.available_permits() == 0
    }

    /// The next that asks to take over. Nobody is forgotten when the future is dropped.
    pub(crate) async fn heir(&mut self) -> Heir {
        match self.heirs.recv().await {
            Some(heir) => heir,
            // The other end lives in the task.
            None => std::future::pending().await,
        }
    }
}

async fn listen(listener: Arc<UnixListener>, seat: Arc<Semaphore>, announced: mpsc::Sender<Heir>) {
    let mut talks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    talks.spawn(welcome(stream, Arc::clone(&seat), announced.clone()));
                }
                Err(error) => {
                    tracing::warn!("accept a successor: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = talks.join_next() => {}
        }
    }
}

async fn welcome(stream: UnixStream, seat: Arc<Semaphore>, announced: mpsc::Sender<Heir>) {
    match receive(stream, seat).await {
        Ok(Some(heir)) => drop(announced.send(heir).await),
        Ok(None) => {}
        Err(error) => tracing::warn!("hear a successor: {}", chain(&error)),
    }
}

/// A successor, once it asks to take over; `None` when it is none, or has gone.
async fn receive(stream: UnixStream, seat: Arc<Semaphore>) -> io::Result<Option<Heir>> {
    let mut talk = Talk::with(stream)?;
    let asked = tokio::time::timeout(ASK_WITHIN, talk.hear()).await;
    let (oldest, newest, release) = match asked.map_err(io::Error::other)?? {
        Some(Line::Announce { oldest, newest, release }) => (oldest, newest, release),
        Some(Line::StandBy) => {
            while talk.hear().await?.is_some() {}
            return Ok(None);
        }
        Some(other) => return Err(io::Error::other(format!("it says {other:?}"))),
        None => return Ok(None),
    };
    let refuse = async |why: String| {
        tracing::warn!("an agent of release {release} wants to take over and is refused: {why}");
        talk.say(&Line::Refuse { why }).await.map(|()| None)
    };
    let Some(format) = common(FORMATS, (oldest, newest)) else {
        let own = env!("CARGO_PKG_VERSION");
        return refuse(format!(
            "releases {own} and {release} are too far apart; stop the agent of {own} first, or \
             go by the minor releases between them"
        ))
        .await;
    };
    let Ok(seat) = seat.try_acquire_owned() else {
        return refuse("another one is taking over already".to_owned()).await;
    };
    talk.say(&Line::Welcome { format }).await?;
    tracing::info!("an agent of release {release} has started and will take over");
    match talk.hear().await? {
        Some(Line::TakeOver) => Ok(Some(Heir { talk, _seat: seat })),
        Some(other) => Err(io::Error::other(format!("it says {other:?}"))),
        None => {
            tracing::warn!("the agent that was to take over has ended; this one goes on");
            Ok(None)
        }
    }
}

/// The newest format that both know; each is from the oldest to the newest.
pub(super) fn common(own: (u32, u32), other: (u32, u32)) -> Option<u32> {
    let newest = own.1.min(other.1);
    (newest >= own.0.max(other.0)).then_some(newest)
}

impl Heir {
    /// Gives it everything that is open, in the order of `sockets`.
    ///
    /// # Errors
    /// When it does not take it: it has ended.
    pub(crate) async fn give(&self, sockets: &[(String, Arc<dyn Open>)]) -> io::Result<()> {
        for (name, socket) in sockets {
            self.talk.give(name, socket.as_fd()).await?;
        }
        self.talk.say(&Line::Complete).await
    }

    /// What becomes of it.
    pub(crate) async fn verdict(&mut self) -> Verdict {
        match tokio::time::timeout(GO_WITHIN, self.talk.hear()).await {
            Ok(Ok(Some(Line::Go))) => Verdict::Go,
            Ok(_) | Err(_) => Verdict::Gone,
        }
    }

    /// Waits until it has ended.
    pub(crate) async fn gone(&mut self) {
        while let Ok(Some(_)) = self.talk.hear().await {}
    }
}
