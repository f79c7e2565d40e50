//! What is told of questions.

use std::num::NonZero;
use std::sync::mpsc::sync_channel;

use seaway_proxy::dns::{Log, Origin};
use wire::dns::{Rcode, RecordType, Transport};

use super::node::{A, Node, TXT, query, udp};

#[test]
fn every_question_is_told_of_with_its_client_and_its_end() {
    let node = Node::start();
    let (to, told) = sync_channel(16);
    node.server().log(Some(Log { every: NonZero::new(1).unwrap(), to }));
    for (name, kind, rcode, origin) in [
        ("WEB.ns.svc.cluster.local", TXT, Rcode::NoError, Origin::Zones),
        ("nope.ns.svc.cluster.local", A, Rcode::NxDomain, Origin::Zones),
        ("www.example.org", A, Rcode::NoError, Origin::Others),
    ] {
        node.ask_everywhere(&query(1, name, kind));
        let mut transports: Vec<_> = (0..4)
            .map(|_| {
                let asked = told.recv().unwrap();
                assert_eq!(asked.name, format!("{}.", name.to_lowercase()).parse().unwrap());
                assert_eq!((asked.kind, asked.rcode), (RecordType(kind), rcode));
                assert_eq!(asked.origin, origin);
                assert!(asked.client.is_loopback());
                (asked.transport == Transport::Tcp, asked.client.is_ipv6())
            })
            .collect();
        transports.sort_unstable();
        assert_eq!(transports, [(false, false), (false, true), (true, false), (true, true)]);
    }
    node.server().log(None);
    node.ask_everywhere(&query(1, "web.ns.svc.cluster.local", A));
    assert!(told.recv().is_err(), "nothing, and nobody is left who could say something");
}

#[test]
fn a_log_that_nobody_reads_keeps_nobody_waiting() {
    let node = Node::start();
    let (to, told) = sync_channel(2);
    node.server().log(Some(Log { every: NonZero::new(1).unwrap(), to }));
    for id in 0..20 {
        assert!(udp(node.v4.addr, &query(id, "web.ns.svc.cluster.local", A)).is_some());
    }
    assert_eq!(told.try_iter().count(), 2);
}
