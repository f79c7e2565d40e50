//! Answers from the zones cost no allocation: a hundred thousand of them a second would. Addresses that
//! lead back to names are another matter: a walk through their ordered set remembers its way.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "dns/node.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod node;
#[path = "dns/others.rs"]
mod others;

use std::alloc::System;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use model::{DomainName, Family, SearchList};
use plan::nft::SetName;
use plan::{LocalPod, Stay, Unwritten};
use seaway_proxy::dns::{AddrSets, Around, Named};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use node::{A, AAAA, Node, SRV, client, query, with_opt};

/// Counts what the whole process allocates: this test is alone in its program.
#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// No sets, and nothing else.
struct Nowhere;

impl AddrSets for Nowhere {
    fn read(&mut self, _: &SetName) -> io::Result<Vec<Stay>> {
        Ok(Vec::new())
    }

    fn write(&mut self, _: &[Stay]) -> io::Result<Unwritten> {
        Ok(Unwritten::default())
    }
}

impl Around for Nowhere {
    fn in_use(&self, _: &BTreeSet<IpAddr>) -> io::Result<BTreeSet<IpAddr>> {
        Ok(BTreeSet::new())
    }

    fn lately(&self, _: &dyn Fn(&DomainName) -> bool) -> Vec<(DomainName, Vec<(IpAddr, u32)>)> {
        Vec::new()
    }
}

#[test]
fn answers_from_the_zones_allocate_nothing() {
    let node = Node::start();
    let domains = ["pod.svc.cluster.local", "svc.cluster.local", "cluster.local"];
    let list = SearchList::new(&domains, &["ndots:1"]).map(Arc::new);
    let pods = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        .map(|addr| (addr, LocalPod { pod: None, search: list.clone() }));
    node.known.pods.store(Arc::new(pods.into_iter().collect()));
    // What rules ask for elsewhere costs nothing here.
    let set = (Family::V4, SetName("names".into()));
    let asked_for = ("*.example.org".parse().unwrap(), [set].into());
    let named = Named::start(Nowhere, Arc::new(Nowhere)).unwrap();
    named.expect(&[asked_for].into_iter().collect());
    node.known.named.store(Some(Arc::new(named)));
    let clients = [client(node.v4.addr), client(node.v6.addr)];
    let questions = [
        query(1, "web.ns.svc.cluster.local", A),
        query(2, "Web.NS.svc.cluster.local", AAAA),
        query(3, "nope.ns.svc.cluster.local", A),
        query(4, "db.ns.svc.cluster.local", A),
        query(5, "_http._tcp.db.ns.svc.cluster.local", SRV),
        query(6, "db-7.db.ns.svc.cluster.local", A),
        query(7, "inner.ns.svc.cluster.local", A),
        query(7, "web.ns.pod.svc.cluster.local", A),
        query(7, "nope.ns.pod.svc.cluster.local", A),
        with_opt(
            query(8, "db.ns.svc.cluster.local", A),
            4096,
            &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8],
        ),
        vec![0; 12],
    ];
    let mut buffer = [0; 2048];
    let mut ask = |question: &[u8], times: usize| {
        for client in clients.iter().cycle().take(times) {
            client.send(question).unwrap();
            client.recv(&mut buffer).unwrap();
        }
    };
    for question in &questions {
        ask(question, 100); // What is made once is made now.
        let region = Region::new(COUNTED);
        ask(question, 1000);
        let change = region.change();
        assert_eq!(change.allocations, 0, "{change:?} for {question:02x?}");
    }
}
