//! Connections of many clients, who ask little or nothing.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use seaway_proxy::dns::Limits;
use socket2::{Domain, Socket, Type};

use super::node::{A, Node, PATIENCE, framed, head, next, query, udp};

/// Clients, and what each of them holds.
const CLIENTS: u8 = 64;
const EACH: usize = 64;

/// What a connection may cost the server, in KiB: its task, and half a question; and as much again for the
/// other tests of this process.
const ROOM: usize = 32;

/// A connection from an address of the client's own.
fn connect(client: u8, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from = SocketAddr::from((Ipv4Addr::new(127, 99, 0, client), 0));
    socket.set_reuse_address(true).unwrap();
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

/// Memory of this process, in KiB.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// The process may have as many descriptors as it is allowed at all.
fn take_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let needed = 3 * u64::from(CLIENTS) * EACH as u64;
    assert!(most >= needed, "{most} descriptors are allowed, {needed} needed (ulimit -Hn)");
}

#[test]
fn dns163_connections_that_ask_nothing_cost_little_and_there_are_so_many_and_no_more() {
    take_descriptors();
    let node = Node::start();
    let limit = Limits::default();
    assert_eq!((limit.connections, limit.connections_each), (usize::from(CLIENTS) * EACH, EACH));
    let before = memory();
    let half = &framed(&query(1, "web.ns.svc.cluster.local", A))[..9];
    let mut held = Vec::new();
    for client in 1..=CLIENTS {
        for number in 0..EACH {
            let mut stream = connect(client, node.v4.addr);
            if number % 2 == 0 {
                stream.write_all(half).unwrap();
            }
            held.push(stream);
        }
    }
    // Each was accepted when the one after the last is refused.
    for client in [1, CLIENTS + 1] {
        assert_eq!(next(&mut connect(client, node.v4.addr)), None, "one too many");
    }
    let taken = memory().saturating_sub(before);
    assert!(taken < held.len() * ROOM, "{taken} KiB for {} connections", held.len());
    assert_eq!(node.server().counts().connections_shed(), 2);
    let question = query(2, "web.ns.svc.cluster.local", A);
    assert_eq!(head(&udp(node.v4.addr, &question).unwrap()), (2, 0, 1));
    drop(held);
    let mut after = connect(CLIENTS + 1, node.v4.addr);
    loop {
        after.write_all(&framed(&question)).unwrap();
        match next(&mut after) {
            Some(answer) => return assert_eq!(head(&answer), (2, 0, 1), "there is room again"),
            None => after = connect(CLIENTS + 1, node.v4.addr),
        }
    }
}
