//! Connections to ports inside a pod.
//!
//! Source: k8s.io/cri-streaming `portforward`; containerd `portForward`.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kernel::netns::Netns;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wire::spdy::Headers;

use super::asked::Asked;
use super::refusal::Refusal;
use super::spdy::{self, Answerer, Connection, Stream};
use super::{Answer, channels, numbered, tunnel};
use crate::pod::{Network, Runner};

/// The one protocol there is.
const PROTOCOLS: [&str; 1] = ["portforward.k8s.io"];
/// How long the second stream of a connection may come after the first.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes that are sent in one piece.
const PIECE: usize = 32 * 1024;

/// Answers a request to forward ports.
///
/// # Errors
/// There is no such pod here, or the client speaks nothing that is known here.
pub(super) async fn answer(
    asked: &Asked,
    mut request: Request<Incoming>,
    pods: Arc<Runner>,
) -> Answer {
    let Asked { namespace, pod, .. } = asked;
    let seen = pods.see(namespace, pod).await;
    let (_, present) = seen.map_err(|_| Refusal::not_found("pod does not exist"))?;
    let network = present.network.ok_or_else(|| {
        let why = format!("pod not found (\"{pod}_{namespace}\")");
        Refusal::new(http::StatusCode::INTERNAL_SERVER_ERROR, why)
    })?;
    let inside = Inside { pod: format!("{namespace}/{pod}"), network };
    if channels::is_asked_for(request.headers()) {
        if !tunnel::is_asked_for(request.headers()) {
            return numbered::open(asked, &mut request, inside);
        }
        let response = tunnel::accept(request.headers())?;
        let upgraded = hyper::upgrade::on(&mut request);
        let session = async move {
            // Fails only if the client has gone before it began.
            let Ok(upgraded) = upgraded.await else { return };
            let (io, tunnel) = tunnel::open(channels::socket(upgraded).await);
            tokio::join!(serve(io, inside), tunnel);
        };
        return Ok((response, Some(Box::pin(session))));
    }
    let (response, _) = spdy::accept(request.headers(), &PROTOCOLS)?;
    let upgraded = hyper::upgrade::on(&mut request);
    let session = async move {
        let Ok(upgraded) = upgraded.await else { return };
        serve(TokioIo::new(upgraded), inside).await;
    };
    Ok((response, Some(Box::pin(session))))
}

/// Forwards whatever connections a client opens on `io` until it has gone.
async fn serve(io: impl AsyncRead + AsyncWrite, inside: Inside) {
    let (connection, traffic) = spdy::connect(io, |headers| Kind::of(headers).is_some());
    tokio::select! {
        () = traffic => {}
        () = pair(connection, inside) => {}
    }
}

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Error,
}

impl Kind {
    /// What the headers say, if they also name a port.
    fn of(headers: &Headers) -> Option<(Self, u16)> {
        let port = headers.get("port")?.parse().ok().filter(|port| *port > 0)?;
        match headers.get("streamtype")?.as_str() {
            "data" => Some((Self::Data, port)),
            "error" => Some((Self::Error, port)),
            _ => None,
        }
    }
}

/// Both streams of a connection, as far as they have come.
#[derive(Debug, Default)]
struct Pair {
    data: Option<Stream>,
    error: Option<Stream>,
    /// Whether the rest of the pair should have come by now.
    is_late: bool,
}

/// Brings the streams of each connection together and forwards it.
async fn pair(mut connection: Connection, inside: Inside) {
    let inside = Arc::new(inside);
    let mut pairs: BTreeMap<String, Pair> = BTreeMap::new();
    let mut forwarded = JoinSet::new();
    let mut patience = tokio::time::interval(PATIENCE);
    loop {
        let stream = tokio::select! {
            stream = connection.streams.recv() => stream,
            Some(_) = forwarded.join_next() => continue,
            _ = patience.tick() => {
                pairs.retain(|_, pair| !std::mem::replace(&mut pair.is_late, true));
                continue;
            }
        };
        let Some(stream) = stream else { return };
        let Some((kind, port)) = Kind::of(&stream.headers) else { continue };
        let id = request_id(&stream, kind);
        let pair = pairs.entry(id.clone()).or_default();
        let place = match kind {
            Kind::Data => &mut pair.data,
            Kind::Error => &mut pair.error,
        };
        *place = Some(stream);
        if pair.data.is_some()
            && pair.error.is_some()
            && let Some(Pair { data: Some(data), error: Some(error), .. }) = pairs.remove(&id)
        {
            let inside = inside.clone();
            forwarded.spawn(async move { forward(&inside, port, data, error).await });
        }
    }
}

