//! A pod that may do anything to its own network can't speak for others, and nobody reaches what is
//! the node's alone. Frames are put on the attacker's own link, receivers show what arrived.

use std::io::Read;
use std::net::IpAddr;
use std::process::{Child, Stdio};

use libtest_mimic::Trial;
use model::Mac;

use crate::capture::{Capture, Where};
use crate::lab::{Lab, eventually, success, test, text};
use crate::{manifests, processes};
use fixtures::frame::{BROADCAST, all_nodes, arp, icmpv6, send, udp, vxlan};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![test("only_root_reaches_sockets_and_files_of_the_agent", files)];
    for link in ["routed", "bridge"] {
        let name = format!("a_pod_speaks_for_itself_alone_{link}");
        trials.push(test(&name, move || {
            let stage = Stage::up(link);
            stage.no_foreign_source();
            stage.no_foreign_neighbor();
            stage.no_way_around_the_node();
            stage.no_redirect();
            stage.no_tunnel_packets();
            stage.no_loopback();
        }));
    }
    trials
}

/// attacker, victim (node-1) ── node-1 ── VXLAN ── node-2 ── server (node-2)
struct Stage {
    lab: Lab,
    link: &'static str,
    /// Process that holds the attacker's namespaces.
    pid: u32,
    mac: Mac,
    gateway: Mac,
}

const FAMILIES: [usize; 2] = [0, 1];
/// Addresses of no node and no pod.
const STRANGERS: [&str; 2] = ["203.0.113.77", "2001:db8:99::7"];
const PORT: u16 = 7070;

impl Stage {
    fn up(link: &'static str) -> Stage {
        let yaml = [
            manifests::pod("attacker", "node-1", "seaway/shell"),
            manifests::pod("victim", "node-1", "seaway/shell"),
            manifests::pod("server", "node-2", "seaway/shell"),
        ];
        let flags = ["--nodes", "2", "--routing", "vxlan", "--pod-link", link];
        let lab = Lab::up_with(&flags, &yaml.concat());
        let namespace = text(&lab.exec("attacker", &["readlink", "/proc/self/ns/net"]));
        let pauses = processes::in_role(&lab, "pause");
        let is_in = |pid: u32| {
            std::fs::read_link(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|link| link.to_string_lossy() == namespace)
        };
        let pid = pauses.iter().map(|pause| pause.pid).find(|pid| is_in(*pid));
        let pid = pid.expect("the attacker's pause");
        let mac = mac_of(&lab, "attacker");
        let server = lab.pod_field("server", "{.status.podIP}");
        success(&lab.exec("attacker", &["ping", "-c1", "-W2", &server])).expect("ping");
        let neighbors = text(&lab.exec("attacker", &["ip", "-4", "neigh", "show", "dev", "eth0"]));
        let mut words = neighbors.split_whitespace().skip_while(|word| *word != "lladdr").skip(1);
        let gateway = words.next().expect("a gateway").parse().expect("a hardware address");
        Stage { lab, link, pid, mac, gateway }
    }

    fn attack(&self, frames: &[Vec<u8>]) {
        send(self.pid, "eth0", frames);
    }

    /// The node tells nobody of a shorter way to a neighbor, which no frame may go.
    fn no_redirect(&self) {
        let victim = self.pod("victim", 0).to_string();
        let ping = ["ping", "-c5", "-i0.3", "-W2", &*victim];
        success(&self.lab.exec("attacker", &ping)).expect("every ping is answered");
        let route = text(&self.lab.exec("attacker", &["ip", "route", "get", &victim]));
        assert!(route.contains(" via ") && !route.contains("redirected"), "{route}");
    }

    /// A frame that is for another pod, or for everybody, gets to no other pod: whoever wants to speak with
    /// one is judged by the node.
    fn no_way_around_the_node(&self) {
        for family in FAMILIES {
            let (own, victim) = (self.pod("attacker", family), self.pod("victim", family));
            let to = |mac: Mac, payload: &[u8]| udp((self.mac, mac), (own, victim), PORT, payload);
            let filter = format!("udp port {PORT}");
            let capture = Capture::start(&self.lab, Where::Pod("victim"), "eth0", 1, &filter);
            let mac = mac_of(&self.lab, "victim");
            self.attack(&[to(mac, b"past it"), to(self.gateway, b"by the node")]);
            let seen = capture.lines();
            assert!(seen.len() == 1 && seen[0].contains("length 11"), "{seen:?}");
        }
    }

