//! Services with real packets: a World compiled for a node in a namespace, its rules in the kernel,
//! and what pods, the node's own processes and a client outside notice. Needs root.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod hosts;
mod judged;
mod listed;
mod names;

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use compile::{Compiler, Scope};
use kernel::netns::unshare_thread;
use kernel::nft::Nft;
use model::{
    Attachment, AttachmentKey, EndpointPort, EndpointSlice, Family, Host, Mac, Node, Protocol,
    Service, ServiceCidr, ServiceKind, ServiceName, ServicePort, SliceKey, TrafficPolicy, Uplink,
    World,
};
use plan::converge;

use fixtures::hosts::{Notice, ask_on, run};
use fixtures::plain;
use hosts::{Client, Hosts, OPEN, addr};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A node with a World that changes.
struct Cluster {
    hosts: Hosts,
    world: World,
    compiler: Compiler,
    nft: Nft,
}

impl Cluster {
    /// The node and its pods, without a Service.
    fn start() -> Self {
        unshare_thread().expect("needs root: a network namespace of its own");
        let hosts = Hosts::start();
        let mut world = World::default();
        world.config.node = "a".into();
        let addrs = vec!["203.0.113.1/24".parse().unwrap(), "2001:db8::1/64".parse().unwrap()];
        let uplink = Uplink { name: "c0".parse().unwrap(), mtu: 1500, addrs };
        world.host = Host { uplinks: vec![uplink], ..Host::default() };
        let node = Node {
            internal_ips: Family::ALL.map(|family| addr(family, 0, 1)).into(),
            pod_cidrs: vec!["10.1.0.0/16".parse().unwrap(), "fd00:1::/48".parse().unwrap()],
            ..Node::new("a".into())
        };
        world.nodes.insert(node.name.clone(), Arc::new(node));
        let cidr = ServiceCidr {
            name: "kubernetes".into(),
            cidrs: vec!["10.96.0.0/16".parse().unwrap(), "fd00:96::/112".parse().unwrap()],
        };
        world.service_cidrs.insert(cidr.name.clone(), Arc::new(cidr));
        let key = AttachmentKey { container_id: "b".into(), ifname: "eth0".parse().unwrap() };
        let backend = Attachment {
            network: "seaway".to_owned(),
            netns: "/proc/self/ns/net".into(),
            pod: None,
            addrs: Family::ALL.map(|family| addr(family, 2, 2)).into(),
            mac: Mac::derive("b"),
            port_mappings: Vec::new(),
            search: None,
            key: key.clone(),
        };
        world.attachments.insert(key, Arc::new(backend));
        let nft = Nft::open().unwrap();
        Cluster { hosts, world, compiler: Compiler::default(), nft }
    }

    /// Puts a Service, of TCP and UDP alike, with endpoints at these ports of the backend's pod.
    fn put(&mut self, name: &str, number: u8, change: impl Fn(&mut Service), ports: &[u16]) {
        let ip = |family| match family {
            Family::V4 => format!("10.96.0.{number}"),
            Family::V6 => format!("fd00:96::{number}"),
        };
        let port = |name: &str, protocol, node_port: u16| ServicePort {
            name: name.into(),
            protocol,
            port: 80,
            node_port: Some(node_port + u16::from(number)),
        };
        let cluster_ips = Family::ALL.map(|family| ip(family).parse().unwrap()).into();
        let mut service = Service {
            kind: ServiceKind::NodePort,
            ports: vec![port("tcp", Protocol::Tcp, 30_000), port("udp", Protocol::Udp, 31_000)],
            ..plain::service(ServiceName::new("shop", name), cluster_ips)
        };
        change(&mut service);
        for (family, at) in Family::ALL.into_iter().flat_map(|f| OPEN.map(|port| (f, port))) {
            let slice = slice(&service.name, family, at);
            if ports.contains(&at) {
                self.world.slices.insert(slice.key.clone(), Arc::new(slice));
            } else {
                self.world.slices.remove(&slice.key);
            }
        }
        self.world.services.insert(service.name.clone(), Arc::new(service));
        self.apply();
    }

