//! The specimen of pods' links: routed and bridged, in real namespaces.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use ipnet::IpNet;
use model::{AttachmentKey, Mac};
use plan::PodLink;
use seaway_kernel::netlink::Netlink;
use seaway_kernel::netns::Netns;
use seaway_kernel::place;

use super::node::{name, settings};
use super::suite::{Rows, Specimen, run};

/// A namespace held by a process of its own, so that it has a path like a pod's.
pub(crate) struct PodNetns {
    holder: Child,
}

impl PodNetns {
    pub(crate) fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "--kill-child", "sleep", "600"]);
        let mut holder = command.stdin(Stdio::null()).spawn().unwrap();
        let home = Netns::current().unwrap().inode().unwrap();
        // The holder is a child of ours: its namespace changes exactly once.
        while Netns::of_pid(holder.id()).unwrap().inode().unwrap() == home {
            assert!(holder.try_wait().unwrap().is_none(), "unshare failed (needs root)");
            std::thread::yield_now();
        }
        PodNetns { holder }
    }

    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.holder.id()).into()
    }

    pub(crate) fn open(&self) -> Netns {
        Netns::open(self.path()).unwrap()
    }

    /// What a command prints inside.
    pub(crate) fn run(&self, command: &str) -> String {
        self.open().run(|| run(command)).unwrap()
    }
}

impl Drop for PodNetns {
    fn drop(&mut self) {
        self.holder.kill().unwrap();
        self.holder.wait().unwrap();
    }
}

pub(crate) fn key(container_id: &str) -> AttachmentKey {
    AttachmentKey { container_id: container_id.into(), ifname: name("eth0") }
}

fn base(netns: PathBuf, container_id: &str, mtu: u32) -> PodLink {
    PodLink {
        netns,
        mtu,
        host_mac: Mac::derive(&format!("host/{container_id}")),
        mac: Mac::derive(&format!("pod/{container_id}")),
        addrs: Vec::new(),
        gateways: Vec::new(),
        gateway_mac: None,
        master: None,
    }
}