    /// T06: no other pod's, node's or stranger's address, nor its own from another hardware address,
    /// reaches a pod or a node; its own does.
    fn no_foreign_source(&self) {
        for family in FAMILIES {
            let own = self.pod("attacker", family);
            let foreign = [
                self.pod("victim", family),
                self.pod("server", family),
                self.node("node-1", family),
                self.node("node-2", family),
                STRANGERS[family].parse().expect("an address"),
            ];
            let told = |to: IpAddr, hop: Mac| {
                let lie = |from: IpAddr| udp((self.mac, hop), (from, to), PORT, b"spoofed");
                let mut frames: Vec<_> =
                    foreign.into_iter().filter(|from| *from != to).map(lie).collect();
                let other_mac = Mac([2, 0, 0, 0, 0, 9]);
                frames.push(udp((other_mac, hop), (own, to), PORT, b"spoofed"));
                frames.push(udp((self.mac, hop), (own, to), PORT, b"honest"));
                frames
            };
            for pod in ["victim", "server"] {
                let filter = format!("udp port {PORT}");
                let capture = Capture::start(&self.lab, Where::Pod(pod), "eth0", 1, &filter);
                self.attack(&told(self.pod(pod, family), self.gateway));
                let seen = capture.lines();
                assert!(seen.len() == 1 && seen[0].contains(&format!("{own}.7777 > ")), "{seen:?}");
            }
            for node in ["node-1", "node-2"] {
                let listener = Listener::start(&self.lab, node, family);
                self.attack(&told(self.node(node, family), self.gateway));
                assert_eq!(listener.heard(), "honest", "{node}");
            }
        }
    }

    /// T04, T05: what claims to be a neighbor or a router stays in the pod.
    fn no_foreign_neighbor(&self) {
        let (IpAddr::V4(own), IpAddr::V4(victim)) =
            (self.pod("attacker", 0), self.pod("victim", 0))
        else {
            panic!("the first address of a pod is IPv4");
        };
        let (own6, victim6) = (self.pod("attacker", 1), self.pod("victim", 1));
        let victim_mac = mac_of(&self.lab, "victim");
        let [a, b, c, _] = victim.octets();
        let gateway = if self.link == "bridge" { [a, b, c, 1] } else { [169, 254, 1, 1] }.into();
        let routes = self.routes();
        let mut frames = Vec::new();
        for to in [BROADCAST, victim_mac, self.gateway] {
            let ether = (self.mac, to);
            for claimed in [gateway, victim] {
                frames.push(arp(ether, 2, (self.mac, claimed), (victim_mac, victim)));
                frames.push(arp(ether, 1, (self.mac, claimed), (Mac([0; 6]), claimed)));
            }
            frames.push(arp(ether, 2, (Mac([2, 0, 0, 0, 0, 9]), own), (victim_mac, victim)));
            let router: IpAddr = "fe80::1".parse().expect("an address");
            for from in [own6, router, victim6] {
                for target in [router, victim6] {
                    for (kind, body) in discovery(target, victim6, self.mac) {
                        for dst in [victim6, all_nodes(), self.node("node-1", 1)] {
                            frames.push(icmpv6(ether, (from, dst), kind, &body));
                        }
                    }
                }
            }
        }
        frames.push(udp((self.mac, self.gateway), (own.into(), victim.into()), PORT, b"x"));
        let filter = format!(
            "(arp and ether src {}) or (icmp6 and not src host {victim6}) or udp port {PORT}",
            self.mac
        );
        let capture = Capture::start(&self.lab, Where::Pod("victim"), "eth0", 1, &filter);
        self.attack(&frames);
        let seen = capture.lines();
        assert!(seen.len() == 1 && seen[0].contains(&format!("{own}.7777 > ")), "{seen:?}");
        let poisoned = format!("lladdr {}", self.mac);
        for known in [
            text(&self.lab.exec("victim", &["ip", "neigh"])),
            text(&self.lab.node("node-1", &["ip", "neigh"])),
        ] {
            let wrong = |line: &&str| {
                let addr = line.split_whitespace().next().and_then(|word| word.parse().ok());
                line.contains(&poisoned) && addr != Some(IpAddr::V4(own)) && addr != Some(own6)
            };
            assert_eq!(known.lines().find(wrong), None);
        }
        assert_eq!(self.routes(), routes);
    }

