//! Search lists: a pod asks once, and the server goes along its list.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;

use model::{DomainName, SearchList};
use plan::zone::Zones;
use plan::{LocalPod, LocalPods};
use seaway_proxy::dns::{Admits, Limits, Log, Origin, Zone};
use wire::dns::{Rcode, RecordType, Section, hear};

use super::node::{A, Node, head, query, tcp, udp, with_opt};

/// What a kubelet makes of a pod of namespace `pod` whose node searches in `corp`.
const LIST: &str = "pod.svc.cluster.local svc.cluster.local cluster.local corp";

/// The pod that this test is.
fn pods(domains: &str, ndots: u8) -> LocalPods {
    let domains: Vec<&str> = domains.split_whitespace().collect();
    let list = SearchList::new(&domains, &[format!("ndots:{ndots}")]).unwrap();
    let pod = LocalPod { pod: None, search: Some(Arc::new(list)) };
    let addrs: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    addrs.map(|addr| (addr, pod.clone())).into_iter().collect()
}

fn start(ndots: u8) -> Node {
    let node = Node::start();
    node.known.pods.store(Arc::new(pods(LIST, ndots)));
    node
}

/// What an answer says: rcode, then answer and authority, each record as `OWNER TTL TYPE VALUE`.
fn shown(question: &[u8], message: &[u8]) -> String {
    let heard = hear(message, question).unwrap();
    let mut lines = vec![heard.rcode.unwrap().to_string()];
    for record in heard.records() {
        let rdata = record.rdata().unwrap();
        let value = match record.kind {
            RecordType::CNAME => DomainName::from_wire(&rdata).unwrap().to_string(),
            RecordType::SOA => "…".to_owned(),
            _ => rdata.iter().map(u8::to_string).collect::<Vec<_>>().join("."),
        };
        let (owner, ttl, kind) = (record.owner().unwrap(), record.ttl, record.kind);
        let side = if record.section == Section::Authority { " +" } else { "" };
        lines.push(format!("{side}{owner} {ttl} {kind} {value}"));
    }
    lines.join(" | ")
}

/// The answer to a question that is the same however it is asked, and how often others were asked for it
/// the first time.
fn ask(node: &Node, name: &str, kind: u16) -> (String, usize) {
    let question = query(7, name, kind);
    let before = node.others.asked.load(Ordering::Relaxed);
    let answers = node.ask_everywhere(&question);
    let asked = node.others.asked.load(Ordering::Relaxed) - before;
    let shown = answers.map(|answer| shown(&question, &answer));
    assert!(shown.iter().all(|answer| *answer == shown[0]), "{name}: {shown:?}");
    (shown.into_iter().next().unwrap(), asked / 4)
}