fn nets(texts: [&str; 2]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn ips(texts: [&str; 2]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A pod with host prefixes and a link-local gateway.
pub(crate) fn routed(netns: PathBuf, container_id: &str, host: u8, mtu: u32) -> PodLink {
    let base = base(netns, container_id, mtu);
    PodLink {
        addrs: nets([&format!("10.244.1.{host}/32"), &format!("fd00:10:244:1::{host}/128")]),
        gateways: ips(["169.254.1.1", "fe80::1"]),
        gateway_mac: Some(base.host_mac),
        ..base
    }
}

/// A pod on the node's bridge; it knows the bridge's address without asking.
pub(crate) fn bridged(netns: PathBuf, container_id: &str, host: u8, mtu: u32) -> PodLink {
    PodLink {
        gateway_mac: Some(Mac::derive("bridge")),
        addrs: nets([&format!("10.244.1.{host}/24"), &format!("fd00:10:244:1::{host}/64")]),
        gateways: ips(["10.244.1.1", "fd00:10:244:1::1"]),
        master: Some(name("seaway0")),
        ..base(netns, container_id, mtu)
    }
}

pub(crate) struct PodsSpecimen {
    pods: [PodNetns; 3],
}

impl PodsSpecimen {
    pub(crate) fn new() -> Self {
        PodsSpecimen { pods: std::array::from_fn(|_| PodNetns::new()) }
    }

    fn netns(&self, key: &AttachmentKey) -> &PodNetns {
        &self.pods[["a", "b", "c"].iter().position(|id| *id == &*key.container_id).unwrap()]
    }
}

impl Specimen for PodsSpecimen {
    type Place = place::Pods;

    fn prepare(&self) {
        run("ip link add seaway0 type bridge");
        run("ip link set seaway0 up");
        run("ip link add sw000000000000 type veth peer name foreign");
        run("ip link set sw000000000000 alias mine");
        for pod in &self.pods {
            pod.run("ip link add own0 type veth peer name own1");
            pod.run("ip link set own0 up");
            pod.run("ip addr add 172.16.0.1/24 dev own0");
            pod.run("ip route add 172.17.0.0/16 via 172.16.0.9");
        }
    }

    fn open(&self) -> place::Pods {
        place::Pods::open().unwrap()
    }

    fn tables(&self) -> Vec<Rows<Self>> {
        let [a, b, c] = self.pods.each_ref().map(PodNetns::path);
        vec![
            [
                (key("a"), routed(a.clone(), "a", 5, 1500)),
                (key("b"), routed(b.clone(), "b", 6, 1500)),
            ]
            .into_iter()
            .collect(),
            [(key("a"), bridged(a.clone(), "a", 5, 1450)), (key("c"), bridged(c, "c", 7, 1450))]
                .into_iter()
                .collect(),
            [
                (key("a"), routed(a, "a", 9, 1400)),
                (key("b"), PodLink { gateway_mac: None, ..bridged(b, "b", 6, 1400) }),
            ]
            .into_iter()
            .collect(),
        ]
    }

    fn identity(&self, key: &AttachmentKey) -> String {
        let index = |mut netlink: Netlink, name: &str| netlink.link_index(name).unwrap();
        let host = index(Netlink::open().unwrap(), key.host_link().as_str());
        let pod = index(Netlink::open_in(&self.netns(key).open()).unwrap(), "eth0");
        format!("{host} {pod}")
    }

    fn printed(&self, key: &AttachmentKey, row: &PodLink) -> Vec<(String, String)> {
        let pid = self.netns(key).holder.id();
        let inside = |command: &str| format!("nsenter --net=/proc/{pid}/ns/net {command}");
        let link = inside("ip -d -o link show dev eth0");
        let mut lines = vec![
            (link.clone(), format!("mtu {} ", row.mtu)),
            (link.clone(), format!("link/ether {}", row.mac)),
            (link.clone(), "addrgenmode none".to_owned()),
            (link, "LOWER_UP".to_owned()),
            (inside("ip -o link show dev lo"), "UP".to_owned()),
        ];
        for addr in &row.addrs {
            lines.push((inside("ip -o addr show dev eth0"), format!("{addr} ")));
        }
        for (family, gateway) in ["-4", "-6"].iter().zip(&row.gateways) {
            let command = inside(&format!("ip {family} route show default"));
            lines.push((command, format!("default via {gateway} dev eth0 proto 83")));
            if let Some(mac) = row.gateway_mac {
                let command = inside(&format!("ip {family} neigh show dev eth0"));
                lines.push((command, format!("{gateway} lladdr {mac} PERMANENT")));
            }
        }
        let host = key.host_link();
        lines.extend(settings(&host));
        lines.push((format!("ip -d -o link show dev {host}"), row.host_mac.to_string()));
        if let Some(master) = &row.master {
            let command = format!("bridge -d -o link show dev {host}");
            let flags = "hairpin on";
            lines.push((command.clone(), format!("master {master}")));
            lines.push((command.clone(), flags.to_owned()));
            lines.push((command.clone(), "learning off".to_owned()));
            lines.push((command, "flood off".to_owned()));
        }
        lines
    }

    fn surroundings(&self) -> String {
        let commands = ["ip -o link", "ip -o addr", "ip route show table all", "ip neigh"];
        let quiet = |text: String| -> String {
            // The bridge's carrier follows from its ports, and loopback goes up with the pod.
            let ours = ["seaway0", ": lo", "dev lo"];
            let lines = text.lines().filter(|line| !ours.iter().any(|name| line.contains(name)));
            lines.map(|line| format!("{line}\n")).collect()
        };
        let inside = self.pods.iter().flat_map(|pod| commands.map(|c| quiet(pod.run(c))));
        commands.map(run).map(quiet).into_iter().chain(inside).collect()
    }
}
