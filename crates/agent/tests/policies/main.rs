//! Policies with real packets: arbitrary worlds compiled for a node in a namespace, their rules in the
//! kernel, and who then reaches whom. Needs root.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod hosts;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZero;
use std::thread;
use std::time::Duration;

use compile::policy::{Around, lower, resolve};
use fixtures::policies::arbitrary::objects;
use fixtures::policies::write::{egress, ingress};
use fixtures::policies::{Play, Stage, Step, put, remove};
use kernel::nft::Nft;
use model::{Family, NodeName, ObjectName, World};
use oracle::Packet;
use oracle::policy::{Flow, Learned, Origin, verdicts};
use plan::converge;
use plan::nft::{Key, Row};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use hosts::{Client, Hosts, OPEN};

/// How many worlds are tried.
const WORLDS: usize = 12;

/// How long silence takes to be silence.
const SILENCE: Duration = Duration::from_millis(300);

fn node() -> NodeName {
    "node-1".into()
}

fn addr(world: &World, pod: &ObjectName, family: Family) -> IpAddr {
    let addrs = &world.pods[pod].addrs;
    addrs.iter().copied().find(|addr| Family::of(*addr) == family).unwrap()
}

/// The rows of the node, whose pods have the addresses of the stage whatever the API server says.
fn rows(stage: &World, world: &World, generation: u8) -> plan::Table<Key, Row> {
    let own = stage.pods.values().filter(|pod| pod.node.as_ref() == Some(&node()));
    let pods = own.flat_map(|pod| pod.addrs.iter().map(|addr| (*addr, Some(pod.name.clone()))));
    let around = Around { pods: pods.collect(), node: world.nodes[&node()].ips().collect() };
    lower(&resolve(world, &node()), &around, NonZero::new(generation).unwrap())
}

fn enforce(nft: &mut Nft, rows: &plan::Table<Key, Row>) {
    let (_, failures) = converge(nft, rows).unwrap();
    assert!(failures.is_empty(), "{failures:?}");
}

/// A question from one to another.
#[derive(Debug, Clone)]
struct Probe {
    client: Client,
    from: IpAddr,
    to: SocketAddr,
    protocol: u8,
}

/// Of every pod of the node to every pod, a node and a stranger, and to them of another node's pod and the node's processes.
fn probes(stage: &World) -> Vec<Probe> {
    let local = stage.pods.values().filter(|pod| pod.node.as_ref() == Some(&node()));
    let local: Vec<ObjectName> = local.map(|pod| pod.name.clone()).collect();
    let elsewhere = stage.pods.values().find(|pod| pod.node.as_ref() != Some(&node())).unwrap();
    let clients = local.iter().map(|pod| (Client::Local(pod.clone()), pod));
    let clients =
        clients.chain([Client::Elsewhere, Client::Process].map(|client| (client, &elsewhere.name)));
    let mut probes = Vec::new();
    for (n, (client, name)) in clients.enumerate() {
        let is_local = matches!(client, Client::Local(_));
        for family in Family::ALL {
            let from = addr(stage, name, family);
            let mut to: Vec<IpAddr> = stage
                .pods
                .values()
                .filter(|pod| pod.name != *name)
                .filter(|pod| is_local || local.contains(&pod.name))
                .map(|pod| addr(stage, &pod.name, family))
                .collect();
            if is_local {
                let other = NodeName::from("node-2");
                to.extend(stage.nodes[&other].internal_ip(family));
                to.push(match family {
                    Family::V4 => "203.0.113.9".parse().unwrap(),
                    Family::V6 => "2001:db8:9::9".parse().unwrap(),
                });
            }
            for (m, to) in to.into_iter().enumerate() {
                // Each pair with each protocol, and ports in turn.
                for (k, protocol) in [6, 17, 132].into_iter().enumerate() {
                    let to = SocketAddr::new(to, OPEN[(n + m + k) % OPEN.len()]);
                    probes.push(Probe { client: client.clone(), from, to, protocol });
                }
            }
        }
    }
    probes
}

/// What the node lets pass of it: the other ends have nodes of their own.
fn is_let_through(stage: &World, world: &World, probe: &Probe) -> bool {
    let origin = match &probe.client {
        Client::Local(pod) => Origin::Pod(pod.clone()),
        Client::Elsewhere => Origin::Elsewhere,
        Client::Process => Origin::Process(node()),
    };
    let (dst, dport) = (probe.to.ip(), probe.to.port());
    let packet = Packet { src: probe.from, dst, protocol: probe.protocol, dport };
    let flow = Flow { origin, packet, is_led: false };
    let said = verdicts(world, &Learned::new(), &flow);
    let own = stage.pods.values().filter(|pod| pod.node.as_ref() == Some(&node()));
    let is_own = own.flat_map(|pod| &pod.addrs).any(|addr| *addr == dst);
    said.egress.is_allowed && (said.ingress.is_allowed || !is_own)
}