/// Name (under the first domain), type, how often others are asked, answer. `@` is the name in question; owners
/// are read in lower case.
#[test]
fn dns102_the_first_name_of_the_list_that_is_there_is_the_answer() {
    let cases = "
        www.example.org       | 1   | 2 | NOERROR | @ 5 CNAME www.example.org. | www.example.org. 60 A 192.0.2.1
        WWW.Example.org       | 1   | 2 | NOERROR | @ 5 CNAME www.example.org. | www.example.org. 60 A 192.0.2.1
        www.example.org       | 16  | 2 | NOERROR | @ 5 CNAME www.example.org. | www.example.org. 60 TXT 1.120
        known.example.org     | 1   | 0 | NOERROR | @ 5 CNAME known.example.org. | known.example.org. 60 A 192.0.2.8
        intra                 | 1   | 1 | NOERROR | @ 5 CNAME intra.corp. | intra.corp. 60 A 192.0.2.1
        web.ns                | 1   | 0 | NOERROR | @ 5 CNAME web.ns.svc.cluster.local. | web.ns.svc.cluster.local. 5 A 10.96.0.20
        web.ns.svc            | 1   | 0 | NOERROR | @ 5 CNAME web.ns.svc.cluster.local. | web.ns.svc.cluster.local. 5 A 10.96.0.20
        web.ns.svc.cluster.local | 1 | 1 | NOERROR | @ 5 CNAME web.ns.svc.cluster.local. | web.ns.svc.cluster.local. 5 A 10.96.0.20
        inner.ns              | 1   | 0 | NOERROR | @ 5 CNAME inner.ns.svc.cluster.local. | inner.ns.svc.cluster.local. 5 CNAME web.ns.svc.cluster.local. | web.ns.svc.cluster.local. 5 A 10.96.0.20
        ext.ns                | 1   | 1 | NOERROR | @ 5 CNAME ext.ns.svc.cluster.local. | ext.ns.svc.cluster.local. 5 CNAME WWW.example.org. | www.example.org. 60 A 192.0.2.1
        ns                    | 1   | 0 | NOERROR |  +cluster.local. 5 SOA …
        web.ns                | 16  | 0 | NOERROR |  +cluster.local. 5 SOA …
        nowhere.example.org   | 1   | 2 | NXDOMAIN |  +cluster.local. 5 SOA …
        www.example.org       | 5   | 0 | NXDOMAIN |  +cluster.local. 5 SOA …
        www.example.org       | 255 | 0 | NXDOMAIN |  +cluster.local. 5 SOA …";
    let node = start(5);
    for line in cases.trim().lines() {
        let mut fields = line.trim().splitn(4, " | ").map(str::trim_end);
        let [name, kind, asked, expected] = [(); 4].map(|()| fields.next().unwrap().trim_start());
        let name = format!("{name}.pod.svc.cluster.local");
        let expected = expected.replace('@', &format!("{name}.").to_lowercase());
        let (found, others) = ask(&node, &name, kind.parse().unwrap());
        assert_eq!((found.as_str(), others.to_string().as_str()), (&*expected, asked), "{line}");
    }
    let counts = node.server().counts();
    assert_eq!(counts.searched(), 12 * 4);
    let of = |origin, rcode| {
        let mut all = counts.responses();
        all.find(|(z, o, r, _)| (*z, *o, *r) == (Zone::Own, origin, rcode)).map(|c| c.3)
    };
    assert_eq!(of(Origin::Others, Rcode::NoError), Some(5 * 4));
    assert_eq!(of(Origin::Memory, Rcode::NoError), Some(4));
    assert_eq!(of(Origin::Zones, Rcode::NoError), Some(6 * 4));
}

#[test]
fn dns102_which_name_it_was_is_told() {
    let node = start(5);
    let (to, told) = sync_channel(4);
    let log = Log::new(NonZero::<u32>::MIN, to, Arc::default());
    node.known.log.store(Some(Arc::new(log)));
    for (name, searched) in [
        ("web.ns.pod.svc.cluster.local", Some(0)),
        ("www.example.org.pod.svc.cluster.local", Some(3)),
        ("nowhere.example.org.pod.svc.cluster.local", None),
        ("web.ns.svc.cluster.local", None),
    ] {
        udp(node.v4.addr, &query(7, name, A)).unwrap();
        assert_eq!(told.recv().unwrap().searched, searched, "{name}");
    }
}

#[test]
fn dns66_dns102_an_answer_by_another_name_is_cut_as_any_other() {
    let node = start(5);
    let name = "db.ns.pod.svc.cluster.local";
    let plain = query(1, name, A);
    let datagram = udp(node.v4.addr, &plain).unwrap();
    // One of the 29 is the alias, which takes more room than an address.
    assert_eq!((datagram.len() <= 512, datagram[2] & 2, head(&datagram)), (true, 2, (1, 0, 28)));
    let cut = shown(&plain, &datagram);
    assert!(
        cut.starts_with(&format!("NOERROR | {name}. 5 CNAME db.ns.svc.cluster.local. |")),
        "{cut}"
    );
    let datagram = udp(node.v4.addr, &with_opt(plain.clone(), 4096, &[])).unwrap();
    assert_eq!((datagram[2] & 2, head(&datagram)), (2, (1, 0, 0)));
    assert_eq!(head(&tcp(node.v6.addr, &plain)), (1, 0, 251));
    // With the longest of names the alias itself finds no room.
    let label = "a".repeat(63);
    let long = format!("{label}.{label}.{label}.{}.pod.svc.cluster.local", "a".repeat(39));
    let datagram = udp(node.v4.addr, &query(2, &long, A)).unwrap();
    assert_eq!((datagram[2] & 2, head(&datagram)), (2, (2, 0, 0)));
    assert_eq!(head(&tcp(node.v4.addr, &query(2, &long, A))), (2, 0, 2));
}

