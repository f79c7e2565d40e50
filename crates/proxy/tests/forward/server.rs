//! A DNS server on loopback that answers as a test says, and not always well.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

/// What a question is answered with: datagrams over UDP, or messages over TCP.
pub(crate) type Says = dyn Fn(&Question) -> Vec<Vec<u8>> + Send + Sync;

/// A question as the server got it.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// All of it.
    pub(crate) message: Vec<u8>,
    /// Name, type and class.
    pub(crate) question: Vec<u8>,
    /// Where from.
    pub(crate) from: SocketAddr,
    /// Whether it came by TCP.
    pub(crate) is_tcp: bool,
    /// How many came before it, health checks and searches for loops not counted.
    pub(crate) turn: usize,
}

/// A server; it ends when this is dropped.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    asked: Arc<Mutex<Vec<Question>>>,
    _running: JoinSet<()>,
}

impl Server {
    /// A server that says what `says` returns.
    pub(crate) async fn new(
        says: impl Fn(&Question) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Server {
        let says: Arc<Says> = Arc::new(says);
        let (udp, tcp) = sockets().await;
        let addr = udp.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut running = JoinSet::new();
        let (log, turns) = (Arc::clone(&asked), Arc::new(AtomicUsize::new(0)));
        let take = move |message: &[u8], from, is_tcp| {
            let question = Question::new(message, from, is_tcp, &turns);
            if question.is_meant() {
                log.lock().unwrap().push(question.clone());
            }
            says(&question)
        };
        let take = Arc::new(take);
        running.spawn(datagrams(udp, Arc::clone(&take)));
        running.spawn(connections(tcp, take));
        Server { addr, asked, _running: running }
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Question> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until it was asked so often.
    pub(crate) async fn was_asked(&self, times: usize) {
        for _ in 0..500 {
            if self.asked().len() >= times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("asked {} times instead of {times}", self.asked().len());
    }
}

/// One port for both.
async fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

async fn datagrams<F: Fn(&[u8], SocketAddr, bool) -> Vec<Vec<u8>>>(udp: UdpSocket, take: Arc<F>) {
    let mut buffer = [0; 2048];
    loop {
        let (len, from) = udp.recv_from(&mut buffer).await.unwrap();
        for said in take(&buffer[..len], from, false) {
            udp.send_to(&said, from).await.unwrap();
        }
    }
}

async fn connections<F>(tcp: TcpListener, take: Arc<F>)
where
    F: Fn(&[u8], SocketAddr, bool) -> Vec<Vec<u8>> + Send + Sync + 'static,
{
    let mut running = JoinSet::new();
    loop {
        let (mut io, from) = tcp.accept().await.unwrap();
        let take = Arc::clone(&take);
        running.spawn(async move {
            while let Ok(len) = io.read_u16().await {
                let mut message = vec![0; len.into()];
                if io.read_exact(&mut message).await.is_err() {
                    return;
                }
                for said in take(&message, from, true) {
                    let len = u16::try_from(said.len()).unwrap().to_be_bytes();
                    if io.write_all(&[&len[..], &said].concat()).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

impl Question {
    fn new(message: &[u8], from: SocketAddr, is_tcp: bool, turns: &AtomicUsize) -> Self {
        let name = message[12..].iter().position(|byte| *byte == 0).unwrap();
        let question = message[12..12 + name + 5].to_vec();
        let mut asked = Question { message: message.to_vec(), question, from, is_tcp, turn: 0 };
        if asked.is_meant() {
            asked.turn = turns.fetch_add(1, Ordering::Relaxed);
        }
        asked
    }

    /// Whether it is neither a health check nor a search for loops.
    fn is_meant(&self) -> bool {
        self.question[0] != 0 && self.kind() != 13
    }

    pub(crate) fn kind(&self) -> u16 {
        let [.., high, low, _, _] = self.question[..] else { unreachable!() };
        u16::from_be_bytes([high, low])
    }

    /// An answer with these records, in these numbers.
    pub(crate) fn answer(&self, rcode: u8, counts: [u16; 2], records: &[u8]) -> Vec<u8> {
        let mut out = self.message[..2].to_vec();
        out.extend([0x81, 0x80 | rcode, 0, 1]);
        out.extend(counts[0].to_be_bytes());
        out.extend(counts[1].to_be_bytes());
        out.extend([0, 0]);
        out.extend(&self.question);
        out.extend(records);
        out
    }

    /// The address 192.0.2.`last`, for a minute.
    pub(crate) fn address(&self, last: u8) -> Vec<u8> {
        self.answer(0, [1, 0], &record(b"\xc0\x0c", 1, 60, &[192, 0, 2, last]))
    }
}

/// A record in wire form.
pub(crate) fn record(owner: &[u8], kind: u16, ttl: u32, rdata: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rdata.len()).unwrap();
    let (kind, ttl, len) = (kind.to_be_bytes(), ttl.to_be_bytes(), len.to_be_bytes());
    [owner, &kind, &[0, 1], &ttl, &len, rdata].concat()
}
