//! What Services add to the first packet of a connection, from a pod to a backend across the node.
//!
//! Every ruleset has a node of its own, with a cable to a client and one to a backend, and all take
//! turns, so that what else happens on the machine happens to all of them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{process, thread};

use kernel::netns::Netns;
use model::{ServiceName, World};

use crate::program::Running;
use crate::world::{POD, name, world};
use crate::{Outcome, peer};

/// How often every node has its turn, and connections in a turn.
const TURNS: usize = 40;
const CONNECTIONS: usize = 500;

/// Every Service that is connected to, of as many as there are.
const ASKED: u32 = 8;

const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 244, 255, 2);

/// Prints a table: a line for each ruleset.
pub(crate) fn measure() -> Outcome<()> {
    let mut nodes = vec![
        Node::start("no rules, straight to the backend", 8, |_| Ok(()))?,
        Node::start("10 Services", 10, ours)?,
        Node::start("1,000 Services", 1000, ours)?,
        Node::start("10,000 Services", 10_000, ours)?,
        Node::start("30,000 Services", 30_000, ours)?,
        Node::start("1,000 as kube-proxy lays them out", 1000, |world| {
            peer::program(&world).map(drop)
        })?,
    ];
    for node in &mut nodes[0].to {
        *node = (BACKEND, 8080).into();
    }
    for _ in 0..TURNS {
        nodes.iter_mut().try_for_each(Node::turn)?;
    }
    println!("| connect from a pod, {} each | p50 | p99 |", TURNS * CONNECTIONS);
    println!("|---|---|---|");
    for node in &mut nodes {
        let [half, most] = [50, 99].map(|percent| node.typical(percent));
        println!("| {} | {half:.1?} | {most:.1?} |", node.what);
    }
    Ok(())
}

fn ours(world: World) -> Outcome<()> {
    Running::start(world)?.program()
}

struct Node {
    what: &'static str,
    client: Netns,
    to: Vec<SocketAddr>,
    /// By turn, each in order.
    took: Vec<Vec<Duration>>,
    /// The node and the backend live as long as somebody holds them.
    _others: [Netns; 2],
}

impl Node {
    /// A node with so many Services, some of which lead to its backend, programmed by `program`.
    fn start(
        what: &'static str,
        services: u32,
        program: impl FnOnce(World) -> Outcome<()> + Send,
    ) -> Outcome<Self> {
        let [node, client, backend] = [Netns::fresh()?, Netns::fresh()?, Netns::fresh()?];
        node.run(|| -> Outcome<()> {
            run("ip link set lo up")?;
            run("sysctl -qw net.ipv4.ip_forward=1")?;
            join(&client, POD)?;
            join(&backend, BACKEND)
        })??;
        backend.run(|| listen(8080))??;
        let mut world = world(services, 2);
        let asked: Vec<_> = (0..ASKED).map(|n| name(n * (services / ASKED))).collect();
        let mut to = Vec::new();
        for service in &asked {
            to.push(lead_to_backend(&mut world, service)?);
        }
        node.run(|| program(world))??;
        Ok(Node { what, client, to, took: Vec::new(), _others: [node, backend] })
    }

    fn turn(&mut self) -> Outcome<()> {
        let to = &self.to;
        let mut took = self.client.run(|| -> Outcome<Vec<Duration>> {
            to.iter().cycle().take(CONNECTIONS).map(|to| connect(*to)).collect()
        })??;
        took.sort_unstable();
        self.took.push(took);
        Ok(())
    }

    /// The median over turns of what so many percent of a turn's connections do not exceed.
    fn typical(&mut self, percent: usize) -> Duration {
        let mut of_turns: Vec<_> =
            self.took.iter().map(|took| took[(took.len() - 1) * percent / 100]).collect();
        of_turns.sort_unstable();
        of_turns[of_turns.len() / 2]
    }
}

/// Has both endpoints of a Service be the backend. Returns where clients find it.
fn lead_to_backend(world: &mut World, service: &ServiceName) -> Outcome<SocketAddr> {
    let found = world.slices.iter().find(|(key, _)| key.service == *service);
    let (key, slice) = found.ok_or("a Service without a slice")?;
    let (key, mut slice) = (key.clone(), (**slice).clone());
    slice.endpoints.truncate(1);
    slice.endpoints[0].addr = BACKEND.into();
    world.slices.insert(key, Arc::new(slice));
    let service = world.services.get(service).ok_or("no such Service")?;
    Ok((service.cluster_ips[0], service.ports[0].port).into())
}

/// A connection that is reset at once, so that no port stays in use.
fn connect(to: SocketAddr) -> Outcome<Duration> {
    let start = Instant::now();
    let stream = TcpStream::connect(to)?;
    let took = start.elapsed();
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Ok(took)
}

/// Takes connections, for as long as the process lives.
fn listen(port: u16) -> Outcome<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    thread::spawn(move || listener.incoming().for_each(drop));
    Ok(())
}

/// Joins a namespace to this one: `addr` there, the first address of its /24 here.
fn join(netns: &Netns, addr: Ipv4Addr) -> Outcome<()> {
    let path = format!("/proc/{}/fd/{}", process::id(), netns.as_fd().as_raw_fd());
    let [a, b, c, _] = addr.octets();
    let (link, gateway) = (format!("to-{c}"), Ipv4Addr::new(a, b, c, 1));
    run(&format!("ip link add {link} type veth peer name eth0 netns {path}"))?;
    run(&format!("ip addr add {gateway}/24 dev {link}"))?;
    run(&format!("ip link set {link} up"))?;
    netns.run(|| -> Outcome<()> {
        run("ip link set lo up")?;
        run(&format!("ip addr add {addr}/24 dev eth0"))?;
        run("ip link set eth0 up")?;
        run(&format!("ip route add default via {gateway}"))
    })?
}

fn run(line: &str) -> Outcome<()> {
    let mut words = line.split(' ');
    let status = Command::new(words.next().unwrap_or_default()).args(words).status()?;
    if status.success() { Ok(()) } else { Err(format!("{line}: {status}").into()) }
}
