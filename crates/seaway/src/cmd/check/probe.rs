//! One probe, and the responder at its other end.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use kernel::netns::Netns;
use model::Family;

/// How a path is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A TCP connection.
    Tcp,
    /// A small UDP datagram.
    Udp,
    /// A UDP datagram that fills the smaller MTU of both ends, with DF, answered in full.
    Large,
}

impl Kind {
    pub(super) const ALL: [Kind; 3] = [Kind::Tcp, Kind::Udp, Kind::Large];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Tcp => "tcp",
            Kind::Udp => "udp",
            Kind::Large => "large",
        }
    }
}

/// Answers in one namespace until it is dropped: over TCP and UDP, with the address it was reached from.
pub(super) struct Responder {
    pub(super) port: u16,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// How often a responder looks whether it should stop.
const TICK: Duration = Duration::from_millis(100);

impl Responder {
    /// Starts one in `netns`, for these addresses of the place: an answer over UDP must leave from
    /// the address that was asked, so each has a socket of its own.
    pub(super) fn start(netns: &Netns, addrs: &[IpAddr]) -> anyhow::Result<Responder> {
        let addrs = addrs.to_vec();
        let (tcp, udp) = netns.run(move || {
            let tcp = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0))
                .or_else(|_| TcpListener::bind(("0.0.0.0", 0)))?;
            let port = tcp.local_addr()?.port();
            let udp: std::io::Result<Vec<UdpSocket>> =
                addrs.iter().map(|addr| UdpSocket::bind((*addr, port))).collect();
            std::io::Result::Ok((tcp, udp?))
        })??;
        let port = tcp.local_addr()?.port();
        let stop = Arc::new(AtomicBool::new(false));
        tcp.set_nonblocking(true)?;
        let mut threads = Vec::new();
        let flag = stop.clone();
        threads.push(std::thread::spawn(move || answer_tcp(&tcp, &flag)));
        for socket in udp {
            socket.set_read_timeout(Some(TICK))?;
            let family = Family::of(socket.local_addr()?.ip());
            kernel::socket::never_fragment(socket.as_fd(), family)?;
            let flag = stop.clone();
            threads.push(std::thread::spawn(move || answer_udp(&socket, &flag)));
        }
        Ok(Responder { port, stop, threads })
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                crate::cmd::talk("a responder of the check panicked");
            }
        }
    }
}

fn answer_tcp(listener: &TcpListener, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            // A client that went away before its answer is the prober's finding, not ours.
            Ok((mut stream, peer)) => drop(write!(stream, "{}", canonical(peer.ip()))),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn answer_udp(socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let mut answer = format!("{}\n", canonical(peer.ip())).into_bytes();
            answer.resize(length.max(answer.len()), b'.');
            // As above: an answer that can't be sent shows at the other end.
            drop(socket.send_to(&answer, peer));
        }
    }
}

/// Tries `kind` from the current namespace to `to`, and says from which address it was reached.
/// `mtu` is that of the path, in bytes.
pub(super) fn send(
    kind: Kind,
    from: IpAddr,
    to: SocketAddr,
    mtu: u32,
    timeout: Duration,
) -> anyhow::Result<IpAddr> {
    match kind {
        Kind::Tcp => send_tcp(to, timeout),
        Kind::Udp => send_udp(from, to, MIN_PAYLOAD, timeout),
        Kind::Large => {
            let header = if to.is_ipv4() { 28 } else { 48 };
            send_udp(from, to, mtu as usize - header, timeout)
        }
    }
}

/// Room for an address in the answer.
const MIN_PAYLOAD: usize = 64;

fn send_tcp(to: SocketAddr, timeout: Duration) -> anyhow::Result<IpAddr> {
    let mut stream = TcpStream::connect_timeout(&to, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.parse()?)
}

fn send_udp(
    from: IpAddr,
    to: SocketAddr,
    size: usize,
    timeout: Duration,
) -> anyhow::Result<IpAddr> {
    let socket = UdpSocket::bind((from, 0))?;
    kernel::socket::never_fragment(socket.as_fd(), Family::of(from))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(timeout / 3))?;
    let mut answer = vec![0; 65_536];
    // A datagram may be lost without any fault: three tries.
    let mut last = None;
    for _ in 0..3 {
        match socket.send(&vec![b'.'; size]).and_then(|_| socket.recv(&mut answer)) {
            Ok(length) => {
                anyhow::ensure!(length == size, "{size} bytes sent, {length} came back");
                let end = answer.iter().position(|b| *b == b'\n').unwrap_or(length);
                return Ok(std::str::from_utf8(&answer[..end])?.parse()?);
            }
            Err(error) => last = Some(error),
        }
    }
    let error = last.unwrap_or_else(|| std::io::ErrorKind::TimedOut.into());
    Err(anyhow::Error::from(error).context(format!("{size} bytes")))
}

/// An IPv4 address as such, also where an IPv6 socket shows it mapped.
fn canonical(addr: IpAddr) -> IpAddr {
    addr.to_canonical()
}
