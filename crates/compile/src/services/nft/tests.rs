//! What the rules do to packets, by chance and by memory, and that a change costs its own rows.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use model::{Protocol, TrafficPolicy};
use plan::Serving;
use plan::nft::{
    ChainKind, CtState, HookPoint, Learned, Network, Outcome, Packet, RejectWith, Rewrite,
    Surroundings, Transport, Type, Walk, walk,
};

use super::*;
use crate::ruleset::{MASQUERADE, Ruleset};
use crate::services::{Action, At, Backend, Frontend, FrontendKind, PortEntry, Source};

fn backends(text: &str) -> Arc<[Backend]> {
    let parse = |text: &str| {
        let at: SocketAddr = text.parse().unwrap();
        Backend { addr: at.ip(), port: at.port(), is_local: false }
    };
    text.split_whitespace().map(parse).collect()
}

fn to(set: TrafficPolicy, source: Source) -> Action {
    Action::Forward { to: set, source }
}

fn frontend(kind: FrontendKind, at: &str, inside: Action, outside: Action) -> Frontend {
    let (at, port) = match at.parse::<SocketAddr>() {
        Ok(at) => (At::Ip(at.ip()), at.port()),
        Err(_) => (At::NodeAddresses, at.parse().unwrap()),
    };
    Frontend { kind, at, port, inside, outside, allowed: None }
}

/// A Service with everything: a cluster IP, a node port and a load balancer with policy Local.
fn web() -> PortEntry {
    let cluster = |source| to(TrafficPolicy::Cluster, source);
    let local = to(TrafficPolicy::Local, Source::Kept);
    let inside = cluster(Source::KeptForPods);
    let mut balancer = frontend(FrontendKind::LoadBalancer, "198.51.100.7:80", inside, local);
    balancer.allowed = Some(
        ["203.0.113.0/24", "203.0.113.0/28", "10.0.0.0/8"].map(|net| net.parse().unwrap()).into(),
    );
    PortEntry {
        name: "http".into(),
        protocol: Protocol::Tcp,
        family: Family::V4,
        affinity: None,
        cluster: backends("10.1.0.2:8080 10.2.0.2:8080 10.2.0.3:8080"),
        local: backends("10.1.0.2:8080"),
        serving: Serving::default(),
        frontends: vec![
            frontend(
                FrontendKind::ClusterIp,
                "10.96.0.1:80",
                cluster(Source::Kept),
                cluster(Source::Node),
            ),
            frontend(FrontendKind::NodePort, "30080", inside, local),
            balancer,
        ],
    }
}

/// The same in few words: a cluster IP with one action.
fn simple(ip: &str, action: Action, cluster: &str) -> PortEntry {
    let frontends = vec![frontend(FrontendKind::ClusterIp, ip, action, action)];
    let (local, cluster) = (backends(""), backends(cluster));
    PortEntry { name: "".into(), frontends, cluster, local, ..web() }
}

fn table(services: Vec<(&str, PortEntry)>) -> ServiceTable {
    let resolved = |port| Arc::new(Resolved { ports: vec![port], ..Resolved::default() });
    let row = |(name, port): (&str, PortEntry)| (ServiceName::new("shop", name), resolved(port));
    ServiceTable {
        services: services.into_iter().map(row).collect(),
        node_port_addrs: ["192.0.2.1".parse().unwrap()].into(),
        cidrs: ["10.96.0.0/16".parse().unwrap(), "10.96.1.0/24".parse().unwrap()].into(),
    }
}

fn others() -> Table<Key, Row> {
    let mut rows = Table::default();
    let mut rules = Ruleset::new(&mut rows, TableFamily::Inet);
    rules.prefixes("local_pods4", Type::Ipv4Addr);
    rules.prefixes("local_pods6", Type::Ipv6Addr);
    rules.element("local_pods4", vec!["10.1.0.0/24".parse::<IpNet>().unwrap().into()]);
    rows
}

fn rows(table: &ServiceTable) -> Table<Key, Row> {
    Lowered::default().update(table, &others())
}

