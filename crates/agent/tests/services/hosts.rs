//! A node in a namespace of its own, with two pods and a client outside on cables, all dual stack.

use std::net::{IpAddr, SocketAddr, TcpStream};

use fixtures::hosts::{Cable, Notice, hear, run, serve};
use ipnet::IpNet;
use kernel::netns::Netns;
use model::Family;

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
            let ends = |host| {
                Family::ALL.map(|family| {
                    let length = if family == Family::V4 { 24 } else { 64 };
                    IpNet::new(addr(family, cable, host), length).unwrap()
                })
            };
            let link = &format!("c{cable}");
            let cable = Cable { link, here: ends(1).into(), there: ends(2).into(), macs: None };
            cable.plug(&netns);
            netns
        });
        backend.run(|| serve(&Family::ALL.map(|family| addr(family, 2, 2)), &OPEN)).unwrap();
        run("ip route add default via 203.0.113.2");
        run("ip -6 route add default via 2001:db8::2");
        Hosts { pod, backend, outside }
    }

    /// The pod that is no backend.
    pub(crate) fn pod(&self) -> Netns {
        self.pod.clone()
    }

    /// Does something where `client` is.
    pub(crate) fn at<T: Send>(&self, client: Client, act: impl FnOnce() -> T + Send) -> T {
        match client {
            Client::Pod => self.pod.run(act).unwrap(),
            Client::Backend => self.backend.run(act).unwrap(),
            Client::Outside => self.outside.run(act).unwrap(),
            Client::Node => act(),
        }
    }

    /// What `client` notices of one packet or connection.
    pub(crate) fn ask(&self, client: Client, protocol: u8, to: SocketAddr) -> Notice {
        self.at(client, || fixtures::hosts::ask(protocol, to))
    }

    /// Asked again when nothing comes back.
    pub(crate) fn hears(&self, client: Client, protocol: u8, to: SocketAddr) -> Notice {
        self.at(client, || hear(protocol, to, |_| false))
    }

    /// A connection that stays.
    pub(crate) fn connect(&self, client: Client, to: SocketAddr) -> TcpStream {
        self.at(client, || TcpStream::connect(to).unwrap())
    }
}
