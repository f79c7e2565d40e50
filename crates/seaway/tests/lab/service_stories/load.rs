//! HTTP clients that count what fails: one that connects anew for each request, and one that keeps its
//! connection for as long as the server does.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use kernel::netns::Netns;

use crate::lab::eventually;

/// How long a client waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two requests of a client: enough for load, and the rest of the machine lives.
const PAUSE: Duration = Duration::from_millis(2);

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// The client asks to close it.
    Anew,
    /// It is used again, unless the server closes it.
    Kept,
}

/// What a client, or several, had to tell.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Requests that were answered, by the host that did.
    pub(crate) answers: BTreeMap<String, u64>,
    /// What became of the others.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    pub(crate) fn answered(&self) -> u64 {
        self.answers.values().sum()
    }
}

/// Clients at work.
pub(crate) struct Load {
    ends: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// `count` clients in `netns` that ask `server` one thing after the other, from now on.
    pub(crate) fn start(netns: &Netns, server: SocketAddr, style: Style, count: usize) -> Load {
        let (ends, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |_| {
            let (netns, ends, answered) = (netns.clone(), Arc::clone(&ends), Arc::clone(&answered));
            std::thread::spawn(move || {
                netns.run(|| ask(server, style, &ends, &answered)).expect("enter the namespace")
            })
        };
        let clients = (0..count).map(client).collect();
        Load { ends, answered, clients }
    }

    /// Waits for `count` more answers.
    pub(crate) fn goes_on_for(&self, count: u64) {
        let until = self.answered.load(Ordering::Relaxed) + count;
        eventually("clients get their answers", || match self.answered.load(Ordering::Relaxed) {
            enough if enough >= until => Ok(()),
            fewer => Err(fewer),
        });
    }

    /// Ends the clients after the requests at hand.
    pub(crate) fn end(self) -> Tally {
        self.ends.store(true, Ordering::Relaxed);
        let mut sum = Tally::default();
        for client in self.clients {
            let tally = client.join().expect("a client ends");
            sum.failures.extend(tally.failures);
            for (host, count) in tally.answers {
                *sum.answers.entry(host).or_default() += count;
            }
        }
        sum
    }

    /// The same; nothing may have failed.
    pub(crate) fn end_whole(self, who: &str) -> Tally {
        let tally = self.end();
        let first: Vec<&String> = tally.failures.iter().take(10).collect();
        let (failed, answered) = (tally.failures.len(), tally.answered());
        assert!(failed == 0, "{who}: {failed} requests failed, {answered} did not: {first:#?}");
        tally
    }
}

fn ask(server: SocketAddr, style: Style, ends: &AtomicBool, answered: &AtomicU64) -> Tally {
    let mut tally = Tally::default();
    let mut kept = None;
    while !ends.load(Ordering::Relaxed) {
        match request(server, style, &mut kept) {
            Ok(host) => {
                *tally.answers.entry(host).or_default() += 1;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                tally.failures.push(error.to_string());
                kept = None;
            }
        }
        std::thread::sleep(PAUSE);
    }
    tally
}

/// One request and its answer: the host that gave it.
fn request(server: SocketAddr, style: Style, kept: &mut Option<TcpStream>) -> io::Result<String> {
    if let Some(mut stream) = kept.take() {
        match exchange(&mut stream, style) {
            Ok((host, closes)) => {
                *kept = (!closes).then_some(stream);
                return Ok(host);
            }
            // A server may close a connection that it keeps while the next request is on its way to it;
            // the client sends that again over another one (RFC 9112 §9.3.1).
            Err(Broken::Silent(_)) => {}
            Err(Broken::Midway(error)) => return Err(error),
        }
    }
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)
        .map_err(|error| io::Error::new(error.kind(), format!("connect: {error}")))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    match exchange(&mut stream, style) {
        Ok((host, closes)) => {
            *kept = (!closes && style == Style::Kept).then_some(stream);
            Ok(host)
        }
        Err(Broken::Silent(error) | Broken::Midway(error)) => Err(error),
    }
}

/// What is wrong with a connection: no byte of an answer came, or not all.
enum Broken {
    Silent(io::Error),
    Midway(io::Error),
}

/// Asks and reads the answer: who gave it, and whether that was the last one.
fn exchange(stream: &mut TcpStream, style: Style) -> Result<(String, bool), Broken> {
    let connection = if style == Style::Anew { "close" } else { "keep-alive" };
    let question = format!("GET / HTTP/1.1\r\nHost: web\r\nConnection: {connection}\r\n\r\n");
    stream.write_all(question.as_bytes()).map_err(Broken::Silent)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let broken = |error, answer: &[u8]| match answer {
            [] => Broken::Silent(error),
            [..] => Broken::Midway(error),
        };
        let length = stream.read(&mut buffer).map_err(|error| {
            let error = io::Error::new(error.kind(), format!("read: {error}"));
            broken(error, &answer)
        })?;
        if length == 0 {
            return Err(broken(io::ErrorKind::UnexpectedEof.into(), &answer));
        }
        answer.extend_from_slice(&buffer[..length]);
        if let Some(result) = read(&answer) {
            return result.map_err(|error| Broken::Midway(io::Error::other(error)));
        }
    }
}

/// Host and whether the server closes; `None` while the answer is not complete.
fn read(answer: &[u8]) -> Option<Result<(String, bool), String>> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let head = head.to_ascii_lowercase();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length = header("content-length:").and_then(|length| length.parse().ok())?;
    if body.len() < length {
        return None;
    }
    if !head.contains(" 200 ") {
        return Some(Err(head));
    }
    let host = body.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or("?");
    let closes = header("connection:") == Some("close") || head.starts_with("http/1.0");
    Some(Ok((host.to_owned(), closes)))
}
