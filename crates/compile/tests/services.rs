//! What `compile` makes of arbitrary Services, judged by the oracle, and by what it makes of the same
//! World when it has seen none before.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fixtures::events::{Event, PORTS, destinations, event, happen, me, sources, world};
use model::{Endpoint, Family, Host, Protocol, ServiceName, World};
use oracle::services::{Answer, Client, Remembered, Seen, answer};
use plan::{Flow, FlowKey};
use proptest::prelude::*;
use seaway_compile::flows::LeftBehind;
use seaway_compile::services::{
    Action, At, Frontend, FrontendKind, PortEntry, ServiceTable, Source,
};
use seaway_compile::{Compiler, Scope, compile};

fn scope() -> Scope {
    Scope::Node(me())
}

/// What `table` says of a packet, in the oracle's words; hairpins are no matter of the table.
fn table_answer(
    table: &ServiceTable,
    host: &Host,
    (client, src): (Client, IpAddr),
    (dst, protocol, number): (IpAddr, Protocol, u16),
) -> Answer {
    let is_at = |frontend: &Frontend| match frontend.at {
        At::Ip(addr) => addr == dst,
        At::NodeAddresses => table.node_port_addrs.contains(&dst),
    };
    let mut found: Vec<(&ServiceName, &PortEntry, &Frontend)> = Vec::new();
    for (service, port) in ports(table) {
        let here = port.frontends.iter().filter(|frontend| {
            frontend.port == number
                && port.protocol == protocol
                && port.family == Family::of(dst)
                && is_at(frontend)
        });
        found.extend(here.map(|frontend| (service, port, frontend)));
    }
    found.sort_by_key(|(_, _, frontend)| frontend.at); // An address of its own comes first.
    let Some((service, port, frontend)) = found.first() else {
        return unclaimed(table, host, client, dst);
    };
    if frontend.allowed.as_ref().is_some_and(|nets| !nets.iter().any(|net| net.contains(&src))) {
        return Answer::Dropped;
    }
    let action = match client {
        Client::Pod | Client::Process => frontend.inside,
        Client::Elsewhere => frontend.outside,
    };
    match action {
        Action::Reject => Answer::Refused,
        Action::Drop => Answer::Dropped,
        Action::Forward { to, source } => Answer::Forward {
            to: port.backends(to).iter().map(|backend| (backend.addr, backend.port)).collect(),
            source: match (source, client) {
                (Source::Kept, _) | (Source::KeptForPods, Client::Pod) => Seen::Client,
                (Source::Node | Source::KeptForPods, _) => Seen::Node,
            },
            affinity: port.affinity.map(|_| Remembered {
                client: src,
                service: ServiceName::clone(service),
                port: Arc::clone(&port.name),
                protocol: port.protocol,
            }),
        },
    }
}

fn ports(table: &ServiceTable) -> impl Iterator<Item = (&ServiceName, &PortEntry)> {
    let all = table.services.iter();
    all.flat_map(|(name, resolved)| resolved.ports.iter().map(move |port| (name, port)))
}

/// No frontend is at `dst` and the packet's port.
fn unclaimed(table: &ServiceTable, host: &Host, client: Client, dst: IpAddr) -> Answer {
    let is_active = |frontend: &Frontend| {
        (frontend.kind, frontend.at) == (FrontendKind::ClusterIp, At::Ip(dst))
    };
    if ports(table).any(|(_, port)| port.frontends.iter().any(is_active)) {
        return Answer::Refused;
    }
    let is_stray = client == Client::Elsewhere
        && table.services.values().any(|resolved| resolved.vips.contains(&dst))
        && !host.addrs().any(|net| net.addr() == dst);
    match is_stray || table.cidrs.iter().any(|net| net.contains(&dst)) {
        true => Answer::Dropped,
        false => Answer::NotForAService,
    }
}

fn agrees(want: &Answer, got: &Answer) -> bool {
    match (want, got) {
        (Answer::Unsaid, _) => true,
        (
            Answer::Forward { to, source: Seen::Either, affinity },
            Answer::Forward { to: got, source: _, affinity: kept },
        ) => to == got && affinity == kept,
        (want, got) => want == got,
    }
}