    /// T06: a pod can't put a packet into the tunnel of a node; another port of the node it reaches.
    fn no_tunnel_packets(&self) {
        for family in FAMILIES {
            let own = self.pod("attacker", family);
            let inner = |pod: &str| {
                let ether = (self.mac, mac_of(&self.lab, pod));
                udp(ether, (self.pod("victim", family), self.pod(pod, family)), PORT, b"tunneled")
            };
            let filter = format!("udp portrange 8472-8473 and src host {own}");
            let inside = Capture::start(&self.lab, Where::Node("node-2"), "any", 1, &filter);
            let at_pod = format!("udp port {PORT}");
            let at_pod = Capture::start(&self.lab, Where::Pod("server"), "eth0", 1, &at_pod);
            let ether = (self.mac, self.gateway);
            let to = |node, port, payload: &[u8]| {
                udp(ether, (own, self.node(node, family)), port, payload)
            };
            let (server, victim) = (vxlan(&inner("server")), vxlan(&inner("victim")));
            self.attack(&[
                to("node-1", 8472, &victim),
                to("node-2", 8472, &server),
                to("node-2", 8473, b"any other port"),
                udp(ether, (own, self.pod("server", family)), PORT, b"honest"),
            ]);
            let seen = inside.lines();
            assert!(seen.len() == 1 && seen[0].contains(".8473:"), "{seen:?}");
            let seen = at_pod.lines();
            assert!(seen.len() == 1 && seen[0].contains(&format!("{own}.7777 > ")), "{seen:?}");
        }
    }

    /// T01: 127/8 comes from no wire: neither from a pod nor from a neighbor of the node.
    fn no_loopback(&self) {
        let settings = text(&self.lab.node("node-1", &["sysctl", "-a", "-r", "route_localnet"]));
        assert!(settings.lines().count() > 4, "{settings}");
        assert!(settings.lines().all(|line| line.ends_with("= 0")), "{settings}");
        let before = self.dropped_loopback();
        let local: IpAddr = "127.0.0.1".parse().expect("an address");
        let own = self.pod("attacker", 0);
        self.attack(&[udp((self.mac, self.gateway), (own, local), 9966, b"x")]);
        let nodes = processes::in_role(&self.lab, "node");
        let link = |node: &str| -> Mac {
            let mac = text(&self.lab.node(node, &["cat", "/sys/class/net/eth0/address"]));
            mac.parse().expect("a hardware address")
        };
        let ether = (link("node-2"), link("node-1"));
        let (one, two) = (self.node("node-1", 0), self.node("node-2", 0));
        let frames = [udp(ether, (two, local), 9966, b"x"), udp(ether, (local, one), PORT, b"x")];
        let neighbor = nodes.iter().find(|node| node.is_for("node-2")).expect("node-2's process");
        send(neighbor.pid, "eth0", &frames);
        eventually("the node counts what it dropped", || {
            let now = self.dropped_loopback();
            // The bridge hands a pod's packet to IP, so all three are counted there.
            if now == before + 3 { Ok(()) } else { Err((before, now)) }
        });
    }

    /// Packets the node has dropped for a loopback address.
    fn dropped_loopback(&self) -> u64 {
        let list = ["nft", "list", "chain", "inet", "seaway", "loopback"];
        let chain = success(&self.lab.node("node-1", &list)).expect("nft list chain");
        let counters = chain.split("packets ").skip(1);
        counters.map(|rest| rest.split(' ').next().unwrap_or("").parse::<u64>().unwrap_or(0)).sum()
    }

    fn routes(&self) -> String {
        let script = "ip -4 route; ip -6 route | sed 's/expires.*//'";
        let node = text(&self.lab.node("node-1", &["sh", "-c", script]));
        node + &text(&self.lab.exec("victim", &["sh", "-c", script]))
    }