    fn apply(&mut self) {
        let compiled = self.compiler.compile(&self.world, &Scope::Node("a".into()));
        assert_eq!(compiled.rejected, [], "rejected");
        let (_, failures) = converge(&mut self.nft, &compiled.plan.nft).unwrap();
        let failures: Vec<_> = failures
            .iter()
            .map(|failure| format!("{}: {}", failure.attempt, model::chain(&*failure.cause)))
            .collect();
        assert_eq!(failures, [""; 0]);
        let (again, _) = converge(&mut Nft::open().unwrap(), &compiled.plan.nft).unwrap();
        assert!(again.is_empty(), "read back with differences:\n{again}");
    }
}

/// Endpoints of one port: the backend's pod has one address, so a slice is told apart by its port.
fn slice(service: &ServiceName, family: Family, port: u16) -> EndpointSlice {
    let of = |name: &str, protocol| EndpointPort { name: name.into(), protocol, port };
    let endpoints = vec![plain::endpoint(addr(family, 2, 2), Some("a".into()))];
    EndpointSlice {
        key: SliceKey { service: service.clone(), slice: format!("{family}-{port}").into() },
        ports: vec![of("tcp", Protocol::Tcp), of("udp", Protocol::Udp)],
        ..plain::slice(service.clone(), family, endpoints)
    }
}

fn cluster_ip(family: Family, number: u8, port: u16) -> SocketAddr {
    let text = match family {
        Family::V4 => format!("10.96.0.{number}:{port}"),
        Family::V6 => format!("[fd00:96::{number}]:{port}"),
    };
    text.parse().unwrap()
}

fn node_port(family: Family, protocol: u8, number: u8) -> SocketAddr {
    let base = if protocol == TCP { 30_000 } else { 31_000 };
    SocketAddr::new(addr(family, 0, 1), base + u16::from(number))
}

/// The port of each answer, how often.
fn answers(cluster: &Cluster, client: Client, to: SocketAddr, count: u32) -> BTreeMap<u16, u32> {
    let mut answers = BTreeMap::new();
    for _ in 0..count {
        match cluster.hosts.hears(client, TCP, to) {
            Notice::Answer { by, .. } => *answers.entry(by.port()).or_default() += 1,
            heard @ (Notice::Refused | Notice::Silence) => panic!("{to}: {heard:?}"),
        }
    }
    answers
}

#[test]
fn new_connections_spread_evenly_over_all_backends() {
    let mut cluster = Cluster::start();
    cluster.put("web", 1, |_| {}, &OPEN);
    for family in Family::ALL {
        let shares = answers(&cluster, Client::Pod, cluster_ip(family, 1, 80), 300);
        // 100 each; five standard deviations are 41.
        assert_eq!(shares.len(), OPEN.len());
        assert!(shares.values().all(|share| (59..=141).contains(share)), "{shares:?}");
    }
}