/// The zones' answer, byte for byte, as a client without a list gets it.
fn denial(node: &Node, question: &[u8]) -> [Vec<u8>; 4] {
    let pods = node.known.pods.swap(Arc::default());
    let answers = node.ask_everywhere(question);
    node.known.pods.store(pods);
    answers
}

#[test]
fn dns103_what_nobody_can_say_is_denied_as_if_nobody_had_been_asked() {
    let node = start(5);
    for (name, asked) in [
        // Under `corp` they are denied, and then nobody can say.
        ("broken.example.org", 2),
        ("broken-here.example.org", 1),
        ("known-broken.example.org", 0),
        ("nowhere.example.org", 2),
    ] {
        let question = query(7, &format!("{name}.pod.svc.cluster.local"), A);
        let expected = denial(&node, &question);
        let before = node.others.asked.load(Ordering::Relaxed);
        assert_eq!(node.ask_everywhere(&question), expected, "{name}");
        let others = node.others.asked.load(Ordering::Relaxed) - before;
        assert_eq!((head(&expected[0]).1, others), (3, 4 * asked), "{name}");
    }
    assert_eq!(node.server().counts().searched(), 0);
}

#[test]
fn dns103_who_takes_too_long_is_not_waited_for() {
    let node = start(5);
    let question = query(7, "slow.example.org.pod.svc.cluster.local", A);
    assert_eq!(udp(node.v4.addr, &question).unwrap(), denial(&node, &question)[0]);
}

#[test]
fn dns103_with_too_many_open_questions_names_are_denied_and_not_failures() {
    let node = Node::with(Limits { open_each: 0, ..Limits::default() }, Admits::Everyone);
    node.known.pods.store(Arc::new(pods(LIST, 5)));
    let question = query(7, "www.example.org.pod.svc.cluster.local", A);
    assert_eq!(node.ask_everywhere(&question), denial(&node, &question));
    assert_eq!(head(&udp(node.v4.addr, &query(8, "www.example.org", A)).unwrap()), (8, 2, 0));
    assert_eq!(node.server().counts().shed(), 5);
}

/// A name that is not the first one of the list, or is no name to be searched for.
#[test]
fn dns101_a_list_counts_for_its_pod_and_for_names_in_its_first_domain() {
    let node = start(5);
    for name in [
        "www.example.org.svc.cluster.local",
        "www.example.org.evil-pod.svc.cluster.local",
        "pod.svc.cluster.local",
        "a.cluster.local",
    ] {
        assert_eq!(
            ask(&node, name, A),
            ("NXDOMAIN |  +cluster.local. 5 SOA …".to_owned(), 0),
            "{name}"
        );
    }
    let there = ask(&node, "www.example.org.pod.svc.cluster.local", A);
    assert!(there.0.starts_with("NOERROR"), "{there:?}");
    // With two dots it was looked up as it is already, where `ndots` is two.
    node.known.pods.store(Arc::new(pods(LIST, 2)));
    let tried = ask(&node, "www.example.org.pod.svc.cluster.local", A);
    assert_eq!((tried.0.starts_with("NXDOMAIN"), tried.1), (true, 1), "{tried:?}");
    // Somebody else's list is of no use.
    let others = pods(LIST, 5).at(Ipv4Addr::LOCALHOST.into()).cloned().unwrap();
    let elsewhere = [(IpAddr::from([10, 244, 0, 1]), others)];
    node.known.pods.store(Arc::new(elsewhere.into_iter().collect()));
    let nobody = ask(&node, "www.example.org.pod.svc.cluster.local", A);
    assert_eq!((nobody.0.starts_with("NXDOMAIN"), nobody.1), (true, 0), "{nobody:?}");
}

#[test]
fn dns102_before_the_zones_are_complete_nothing_is_looked_for() {
    let node = start(5);
    let mut zones = Zones::clone(&node.known.zones.load());
    zones.is_complete = false;
    node.known.zones.store(Arc::new(zones));
    assert_eq!(ask(&node, "www.example.org.pod.svc.cluster.local", A), ("SERVFAIL".to_owned(), 0));
}