    fn pod(&self, pod: &str, family: usize) -> IpAddr {
        let path = format!("{{.status.podIPs[{family}].ip}}");
        self.lab.pod_field(pod, &path).parse().expect("an address")
    }

    fn node(&self, node: &str, family: usize) -> IpAddr {
        let number = if node == "node-1" { 11 } else { 12 };
        let addrs = [format!("10.80.1.{number}"), format!("fd00:80:1::{number}")];
        addrs[family].parse().expect("an address")
    }
}

/// Type and body of the neighbor discovery messages that make others believe something: router
/// advertisement, neighbor advertisement (router, solicited, override), redirect.
fn discovery(target: IpAddr, dst: IpAddr, mac: Mac) -> [(u8, Vec<u8>); 3] {
    let octets = |addr: IpAddr| match addr {
        IpAddr::V6(addr) => addr.octets().to_vec(),
        IpAddr::V4(addr) => panic!("{addr} is IPv4"),
    };
    let option = |kind: u8| [vec![kind, 1], mac.0.to_vec()].concat();
    let router = [vec![64, 0, 0x0e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0], option(1)].concat();
    let neighbor = [vec![0xe0, 0, 0, 0], octets(target), option(2)].concat();
    let redirect = [vec![0; 4], octets(target), octets(dst), option(2)].concat();
    [(134, router), (136, neighbor), (137, redirect)]
}

fn mac_of(lab: &Lab, pod: &str) -> Mac {
    let mac = text(&lab.exec(pod, &["cat", "/sys/class/net/eth0/address"]));
    mac.parse().expect("a hardware address")
}

/// netcat on a node, waiting for one datagram.
struct Listener(Child);

impl Listener {
    fn start(lab: &Lab, node: &str, family: usize) -> Listener {
        let family = ["-4", "-6"][family];
        let mut command = lab.seaway(&["lab", "node"]);
        let port = PORT.to_string();
        command.args([node, "--", "timeout", "5", "nc", family, "-u", "-l", "-W", "1", &port]);
        let child = command.stdout(Stdio::piped()).spawn().expect("start nc");
        eventually("nc listens", || {
            let sockets = text(&lab.node(node, &["ss", "-Huln"]));
            if sockets.contains(&format!(":{port} ")) { Ok(()) } else { Err(sockets) }
        });
        Listener(child)
    }

    fn heard(mut self) -> String {
        let mut heard = String::new();
        let mut stdout = self.0.stdout.take().expect("piped");
        stdout.read_to_string(&mut heard).expect("read what nc heard");
        self.0.wait().expect("wait for nc");
        heard
    }
}

/// T09, T21: modes of files, and what listens.
fn files() {
    let lab = Lab::up(&["--nodes", "1"]);
    let files = [
        ("/run/seaway/cni.sock", "600 root:root socket"),
        ("/run/seaway/agent.sock", "600 root:root socket"),
        ("/run/cni/net.d/05-seaway.conflist", "600 root:root regular file"),
        ("/run/cni/bin/seaway-cni", "755 root:root regular file"),
    ];
    for (path, want) in files {
        let stat = success(&lab.node("node-1", &["stat", "-c", "%a %U:%G %F", path]));
        assert_eq!(stat.as_deref(), Ok(want), "{path}");
    }
    // DNS, at addresses of this node alone and, for the cluster, at its own.
    let dns = [
        "10.96.0.10:53 ",
        "[fd00:10:96::a]:53 ",
        "169.254.20.10:53 ",
        "10.80.1.11:10053 ",
        "[fd00:80:1::11]:10053 ",
    ];
    // The address for probes is for everybody, and says no more than whether the node is well.
    let tcp = [&dns[..], &["127.0.0.1:10249 ", "*:10256 "]].concat();
    for (sockets, known) in [("-Htln", &tcp[..]), ("-Huln", &dns)] {
        let listening = text(&lab.node("node-1", &["ss", sockets]));
        let is_known = |line: &&str| known.iter().any(|addr| line.contains(&format!(" {addr}")));
        let open: Vec<&str> = listening.lines().filter(|line| !is_known(line)).collect();
        assert!(open.is_empty(), "{open:?}");
    }
}
