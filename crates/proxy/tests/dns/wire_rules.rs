//! What is answered, over each family and transport.

use std::sync::Arc;

use plan::zone::{Question, answer, write};
use seaway_proxy::dns::{Admits, Limits, Listen, Origin, Zone};
use wire::dns::{Rcode, Reply, Transport, Unanswered, read, refuse};

use super::node::{
    A, AAAA, Node, SRV, TXT, client, head, nearby, query, tcp, udp, with_opt, zones,
};

/// What the tables say to a message, without a server.
fn expected(message: &[u8], transport: Transport) -> Vec<u8> {
    let (zones, mut out) = (zones(), Vec::new());
    match read(message) {
        Ok(query) => {
            let question = Question { name: &query.name, kind: query.kind, turn: 0 };
            write(&answer(&zones, &question).unwrap(), Reply::new(&query, transport, &mut out));
        }
        Err(Unanswered::Refused(refusal)) => refuse(&refusal, &mut out),
        Err(Unanswered::Silent) => {}
    }
    out
}

#[test]
fn dns60_to_dns64_dns69_dns73_dns79_every_family_and_transport_gives_the_bytes_that_the_tables_say()
{
    let node = Node::start();
    let opcode = |number: u8| {
        let mut message = query(7, "web.ns.svc.cluster.local", A);
        message[2] |= number << 3;
        message
    };
    let mut two = query(7, "web.ns.svc.cluster.local", A);
    two[5] = 2;
    let mut chaos = query(7, "version.bind", TXT);
    *chaos.last_mut().unwrap() = 3;
    let mut version = with_opt(query(7, "web.ns.svc.cluster.local", A), 1232, &[]);
    let at = version.len() - 5;
    version[at] = 1;
    for message in [
        query(1, "web.ns.svc.cluster.local", A),
        query(2, "WeB.ns.SVC.cluster.local", AAAA),
        query(3, "web.ns.svc.cluster.local", TXT),
        query(4, "nope.ns.svc.cluster.local", A),
        query(5, "_http._tcp.web.ns.svc.cluster.local", SRV),
        query(6, "20.0.96.10.in-addr.arpa", 12),
        query(7, "inner.ns.svc.cluster.local", A),
        query(8, "db-7.db.ns.svc.cluster.local", A),
        query(9, "cluster.local", 252),
        query(10, "web.ns.svc.cluster.local", 255),
        with_opt(query(11, "web.ns.svc.cluster.local", A), 4096, &[]),
        opcode(4),
        opcode(5),
        two,
        chaos,
        version,
        query(12, "web.ns.svc.cluster.local", A)[..20].to_vec(),
    ] {
        let want = [Transport::Udp, Transport::Udp, Transport::Tcp, Transport::Tcp];
        let want = want.map(|transport| expected(&message, transport));
        assert_eq!(node.ask_everywhere(&message), want, "{message:02x?}");
    }
}

#[test]
fn dns65_dns66_dns75_dns77_a_big_answer_is_cut_over_udp_and_whole_over_tcp() {
    let node = Node::start();
    let plain = query(1, "db.ns.svc.cluster.local", A);
    let datagram = udp(node.v4.addr, &plain).unwrap();
    assert_eq!((datagram.len() <= 512, datagram[2] & 2, head(&datagram)), (true, 2, (1, 0, 29)));
    let datagram = udp(node.v6.addr, &with_opt(plain.clone(), 4096, &[])).unwrap();
    assert_eq!((datagram.len() <= 1232, datagram[2] & 2, head(&datagram)), (true, 2, (1, 0, 0)));
    assert_eq!(head(&tcp(node.v6.addr, &plain)), (1, 0, 250));
}

#[test]
fn dns87_answers_bring_what_was_asked_for_alone_and_1232_bytes_by_udp_at_most() {
    let node = Node::start();
    for (name, kind, size) in [
        ("web.ns.svc.cluster.local", A, None),
        ("web.ns.svc.cluster.local", AAAA, Some(1232)),
        ("db.ns.svc.cluster.local", A, Some(4096)),
        ("www.example.org", A, Some(4096)),
    ] {
        let plain = query(3, name, kind);
        let asked = size.map_or(plain.clone(), |size| with_opt(plain, size, &[]));
        for got in node.ask_everywhere(&asked) {
            let rest = [0, 0, 0, u8::from(size.is_some())];
            assert_eq!((head(&got).1, &got[8..12]), (0, &rest[..]), "{name}: an OPT or nothing");
        }
        let over_udp = udp(node.v4.addr, &asked).unwrap();
        assert!(over_udp.len() <= 1232, "{name}: {}", over_udp.len());
    }
}