/// The first packet of a flow that this client opens.
fn open<'a>(
    rows: &'a Table<Key, Row>,
    client: &str,
    to: &str,
    random: u32,
    learned: &Learned,
) -> Walk<'a> {
    let (client, at): (IpAddr, SocketAddr) = (client.parse().unwrap(), to.parse().unwrap());
    let own = client.to_string() == "192.0.2.1";
    let point = if own { HookPoint::Output } else { HookPoint::Prerouting };
    let transport = Transport::Ports { protocol: 6, sport: 40_000, dport: at.port() };
    let packet = Packet {
        iif: (!own).then(|| "eth0".parse().unwrap()),
        oif: None,
        ether: None,
        network: Network::Ip { src: client, dst: at.ip(), transport },
        ct_state: CtState::New,
        ct_status: BTreeSet::new(),
        is_reply: false,
        connection: None,
        mark: 0x80,
        priority: 0,
    };
    let local = ["192.0.2.1".parse().unwrap()].into();
    let learned = learned.clone();
    let surroundings = Surroundings { local, random, learned, ..Surroundings::default() };
    walk(rows, TableFamily::Inet, point, &packet, &surroundings)
}

/// What becomes of it: backend addresses, with `+` behind them where the source is rewritten.
fn fate(walk: &Walk<'_>) -> String {
    let masquerade = if walk.mark & MASQUERADE == 0 { "" } else { "+" };
    assert_eq!(walk.mark & 0xff, 0x80, "somebody else's mark");
    match (&walk.outcome, walk.rewrite) {
        (Outcome::Accept, Some(Rewrite::To { addr, .. })) => format!("{addr}{masquerade}"),
        (Outcome::Accept, _) => "-".to_owned(),
        (Outcome::Drop, _) => "drop".to_owned(),
        (Outcome::Reject(RejectWith::TcpReset), _) => "reset".to_owned(),
        (Outcome::Reject(RejectWith::PortUnreachable), _) => "unreachable".to_owned(),
    }
}

#[test]
fn a_frontend_leads_to_each_backend_of_the_set_that_its_client_may_use() {
    let rows = rows(&table(vec![
        ("web", web()),
        ("none", simple("10.96.0.2:80", Action::Reject, "")),
        ("far", simple("10.96.0.3:80", Action::Drop, "")),
    ]));
    let cases = "
        pod to cluster IP            | 10.1.0.9    | 10.96.0.1:80    | 10.1.0.2 10.2.0.2 10.2.0.3
        process to cluster IP        | 192.0.2.1   | 10.96.0.1:80    | 10.1.0.2 10.2.0.2 10.2.0.3
        outside to cluster IP        | 203.0.113.1 | 10.96.0.1:80    | 10.1.0.2+ 10.2.0.2+ 10.2.0.3+
        pod to node port             | 10.1.0.9    | 192.0.2.1:30080 | 10.1.0.2 10.2.0.2 10.2.0.3
        process to node port         | 192.0.2.1   | 192.0.2.1:30080 | 10.1.0.2+ 10.2.0.2+ 10.2.0.3+
        outside to node port         | 203.0.113.1 | 192.0.2.1:30080 | 10.1.0.2
        no address of node ports     | 203.0.113.1 | 192.0.2.9:30080 | -
        pod in the ranges            | 10.1.0.9    | 198.51.100.7:80 | 10.1.0.2 10.2.0.2 10.2.0.3
        outside in the ranges        | 203.0.113.1 | 198.51.100.7:80 | 10.1.0.2
        outside of the ranges        | 203.0.114.1 | 198.51.100.7:80 | drop
        no endpoint anywhere         | 10.1.0.9    | 10.96.0.2:80    | reset
        none to use                  | 10.1.0.9    | 10.96.0.3:80    | drop
        no port of the Service       | 10.1.0.9    | 10.96.0.1:81    | reset
        no Service has the address   | 10.1.0.9    | 10.96.9.9:80    | drop
        no Service's                 | 10.1.0.9    | 198.51.100.7:81 | -";
    for line in cases.trim().lines() {
        let [what, client, to, want] =
            line.split('|').map(str::trim).collect::<Vec<_>>().try_into().unwrap();
        let none = Learned::new();
        let fates = (0..12).map(|random| fate(&open(&rows, client, to, random, &none)));
        let fates: BTreeSet<String> = fates.collect();
        assert_eq!(fates.into_iter().collect::<Vec<_>>().join(" "), want, "{what}");
    }
}

