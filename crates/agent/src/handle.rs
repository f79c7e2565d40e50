//! The way in to the loop for requests: what the CNI socket and the admin endpoints hold.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use ipnet::IpNet;
use model::{Attachment, AttachmentKey, IfName};

/// What an ADD asks for.
pub use compile::cni::Request as Attach;
use plan::PodLink;
use tokio::sync::oneshot;

/// How long a request may take from the question to the answer. Less than the runtimes' own limits,
/// so that the answer is ours and says what is wrong.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// An attachment that is in place, with what the kernel was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The attachment, as the journal holds it.
    pub attachment: Arc<Attachment>,
    /// Its veth pair: addresses with prefix lengths, gateways, MTU, hardware addresses of both ends.
    pub link: PodLink,
    /// Name of the host end.
    pub host_link: IfName,
}

/// Why a request was not fulfilled. Nothing of a failed ADD stays behind.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The agent cannot serve yet, is too busy or is stopping: the same request may succeed later.
    #[error("the agent is not ready: {0}; try again later")]
    NotReady(String),
    /// No address of the pool is free.
    #[error("{0}")]
    Exhausted(String),
    /// The request contradicts what is there: another namespace under the same key, an address that
    /// is leased or outside of the pool.
    #[error("{0}")]
    Conflict(String),
    /// The journal could not record it, so it was not begun.
    #[error("the ledger could not record it: {0}")]
    Journal(String),
    /// The kernel did not take a row; the text is the attempt with its causes.
    #[error("{0}")]
    Kernel(String),
    /// CHECK: there is no such attachment.
    #[error("attachment {0} is unknown")]
    Unknown(AttachmentKey),
    /// CHECK: the attachment is not as it should be; what differs, one line per row.
    #[error("attachment {key} is not in place: {differences}")]
    Differs {
        /// The attachment.
        key: AttachmentKey,
        /// What differs.
        differences: String,
    },
}

/// Whether ADD can be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It can.
    Ready {
        /// Pod CIDRs of this node.
        pod_cidrs: Vec<IpNet>,
    },
    /// It cannot, and why. Pods that are there are not affected, as far as anybody can tell.
    NotReady(String),
    /// It cannot, and why: something that all pods of the node depend on could not be brought in place,
    /// so those that are there may be cut off as well.
    Impaired(String),
}

/// A loop that takes longer than this for a turn is stuck.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);

/// Where an answer goes; closed when nobody waits for it any more.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, RequestError>>;

/// What wakes the loop.
#[derive(Debug)]
pub(crate) enum Message {
    /// ADD.
    Attach(Box<Attach>, Reply<Attached>),
    /// DEL.
    Detach(AttachmentKey, Reply<()>),
    /// CHECK.
    Check(AttachmentKey, Reply<Attached>),
    /// GC: of this network, only these stay.
    Gc(String, BTreeSet<AttachmentKey>, Reply<Vec<AttachmentKey>>),
    /// STATUS.
    Status(oneshot::Sender<Status>),
    /// A pass over what is known by now.
    Settle(Reply<Vec<String>>),
    /// What the step of this name is known to hold; `None` when there is no such step.
    Dump(String, oneshot::Sender<Option<String>>),
    /// A source or the kernel changed: look at the levels.
    Wake,
    /// Stop after this turn; the kernel's state stays as it is.
    Stop,
}

/// Asks the loop for things. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    inbox: SyncSender<Message>,
}

impl Handle {
    /// A handle that puts its requests into `inbox`.
    pub(crate) fn new(inbox: SyncSender<Message>) -> Self {
        Handle { inbox }
    }

    /// Joins a container to the network: leases addresses, records that durably, brings the kernel
    /// there and answers when the rows are in place. Asking again for what is there is a conflict.
    ///
    /// # Errors
    /// Every [`RequestError`] but `Unknown` and `Differs`. Nothing stays behind then.
    pub async fn attach(&self, attach: Attach) -> Result<Attached, RequestError> {
        self.ask(|reply| Message::Attach(Box::new(attach), reply)).await
    }

