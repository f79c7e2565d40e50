//! What rules add to a connection from a pod to another across their node.
//!
//! Every ruleset has a node of its own, with a cable to each of the two, and all take turns, so that what
//! else happens on the machine happens to all of them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{process, thread};

use kernel::netns::Netns;

use crate::Outcome;

/// How often every node has its turn, and connections in a turn.
const TURNS: usize = 40;
const CONNECTIONS: usize = 500;

/// The port that the second pod takes connections at.
pub(crate) const PORT: u16 = 8080;

/// Prints a table: a line for each node.
pub(crate) fn measure(mut nodes: Vec<Node>) -> Outcome<()> {
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

pub(crate) struct Node {
    what: &'static str,
    client: Netns,
    to: Vec<SocketAddr>,
    /// By turn, each in order.
    took: Vec<Vec<Duration>>,
    /// The node and the other pod live as long as somebody holds them.
    _others: [Netns; 2],
}

impl Node {
    /// A node between two pods with these addresses, programmed by `program`, which says where to connect to.
    pub(crate) fn start(
        what: &'static str,
        [from, to]: [Ipv4Addr; 2],
        program: impl FnOnce() -> Outcome<Vec<SocketAddr>> + Send,
    ) -> Outcome<Self> {
        let [node, client, server] = [Netns::fresh()?, Netns::fresh()?, Netns::fresh()?];
        node.run(|| -> Outcome<()> {
            run("ip link set lo up")?;
            run("sysctl -qw net.ipv4.ip_forward=1")?;
            join(&client, from)?;
            join(&server, to)
        })??;
        server.run(|| listen(PORT))??;
        let to = node.run(program)??;
        Ok(Node { what, client, to, took: Vec::new(), _others: [node, server] })
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