#[test]
fn a_client_stays_with_its_backend_at_every_frontend_until_that_is_gone() {
    let sticky = PortEntry { affinity: Some(Duration::from_secs(10)), ..web() };
    let all = rows(&table(vec![("web", sticky.clone())]));
    let first = open(&all, "10.1.0.9", "10.96.0.1:80", 1, &Learned::new());
    assert_eq!(fate(&first), "10.2.0.2");
    for (to, random) in [("10.96.0.1:80", 0), ("192.0.2.1:30080", 2), ("198.51.100.7:80", 0)] {
        assert_eq!(fate(&open(&all, "10.1.0.9", to, random, &first.learned)), "10.2.0.2", "{to}");
        assert_ne!(fate(&open(&all, "10.1.0.8", to, random, &first.learned)), "10.2.0.2", "{to}");
    }
    let cluster = backends("10.1.0.2:8080 10.2.0.3:8080");
    let fewer = rows(&table(vec![("web", PortEntry { cluster, ..sticky.clone() })]));
    let anew = open(&fewer, "10.1.0.9", "10.96.0.1:80", 1, &first.learned);
    assert_eq!(fate(&anew), "10.2.0.3", "chosen anew");
    assert_eq!(fate(&open(&all, "10.1.0.9", "10.96.0.1:80", 0, &anew.learned)), "10.2.0.3");
    let longer = PortEntry { affinity: Some(Duration::from_secs(11)), ..sticky };
    let longer = rows(&table(vec![("web", longer)]));
    assert_eq!(fate(&open(&longer, "10.1.0.9", "10.96.0.1:80", 0, &anew.learned)), "10.1.0.2");
}

#[test]
fn nobody_is_remembered_where_nobody_comes_to_a_backend() {
    let sticky = PortEntry {
        affinity: Some(Duration::from_secs(10)),
        ..simple("10.96.0.2:80", Action::Reject, "")
    };
    let plain = PortEntry { affinity: None, ..sticky.clone() };
    assert_eq!(rows(&table(vec![("none", sticky)])), rows(&table(vec![("none", plain)])));
}

#[test]
fn a_change_touches_its_own_rows_and_ends_where_a_fresh_start_does() {
    let kept = to(TrafficPolicy::Cluster, Source::Kept);
    let many = |count: u32| {
        let service = |at: u32| {
            let ip = format!("10.96.{}.{}:80", at >> 8, at & 0xff);
            let name = ServiceName::new("shop", &format!("s{at}"));
            let port = simple(&ip, kept, "10.1.0.2:80 10.2.0.2:80");
            (name, Arc::new(Resolved { ports: vec![port], ..Resolved::default() }))
        };
        ServiceTable { services: (2..count).map(service).collect(), ..table(vec![]) }
    };
    let mut lowered = Lowered::default();
    let mut last = lowered.update(&many(300), &others());
    let mut next = many(300);
    let name = ServiceName::new("shop", "s7");
    let mut step = |cluster: Option<&str>, want: usize| {
        match cluster {
            Some(cluster) => {
                let ports = vec![simple("10.96.0.7:80", kept, cluster)];
                let resolved = Resolved { ports, ..Resolved::default() };
                next.services.insert(name.clone(), Arc::new(resolved));
            }
            None => drop(next.services.remove(&name)),
        }
        let now = lowered.update(&next, &others());
        assert_eq!(diff(&last, &now).len(), want, "{cluster:?}:\n{}", diff(&last, &now));
        assert_eq!(now, rows(&next));
        last = now;
    };
    step(Some("10.1.0.2:80 10.2.0.9:80"), 1);
    step(Some("10.1.0.2:80 10.2.0.9:80 10.2.0.10:80"), 3);
    step(Some("10.1.0.2:80 10.2.0.9:80"), 3);
    step(None, 4);
    assert_eq!(lowered.update(&ServiceTable::default(), &others()), others());
    let nat = |(_, row): (&Key, &Row)| match row {
        Row::Chain(chain) => chain.hook.is_some_and(|hook| hook.kind == ChainKind::Nat),
        Row::Table | Row::Set(_) | Row::Element(_) => false,
    };
    assert_eq!(rows(&many(3)).iter().filter(|row| nat(*row)).count(), 3);
}
