//! A server with names, and clients of it.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use model::{Protocol, ServiceName};
use plan::zone::{Endpoint, Endpoints, Entry, Port, Zones};
use seaway_proxy::dns::{Admits, Known, Limits, Listen, Server, Sources};
use tokio::runtime::Runtime;

use super::others::Scripted;

/// Longer than any answer takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A server at addresses of its own.
pub(crate) struct Node {
    pub(crate) server: Option<Server>,
    pub(crate) known: Arc<Known>,
    pub(crate) others: Arc<Scripted>,
    pub(crate) runtime: Runtime,
    pub(crate) v4: Listen,
    pub(crate) v6: Listen,
}

impl Node {
    /// A server of the names in [`zones`] in a cluster that its clients are of.
    pub(crate) fn start() -> Self {
        Node::with(Limits::default(), Admits::Everyone)
    }

    /// One that has not heard of its clients, if it is for the cluster alone.
    pub(crate) fn with(limits: Limits, admits: Admits) -> Self {
        let [v4, v6] = places().map(|addr| Listen { addr, admits });
        let node = Node::at(v4, v6, limits);
        if admits == Admits::Cluster {
            node.known.cluster.store(Arc::default());
        }
        let errors = node.server().listen(&[v4, v6], Vec::new());
        assert!(errors.is_empty(), "{errors:?}");
        node
    }

    /// One that does not listen yet.
    pub(crate) fn at(v4: Listen, v6: Listen, limits: Limits) -> Self {
        let known = Arc::new(Known {
            zones: ArcSwap::from_pointee(zones()),
            cluster: ArcSwap::from_pointee(nearby()),
            pods: ArcSwap::default(),
            log: ArcSwapOption::empty(),
            named: ArcSwapOption::empty(),
        });
        let others = Arc::new(Scripted::default());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let asked = Arc::clone(&others);
        let server =
            Server::start(Arc::clone(&known), asked, limits, runtime.handle().clone()).unwrap();
        Node { server: Some(server), known, others, runtime, v4, v6 }
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Ends the server, and gives what it gives back.
    pub(crate) fn stop(&mut self) -> Vec<OwnedFd> {
        let server = self.server.take().unwrap();
        self.runtime.block_on(server.stop(PATIENCE))
    }

    /// What is answered to `query`, by each family and transport.
    pub(crate) fn ask_everywhere(&self, query: &[u8]) -> [Vec<u8>; 4] {
        let [v4, v6] = [self.v4.addr, self.v6.addr];
        [udp(v4, query).unwrap(), udp(v6, query).unwrap(), tcp(v4, query), tcp(v6, query)]
    }
}

/// The clients of these tests.
pub(crate) fn nearby() -> Sources {
    Sources::new(["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()])
}

/// An address of each family that no other test uses: for IPv4 its own of the loopback network; and a port
/// that no client is given.
pub(crate) fn places() -> [SocketAddr; 2] {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let port =
            10_000 + u16::from_be_bytes([high, low]).wrapping_mul(61).wrapping_add(number) % 20_000;
        let v4 = SocketAddr::from((
            [127, 64 | (high & 63), low, 1 + number.to_be_bytes()[1] % 250],
            port,
        ));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let is_free = |addr| UdpSocket::bind(addr).is_ok() && TcpListener::bind(addr).is_ok();
        if is_free(v4) && is_free(v6) {
            return [v4, v6];
        }
    }
}

/// The answer to a datagram, if there is one soon.
pub(crate) fn udp(server: SocketAddr, query: &[u8]) -> Option<Vec<u8>> {
    let socket = client(server);
    socket.send(query).unwrap();
    let mut buffer = [0; 65_535];
    let len = socket.recv(&mut buffer).ok()?;
    Some(buffer[..len].to_vec())
}

/// A client that hears the server alone, so an answer from any other address would be lost (DNS-73).
pub(crate) fn client(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((any(server), 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn any(server: SocketAddr) -> IpAddr {
    if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

pub(crate) fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub(crate) fn tcp(server: SocketAddr, query: &[u8]) -> Vec<u8> {
    let mut stream = connect(server);
    stream.write_all(&framed(query)).unwrap();
    next(&mut stream).unwrap()
}

/// A message as it goes over a stream.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).unwrap();
    [&len.to_be_bytes(), message].concat()
}

/// The next message of a stream; `None` at its end.
pub(crate) fn next(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut len = [0; 2];
    stream.read_exact(&mut len).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message).unwrap();
    Some(message)
}

/// A question: an id, a name, the number of a type.
pub(crate) fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    message
}

/// The same with an OPT record of that size and these options.
pub(crate) fn with_opt(mut query: Vec<u8>, size: u16, options: &[u8]) -> Vec<u8> {
    query[11] = 1;
    query.extend([0, 0, 41]);
    query.extend(size.to_be_bytes());
    query.extend([0; 4]);
    query.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
    query.extend(options);
    query
}

/// Id, rcode as the header has it, and how many answers.
pub(crate) fn head(message: &[u8]) -> (u16, u8, u16) {
    let short = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    (short(0), message[3] & 15, short(6))
}

pub(crate) const A: u16 = 1;
pub(crate) const TXT: u16 = 16;
pub(crate) const AAAA: u16 = 28;
pub(crate) const SRV: u16 = 33;

/// One Service of each kind.
pub(crate) fn zones() -> Zones {
    let ports = [Port { name: "http".into(), protocol: Protocol::Tcp, port: 80 }];
    let names: Vec<Arc<str>> = (0..250).map(|i| format!("db-{i}").into()).collect();
    let endpoint = |i: u8| Endpoint {
        host: Some(&names[usize::from(i)]),
        ip: IpAddr::from([10, 244, 0, i]),
        is_pod: true,
        ports: &ports,
    };
    let cluster = |addrs: [&str; 2]| Entry::Cluster {
        addrs: addrs.map(|ip| ip.parse().unwrap()).into(),
        ports: ports.clone().into(),
        endpoints: Endpoints::default(),
    };
    let alias = |name: &str| Entry::External(Box::new(name.parse().unwrap()));
    let mut zones = Zones::default();
    for (name, entry) in [
        ("web", cluster(["10.96.0.20", "fd00:96::20"])),
        ("db", Entry::Headless(Endpoints::new((0..250).map(endpoint).collect(), Vec::new()))),
        ("ext", alias("WWW.example.org.")),
        ("inner", alias("web.ns.svc.cluster.local.")),
    ] {
        zones.put(&ServiceName::new("ns", name), Some(entry));
    }
    zones.is_complete = true;
    zones
}
