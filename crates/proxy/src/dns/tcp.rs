//! Connections. Each is a task that holds no more than one question that is not complete, a few that
//! others are asked for, and as many answers as fit into the longest message.
//!
//! Answers may come in another order than questions (RFC 7766 §6.2.1.1): those that are known do not
//! wait for others.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use model::Family;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant as Moment, sleep_until};
use wire::dns::Transport;

use super::asking::Asking;
use super::bind::Listen;
use super::counts::{Counts, Told};
use super::log::Exchange;
use super::respond::{Client, Message, Open, Outcome, Responder};
use super::share::Shares;
use super::udp::since_1970;

/// Questions of one connection that others are asked for at one time.
const PIPELINED: usize = 32;

/// Bytes of the longest question: a name, and options of EDNS. Longer messages are none of ours.
const QUESTION: usize = 4096;

/// Bytes of a length, which is before every message (RFC 1035 §4.2.2).
const PREFIX: usize = 2;

/// Answers wait until the client reads; more than this many bytes, and its questions wait, too.
const UNREAD: usize = 65_535;

/// How long the server waits when the process has no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections.
pub(super) struct Acceptor {
    pub(super) listen: Listen,
    pub(super) responder: Arc<Responder>,
    pub(super) asking: Arc<Asking>,
    pub(super) shares: Arc<Shares>,
    /// How long a connection stays without a complete question or a complete answer.
    pub(super) idle: Duration,
    pub(super) counts: Arc<Counts>,
    /// True when the server ends: connections are given back as soon as nothing is open.
    pub(super) is_over: watch::Receiver<bool>,
    /// Where connections go that the server has no more to do with, and their clients have.
    pub(super) given_back: mpsc::Sender<TcpStream>,
}