fn after(events: Vec<Event>) -> World {
    let mut world = world();
    events.into_iter().for_each(|event| happen(&mut world, event));
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn packets_to_services_fare_as_the_api_says(events in prop::collection::vec(event(), 1..24)) {
        let world = after(events);
        let table = compile(&world, &scope()).services;
        let clients = [Client::Pod, Client::Process, Client::Elsewhere];
        for dst in destinations() {
            for (protocol, number) in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().flat_map(|p| PORTS.map(|n| (p, n))) {
                let to = (dst, protocol, number);
                for src in sources().into_iter().filter(|src| Family::of(*src) == Family::of(dst)) {
                    for client in clients {
                        let want = answer(&world, &me(), (client, src), to);
                        let got = table_answer(&table, &world.host, (client, src), to);
                        prop_assert!(
                            agrees(&want, &got),
                            "{client:?} {src} -> {dst}:{number}/{protocol}\nshould: {want:?}\ndoes: {got:?}\n{table}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn whatever_came_before_a_world_has_one_table(
        events in prop::collection::vec((event(), any::<bool>()), 1..40),
    ) {
        let (mut world, mut compiler) = (world(), Compiler::default());
        for (event, looks) in events {
            happen(&mut world, event.clone());
            if looks {
                // Twice, and with the event doubled: neither is news.
                compiler.compile(&world, &scope());
                happen(&mut world, event);
                prop_assert_eq!(compiler.compile(&world, &scope()), compile(&world, &scope()));
            }
        }
        prop_assert_eq!(compiler.compile(&world, &scope()), compile(&world, &scope()));
    }

    #[test]
    fn what_does_not_change_is_not_made_again(
        events in prop::collection::vec(event(), 1..24),
        last in event(),
    ) {
        let mut world = after(events);
        let mut compiler = Compiler::default();
        let before = compiler.compile(&world, &scope()).services;
        happen(&mut world, last);
        let after = compiler.compile(&world, &scope()).services;
        for (name, row) in &after.services {
            if let Some(old) = before.services.get(name).filter(|old| *old == row) {
                prop_assert!(Arc::ptr_eq(old, row), "{name}");
            }
        }
    }

    #[test]
    fn a_flow_lives_where_a_new_one_could_lead_and_its_frontend_is_known_from_the_rules(
        events in prop::collection::vec(event(), 1..24),
    ) {
        let world = after(events);
        let plan = compile(&world, &scope()).plan;
        let left = LeftBehind::of(&plan.nft);
        for (dst, number) in destinations().into_iter().flat_map(|dst| PORTS.map(|n| (dst, n))) {
            let src = sources().into_iter().find(|src| Family::of(*src) == Family::of(dst)).unwrap();
            let key = FlowKey { protocol: Protocol::Udp, at: SocketAddr::new(dst, number) };
            let serving = plan.flows.get(&key);
            for client in [Client::Pod, Client::Process, Client::Elsewhere] {
                let answer = answer(&world, &me(), (client, src), (dst, key.protocol, number));
                if let Answer::Forward { to, .. } = answer {
                    for (addr, port) in to {
                        let backend = SocketAddr::new(addr, port);
                        let may = serving.is_some_and(|serving| serving.has(&backend));
                        prop_assert!(may, "{client:?} {key} to {backend}\n{serving:?}");
                    }
                }
            }
        }
        let slices = || world.slices.values().flat_map(|slice| &slice.endpoints);
        for (key, serving) in &plan.flows {
            for backend in &*serving.0 {
                let answers = |e: &&Endpoint| e.conditions.ready || e.conditions.serving;
                prop_assert!(slices().filter(answers).any(|e| e.addr == backend.ip()), "{key} to {backend}");
                let from = SocketAddr::new(key.at.ip(), 4000);
                prop_assert!(left.has(&Flow { from, to: *key, backend: *backend, is_answered: true }), "{key} to {backend}");
            }
        }
    }

    #[test]
    fn no_two_services_have_one_frontend_and_no_set_is_empty(
        events in prop::collection::vec(event(), 1..24),
    ) {
        let table = compile(&after(events), &scope()).services;
        let mut taken = BTreeSet::new();
        for port in table.services.values().flat_map(|resolved| &resolved.ports) {
            for frontend in &port.frontends {
                let place = (frontend.at, port.family, port.protocol, frontend.port);
                prop_assert!(taken.insert(place), "{frontend}");
                for action in [frontend.inside, frontend.outside] {
                    if let Action::Forward { to, .. } = action {
                        prop_assert!(!port.backends(to).is_empty(), "{frontend}");
                    }
                }
            }
        }
    }
}
