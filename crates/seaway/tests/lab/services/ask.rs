//! One question to whoever is behind an address, and what the client notices of it.

use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use fixtures::hosts::sent;
use fixtures::sctp;
use model::Protocol;
use socket2::{Domain, Socket, Type};

/// What a client notices.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Notice {
    /// This host answered, and saw the question come from there.
    Answer { host: String, saw: IpAddr },
    /// It is told that nobody serves there.
    Refused,
    /// Nothing comes back.
    Silence,
    /// Something else went wrong.
    Failed(String),
}

impl Notice {
    /// Who answered, and what they saw; `Err` for anything else.
    pub(crate) fn answer(self) -> Result<(String, IpAddr), Notice> {
        match self {
            Notice::Answer { host, saw } => Ok((host, saw)),
            Notice::Refused | Notice::Silence | Notice::Failed(_) => Err(self),
        }
    }
}

/// Asks who is at `to`, and waits for `patience`. The client is the network the calling thread is in,
/// and speaks from there if `from` is said; any port is 0.
pub(crate) fn ask(
    protocol: Protocol,
    from: Option<SocketAddr>,
    to: SocketAddr,
    patience: Duration,
) -> Notice {
    let asked = match protocol {
        Protocol::Tcp => connect(from, to, patience).and_then(|stream| read_line(&stream)),
        Protocol::Udp => udp(from, to, patience),
        Protocol::Sctp => sctp::ask(to, patience),
    };
    match asked {
        Ok(line) => answer(&line).unwrap_or(Notice::Failed(line)),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Notice::Refused,
        Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
            Notice::Silence
        }
        Err(error) => Notice::Failed(error.to_string()),
    }
}

/// The line by which `host` answers a client that it sees as `saw`: that of `seaway/echo`.
pub(crate) fn line(protocol: Protocol, saw: SocketAddr, host: &str) -> String {
    let saw = SocketAddr::new(saw.ip().to_canonical(), saw.port());
    format!("{protocol} client={saw} host={host}\n")
}

fn answer(line: &str) -> Option<Notice> {
    let word = |name| line.split_whitespace().find_map(|word| word.strip_prefix(name));
    let saw: SocketAddr = word("client=")?.parse().ok()?;
    Some(Notice::Answer { host: word("host=")?.to_owned(), saw: saw.ip() })
}

/// A connection to `to`.
pub(crate) fn connect(
    from: Option<SocketAddr>,
    to: SocketAddr,
    patience: Duration,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    if let Some(from) = from {
        socket.bind(&from.into())?;
    }
    socket.connect_timeout(&to.into(), patience)?;
    socket.set_read_timeout(Some(patience))?;
    Ok(socket.into())
}

/// The next line of a connection.
pub(crate) fn read_line(stream: &TcpStream) -> io::Result<String> {
    let mut line = String::new();
    // What is behind the line is nobody's yet: the server waits for the client to speak.
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

fn udp(from: Option<SocketAddr>, to: SocketAddr, patience: Duration) -> io::Result<String> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(from.unwrap_or(SocketAddr::new(any, 0)))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(patience))?;
    sent(socket.send(b"?"))?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}
