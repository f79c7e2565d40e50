//! What `compile` makes of arbitrary clusters, judged by the oracle and by laws.

mod mistakes;
mod services;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use fixtures::clusters::{attachment, cluster, cluster_with_services, packet};
use fixtures::paper::{Fate, Flow, Network, Origin, Place};
use ipnet::IpNet;
use model::{Family, World};
use oracle::{Cluster, Outcome, Packet, Receiver, Source};
use plan::nft::{Data, Key, NatSource, Row, SetName, Statement, Verdict};
use plan::{Listener, Plan, Table, diff, nft};
use proptest::prelude::*;
use proptest::sample::Index;
use seaway_compile::{Compiled, Scope, cni, compile};

fn compiled(world: &World) -> Compiled {
    compile(world, &Scope::Node(world.config.node.clone()))
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plans_do_to_packets_what_the_specifications_say(
        cluster in cluster(),
        family in family(),
        picks in prop::collection::vec(any::<(Index, Index, Index)>(), 24),
    ) {
        let network = Network::new(cluster.clone());
        for (who, whom, what) in picks {
            let Some((sender, packet)) = packet(&cluster, family, who, whom, what) else { continue };
            let want = oracle::outcome(&cluster, &sender, &packet);
            let got = network.send(&Origin::of(&sender, None, &packet), Flow::of(&packet, 40_001));
            prop_assert!(
                agrees(&cluster, &packet, &want, &got),
                "{sender:?} sends {packet:?}\nshould: {want:?}\ndoes: {got:?}"
            );
        }
    }

    #[test]
    fn the_same_world_has_the_same_plan(cluster in cluster()) {
        for world in cluster.values() {
            prop_assert_eq!(compiled(world), compiled(&world.clone()));
        }
    }

    #[test]
    fn a_container_more_is_its_own_rows_and_no_others(cluster in cluster(), at in any::<Index>()) {
        let before = cluster.values().nth(at.index(cluster.len())).unwrap();
        let pools = compiled(before).pools;
        let families: Vec<Family> =
            pools.of(&before.config.node).iter().map(|pool| pool.family()).collect();
        prop_assume!(!families.is_empty());
        let i = before.config.node.as_str().strip_prefix("node-").unwrap().parse().unwrap();
        let mut more = attachment(&families, i, 77, 1);
        more.port_mappings[0].host_port = 9999;
        let mut after = before.clone();
        after.attachments.insert(more.key.clone(), Arc::new(more.clone()));
        let (before, compiled) = (compiled(before).plan, compiled(&after));
        let own = cni::rows(&after, &compiled, &more.key).unwrap();
        let plan = compiled.plan;
        prop_assert_eq!(added(&before, &plan), own.clone());
        prop_assert!(cni::check(&own, &plan).is_empty());
        prop_assert_eq!(cni::check(&own, &before).is_empty(), false);
    }

    #[test]
    fn a_node_more_is_its_own_rows_and_no_others(cluster in cluster()) {
        let Some(last) = cluster.keys().next_back().filter(|_| cluster.len() > 1) else {
            return Ok(());
        };
        for (name, after) in cluster.iter().filter(|(name, _)| *name != last) {
            let mut before = after.clone();
            let node = before.nodes.remove(last).unwrap();
            let (before, after) = (compiled(&before), compiled(after));
            if before.peers.tunnel != after.peers.tunnel {
                continue; // The first peer across a router brings the tunnel and its MTU.
            }
            let mut new = added(&before.plan, &after.plan);
            let names_it = |net: &IpNet| {
                node.pod_cidrs.contains(net) || node.internal_ips.iter().any(|ip| IpNet::from(*ip) == *net)
            };
            prop_assert!(new.routes.keys().all(|key| names_it(&key.dst)), "{name}: {:?}", new.routes);
            prop_assert!(new.listeners.keys().all(|key| matches!(key, Listener::Client(net) if names_it(net))));
            let mac = model::Mac::derive(&format!("vtep/{last}"));
            prop_assert!(new.neighbors.iter().all(|(_, row)| row.mac == mac));
            prop_assert!(new.fdb.len() <= 1 && new.rules.len() <= 1);
            for (key, _) in &new.nft {
                let nft::Key::Element(_, set, values) = key else {
                    prop_assert!(false, "{key} is no element");
                    continue;
                };
                let own = values.iter().all(|value| match value {
                    nft::Value::Prefix(net) => names_it(&net),
                    nft::Value::Ipv4(addr) => node.internal_ips.contains(&addr.into()),
                    nft::Value::Ipv6(addr) => node.internal_ips.contains(&addr.into()),
                    nft::Value::Ether(_)
                    | nft::Value::Name(_)
                    | nft::Value::Number(_)
                    | nft::Value::Port(_)
                    | nft::Value::Mark(_)
                    | nft::Value::ClassId(_) => false,
                });
                prop_assert!(own, "{}", set.0);
            }
            (new.routes, new.neighbors, new.fdb, new.rules, new.nft) = Default::default();
            new.listeners = Table::default();
            prop_assert_eq!(new, Plan::default());
        }
    }

    #[test]
    fn a_plan_names_no_link_that_is_not_there(cluster in cluster()) {
        for world in cluster.values() {
            let plan = compiled(world).plan;
            let made = plan.links.keys().map(ToString::to_string);
            let pods = plan.pods.keys().map(|key| key.host_link().to_string());
            let theirs = world.host.uplinks.iter().map(|link| link.name.to_string());
            let loopback = [plan::LOOPBACK.to_owned()];
            let links: BTreeSet<String> = made.chain(pods).chain(theirs).chain(loopback).collect();
            let named = plan.routes.iter().filter_map(|(_, route)| route.dev.as_ref());
            let named = named.chain(plan.neighbors.keys().map(|key| &key.dev));
            let named = named.chain(plan.proxies.keys().map(|key| &key.dev));
            let named = named.chain(plan.fdb.keys().map(|key| &key.dev));
            let named = named.chain(plan.addrs.keys().map(|(dev, _)| dev));
            let named = named.chain(plan.pods.iter().filter_map(|(_, pod)| pod.master.as_ref()));
            for dev in named {
                prop_assert!(links.contains(dev.as_str()), "{dev}");
            }
            for key in plan.sysctls.keys() {
                let dev = key.0.split("/conf/").nth(1).and_then(|rest| rest.split('/').next());
                prop_assert!(dev.is_none_or(|dev| dev == "all" || links.contains(dev)), "{key}");
            }
        }
    }

    #[test]
    fn rules_and_elements_name_only_sets_and_chains_that_are_there(
        cluster in cluster_with_services(),
    ) {
        for world in cluster.values() {
            let rows = compiled(world).plan.nft;
            for (key, row) in &rows {
                let absent = named(key, row).into_iter().find(|key| rows.get(key).is_none());
                prop_assert_eq!(absent, None, "{} {:?}", key, row);
            }
        }
    }

    #[test]
    fn pods_packets_fit_the_uplink_inside_of_the_tunnel_too(cluster in cluster(), mtu in 1200u32..9100) {
        for mut world in cluster.into_values() {
            world.host.uplinks[0].mtu = mtu;
            let Compiled { plan, peers, .. } = compiled(&world);
            let tunnel = match peers.tunnel {
                None => 0,
                Some(local) if local.is_ipv4() => 50,
                Some(_) => 70,
            };
            prop_assert!(peers.mtu + tunnel <= mtu || peers.mtu_too_small.is_some());
            prop_assert!(plan.links.iter().all(|(_, link)| link.mtu == peers.mtu));
            prop_assert!(plan.pods.iter().all(|(_, pod)| pod.mtu == peers.mtu));
        }
    }
}

