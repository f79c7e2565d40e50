//! What becomes of connections that are there while policies change.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZero;
use std::time::Duration;

use compile::policy::{Around, lower, resolve};
use fixtures::policies::write::{egress, ingress};
use fixtures::policies::{Play, Stage, Step, remove};
use kernel::nft::Nft;
use model::{Family, ObjectName, World};
use plan::converge;
use plan::nft::{Key, Row};
use serde_json::json;

use crate::hosts::{Host, Hosts};
use crate::node;

/// How long silence takes to be silence.
const SILENCE: Duration = Duration::from_millis(300);

fn addr(world: &World, pod: &ObjectName, family: Family) -> IpAddr {
    let addrs = &world.pods[pod].addrs;
    addrs.iter().copied().find(|addr| Family::of(*addr) == family).unwrap()
}

/// The rows of the node, whose pods have the addresses of the stage whatever the API server says.
fn rows(stage: &World, world: &World, generation: u8) -> plan::Table<Key, Row> {
    let own = stage.pods.values().filter(|pod| pod.node.as_ref() == Some(&node()));
    let pods = own.flat_map(|pod| pod.addrs.iter().map(|addr| (*addr, Some(pod.name.clone()))));
    let node_addrs = world.nodes[&node()].ips().collect();
    let around = Around { pods: pods.collect(), node: node_addrs, has_log: true, dns: None };
    lower(&resolve(world, &node()), &around, NonZero::new(generation).unwrap())
}

fn enforce(nft: &mut Nft, rows: &plan::Table<Key, Row>) {
    let (_, failures) = converge(nft, rows).unwrap();
    assert!(failures.is_empty(), "{failures:?}");
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
        let listener = hosts.at(&Host::Elsewhere, || TcpListener::bind(at).unwrap());
        let connect = || TcpStream::connect_timeout(&at, Duration::from_secs(5)).unwrap();
        let client = hosts.at(&Host::Local(from.clone()), connect);
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