#[test]
fn an_address_that_is_taken_is_told_of_and_is_listened_at_once_it_is_free() {
    let [v4, v6] = super::node::places().map(|addr| Listen { addr, admits: Admits::Everyone });
    let node = Node::at(v4, v6, Limits::default());
    let other = std::net::UdpSocket::bind(v4.addr).unwrap();
    for _ in 0..2 {
        let errors = node.server().listen(&[v4, v6], Vec::new());
        let told: Vec<_> = errors.iter().map(|error| error.addr).collect();
        assert_eq!(told, [v4.addr]);
        let why = std::error::Error::source(&errors[0]).unwrap().to_string();
        assert!(why.contains("Address already in use"), "{why}");
    }
    let message = query(1, "web.ns.svc.cluster.local", A);
    assert_eq!(head(&udp(v6.addr, &message).unwrap()), (1, 0, 1));
    drop(other);
    assert!(node.server().listen(&[v4, v6], Vec::new()).is_empty());
    for got in node.ask_everywhere(&message) {
        assert_eq!(head(&got), (1, 0, 1));
    }
}

#[test]
fn dns61_answers_and_scraps_are_not_answered() {
    let node = Node::start();
    for addr in [node.v4.addr, node.v6.addr] {
        let client = client(addr);
        let mut loud = query(1, "web.ns.svc.cluster.local", A);
        loud[2] |= 0x80;
        for message in [&loud[..], &[], &[1], &loud[..11]] {
            client.send(message).unwrap();
        }
        client.send(&query(2, "web.ns.svc.cluster.local", A)).unwrap();
        let mut buffer = [0; 512];
        let len = client.recv(&mut buffer).unwrap();
        assert_eq!(head(&buffer[..len]), (2, 0, 1), "the first answer is to the last message");
    }
    assert_eq!(node.server().counts().silent(), 8);
}

#[test]
fn dns11_dns31_others_are_asked_for_what_the_zones_do_not_have() {
    let node = Node::start();
    for (name, rcode, answers, last) in [
        ("www.example.org", 0, 1, [192, 0, 2, 1]),
        ("known.example.org", 0, 1, [192, 0, 2, 8]),
        ("static.example.org", 0, 1, [192, 0, 2, 7]),
        ("renamed.example.org", 0, 1, [10, 96, 0, 20]),
        ("nowhere.example.org", 3, 0, [0, 1, 0, 1]),
        ("ext.ns.svc.cluster.local", 0, 2, [192, 0, 2, 1]),
    ] {
        let message = query(9, name, A);
        for got in node.ask_everywhere(&message) {
            assert_eq!(head(&got), (9, rcode, answers), "{name}");
            assert_eq!(got[got.len() - 4..], last, "{name}");
            assert_eq!(
                got[12..message.len()],
                message[12..],
                "the question is the client's: {name}"
            );
        }
    }
    let counts = node.server().counts();
    let of = |zone, origin, rcode| {
        counts.responses().find(|(z, o, r, _)| (*z, *o, *r) == (zone, origin, rcode)).map(|c| c.3)
    };
    assert_eq!(of(Zone::Other, Origin::Others, Rcode::NoError), Some(4));
    assert_eq!(of(Zone::Other, Origin::Others, Rcode::NxDomain), Some(4));
    assert_eq!(of(Zone::Other, Origin::Memory, Rcode::NoError), Some(4));
    assert_eq!(of(Zone::Other, Origin::Settings, Rcode::NoError), Some(4));
    assert_eq!(of(Zone::Own, Origin::Zones, Rcode::NoError), Some(4), "renamed into a zone");
    assert_eq!(of(Zone::Own, Origin::Others, Rcode::NoError), Some(4), "an alias that leads out");
}

#[test]
fn where_only_the_cluster_may_ask_nobody_else_is_answered() {
    let node = Node::with(Limits::default(), Admits::Cluster);
    let message = query(1, "web.ns.svc.cluster.local", A);
    let stranger = client(node.v4.addr);
    stranger.send(&message).unwrap();
    let mut stream = super::node::connect(node.v4.addr);
    assert_eq!(super::node::next(&mut stream), None, "closed at once");
    while node.server().counts().strangers() < 2 {
        std::thread::yield_now();
    }
    node.known.cluster.store(Arc::new(nearby()));
    for got in node.ask_everywhere(&message) {
        assert_eq!(head(&got), (1, 0, 1));
    }
    stranger.set_nonblocking(true).unwrap();
    assert!(stranger.recv(&mut [0; 512]).is_err(), "the first message is gone");
}

#[test]
fn dns160_a_panic_is_an_answer_and_a_number() {
    let node = Node::start();
    for name in ["panic.example.org", "panic-later.example.org"] {
        for got in node.ask_everywhere(&query(5, name, A)) {
            assert_eq!(head(&got), (5, 2, 0), "SERVFAIL: {name}");
        }
    }
    assert_eq!(node.server().counts().panics(), 8);
    assert_eq!(head(&udp(node.v4.addr, &query(6, "web.ns.svc.cluster.local", A)).unwrap()).2, 1);
}