/// Which connection a stream belongs to. Old clients don't say: theirs come one after the other.
fn request_id(stream: &Stream, kind: Kind) -> String {
    match (stream.headers.get("requestid"), kind) {
        (Some(id), _) => id.clone(),
        (None, Kind::Error) => stream.id.to_string(),
        (None, Kind::Data) => stream.id.saturating_sub(2).to_string(),
    }
}

/// Forwards one connection.
async fn forward(inside: &Inside, port: u16, data: Stream, error: Stream) {
    let Stream { data: said, reset, answer, .. } = data;
    let tcp = match inside.connect(port).await {
        Ok(tcp) => tcp,
        Err(why) => {
            error.answer.send(why.as_bytes()).await;
            error.answer.finish().await;
            return answer.cancel().await;
        }
    };
    tokio::select! {
        joined = join(tcp, said, &answer) => if let Err(broken) = joined {
            tracing::debug!("port {port} of pod {}: {broken}", inside.pod);
            answer.cancel().await;
        },
        // Sent or dropped, it means the same.
        _ = reset => {}
    }
    error.answer.finish().await;
}

/// The way back to a client, on one connection.
pub(super) trait Way {
    /// Sends bytes; whether the client is still there.
    async fn send(&self, bytes: &[u8]) -> bool;
    /// Says that this was all; whether the client can still say more.
    async fn finish(&self) -> bool;
}

impl Way for Answerer {
    async fn send(&self, bytes: &[u8]) -> bool {
        Answerer::send(self, bytes).await
    }

    async fn finish(&self) -> bool {
        Answerer::finish(self).await;
        true
    }
}

/// Copies both ways until both sides have said all; each learns when the other says no more, if the
/// protocol has a way to say so.
pub(super) async fn join(
    tcp: TcpStream,
    mut said: mpsc::Receiver<Bytes>,
    answer: &impl Way,
) -> io::Result<()> {
    let (mut from, mut to) = tcp.into_split();
    let there = async {
        while let Some(bytes) = said.recv().await {
            if to.write_all(&bytes).await.is_err() {
                // A server that reads no more may still have something to say; what it doesn't read
                // mustn't hold up others.
                said.close();
                return;
            }
        }
        // Fails only if the server has gone, which the other direction learns, too.
        drop(to.shutdown().await);
    };
    let back = async {
        let mut buffer = vec![0; PIECE];
        loop {
            match from.read(&mut buffer).await? {
                0 => return Ok(answer.finish().await),
                read if answer.send(&buffer[..read]).await => {}
                _ => return Err(io::Error::from(io::ErrorKind::BrokenPipe)),
            }
        }
    };
    tokio::pin!(there, back);
    tokio::select! {
        () = &mut there => drop(back.await?),
        more = &mut back => if more? { there.await },
    }
    Ok(())
}

/// The inside of a pod, where its ports are.
#[derive(Debug)]
pub(super) struct Inside {
    pod: String,
    network: Network,
}

impl Inside {
    /// A connection to `port` of the pod's own loopback: by IPv4, else by IPv6.
    ///
    /// # Errors
    /// What the client is told: why neither could be made.
    pub(super) async fn connect(&self, port: u16) -> Result<TcpStream, String> {
        let mut failures = Vec::new();
        for (family, loopback) in [
            ("IPv4", IpAddr::from(Ipv4Addr::LOCALHOST)),
            ("IPv6", IpAddr::from(Ipv6Addr::LOCALHOST)),
        ] {
            match self.dial(SocketAddr::new(loopback, port)).await {
                Ok(tcp) => return Ok(tcp),
                Err(error) => failures.push(format!("{family}: {error}")),
            }
        }
        let failures = failures.join(", ");
        Err(format!(
            "error forwarding port {port} to pod {}: failed to connect to localhost:{port} inside the \
             pod's network: {failures}",
            self.pod
        ))
    }

    async fn dial(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        let network = self.network.clone();
        let open = move || socket(&network, addr);
        let socket = tokio::task::spawn_blocking(open).await.map_err(io::Error::other)??;
        let tcp = TcpSocket::from_std_stream(socket.into()).connect(addr).await?;
        tcp.set_nodelay(true)?;
        Ok(tcp)
    }
}

/// A socket that is in `network`, for wherever it is used.
fn socket(network: &Network, addr: SocketAddr) -> io::Result<Socket> {
    let open = || {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    match network {
        Network::Node => open(),
        Network::Own(path) => {
            let netns = Netns::open(path).map_err(io::Error::other)?;
            netns.run(open).map_err(io::Error::other)?
        }
    }
}
