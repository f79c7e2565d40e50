//! What answers to pods of the node say is allowed where policies ask for it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use model::{DomainName, DomainPattern, Family, SearchList};
use plan::nft::SetName;
use plan::{LocalPod, NamedSets, Stay, Unwritten};
use seaway_proxy::dns::{AddrSets, Around, Named};

use super::node::{A, Node, head, query, tcp, udp};

/// Sets that a test looks into.
#[derive(Debug, Clone, Default)]
struct Sets {
    held: Arc<Mutex<BTreeSet<(SetName, IpAddr)>>>,
    fails: Arc<AtomicBool>,
    /// Held by a test that wants nothing to be written.
    gate: Arc<Mutex<()>>,
}

impl AddrSets for Sets {
    fn read(&mut self, set: &SetName) -> io::Result<Vec<Stay>> {
        let left = Some(Duration::from_secs(60));
        let stay = |(set, addr): &(SetName, IpAddr)| Stay { set: set.clone(), addr: *addr, left };
        let held = self.held.lock().unwrap();
        Ok(held.iter().filter(|(of, _)| of == set).map(stay).collect())
    }

    fn write(&mut self, stays: &[Stay]) -> io::Result<Unwritten> {
        drop(self.gate.lock());
        if self.fails.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let mut held = self.held.lock().unwrap();
        for Stay { set, addr, left } in stays {
            let element = (set.clone(), *addr);
            if left.is_some() {
                held.insert(element)
            } else {
                held.remove(&element)
            };
        }
        Ok(Unwritten::default())
    }
}

/// What was answered before.
struct Before(Vec<(DomainName, Vec<(IpAddr, u32)>)>);

impl Around for Before {
    fn in_use(&self, _: &BTreeSet<IpAddr>) -> io::Result<BTreeSet<IpAddr>> {
        Ok(BTreeSet::new())
    }

    fn lately(&self, meant: &dyn Fn(&DomainName) -> bool) -> Vec<(DomainName, Vec<(IpAddr, u32)>)> {
        self.0.iter().filter(|(name, _)| meant(name)).cloned().collect()
    }
}

fn asked_for(patterns: &str) -> NamedSets {
    let of = |text: &str| {
        let pattern: DomainPattern = text.parse().unwrap();
        let set = |family: Family| (family, SetName(format!("{text} {family}").into()));
        (pattern, Family::ALL.map(set).into_iter().collect::<BTreeMap<_, _>>())
    };
    patterns.split_whitespace().map(of).collect()
}

/// A node whose pod this test is, with a search list, and its sets.
fn start(patterns: &str) -> (Node, Sets, Arc<Named>) {
    let (node, sets) = (Node::start(), Sets::default());
    let list = SearchList::new(&["ns.svc.cluster.local", "corp"], &["ndots:5"]).map(Arc::new);
    let pod = LocalPod { pod: None, search: list };
    let addrs: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    node.known.pods.store(Arc::new(addrs.map(|addr| (addr, pod.clone())).into_iter().collect()));
    let named = Arc::new(Named::start(sets.clone(), Arc::new(Before(Vec::new()))).unwrap());
    named.expect(&asked_for(patterns));
    node.known.named.store(Some(Arc::clone(&named)));
    (node, sets, named)
}

