//! DNS at a cluster IP: this node answers as long as somebody holds the table of what is not tracked,
//! and another node from the next packet on.
//!
//! a pod of the node ── node (10.96.0.10 delivered here) ── another node, 203.0.113.2

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fixtures::hosts::{Notice, run, serve};
use fixtures::plain;
use kernel::nft::Owned;
use kernel::place::Routes;
use model::{
    DNS_PORT, Dns, EndpointPort, Family, Node, Protocol, Service, ServiceName, ServicePort,
};
use plan::{Listener, Route, RouteKey, RouteTable, converge};

use crate::hosts::{Client, addr};
use crate::{Cluster, TCP, UDP, cluster_ip};

const NODE_PORT: u16 = 10053;

fn vip(family: Family) -> SocketAddr {
    cluster_ip(family, 10, DNS_PORT)
}

/// A node where the Service `kube-dns` leads to itself and to another node; both have servers.
fn start() -> Cluster {
    let mut cluster = Cluster::start();
    let name = ServiceName::new("kube-system", "kube-dns");
    let port = |name: &str, protocol| ServicePort {
        name: name.into(),
        protocol,
        port: DNS_PORT,
        node_port: None,
    };
    let addrs = Family::ALL.map(|family| vip(family).ip()).into();
    let ports = vec![port("dns", Protocol::Udp), port("dns-tcp", Protocol::Tcp)];
    let service = Service { ports, ..plain::service(name.clone(), addrs) };
    cluster.world.services.insert(name.clone(), Arc::new(service));
    let of = |name: &str, protocol| EndpointPort { name: name.into(), protocol, port: NODE_PORT };
    for family in Family::ALL {
        let endpoints = [(1, "a"), (2, "b")]
            .map(|(host, node)| plain::endpoint(addr(family, 0, host), Some(node.into())));
        let mut slice = plain::slice(name.clone(), family, endpoints.into());
        slice.key.slice = format!("kube-dns-{family}").into();
        slice.ports = vec![of("dns", Protocol::Udp), of("dns-tcp", Protocol::Tcp)];
        cluster.world.slices.insert(slice.key.clone(), Arc::new(slice));
    }
    let other = Node {
        internal_ips: Family::ALL.map(|family| addr(family, 0, 2)).into(),
        pod_cidrs: vec!["10.2.0.0/16".parse().unwrap(), "fd00:2::/48".parse().unwrap()],
        ..Node::new("b".into())
    };
    cluster.world.nodes.insert(other.name.clone(), Arc::new(other));
    cluster.apply();
    let compiled = cluster.compiler.compile(&cluster.world, &compile::Scope::Node("a".into()));
    let local = |(key, _): &(&RouteKey, &Route)| key.table == RouteTable::Local;
    let routes = compiled.plan.routes.iter().filter(local);
    let routes = routes.map(|(key, row)| (key.clone(), row.clone())).collect();
    let (_, failures) = converge(&mut Routes::open().unwrap(), &routes).unwrap();
    assert!(failures.is_empty(), "{failures:?}");
    // The server asks for each socket what a test's socket gets here (IPV6_FREEBIND).
    run("sysctl -qw net.ipv6.ip_nonlocal_bind=1");
    serve(&Family::ALL.map(|family| vip(family).ip()), &[DNS_PORT]);
    let there: [IpAddr; 2] = Family::ALL.map(|family| addr(family, 0, 2));
    cluster.hosts.at(Client::Outside, || serve(&there, &[NODE_PORT]));
    cluster
}

/// A process that holds the table, and does nothing else.
fn hold() -> Child {
    let mut owned = Owned::open().unwrap();
    let listeners = Family::ALL.map(|family| Listener::Local(vip(family)));
    owned.put(&compile::dns::untracked(&listeners, Some(Dns::CLIENT_RATE))).unwrap();
    Command::new("sleep").arg("600").stdin(Stdio::from(owned.into_fd())).spawn().unwrap()
}

/// The table is gone afterwards: a child that another test has forked meanwhile may have had a copy of
/// its socket until it ran its program.
fn kill(mut holder: Child) {
    holder.kill().unwrap();
    holder.wait().unwrap();
    let mut other = Owned::open().unwrap();
    let is_gone = || {
        thread::sleep(Duration::from_millis(1));
        !other.stands().unwrap()
    };
    assert!(std::iter::repeat_with(is_gone).take(5000).any(|is_gone| is_gone));
}

fn check_all(cluster: &Cluster, is_here: bool, when: &str) {
    for (family, protocol) in Family::ALL.into_iter().flat_map(|f| [TCP, UDP].map(|p| (f, p))) {
        for (client, own) in
            [(Client::Backend, addr(family, 2, 2)), (Client::Node, addr(family, 0, 1))]
        {
            let there = SocketAddr::new(addr(family, 0, 2), NODE_PORT);
            let by = if is_here { vip(family) } else { there };
            let heard = cluster.hosts.hears(client, protocol, vip(family));
            assert_eq!(heard, Notice::Answer { by, saw: own }, "{when}: {client:?} {protocol}");
        }
    }
}

#[test]
fn dns105_dns106_names_are_answered_here_while_somebody_serves_and_by_another_node_from_the_next_packet_on()
 {
    let cluster = start();
    check_all(&cluster, false, "before anybody serves");
    for round in 0..2 {
        let holder = hold();
        check_all(&cluster, true, &format!("served, {round}"));
        kill(holder);
        check_all(&cluster, false, &format!("killed, {round}"));
    }
}

#[test]
fn dns106_dns108_a_client_that_asks_from_one_port_all_the_time_is_answered_by_whoever_serves() {
    let cluster = start();
    for family in Family::ALL {
        for client in [Client::Backend, Client::Node] {
            let socket = cluster.hosts.at(client, || {
                let any = if family == Family::V4 { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any).unwrap();
                socket.connect(vip(family)).unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                socket
            });
            let asks = |is_here: bool| {
                socket.send(b"?").unwrap();
                let mut answer = [0; 128];
                let length = socket.recv(&mut answer).unwrap();
                let said = String::from_utf8_lossy(&answer[..length]).into_owned();
                let is_local = said.starts_with(&vip(family).to_string());
                assert_eq!(is_local, is_here, "{client:?}: {said}");
            };
            for _ in 0..3 {
                let holder = hold();
                asks(true);
                kill(holder);
                asks(false);
                asks(false);
            }
        }
    }
}
