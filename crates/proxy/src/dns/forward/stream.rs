//! Questions over a connection: TCP, or TLS inside of it.
//!
//! There is one connection to a server at a time. Questions are written one after the other without
//! waiting, and answers come in any order (RFC 7766 §6.2.1.1). Nobody asks, nothing comes: it is closed.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use wire::dns::hear;

use super::tally::Connections;
use super::tasks::Tasks;
use crate::dns::random;

/// How long a connection takes to be made, and a question to be taken off us.
const PATIENCE: Duration = Duration::from_secs(2);

/// Questions that wait for their connection, or to be written.
const QUEUE: usize = 64;

/// A server, and the connection to it if there is one.
#[derive(Debug)]
pub(super) struct Stream {
    target: Target,
    expire: Duration,
    tasks: Arc<Tasks>,
    open: Mutex<Open>,
}

/// The connection, if there is one, and those that there have been.
#[derive(Debug, Default)]
struct Open {
    questions: Option<mpsc::Sender<Question>>,
    connections: Connections,
}

/// Where a connection leads.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The server.
    pub(super) addr: SocketAddr,
    /// Whose certificate is wanted, and how it is verified.
    pub(super) tls: Option<(Arc<TlsLayer>, ServerName<'static>)>,
}

/// What speaks TLS.
pub(super) struct TlsLayer(pub(super) TlsConnector);

impl std::fmt::Debug for TlsLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TLS")
    }
}

/// A question on its way.
struct Question {
    /// The message; its id is made anew.
    message: Vec<u8>,
    asked: Instant,
    reply: oneshot::Sender<Result<Vec<u8>, Arc<io::Error>>>,
}

impl Stream {
    /// No connection yet.
    pub(super) fn new(target: Target, expire: Duration, tasks: Arc<Tasks>) -> Self {
        Stream { target, expire, tasks, open: Mutex::default() }
    }

    /// Asks. The answer has an id of its own.
    ///
    /// # Errors
    /// When there is no connection. One that was there already and ends is tried anew, once.
    pub(super) async fn ask(&self, message: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            let (open, was_there) = self.connection();
            let (reply, answer) = oneshot::channel();
            let question = Question { message: message.to_vec(), asked: Instant::now(), reply };
            let answer = match open.send(question).await {
                Ok(()) => answer.await.ok(),
                Err(_) => None,
            };
            match answer {
                Some(Ok(message)) => return Ok(message),
                Some(Err(error)) => return Err(io::Error::new(error.kind(), error)),
                None if was_there => {}
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
    }

    /// How often there was a connection to ask on.
    pub(super) fn connections(&self) -> Connections {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).connections
    }

    /// The connection, and whether it was there.
    fn connection(&self) -> (mpsc::Sender<Question>, bool) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = open.questions.clone().filter(|open| !open.is_closed()) {
            open.connections.reused += 1;
            return (there, true);
        }
        let (sender, questions) = mpsc::channel(QUEUE);
        self.tasks.spawn(serve(self.target.clone(), questions, self.expire));
        open.questions = Some(sender.clone());
        open.connections.made += 1;
        (sender, false)
    }
}

/// Makes a connection and asks on it until it ends.
async fn serve(target: Target, mut questions: mpsc::Receiver<Question>, expire: Duration) {
    let made = timeout(PATIENCE, TcpStream::connect(target.addr)).await;
    let made = async {
        let tcp = made??;
        tcp.set_nodelay(true)?;
        let Some((tls, name)) = &target.tls else { return Ok(Box::new(tcp) as Box<dyn Duplex>) };
        let tls = timeout(PATIENCE, tls.0.connect(name.clone(), tcp)).await??;
        Ok(Box::new(tls) as Box<dyn Duplex>)
    };
    match made.await {
        Ok(connection) => Connection::new(connection).run(questions, expire).await,
        Err(error) => {
            let error: Arc<io::Error> = Arc::new(error);
            questions.close();
            while let Some(question) = questions.recv().await {
                let _gone = question.reply.send(Err(Arc::clone(&error)));
            }
        }
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection with what is asked on it.
struct Connection {
    io: Box<dyn Duplex>,
    asked: HashMap<u16, Question>,
    heard: Vec<u8>,
    heard_at: Instant,
}

impl Connection {
    fn new(io: Box<dyn Duplex>) -> Self {
        Connection { io, asked: HashMap::new(), heard: Vec::new(), heard_at: Instant::now() }
    }

    async fn run(mut self, mut questions: mpsc::Receiver<Question>, expire: Duration) {
        loop {
            let is_going_on = tokio::select! {
                question = questions.recv() => match question {
                    Some(question) => self.write(question).await,
                    None => false,
                },
                read = self.io.read_buf(&mut self.heard) => {
                    self.hear();
                    matches!(read, Ok(1..))
                }
                () = sleep(expire) => false,
            };
            if !is_going_on {
                return;
            }
        }
    }

    /// Writes a question, unless the connection seems dead: nothing came since an older one.
    async fn write(&mut self, mut question: Question) -> bool {
        let is_waiting =
            |before: &Question| before.asked > self.heard_at && before.asked.elapsed() > PATIENCE;
        if self.asked.values().any(is_waiting) {
            return false;
        }
        self.asked.retain(|_, before| !before.reply.is_closed());
        let id = loop {
            let id = random::number();
            if !self.asked.contains_key(&id) {
                break id;
            }
        };
        question.message[..2].copy_from_slice(&id.to_be_bytes());
        let len = u16::try_from(question.message.len()).unwrap_or(u16::MAX);
        let frame = [&len.to_be_bytes()[..], &question.message].concat();
        self.asked.insert(id, question);
        let written = async {
            self.io.write_all(&frame).await?;
            self.io.flush().await
        };
        matches!(timeout(PATIENCE, written).await, Ok(Ok(())))
    }

    /// Delivers the answers that are there as a whole. What is no answer to anything is nothing.
    fn hear(&mut self) {
        self.heard_at = Instant::now();
        while let Some((len, rest)) = self.heard.split_first_chunk() {
            let Some(message) = rest.get(..usize::from(u16::from_be_bytes(*len))) else { break };
            let id = message.first_chunk().map(|id| u16::from_be_bytes(*id));
            let question = id.and_then(|id| self.asked.get(&id));
            let is_answer = question.is_some_and(|q| hear(message, &q.message).is_some());
            if let Some(question) = id.filter(|_| is_answer).and_then(|id| self.asked.remove(&id)) {
                let _gone = question.reply.send(Ok(message.to_vec()));
            }
            let taken = 2 + message.len();
            self.heard.drain(..taken);
        }
    }
}
