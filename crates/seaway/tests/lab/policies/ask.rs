//! Many questions of one client at once.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use fixtures::sctp;
use kernel::netns::Netns;
use model::{Family, Protocol};
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// How long an answer may take that is expected: a lost packet of TCP is sent again after a second.
pub(crate) const ANSWER: Duration = Duration::from_millis(1500);

/// How long no answer is silence where none is expected, once all are here that are: those take a few
/// milliseconds, and all were asked for at once.
const SILENCE: Duration = Duration::from_millis(120);

/// A packet or a connection to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Question {
    pub(crate) protocol: Protocol,
    pub(crate) to: SocketAddr,
}

/// What becomes of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A host that serves there answered.
    Answer,
    /// The client is told that nobody does, or that it may not.
    Refused,
    /// Nothing came back.
    Silence,
}

/// What a client in `netns` notices of each question, all asked at once; with each whether an answer is
/// expected, which is waited for.
pub(crate) fn ask(netns: &Netns, questions: &[(Question, bool)]) -> Vec<Notice> {
    ask_for(netns, questions, ANSWER)
}

/// The same by who has not so much patience with answers that are expected.
pub(crate) fn ask_for(
    netns: &Netns,
    questions: &[(Question, bool)],
    patience: Duration,
) -> Vec<Notice> {
    let all = || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(ask_all(questions, patience))
    };
    netns.run(all).expect("enter the client's network")
}

async fn ask_all(questions: &[(Question, bool)], patience: Duration) -> Vec<Notice> {
    let mut notices = vec![Notice::Silence; questions.len()];
    let mut asked = JoinSet::new();
    for (index, (question, _)) in questions.iter().enumerate() {
        let question = *question;
        asked.spawn(async move { (index, question, ask_one(question).await) });
    }
    let mut awaited = questions.iter().filter(|(_, expected)| *expected).count();
    let mut until = Instant::now() + if awaited == 0 { SILENCE } else { patience };
    while let Ok(Some(done)) = timeout_at(until, asked.join_next()).await {
        let (index, question, outcome) = done.expect("a question is asked");
        notices[index] = match outcome {
            Ok(()) => Notice::Answer,
            Err(error) if is_refusal(&error) => Notice::Refused,
            Err(error) if error.kind() == ErrorKind::TimedOut => Notice::Silence,
            Err(error) => panic!("ask {question:?}: {error}"),
        };
        if questions[index].1 {
            awaited -= 1;
            if awaited == 0 {
                until = Instant::now() + SILENCE;
            }
        }
    }
    notices
}

/// A reset, a closed port, or any other word that somebody who may not should not hear (NP-C9).
fn is_refusal(error: &io::Error) -> bool {
    use ErrorKind::PermissionDenied;
    use ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
    let all = [ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable];
    all.contains(&error.kind()) || error.kind() == PermissionDenied
}

async fn ask_one(Question { protocol, to }: Question) -> io::Result<()> {
    match protocol {
        Protocol::Tcp => ask_tcp(to).await,
        Protocol::Udp => ask_udp(to).await,
        Protocol::Sctp => ask_sctp(to).await,
    }
}

async fn ask_tcp(to: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(to).await?;
    // So that connection tracking forgets it soon.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    match stream.read(&mut [0; 128]).await? {
        0 => Err(ErrorKind::ConnectionReset.into()),
        _ => Ok(()),
    }
}

async fn ask_udp(to: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind((sctp::any(Family::of(to.ip())), 0)).await?;
    socket.connect(to).await?;
    socket.send(b"?").await?;
    socket.recv(&mut [0; 128]).await.map(drop)
}

async fn ask_sctp(to: SocketAddr) -> io::Result<()> {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let own = 20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 20_000;
    let family = Family::of(to.ip());
    let socket = sctp::socket(sctp::any(family))?;
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    socket.connect(SocketAddr::new(to.ip(), 0)).await?;
    socket.send(&sctp::question(own, to.port())).await?;
    let mut buffer = [0; 2048];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if sctp::answer_to((own, to.port()), family, &buffer[..length]).is_some() {
            return Ok(());
        }
    }
}