#[test]
fn an_empty_world_has_an_empty_plan() {
    assert_eq!(compile(&World::default(), &Scope::Node("a".into())), Compiled::default());
}

fn agrees(cluster: &Cluster, sent: &Packet, want: &Outcome, got: &Fate) -> bool {
    match (want, got) {
        (Outcome::Unsaid, _)
        | (Outcome::Lost, Fate::Lost(_))
        | (Outcome::Refused, Fate::Refused) => true,
        (
            Outcome::Arrives { at, src, dport },
            Fate::Arrives { at: place, src: from, dport: port, .. },
        ) => {
            let same_place = match (at, place) {
                (Receiver::Pod(want), Place::Pod(got)) => want == got,
                (Receiver::Node(want), Place::Node(got)) => want == got,
                (Receiver::Outside, Place::Outside) => true,
                _ => false,
            };
            let same_source = match src {
                Source::Kept => *from == sent.src,
                Source::Node(node) => is_address_of(&cluster[node], *from),
                Source::Either(node) => *from == sent.src || is_address_of(&cluster[node], *from),
            };
            same_place && same_source && dport == port
        }
        (Outcome::Lost | Outcome::Refused | Outcome::Arrives { .. }, _) => false,
    }
}

/// An address of an uplink, or the first of a pod CIDR, which the bridge carries.
fn is_address_of(world: &World, addr: IpAddr) -> bool {
    let bridge = || compiled(world).plan.addrs;
    world.host.uplink_of(addr).is_some() || bridge().keys().any(|(_, net)| net.addr() == addr)
}