    /// Takes a container off the network and releases its addresses. Succeeds for what is unknown.
    ///
    /// # Errors
    /// `NotReady` and `Journal`; the attachment is still there then. `Kernel` when rows of it could
    /// not be removed: the loop keeps trying, and so may the caller.
    pub async fn detach(&self, key: AttachmentKey) -> Result<(), RequestError> {
        self.ask(|reply| Message::Detach(key, reply)).await
    }

    /// Reads back from the kernel whether an attachment is as it should be.
    ///
    /// # Errors
    /// `NotReady`, `Kernel` when it could not be read, `Unknown`, `Differs`.
    pub async fn check(&self, key: AttachmentKey) -> Result<Attached, RequestError> {
        self.ask(|reply| Message::Check(key, reply)).await
    }

    /// Takes every attachment of `network` off that is not in `keep`, and says which those were.
    ///
    /// # Errors
    /// As [`Handle::detach`].
    pub async fn gc(
        &self,
        network: String,
        keep: BTreeSet<AttachmentKey>,
    ) -> Result<Vec<AttachmentKey>, RequestError> {
        self.ask(|reply| Message::Gc(network, keep, reply)).await
    }

    /// Makes a pass over everything that is known at this moment, and says what it could not put in place.
    ///
    /// # Errors
    /// `NotReady`.
    pub(crate) async fn settle(&self) -> Result<Vec<String>, RequestError> {
        self.ask(Message::Settle).await
    }

    /// Whether ADD can be served now.
    pub async fn status(&self) -> Status {
        let (reply, answer) = oneshot::channel();
        if let Err(error) = self.send(Message::Status(reply)) {
            return Status::NotReady(error.to_string());
        }
        match tokio::time::timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(status)) => status,
            Ok(Err(_)) => Status::NotReady("the agent is stopping".to_owned()),
            Err(_) => Status::NotReady("the agent does not answer".to_owned()),
        }
    }

    /// Whether the loop turns: it answers, whatever the answer.
    pub async fn is_alive(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Status(reply)).is_ok()
            && tokio::time::timeout(ALIVE_WITHIN, answer).await.is_ok_and(|answer| answer.is_ok())
    }

    /// What the step called `name` is known to hold, a line per row; `None` when there is no such
    /// step, or nobody answers.
    pub async fn dump(&self, name: &str) -> Option<String> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Dump(name.to_owned(), reply)).ok()?;
        tokio::time::timeout(ANSWER_WITHIN, answer).await.ok()?.ok()?
    }

    /// Tells the loop to look at its sources again. Never waits: a full inbox means it is awake.
    pub(crate) fn wake(&self) {
        drop(self.inbox.try_send(Message::Wake));
    }

    /// Tells the loop to stop after its current turn. Waits for room in the inbox.
    pub(crate) fn stop(&self) {
        drop(self.inbox.send(Message::Stop));
    }

    /// One request, bounded in time. When the caller gives up the reply's channel closes, and the
    /// loop undoes what it did for nobody.
    async fn ask<T>(&self, message: impl FnOnce(Reply<T>) -> Message) -> Result<T, RequestError> {
        let (reply, answer) = oneshot::channel();
        self.send(message(reply))?;
        match tokio::time::timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(RequestError::NotReady("it is stopping".to_owned())),
            Err(_) => {
                let waited = ANSWER_WITHIN.as_secs();
                Err(RequestError::NotReady(format!("no answer within {waited} s")))
            }
        }
    }

    fn send(&self, message: Message) -> Result<(), RequestError> {
        self.inbox.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => RequestError::NotReady("too many requests wait".to_owned()),
            TrySendError::Disconnected(_) => RequestError::NotReady("it has stopped".to_owned()),
        })
    }
}
