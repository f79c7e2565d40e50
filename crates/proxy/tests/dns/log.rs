//! What is told of questions.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use seaway_proxy::dns::{Asked, Log, Origin};
use wire::dns::{Rcode, RecordType, Transport};

use super::node::{A, Node, TXT, query, tcp, udp};

/// Tells `to` of one question of so many; how many were lost.
fn log(node: &Node, every: u32, to: SyncSender<Asked>) -> Arc<AtomicU64> {
    let lost = Arc::<AtomicU64>::default();
    let log = Log::new(NonZero::new(every).unwrap(), to, Arc::clone(&lost));
    node.known.log.store(Some(Arc::new(log)));
    lost
}

#[test]
fn every_question_is_told_of_with_its_client_and_its_end() {
    let node = Node::start();
    let (to, told) = sync_channel(16);
    let lost = log(&node, 1, to);
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
                assert!(asked.client.ip().is_loopback());
                (asked.transport == Transport::Tcp, asked.client.is_ipv6())
            })
            .collect();
        transports.sort_unstable();
        assert_eq!(transports, [(false, false), (false, true), (true, false), (true, true)]);
    }
    node.known.log.store(None);
    assert_eq!(lost.load(Ordering::Relaxed), 0);
    node.ask_everywhere(&query(1, "web.ns.svc.cluster.local", A));
    assert!(told.recv().is_err(), "nothing, and nobody is left who could say something");
}

#[test]
fn a_log_that_nobody_reads_keeps_nobody_waiting() {
    let node = Node::start();
    let (to, told) = sync_channel(2);
    let lost = log(&node, 1, to);
    for id in 0..20 {
        assert!(udp(node.v4.addr, &query(id, "web.ns.svc.cluster.local", A)).is_some());
    }
    assert_eq!((told.try_iter().count(), lost.load(Ordering::Relaxed)), (2, 18));
}

#[test]
fn one_question_of_so_many_is_told_of_whatever_it_comes_by() {
    let node = Node::start();
    let (to, told) = sync_channel(64);
    let lost = log(&node, 5, to);
    for id in 0..20 {
        let question = query(id, "web.ns.svc.cluster.local", A);
        // A connection for each.
        if id % 2 == 0 {
            tcp(node.v4.addr, &question)
        } else {
            udp(node.v4.addr, &question).unwrap()
        };
    }
    let ids: Vec<u16> = told.try_iter().map(|asked| asked.id).collect();
    assert_eq!((ids, lost.load(Ordering::Relaxed)), (vec![0, 5, 10, 15], 0));
}

#[test]
fn a_question_is_written_as_by_coredns() {
    let asked = Asked {
        client: "[::1]:50759".parse().unwrap(),
        transport: Transport::Udp,
        id: 29008,
        name: "example.org.".parse().unwrap(),
        kind: RecordType::A,
        dnssec_ok: false,
        takes: Some(4096),
        question: 41,
        rcode: Rcode::NoError,
        origin: Origin::Others,
        searched: None,
        flags: 0x81a0,
        answer: 68,
        took: Duration::from_nanos(37_990_251),
    };
    // The example of CoreDNS's plugin log.
    let udp = "[::1]:50759 - 29008 \"A IN example.org. udp 41 false 4096\" NOERROR qr,rd,ra,ad 68 0.037990251s";
    assert_eq!(asked.to_string(), udp);
    let tcp = Asked { transport: Transport::Tcp, takes: None, dnssec_ok: true, ..asked };
    assert!(tcp.to_string().contains("tcp 41 true 65535"));
    let plain = Asked { takes: None, ..asked };
    assert!(plain.to_string().contains("udp 41 false 512"));
}
