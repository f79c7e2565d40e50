//! A node in a namespace of its own, with two pods and a client outside on cables, all dual stack.
//!
//! Backends answer each packet and connection with the address it seemed to come from and their own
//! port.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::thread;
use std::time::Duration;

use kernel::netns::Netns;
use model::Family;

/// How long no answer is silence: nothing here takes longer than a few milliseconds.
const SILENCE: Duration = Duration::from_millis(300);

/// Ports that every backend answers at.
pub(crate) const OPEN: [u16; 3] = [7000, 7001, 7002];

/// Who opens a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// A pod of the node.
    Pod,
    /// The pod that the backends are in.
    Backend,
    /// A process of the node.
    Node,
    /// A host that is no part of the cluster.
    Outside,
}

/// What a client notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Notice {
    /// A backend answered at this port and saw this client.
    Answer(IpAddr, u16),
    /// It was told off.
    Refused,
    /// Nothing came back.
    Silence,
}

/// Addresses of one family: `N` of cable `C`.
pub(crate) fn addr(family: Family, cable: u8, host: u8) -> IpAddr {
    let text = match (family, cable) {
        (Family::V4, 0) => format!("203.0.113.{host}"),
        (Family::V4, _) => format!("10.1.{cable}.{host}"),
        (Family::V6, 0) => format!("2001:db8::{host}"),
        (Family::V6, _) => format!("fd00:1:0:{cable}::{host}"),
    };
    text.parse().unwrap()
}

/// The namespaces around the node, which is the calling thread's.
pub(crate) struct Hosts {
    pod: Netns,
    backend: Netns,
    outside: Netns,
}

impl Hosts {
    /// Builds them around a node that is this thread's namespace, and has the backends listen.
    pub(crate) fn start() -> Self {
        run("ip link set lo up");
        run("sysctl -qw net.ipv4.ip_forward=1");
        run("sysctl -qw net.ipv6.conf.all.forwarding=1");
        let [outside, pod, backend] = [0, 1, 2].map(|cable| {
            let netns = Netns::fresh().expect("needs root: a network namespace of its own");
            join(&netns, cable);
            netns
        });
        backend.run(|| serve(2)).unwrap();
        run("ip route add default via 203.0.113.2");
        run("ip -6 route add default via 2001:db8::2");
        Hosts { pod, backend, outside }
    }

    fn at<T: Send>(&self, client: Client, act: impl FnOnce() -> T + Send) -> T {
        match client {
            Client::Pod => self.pod.run(act).unwrap(),
            Client::Backend => self.backend.run(act).unwrap(),
            Client::Outside => self.outside.run(act).unwrap(),
            Client::Node => act(),
        }
    }

    /// What `client` notices of one packet or connection.
    pub(crate) fn ask(&self, client: Client, protocol: u8, to: SocketAddr) -> Notice {
        self.at(client, || {
            let asked = if protocol == 6 { ask_tcp(to) } else { ask_udp(to) };
            match asked {
                Ok(text) => {
                    let (from, port) = text.split_once(' ').unwrap();
                    Notice::Answer(from.parse().unwrap(), port.parse().unwrap())
                }
                Err(e) if e.kind() == ErrorKind::ConnectionRefused => Notice::Refused,
                Err(e) if matches!(e.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
                    Notice::Silence
                }
                Err(e) => panic!("ask {to}: {e}"),
            }
        })
    }

    /// Asked again when nothing comes back: a link just coming up and a busy machine lose packets.
    pub(crate) fn hears(&self, client: Client, protocol: u8, to: SocketAddr) -> Notice {
        let mut asked = (0..20).map(|_| self.ask(client, protocol, to));
        asked.find(|notice| *notice != Notice::Silence).unwrap_or(Notice::Silence)
    }

    /// A connection that stays.
    pub(crate) fn connect(&self, client: Client, to: SocketAddr) -> TcpStream {
        self.at(client, || TcpStream::connect(to).unwrap())
    }
}

fn run(line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let status = Command::new(words[0]).args(&words[1..]).status().unwrap();
    assert!(status.success(), "{line}");
}

/// Joins a namespace to this one: `cN` here with address 1, `eth0` there with address 2.
fn join(netns: &Netns, cable: u8) {
    let path = format!("/proc/{}/fd/{}", std::process::id(), netns.as_fd().as_raw_fd());
    run(&format!("ip link add c{cable} type veth peer name eth0 netns {path}"));
    for family in Family::ALL {
        let len = if family == Family::V4 { 24 } else { 64 };
        let nodad = if family == Family::V6 { "nodad" } else { "" };
        run(&format!("ip addr add {}/{len} dev c{cable} {nodad}", addr(family, cable, 1)));
        netns
            .run(|| run(&format!("ip addr add {}/{len} dev eth0 {nodad}", addr(family, cable, 2))))
            .unwrap();
    }
    run(&format!("ip link set c{cable} up"));
    netns
        .run(|| {
            run("ip link set lo up");
            run("ip link set eth0 up");
            run(&format!("ip route add default via {}", addr(Family::V4, cable, 1)));
            run(&format!("ip -6 route add default via {}", addr(Family::V6, cable, 1)));
        })
        .unwrap();
}

/// Answers at the open ports of both families; a connection goes on answering.
fn serve(cable: u8) {
    let addrs = Family::ALL.map(|family| addr(family, cable, 2));
    for (addr, port) in addrs.iter().flat_map(|addr| OPEN.map(|port| (*addr, port))) {
        let udp = UdpSocket::bind((addr, port)).unwrap();
        let tcp = TcpListener::bind((addr, port)).unwrap();
        thread::spawn(move || {
            let mut byte = [0; 1];
            while let Ok((_, from)) = udp.recv_from(&mut byte) {
                let _sent = udp.send_to(format!("{} {port}", from.ip()).as_bytes(), from);
            }
        });
        thread::spawn(move || {
            while let Ok((mut stream, from)) = tcp.accept() {
                thread::spawn(move || {
                    let mut byte = [0; 1];
                    while stream.read(&mut byte).is_ok_and(|len| len > 0) {
                        let _sent = stream.write_all(format!("{} {port}", from.ip()).as_bytes());
                    }
                });
            }
        });
    }
}

fn ask_udp(to: SocketAddr) -> std::io::Result<String> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(SILENCE))?;
    // A process whose packet goes no further than its own node is told so at once; whether it was
    // refused, too, it learns by listening.
    if let Err(e) = socket.send(b"?")
        && e.kind() != ErrorKind::PermissionDenied
    {
        return Err(e);
    }
    let mut answer = [0; 64];
    let len = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..len]).into_owned())
}

fn ask_tcp(to: SocketAddr) -> std::io::Result<String> {
    ask_on(&mut TcpStream::connect_timeout(&to, SILENCE)?)
}

/// What the backend says on a connection that is there.
pub(crate) fn ask_on(stream: &mut TcpStream) -> std::io::Result<String> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.write_all(b"?")?;
    let mut answer = [0; 64];
    let len = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..len]).into_owned())
}