/// The rows that have to be there for a row's sake.
fn named(key: &Key, row: &Row) -> Vec<Key> {
    let (Key::Table(family)
    | Key::Set(family, _)
    | Key::Chain(family, _)
    | Key::Element(family, ..)) = key;
    let chain = |verdict: &Verdict| match verdict {
        Verdict::Jump(to) | Verdict::Goto(to) => Some(Key::Chain(*family, to.clone())),
        Verdict::Accept | Verdict::Drop | Verdict::Return => None,
    };
    let set = |name: &SetName| Some(Key::Set(*family, name.clone()));
    let mut named: Vec<Key> = match (key, row) {
        (Key::Element(_, name, _), _) => set(name).into_iter().collect(),
        _ => Vec::new(),
    };
    if let Row::Element(Some(Data::Verdict(to))) = row {
        named.extend(chain(to));
    }
    if let Row::Chain(plan::nft::Chain { rules, .. }) = row {
        let statements = rules.iter().flat_map(|rule| &rule.statements);
        named.extend(statements.filter_map(|statement| match statement {
            Statement::Lookup(_, _, map)
            | Statement::Vmap(_, map)
            | Statement::SetFrom(_, _, map)
            | Statement::ConnectionMarkIn(_, map)
            | Statement::Dynamic { map, .. }
            | Statement::Excess { set: map, .. }
            | Statement::Nat(_, NatSource::Map { map, .. }) => set(map),
            Statement::Verdict(verdict) => chain(verdict),
            Statement::Match(..)
            | Statement::Within(..)
            | Statement::SetConnectionMark { .. }
            | Statement::CtState(_)
            | Statement::CtStatus(_)
            | Statement::Counter
            | Statement::Notrack
            | Statement::Limit(_)
            | Statement::Log { .. }
            | Statement::SetMark(_)
            | Statement::SetMarkBits(_)
            | Statement::MarkBits(_)
            | Statement::Masquerade { .. }
            | Statement::Reject(_)
            | Statement::Foreign => None,
        }));
    }
    named.push(Key::Table(*family));
    named
}

/// What `after` has and `before` has not; fails when a row changed or went.
fn added(before: &Plan, after: &Plan) -> Plan {
    fn new<K: Ord + Clone + std::fmt::Debug, R: Eq + Clone + std::fmt::Debug>(
        before: &Table<K, R>,
        after: &Table<K, R>,
    ) -> Table<K, R> {
        let changes = diff(before, after);
        assert!(changes.deletes.is_empty(), "{:?}", changes.deletes);
        let row = |(key, put): (&K, &plan::Put<R>)| {
            assert!(put.old.is_none(), "{key:?} changed");
            (key.clone(), put.row.clone())
        };
        changes.puts.iter().map(row).collect()
    }
    Plan {
        links: new(&before.links, &after.links),
        addrs: new(&before.addrs, &after.addrs),
        pods: new(&before.pods, &after.pods),
        sysctls: new(&before.sysctls, &after.sysctls),
        neighbors: new(&before.neighbors, &after.neighbors),
        proxies: new(&before.proxies, &after.proxies),
        fdb: new(&before.fdb, &after.fdb),
        routes: new(&before.routes, &after.routes),
        rules: new(&before.rules, &after.rules),
        nft: new(&before.nft, &after.nft),
        flows: new(&before.flows, &after.flows),
        listeners: new(&before.listeners, &after.listeners),
    }
}
