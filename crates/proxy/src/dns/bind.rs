//! Sockets: bound here, or handed over by a predecessor.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::Sources;
use super::respond::Client;

/// Bytes of questions that may wait for a thread of ours, at each socket: some thousand. More of them
/// would be answered after their clients gave up.
const WAITING: usize = 4 << 20;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// An address at which the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listen {
    /// The address and the port, of both UDP and TCP. Not the wildcard: an answer leaves from the
    /// address that was asked (DNS-73), and the socket's address sees to that.
    pub addr: SocketAddr,
    /// Who is answered there.
    pub admits: Admits,
}

/// Who is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Admits {
    /// Whoever gets there; a stranger who shows that it is where it says.
    Everyone,
    /// Pods and nodes of the cluster; for all others there is nobody there.
    Cluster,
}

impl Listen {
    /// Who `ip` is to this address, in this cluster; `None` when there is nobody for it.
    pub(super) fn admit(&self, ip: IpAddr, cluster: &Sources) -> Option<Client> {
        // The address itself is a client of this node that was given no better one.
        let is_stranger = !cluster.contains(ip) && ip != self.addr.ip();
        match self.admits {
            Admits::Cluster if is_stranger => None,
            Admits::Everyone | Admits::Cluster => Some(Client { ip, is_stranger }),
        }
    }
}

/// What a node could not listen at.
#[derive(Debug, thiserror::Error)]
#[error("listen for DNS at {addr}")]
pub struct ListenError {
    /// The address.
    pub addr: SocketAddr,
    #[source]
    pub(super) cause: io::Error,
}

/// The sockets at one address.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listen: Listen,
    /// As many as there are threads, at least: the kernel spreads clients over them.
    pub(super) udp: Vec<Arc<UdpSocket>>,
    pub(super) tcp: Arc<TcpListener>,
}

/// Sockets of a predecessor, by their addresses. Those that are not taken are closed.
#[derive(Debug, Default)]
pub(super) struct Handed {
    udp: Vec<(SocketAddr, UdpSocket)>,
    tcp: Vec<(SocketAddr, TcpListener)>,
    /// With the addresses of both ends, ours first.
    pub(super) connections: Vec<([SocketAddr; 2], TcpStream)>,
}

impl Handed {
    /// Finds out what the descriptors are. One that is no socket of this server's kind is closed.
    pub(super) fn new(fds: Vec<OwnedFd>) -> Self {
        let mut handed = Handed::default();
        for socket in fds.into_iter().map(Socket::from) {
            let addr = socket.local_addr().ok().and_then(|addr| addr.as_socket());
            let (Some(addr), Ok(kind)) = (addr, socket.r#type()) else { continue };
            let client = socket.peer_addr().ok().and_then(|addr| addr.as_socket());
            match (kind, client) {
                (Type::DGRAM, _) => handed.udp.push((addr, socket.into())),
                (Type::STREAM, None) => handed.tcp.push((addr, socket.into())),
                (Type::STREAM, Some(client)) => {
                    handed.connections.push(([addr, client], socket.into()));
                }
                _ => {}
            }
        }
        handed
    }

    fn take<S>(of: &mut Vec<(SocketAddr, S)>, addr: SocketAddr) -> Vec<S> {
        let is_its = |(at, _): &mut (SocketAddr, S)| *at == addr;
        of.extract_if(.., is_its).map(|(_, socket)| socket).collect()
    }
}

impl Bound {
    /// Sockets at an address: what was handed over, and new ones where that is not enough for `threads`.
    pub(super) fn new(
        listen: Listen,
        threads: usize,
        handed: &mut Handed,
    ) -> Result<Self, ListenError> {
        let addr = listen.addr;
        let mut bind = || -> io::Result<Self> {
            let mut udp = Handed::take(&mut handed.udp, addr);
            while udp.len() < threads {
                udp.push(open(addr, Type::DGRAM)?.into());
            }
            let tcp = match Handed::take(&mut handed.tcp, addr).pop() {
                Some(tcp) => tcp,
                None => open(addr, Type::STREAM)?.into(),
            };
            for socket in &udp {
                socket.set_nonblocking(true)?;
            }
            tcp.set_nonblocking(true)?;
            let udp = udp.into_iter().map(Arc::new).collect();
            Ok(Bound { listen, udp, tcp: Arc::new(tcp) })
        };
        bind().map_err(|cause| ListenError { addr, cause })
    }

    /// Copies of its descriptors.
    pub(super) fn fds(&self) -> io::Result<Vec<OwnedFd>> {
        let udp = self.udp.iter().map(|socket| socket.as_fd().try_clone_to_owned());
        udp.chain([self.tcp.as_fd().try_clone_to_owned()]).collect()
    }
}

/// A socket of `kind` at `addr`, which need not be there yet: routes to it are somebody else's concern.
fn open(addr: SocketAddr, kind: Type) -> io::Result<Socket> {
    if addr.ip().is_unspecified() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not an address of its own"));
    }
    let is_stream = kind == Type::STREAM;
    let protocol = if is_stream { Protocol::TCP } else { Protocol::UDP };
    let socket =
        Socket::new(Domain::for_address(addr), kind.nonblocking().cloexec(), Some(protocol))?;
    match addr {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    // A successor that was handed nothing binds while its predecessor is still there.
    socket.set_reuse_port(true)?;
    if is_stream {
        socket.set_reuse_address(true)?;
    } else if setsockopt(&socket, sockopt::RcvBufForce, &WAITING).is_err() {
        // Not allowed to have more than others: as much as they may.
        socket.set_recv_buffer_size(WAITING)?;
    }
    socket.bind(&addr.into())?;
    if is_stream {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}