impl Sets {
    /// Waits until there is so much in them.
    fn wait_for(&self, count: usize) {
        let start = Instant::now();
        while self.held.lock().unwrap().len() < count {
            assert!(start.elapsed() < Duration::from_secs(10), "{self:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What is in them, and nothing after that.
    fn take(&self) -> Vec<String> {
        let held = std::mem::take(&mut *self.held.lock().unwrap());
        held.into_iter().map(|(set, addr)| format!("{set} {addr}")).collect()
    }
}

#[test]
fn npf6_npf7_what_an_answer_says_of_a_name_is_allowed_when_the_answer_is_there() {
    let cases: [(&str, &str, &[&str]); 13] = [
        ("*.example.org", "x.example.org", &["*.example.org ipv4 192.0.2.1"]),
        ("X.Example.ORG", "x.example.org", &["X.Example.ORG ipv4 192.0.2.1"]),
        ("*.example.org", "known.example.org", &["*.example.org ipv4 192.0.2.8"]),
        ("*.example.org", "static.example.org", &["*.example.org ipv4 192.0.2.7"]),
        ("*.example.org", "nowhere.example.org", &[]),
        ("*.example.org", "broken.example.org", &[]),
        ("*.example.com", "x.example.org", &[]),
        ("*.ns.svc.cluster.local", "db-7.db.ns.svc.cluster.local", &["7"]),
        // Services have addresses that nothing is sent to, and what they are another name for is none of
        // the cluster's.
        ("*.cluster.local *.example.org", "web.ns.svc.cluster.local", &[]),
        ("*.cluster.local *.example.org", "ext.ns.svc.cluster.local", &[]),
        ("*.cluster.local *.example.org", "renamed.example.org", &[]),
        // On the search list: the name that is there counts, and not the one that was asked for.
        (
            "*.cluster.local intra.corp",
            "intra.ns.svc.cluster.local",
            &["intra.corp ipv4 192.0.2.1"],
        ),
        ("*.cluster.local", "intra.ns.svc.cluster.local", &[]),
    ];
    for (patterns, name, want) in cases {
        for ask in [|at, q: &[u8]| udp(at, q).unwrap(), |at, q: &[u8]| tcp(at, q)] {
            let (node, sets, named) = start(patterns);
            let answer = ask(node.v4.addr, &query(7, name, A));
            let held = sets.take();
            assert_eq!(head(&answer).0, 7);
            assert_eq!(held.len(), want.len(), "{patterns}: {name}: {held:?}");
            for (held, want) in held.iter().zip(want) {
                assert!(held.ends_with(want), "{patterns}: {name}: {held}");
            }
            assert_eq!(named.tally().late, 0);
        }
    }
}

#[test]
fn npf9_what_others_are_told_is_allowed_to_nobody() {
    let (node, sets, _named) = start("*.example.org");
    node.known.pods.store(Arc::default());
    for name in ["x.example.org", "known.example.org"] {
        assert_eq!(head(&udp(node.v4.addr, &query(7, name, A)).unwrap()).2, 1);
        assert_eq!(sets.take(), [""; 0]);
    }
}

#[test]
fn npf7_an_answer_comes_in_time_whatever_becomes_of_the_write() {
    let (node, sets, named) = start("*.example.org");
    sets.fails.store(true, Ordering::Relaxed);
    let ask = |name| head(&udp(node.v4.addr, &query(7, name, A)).unwrap()).2;
    for name in ["x.example.org", "known.example.org"] {
        assert_eq!(ask(name), 1, "{name}");
    }
    assert_eq!((named.tally().failures, named.tally().late), (2, 0));
    sets.fails.store(false, Ordering::Relaxed);
    let held = sets.gate.lock().unwrap();
    for name in ["y.example.org", "known.y.example.org"] {
        assert_eq!(ask(name), 1, "{name}");
    }
    assert_eq!(named.tally().late, 2);
    drop(held);
    sets.wait_for(2); // The late ones are written all the same.
}

#[test]
fn npf7_rules_that_come_later_know_what_was_answered_before() {
    let name = |text: &str| text.parse::<DomainName>().unwrap();
    let before = [("a.example.org", 1), ("a.example.com", 2)];
    let before = before.map(|(of, last)| (name(of), vec![([192, 0, 2, last].into(), 60)]));
    let sets = Sets::default();
    let named = Named::start(sets.clone(), Arc::new(Before(before.into()))).unwrap();
    named.settle(&asked_for("*.example.org"), true);
    sets.wait_for(1);
    let known = named.stand_for();
    assert_eq!(known.keys().collect::<Vec<_>>(), [&name("a.example.org")]);
    assert_eq!(sets.take(), ["*.example.org ipv4 192.0.2.1"]);
}
