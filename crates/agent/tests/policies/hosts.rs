//! `node-1` of the stage, with its pods on cables and everybody else behind another one.
//!
//! x/a, y/a, z/a ── p0, p1, p2 node-1 wan ── all other pods, other nodes, strangers

use std::net::{IpAddr, SocketAddr};

use fixtures::hosts::{Cable, Notice, ask, hear, run, serve};
use ipnet::IpNet;
use kernel::netns::{Netns, unshare_thread};
use model::{Family, NodeName, ObjectName, World};

/// What everybody listens at.
pub(crate) const OPEN: [u16; 3] = [53, 80, 81];

/// Addresses of no pod and no node.
const STRANGERS: [&str; 4] = ["203.0.113.9", "10.244.3.99", "2001:db8:9::9", "fd00:10:244:3::99"];

/// Who sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Client {
    /// A pod of the node.
    Local(ObjectName),
    /// The first of the others, with the first of its addresses of a family.
    Elsewhere,
    /// A process of the node.
    Process,
}

pub(crate) struct Hosts {
    local: Vec<(ObjectName, Netns)>,
    others: Netns,
}

impl Hosts {
    /// Builds them around a node that is this thread's namespace, and has them all listen.
    pub(crate) fn start(stage: &World) -> Self {
        unshare_thread().expect("needs root: a network namespace of its own");
        run("ip link set lo up");
        run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        let fresh = || Netns::fresh().expect("needs root: a network namespace of its own");
        let others = fresh();
        let mut far: Vec<IpAddr> = Vec::new();
        let mut local = Vec::new();
        for pod in stage.pods.values() {
            if pod.node.as_ref() == Some(&NodeName::from("node-1")) {
                local.push((pod.name.clone(), fresh(), pod.addrs.clone()));
            } else {
                far.extend(&pod.addrs);
            }
        }
        for node in stage.nodes.values().filter(|node| node.name.as_str() != "node-1") {
            far.extend(node.ips());
        }
        far.extend(STRANGERS.map(|addr| addr.parse::<IpAddr>().unwrap()));
        for (i, (_, netns, addrs)) in local.iter().enumerate() {
            plug(&format!("p{i}"), i, netns, addrs);
        }
        plug("wan", 9, &others, &far);
        run("ip route add default dev wan");
        run("ip -6 route add default dev wan");
        let speak_as_first = || {
            for (gateway, is_v4) in [("169.254.1.10", true), ("fd00:fe::10", false)] {
                let first = far.iter().find(|addr| addr.is_ipv4() == is_v4).unwrap();
                run(&format!("ip route replace default via {gateway} dev eth0 src {first}"));
            }
            serve(&far, &OPEN);
        };
        others.run(speak_as_first).unwrap();
        let local = local.into_iter().map(|(name, netns, addrs)| {
            netns.run(|| serve(&addrs, &OPEN)).unwrap();
            (name, netns)
        });
        Hosts { local: local.collect(), others }
    }

    /// Does something where `client` is.
    pub(crate) fn at<T: Send>(&self, client: &Client, act: impl FnOnce() -> T + Send) -> T {
        match client {
            Client::Local(name) => {
                let (_, netns) = self.local.iter().find(|(pod, _)| pod == name).unwrap();
                netns.run(act).unwrap()
            }
            Client::Elsewhere => self.others.run(act).unwrap(),
            Client::Process => act(),
        }
    }

    /// Whether `client` is answered, which it believes at once where it is `expected`.
    pub(crate) fn reaches(
        &self,
        client: &Client,
        protocol: u8,
        to: SocketAddr,
        expected: bool,
    ) -> bool {
        let notice = self.at(client, || match expected {
            true => hear(protocol, to, |_| false),
            false => ask(protocol, to),
        });
        match notice {
            Notice::Answer { .. } => true,
            Notice::Silence => false,
            Notice::Refused => panic!("{client:?} is refused at {to}: policies drop"),
        }
    }
}

/// A cable to a host with these addresses, which are routed there one by one.
fn plug(link: &str, number: usize, netns: &Netns, addrs: &[IpAddr]) {
    let host = |addr: &IpAddr| IpNet::new(*addr, Family::of(*addr).host_prefix()).unwrap();
    let here = [format!("169.254.1.{}/32", number + 1), format!("fd00:fe::{}/128", number + 1)];
    let here = here.map(|net| net.parse().unwrap()).into();
    let there = addrs.iter().map(host).collect();
    Cable { link, here, there, macs: None }.plug(netns);
    if link != "wan" {
        addrs.iter().for_each(|addr| run(&format!("ip route add {} dev {link}", host(addr))));
    }
}