#[test]
fn npo2_the_kernel_does_what_the_specifications_say_in_arbitrary_worlds() {
    let stage = Stage { ports: &[], ..Stage::NINE }.world();
    let hosts = Hosts::start(&stage);
    let mut nft = Nft::open().unwrap();
    let mut runner = TestRunner::deterministic();
    let (mut tried, mut denied) = (0, 0);
    for number in 0..WORLDS {
        let objects: Vec<Value> = objects().new_tree(&mut runner).unwrap().current();
        let mut world = stage.clone();
        // Pods run where their cables are: labels and ports are as they come.
        objects.iter().filter(|object| !is_absent(object)).for_each(|one| put(&mut world, one));
        enforce(&mut nft, &rows(&stage, &world, u8::try_from(number + 1).unwrap()));
        thread::scope(|scope| {
            for probe in probes(&stage) {
                let want = is_let_through(&stage, &world, &probe);
                tried += 1;
                denied += usize::from(!want);
                let (hosts, Probe { client, to, protocol, .. }) = (&hosts, probe.clone());
                scope.spawn(move || {
                    let got = hosts.reaches(&client, protocol, to, want);
                    assert_eq!(got, want, "world {number}: {probe:?}");
                });
            }
        });
    }
    assert!(denied > tried / 10 && denied < tried * 9 / 10, "{denied} of {tried} denied");
}

/// Whether it is a pod without an address of its own.
fn is_absent(object: &Value) -> bool {
    let is_there = object["status"]["phase"] == "Running" && object["spec"]["hostNetwork"] != true;
    object["kind"] == "Pod" && !is_there
}

/// Both ends of a connection.
struct Connection {
    client: TcpStream,
    server: TcpStream,
}

impl Connection {
    fn open(hosts: &Hosts, stage: &World, from: &ObjectName, port: u16) -> Self {
        let to = stage.pods.values().find(|pod| pod.node.as_ref() != Some(&node())).unwrap();
        let at = SocketAddr::new(addr(stage, &to.name, Family::V4), port);
        let listener = hosts.at(&Client::Elsewhere, || TcpListener::bind(at).unwrap());
        let connect = || TcpStream::connect_timeout(&at, Duration::from_secs(5)).unwrap();
        let client = hosts.at(&Client::Local(from.clone()), connect);
        let (server, _) = listener.accept().unwrap();
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(SILENCE)).unwrap();
        }
        Connection { client, server }
    }

    /// Whether what the client says is heard.
    fn asks(&mut self) -> bool {
        said(&mut self.client, &mut self.server)
    }

    /// Whether what the server says is heard.
    fn answers(&mut self) -> bool {
        said(&mut self.server, &mut self.client)
    }
}

fn said(from: &mut TcpStream, to: &mut TcpStream) -> bool {
    from.write_all(b"x").unwrap();
    heard(to)
}

fn heard(at: &mut TcpStream) -> bool {
    match at.read(&mut [0; 16]) {
        Ok(length) => length > 0,
        Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => false,
        Err(error) => panic!("read: {error}"),
    }
}

/// NP-N5, NP-E1 to NP-E3, NP-U5.
#[test]
fn npn5_npe1_npe3_a_change_cuts_what_it_forbids_from_either_end_and_nothing_else() {
    let mut play = Play::new(Stage { ports: &[], ..Stage::NINE }, Family::V4);
    let stage = play.world.clone();
    let hosts = Hosts::start(&stage);
    let mut nft = Nft::open().unwrap();
    let other = ingress("other", "pod=none", json!([]));
    play.happen(&Step::Put(other));
    enforce(&mut nft, &rows(&stage, &play.world, 1));
    let [cut, kept] = [("x", "a"), ("y", "a")].map(|(space, name)| ObjectName::new(space, name));
    let mut speaks_first = [1000, 1001].map(|port| Connection::open(&hosts, &stage, &cut, port));
    let mut lives = Connection::open(&hosts, &stage, &kept, 1002);
    for connection in speaks_first.iter_mut().chain([&mut lives]) {
        assert!(connection.asks() && connection.answers());
    }

    let deny = egress("deny", "pod=a", json!([]));
    play.happen(&Step::Put(deny.clone()));
    enforce(&mut nft, &rows(&stage, &play.world, 2));
    let [client, server] = &mut speaks_first;
    assert!(!client.asks(), "the client speaks first");
    assert!(!server.answers(), "the server speaks first");
    assert!(!client.answers() && !server.asks(), "then the other end");
    assert!(lives.asks() && lives.answers() && lives.asks(), "what is allowed still");

    // What was lost meanwhile is sent again.
    remove(&mut play.world, &deny);
    enforce(&mut nft, &rows(&stage, &play.world, 3));
    for connection in &mut speaks_first {
        let Connection { client, server } = connection;
        assert!(
            (0..100).any(|_| heard(server)) && (0..100).any(|_| heard(client)),
            "allowed again"
        );
    }
    assert!(lives.asks() && lives.answers());
}