impl Acceptor {
    /// Takes connections until the server ends.
    pub(super) async fn run(self: Arc<Self>, listener: TcpListener) {
        let mut is_over = self.is_over.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = is_over.wait_for(|is_over| *is_over) => return,
            };
            match accepted {
                Ok((stream, client)) => self.admit(stream, client),
                Err(error) => {
                    tracing::warn!("accept DNS connections at {}: {error}", self.listen.addr);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Answers what comes over a connection, if its client may have one.
    pub(super) fn admit(&self, stream: TcpStream, from: SocketAddr) {
        let Some(client) = self.listen.admit(from.ip(), &self.responder.known.cluster.load())
        else {
            return Counts::add_one(&self.counts.strangers);
        };
        let Some(share) = self.shares.take(client.ip) else {
            return Counts::add_one(&self.counts.connections_shed);
        };
        let connection = Connection {
            stream,
            from,
            client,
            responder: Arc::clone(&self.responder),
            asking: Arc::clone(&self.asking),
            counts: Arc::clone(&self.counts),
            input: Vec::new(),
            output: Vec::new(),
            turn: 0,
            is_complete: false,
            idle: self.idle,
            is_over: false,
        };
        let (is_over, given_back) = (self.is_over.clone(), self.given_back.clone());
        self.asking.runtime.spawn(async move {
            let _share = share;
            if let Some(stream) = connection.serve(is_over).await {
                // There is room for as many as there are.
                drop(given_back.try_send(stream));
            }
        });
    }
}

/// A client's connection.
struct Connection {
    stream: TcpStream,
    from: SocketAddr,
    client: Client,
    responder: Arc<Responder>,
    asking: Arc<Asking>,
    counts: Arc<Counts>,
    /// What was read and is not answered.
    input: Vec<u8>,
    /// What is answered and not written.
    output: Vec<u8>,
    turn: u32,
    /// Whether the client asks nothing more.
    is_complete: bool,
    /// How long it stays without a complete question or a complete answer.
    idle: Duration,
    /// Whether nothing more is read than a question that has begun.
    is_over: bool,
}

impl Connection {
    /// Answers until the client has no questions any more or is too slow; or until the server ends, and
    /// then gives the connection back between two questions.
    async fn serve(mut self, mut is_over: watch::Receiver<bool>) -> Option<TcpStream> {
        let mut open = FuturesUnordered::new();
        let mut deadline = Moment::now() + self.idle;
        loop {
            while open.len() < PIPELINED && self.output.len() < UNREAD {
                let message = self.next_message().ok()?;
                let Some(message) = message else { break };
                deadline = Moment::now() + self.idle;
                if let Some(question) = self.answer(&message) {
                    open.push(later(Arc::clone(&self.asking), Arc::clone(&self.counts), question));
                }
            }
            let has_room = open.len() < PIPELINED && self.output.len() < UNREAD;
            let is_idle = open.is_empty() && self.output.is_empty();
            if is_idle && self.is_complete {
                return None;
            }
            if is_idle && self.is_over && self.input.is_empty() {
                return Some(self.stream);
            }
            let reads = !(self.is_complete || self.is_over && self.input.is_empty());
            tokio::select! {
                ready = self.stream.readable(), if has_room && reads => {
                    if ready.and_then(|()| self.read()).is_err() {
                        return None;
                    }
                }
                ready = self.stream.writable(), if !self.output.is_empty() => {
                    if ready.and_then(|()| self.write()).is_err() {
                        return None;
                    }
                    if self.output.is_empty() {
                        deadline = Moment::now() + self.idle;
                    }
                }
                Some(answer) = open.next(), if !open.is_empty() => {
                    self.finish(&answer);
                    deadline = Moment::now() + self.idle;
                }
                () = sleep_until(deadline) => return None,
                _ = is_over.wait_for(|is_over| *is_over), if !self.is_over => self.is_over = true,
            }
        }
    }

    /// The next message that is there as a whole.
    fn next_message(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some((len, rest)) = self.input.split_first_chunk() else { return Ok(None) };
        let len = usize::from(u16::from_be_bytes(*len));
        if len > QUESTION {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let Some(message) = rest.get(..len).map(<[u8]>::to_vec) else { return Ok(None) };
        self.input.drain(..PREFIX + len);
        if self.input.is_empty() {
            self.input = Vec::new(); // An idle connection holds no room.
        }
        Ok(Some(message))
    }

    /// Answers a message, unless others have to be asked.
    fn answer(&mut self, bytes: &[u8]) -> Option<(Open, Instant)> {
        let start = Instant::now();
        let zones = self.responder.known.zones.load();
        self.turn = self.turn.wrapping_add(1);
        let (turn, now) = (self.turn, since_1970());
        let (client, transport) = (self.client, Transport::Tcp);
        let message = Message { bytes, client, transport, turn, now };
        let mut out = Vec::new();
        match self.responder.respond(&zones, message, &self.counts, &mut out) {
            Outcome::Silent => Counts::add_one(&self.counts.silent),
            Outcome::Told(told) => self.put(told, bytes, &out, start),
            Outcome::Open(open) => return Some((*open, start)),
        }
        None
    }

    /// Writes the answer to a question that was open.
    fn finish(&mut self, answer: &Later) {
        match &answer.outcome {
            Outcome::Told(told) => {
                let Later { open, out, start, .. } = answer;
                self.put(*told, open.bytes(), out, *start);
            }
            Outcome::Silent | Outcome::Open(_) => {}
        }
    }

    fn put(&mut self, told: Told, question: &[u8], answer: &[u8], start: Instant) {
        let Ok(len) = u16::try_from(answer.len()) else { return }; // No message is longer.
        self.output.extend(len.to_be_bytes());
        self.output.extend(answer);
        let (client, transport, took) = (self.from, Transport::Tcp, start.elapsed());
        self.counts.add(told, transport, Family::of(client.ip()), [question.len(), answer.len()]);
        self.counts.add_took(told.zone, took, 1);
        if let Some(log) = &*self.responder.known.log.load() {
            log.say(&Exchange { client, transport, question, answer }, told, took);
        }
    }

    /// Reads what is there, as far as one long question goes.
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; PREFIX + QUESTION];
        let room = buffer.len() - self.input.len();
        match self.stream.try_read(&mut buffer[..room]) {
            Ok(0) => self.is_complete = true,
            Ok(len) => self.input.extend(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Writes what the client takes.
    fn write(&mut self) -> io::Result<()> {
        match self.stream.try_write(&self.output) {
            Ok(len) => drop(self.output.drain(..len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if self.output.is_empty() {
            self.output = Vec::new();
        }
        Ok(())
    }
}

/// The answer to a question that was open.
struct Later {
    open: Open,
    start: Instant,
    outcome: Outcome,
    out: Vec<u8>,
}

async fn later(asking: Arc<Asking>, counts: Arc<Counts>, question: (Open, Instant)) -> Later {
    let (open, start) = question;
    let mut out = Vec::new();
    let outcome = asking.ask(&open, &counts, &mut out).await;
    Later { open, start, outcome, out }
}
