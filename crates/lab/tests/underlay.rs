//! The underlay on a real kernel. Needs root; everything is in namespaces of the test's own.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use seaway_lab::spec::Spec;
use seaway_lab::topology::{Place, node_addrs, outside_addrs};
use seaway_lab::underlay::Underlay;

/// ```text
/// client ── router ── internet        node-1 and node-3 on subnet 1, node-2 on subnet 2
/// ```
fn two_subnets() -> (Spec, Underlay) {
    let mut spec = Spec::new("underlay".parse().unwrap());
    spec.subnets = 2;
    let mut underlay = Underlay::make(&spec).expect("needs root");
    for number in 1..=3 {
        underlay.add_node(&spec, number).unwrap();
    }
    (spec, underlay)
}

/// Connects from one host to an address of another and says who the other saw.
fn connect(underlay: &Underlay, from: Place, to: Place, addr: IpAddr) -> io::Result<IpAddr> {
    let listener = underlay.host(to).unwrap().run(|| TcpListener::bind((addr, 80))).unwrap()?;
    let patience = Duration::from_secs(5);
    let connect = || TcpStream::connect_timeout(&SocketAddr::new(addr, 80), patience);
    let stream = underlay.host(from).unwrap().run(connect).unwrap()?;
    let (_, peer) = listener.accept()?;
    drop(stream);
    Ok(peer.ip())
}

#[test]
fn every_host_reaches_every_other_by_its_own_address() {
    let (spec, underlay) = two_subnets();
    let addrs = |place| match place {
        Place::Node(number) => node_addrs(&spec, number).iter().map(|net| net.addr()).collect(),
        Place::Client | Place::Internet | Place::Switch | Place::Router | Place::Control => {
            outside_addrs(&spec, place)
        }
    };
    let places = [Place::Node(1), Place::Node(2), Place::Node(3), Place::Client, Place::Internet];
    for from in places {
        for to in places.into_iter().filter(|to| *to != from) {
            for (from_addr, to_addr) in addrs(from).into_iter().zip(addrs(to)) {
                let seen = connect(&underlay, from, to, to_addr);
                assert_eq!(seen.unwrap(), from_addr, "{from} to {to}");
            }
        }
    }
}

#[test]
fn nobody_outside_has_a_way_to_a_pod() {
    let (spec, underlay) = two_subnets();
    for place in [Place::Client, Place::Internet] {
        for cidr in &spec.pod_cidrs {
            let pod = cidr.addr();
            let socket = underlay.host(place).unwrap();
            let socket = socket.run(|| {
                let any: IpAddr = if pod.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
                UdpSocket::bind((any, 0))
            });
            let refused = socket.unwrap().unwrap().connect((pod, 80)).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::NetworkUnreachable, "{place} to {pod}");
        }
    }
}

#[test]
fn a_node_leaves_and_another_takes_its_port() {
    let (spec, mut underlay) = two_subnets();
    underlay.remove_node(&spec, 2).unwrap();
    assert!(underlay.host(Place::Node(2)).is_err());
    underlay.add_node(&spec, 2).unwrap();
    underlay.add_node(&spec, 2).unwrap();
    let addr = node_addrs(&spec, 2)[0].addr();
    connect(&underlay, Place::Client, Place::Node(2), addr).unwrap();
}
