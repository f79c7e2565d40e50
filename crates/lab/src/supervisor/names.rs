//! Names outside of the cluster: the router takes DNS questions of nodes and hands them to the servers
//! that this machine asks itself. The lab's networks have no way there; only the questions do.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::SupervisorError;
use crate::spec::Spec;
use crate::topology::{self, Place};
use crate::underlay::Underlay;

/// Port of DNS servers.
const PORT: u16 = 53;
/// Most questions, and most connections, that are handed on at once; more are not heard.
const MOST: usize = 256;
/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a connection may last.
const LONGEST: Duration = Duration::from_secs(30);
/// Bytes of a header (RFC 1035 §4.1.1).
const HEADER: usize = 12;

/// Answers at every address that the router has towards nodes, until the runtime ends.
pub(super) fn serve(spec: &Spec, underlay: &Underlay) -> Result<(), SupervisorError> {
    const LISTEN: &str = "listen for DNS questions on the router";
    let router = underlay.host(Place::Router).map_err(SupervisorError::of(LISTEN))?;
    // Nodes are dealt to the subnets in turn.
    for ip in (1..=spec.subnets).flat_map(|number| topology::router_addrs(spec, number)) {
        let at = SocketAddr::new(ip, PORT);
        let open = || -> io::Result<_> {
            let (datagrams, streams) =
                (std::net::UdpSocket::bind(at)?, std::net::TcpListener::bind(at)?);
            datagrams.set_nonblocking(true)?;
            streams.set_nonblocking(true)?;
            Ok((datagrams, streams))
        };
        let opened = router.run(open).map_err(SupervisorError::of(LISTEN))?;
        let adopted = opened.and_then(|(datagrams, streams)| {
            Ok((UdpSocket::from_std(datagrams)?, TcpListener::from_std(streams)?))
        });
        let (datagrams, streams) = adopted.map_err(SupervisorError::of(LISTEN))?;
        tokio::spawn(hand_on_datagrams(Arc::new(datagrams)));
        tokio::spawn(hand_on_streams(streams));
    }
    Ok(())
}

async fn hand_on_datagrams(socket: Arc<UdpSocket>) {
    let (room, mut buffer) = (Arc::new(Semaphore::new(MOST)), vec![0; 1 << 16]);
    loop {
        // An error tells of an earlier answer that nobody took.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let (socket, query) = (Arc::clone(&socket), buffer[..length].to_vec());
        tokio::spawn(async move {
            if let Some(reply) = answer(query).await
                && let Err(error) = socket.send_to(&reply, client).await
            {
                tracing::debug!("answer {client}: {error}");
            }
            drop(place);
        });
    }
}

/// What a server of this machine says, or SERVFAIL; nothing to what is no question.
async fn answer(mut query: Vec<u8>) -> Option<Vec<u8>> {
    const IS_ANSWER: u8 = 0x80;
    const SERVFAIL: u8 = 0x82;
    if query.len() < HEADER || query[2] & IS_ANSWER != 0 {
        return None;
    }
    for server in servers() {
        match timeout(PATIENCE, ask(server, &query)).await {
            Ok(Ok(reply)) => return Some(reply),
            Ok(Err(error)) => tracing::debug!("ask {server}: {error}"),
            Err(_) => tracing::debug!("ask {server}: no answer in {PATIENCE:?}"),
        }
    }
    query[2] |= IS_ANSWER;
    query[3] = SERVFAIL;
    Some(query)
}

async fn ask(server: IpAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect((server, PORT)).await?;
    socket.send(query).await?;
    let mut reply = vec![0; 1 << 16];
    loop {
        let length = socket.recv(&mut reply).await?;
        if length >= HEADER && reply[..2] == query[..2] {
            reply.truncate(length);
            return Ok(reply);
        }
    }
}

async fn hand_on_streams(listener: TcpListener) {
    const PAUSE: Duration = Duration::from_millis(100);
    let room = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((mut client, _)) = listener.accept().await else {
            // No descriptors are left: others will be given back.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        tokio::spawn(async move {
            let joined = async {
                let mut server = connect().await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            };
            if let Ok(Err(error)) = timeout(LONGEST, joined).await {
                tracing::debug!("hand on a DNS connection: {error}");
            }
            drop(place);
        });
    }
}

async fn connect() -> io::Result<TcpStream> {
    let mut last = io::Error::other("this machine has no DNS server");
    for server in servers() {
        match timeout(PATIENCE, TcpStream::connect((server, PORT))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(elapsed) => last = elapsed.into(),
        }
    }
    Err(last)
}

/// Whom this machine asks, as of now: it may have moved to another network.
fn servers() -> Vec<IpAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let server = |line: &str| line.trim().strip_prefix("nameserver")?.trim().parse().ok();
    text.lines().filter_map(server).collect()
}