#[test]
fn s91_s92_no_packet_leaves_untranslated_while_endpoints_come_and_go() {
    const CHANGES: usize = 400;
    let mut cluster = Cluster::start();
    // Who is not Seaway counts what still goes to the Service's own addresses when it leaves.
    let count = "counter comment untranslated";
    run("nft add table inet judge");
    run("nft add chain inet judge leaving { type filter hook postrouting priority 300 ; }");
    run(&format!("nft add rule inet judge leaving ip daddr 10.96.0.0/16 {count}"));
    run(&format!("nft add rule inet judge leaving ip6 daddr fd00:96::/112 {count}"));
    cluster.put("web", 1, |_| {}, &OPEN);
    let (pod, is_over) = (cluster.hosts.pod(), AtomicBool::new(false));
    let (pod, is_over) = (&pod, &is_over);
    let pour = &|family: Family| {
        let any = if family == Family::V4 { "0.0.0.0:0" } else { "[::]:0" };
        let mut count = 0_u32;
        while !is_over.load(Ordering::Relaxed) {
            let socket = UdpSocket::bind(any).unwrap();
            // One that is told that there is no way is what this is about, and is counted elsewhere.
            let (Ok(_) | Err(_)) = socket.send_to(b"?", cluster_ip(family, 1, 80));
            count += 1;
        }
        count
    };
    let sent = thread::scope(|scope| {
        let poured =
            Family::ALL.map(|family| scope.spawn(move || pod.run(|| pour(family)).unwrap()));
        for change in 0..CHANGES {
            cluster.put("web", 1, |_| {}, &OPEN[..1 + change % 2 * 2]);
        }
        is_over.store(true, Ordering::Relaxed);
        poured.map(|poured| poured.join().unwrap())
    });
    let listed = Command::new("nft").args(["list", "table", "inet", "judge"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.matches("counter packets 0 bytes 0").count(), 2, "of {sent:?}:\n{listed}");
}

#[test]
fn backends_see_the_client_or_the_node_as_each_frontend_and_client_demands() {
    let mut cluster = Cluster::start();
    cluster.put("web", 1, |_| {}, &OPEN[..1]);
    cluster.put("local", 2, |s| s.external_policy = TrafficPolicy::Local, &OPEN[..1]);
    for family in Family::ALL {
        let (pod, outside) = (addr(family, 1, 2), addr(family, 0, 2));
        // The node as seen by the backend: its address on the cable that leads there.
        let node = addr(family, 2, 1);
        for protocol in [TCP, UDP] {
            let ip = cluster_ip(family, 1, 80);
            let ports = [1, 2].map(|number| node_port(family, protocol, number));
            let cases = [
                ("pod to cluster IP", Client::Pod, ip, pod),
                ("pod to itself", Client::Backend, ip, node),
                ("outside to cluster IP", Client::Outside, ip, node),
                ("pod to node port", Client::Pod, ports[0], pod),
                ("pod to itself by node port", Client::Backend, ports[0], node),
                ("outside to node port", Client::Outside, ports[0], node),
                ("process to node port", Client::Node, ports[0], node),
                ("outside to node port, Local", Client::Outside, ports[1], outside),
                ("pod to node port, Local", Client::Pod, ports[1], pod),
            ];
            for (what, client, to, seen) in cases {
                let heard = cluster.hosts.hears(client, protocol, to);
                let by = SocketAddr::new(addr(family, 2, 2), 7000);
                assert_eq!(heard, Notice::Answer { by, saw: seen }, "{what}, {family}, {protocol}");
            }
            let heard = cluster.hosts.hears(Client::Node, protocol, ip);
            assert!(matches!(heard, Notice::Answer { .. }), "process to cluster IP: {heard:?}");
        }
    }
}

#[test]
fn without_endpoints_clients_are_refused_at_once_and_strangers_and_unused_addresses_are_dropped() {
    let mut cluster = Cluster::start();
    cluster.put("none", 1, |_| {}, &[]);
    let balanced = |service: &mut Service| {
        service.kind = ServiceKind::LoadBalancer;
        service.load_balancer_ips = Family::ALL.map(balancer).into();
        let own = Family::ALL.map(|family| addr(family, 1, 2).into());
        service.source_ranges = own.into();
    };
    cluster.put("web", 2, balanced, &OPEN);
    for (family, protocol) in Family::ALL.into_iter().flat_map(|f| [TCP, UDP].map(|p| (f, p))) {
        for client in [Client::Pod, Client::Node, Client::Outside] {
            let refused = [
                cluster_ip(family, 1, 80),
                cluster_ip(family, 1, 81),
                node_port(family, protocol, 1),
            ];
            for to in refused {
                let heard = cluster.hosts.hears(client, protocol, to);
                assert_eq!(heard, Notice::Refused, "{client:?} to {to}, {protocol}");
            }
            let unused = cluster_ip(family, 9, 80);
            let heard = cluster.hosts.ask(client, protocol, unused);
            assert_eq!(heard, Notice::Silence, "{client:?} to {unused}, {protocol}");
        }
        let at = SocketAddr::new(balancer(family), 80);
        let heard = cluster.hosts.hears(Client::Pod, protocol, at);
        assert!(matches!(heard, Notice::Answer { .. }), "within the ranges: {heard:?}");
        let heard = cluster.hosts.ask(Client::Outside, protocol, at);
        assert_eq!(heard, Notice::Silence, "outside of the ranges, {at}, {protocol}");
    }
}

#[test]
fn s37_s100_cluster_ips_and_node_ports_may_be_anywhere() {
    let mut cluster = Cluster::start();
    let anywhere = |service: &mut Service| {
        service.cluster_ips = Family::ALL.map(balancer).into();
        service.ports.iter_mut().for_each(|port| port.node_port = Some(81));
    };
    cluster.put("web", 1, anywhere, &OPEN[..1]);
    for (family, protocol) in Family::ALL.into_iter().flat_map(|f| [TCP, UDP].map(|p| (f, p))) {
        for client in [Client::Pod, Client::Node, Client::Outside] {
            for (addr, port) in [(balancer(family), 80), (addr(family, 0, 1), 81)] {
                let heard = cluster.hosts.hears(client, protocol, SocketAddr::new(addr, port));
                assert!(matches!(heard, Notice::Answer { .. }), "{client:?} {addr}: {heard:?}");
            }
        }
    }
}

fn balancer(family: Family) -> std::net::IpAddr {
    let text = if family == Family::V4 { "198.51.100.7" } else { "2001:db8:7::7" };
    text.parse().unwrap()
}

#[test]
fn a_client_stays_with_its_backend_at_every_frontend_until_that_goes_or_the_time_is_over() {
    let mut cluster = Cluster::start();
    let sticky = |service: &mut Service| service.affinity = Some(Duration::from_secs(2));
    let chosen = |cluster: &Cluster, to| match cluster.hosts.hears(Client::Pod, TCP, to) {
        Notice::Answer { by, .. } => by.port(),
        heard @ (Notice::Refused | Notice::Silence) => panic!("{to}: {heard:?}"),
    };
    for family in Family::ALL {
        cluster.put("web", 1, sticky, &OPEN);
        let (ip, port) = (cluster_ip(family, 1, 80), node_port(family, TCP, 1));
        let first = chosen(&cluster, ip);
        for _ in 0..20 {
            assert_eq!(chosen(&cluster, ip), first);
            assert_eq!(chosen(&cluster, port), first, "by node port");
        }
        let left: Vec<u16> = OPEN.into_iter().filter(|port| *port != first).collect();
        cluster.put("web", 1, sticky, &left);
        let second = chosen(&cluster, ip);
        assert!(left.contains(&second));
        for _ in 0..20 {
            assert_eq!(chosen(&cluster, port), second, "remembered anew");
        }
        // Forgotten some time: each silence longer than the timeout ends in a new choice, and one of
        // twenty in a row is another backend.
        let moved = (0..20).any(|_| {
            thread::sleep(Duration::from_millis(2300));
            chosen(&cluster, ip) != second
        });
        assert!(moved, "never forgotten");
    }
}

#[test]
fn what_is_established_goes_on_whatever_becomes_of_the_service() {
    let mut cluster = Cluster::start();
    cluster.put("web", 1, |_| {}, &OPEN[..1]);
    let mut streams: Vec<_> = [Client::Pod, Client::Node, Client::Outside]
        .into_iter()
        .flat_map(|client| Family::ALL.map(|family| (client, cluster_ip(family, 1, 80))))
        .map(|(client, to)| cluster.hosts.connect(client, to))
        .collect();
    let mut all_answer = |when: &str| {
        for stream in &mut streams {
            let answer = ask_on(stream).unwrap_or_else(|e| panic!("{when}: {e}"));
            let stayed = matches!(answer, Notice::Answer { by, .. } if by.port() == 7000);
            assert!(stayed, "{when}: {answer:?}");
        }
    };
    all_answer("at first");
    cluster.put("web", 1, |_| {}, &OPEN[1..]);
    all_answer("with other endpoints");
    cluster.put("web", 1, |_| {}, &[]);
    all_answer("without endpoints");
    let gone = ServiceName::new("shop", "web");
    cluster.world.services.remove(&gone);
    cluster.apply();
    all_answer("without the Service");
}
