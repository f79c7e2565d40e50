//! `node-1` of the stage, with its pods on cables and everybody else behind another one.
//!
//! x/a, y/a, z/a ── p0, p1, p2 node-1 wan ── all other pods and nodes

use std::net::IpAddr;

use fixtures::hosts::{Cable, run};
use ipnet::IpNet;
use kernel::netns::{Netns, unshare_thread};
use model::{Family, NodeName, ObjectName, World};

/// Where something is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// At a pod of the node.
    Local(ObjectName),
    /// Where all others are.
    Elsewhere,
}

pub(crate) struct Hosts {
    local: Vec<(ObjectName, Netns)>,
    others: Netns,
}

impl Hosts {
    /// Builds them around a node that is this thread's namespace.
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
        for (i, (_, netns, addrs)) in local.iter().enumerate() {
            plug(&format!("p{i}"), i, netns, addrs);
        }
        plug("wan", 9, &others, &far);
        run("ip route add default dev wan");
        run("ip -6 route add default dev wan");
        let local = local.into_iter().map(|(name, netns, _)| (name, netns));
        Hosts { local: local.collect(), others }
    }

    /// Does something there.
    pub(crate) fn at<T: Send>(&self, host: &Host, act: impl FnOnce() -> T + Send) -> T {
        match host {
            Host::Local(name) => {
                let (_, netns) = self.local.iter().find(|(pod, _)| pod == name).unwrap();
                netns.run(act).unwrap()
            }
            Host::Elsewhere => self.others.run(act).unwrap(),
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
