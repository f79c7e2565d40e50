//! The third judge: arbitrary Worlds programmed whole into namespaces, and what real packets do there
//! against what the walk says of them. Oracle and walk are compared in `crates/compile/tests/agreement`.
//!
//! outside (203.0.113.9, 2001:db8:9::9) ── eth0 node ── its pods, routed or bridged

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use fixtures::clusters::{Call, calls, lone_world, outside, script};
use fixtures::hosts::{Cable, Notice, hear, path, refuse_untiringly, run, serve};
use fixtures::paper::{Fate, Flow, Memory, Network, Origin, Place, Trip};
use fixtures::whole::apply;
use ipnet::IpNet;
use kernel::netns::Netns;
use model::{Attachment, AttachmentKey, Family, PodLinkMode, World};
use oracle::{Cluster, Sender};
use plan::Plan;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

/// Ports that every host answers at: those of the endpoints.
const OPEN: [u16; 2] = [8080, 5353];

/// How many Worlds there are for each pod link, unless `SEAWAY_WORLDS` says.
const WORLDS: usize = 4;

/// How many packets are sent in each.
const CALLS: usize = 40;

/// Who does not serve SCTP says nothing: no kernel of a host has it here, and a raw socket hears all.
const SCTP: u8 = 132;

/// A node in a namespace, its pods and a host outside.
struct Stage {
    node: Netns,
    outside: Netns,
    pods: BTreeMap<AttachmentKey, Netns>,
}

impl Stage {
    /// Everything but what Seaway brings: for the node and the pods of `world`.
    fn new(world: &World) -> Self {
        let fresh = || Netns::fresh().expect("needs root: a network namespace of its own");
        let pods = world.attachments.keys().map(|key| (key.clone(), fresh()));
        let stage = Stage { pods: pods.collect(), node: fresh(), outside: fresh() };
        let there = Family::ALL.map(|family| IpNet::from(outside(family)));
        let here = world.host.uplinks[0].addrs.clone();
        let cable = Cable { link: "eth0", here, there: there.into(), macs: None };
        stage
            .node
            .run(|| {
                run("ip link set lo up");
                refuse_untiringly();
                cable.plug(&stage.outside);
                for addr in Family::ALL.map(outside) {
                    run(&format!("ip route add {addr} dev eth0"));
                    run(&format!("ip route add default via {addr} dev eth0"));
                }
                let own: Vec<IpAddr> = world.host.addrs().map(IpNet::addr).collect();
                serve(&own, &OPEN);
            })
            .unwrap();
        stage
            .outside
            .run(|| {
                refuse_untiringly();
                serve(&Family::ALL.map(outside), &OPEN);
            })
            .unwrap();
        for netns in stage.pods.values() {
            netns.run(refuse_untiringly).unwrap();
        }
        stage
    }

    /// `world` with the pods of this stage.
    fn furnished(&self, mut world: World) -> World {
        for (key, attachment) in &mut world.attachments {
            let netns = path(&self.pods[key]);
            *attachment = Arc::new(Attachment { netns, ..Attachment::clone(attachment) });
        }
        world
    }

    fn at(&self, sender: &Sender) -> &Netns {
        match sender {
            Sender::Pod(_, key) => &self.pods[key],
            Sender::Node(_) => &self.node,
            Sender::Outside => &self.outside,
        }
    }
}

/// What the sender should notice of a packet that fares so.
fn predicted(trip: &Trip, protocol: u8, plan: &Plan, world: &World) -> Notice {
    match &trip.fate {
        Fate::Refused => Notice::Refused,
        Fate::Lost(_) => Notice::Silence,
        // There is one host outside.
        Fate::Arrives { at: Place::Outside, dst, .. } if *dst != outside(Family::of(*dst)) => {
            Notice::Silence
        }
        Fate::Arrives { src, dst, dport, .. } if OPEN.contains(dport) => {
            let by = SocketAddr::new(*dst, *dport);
            as_node(Notice::Answer { by, saw: *src }, plan, world)
        }
        Fate::Arrives { .. } if protocol == SCTP => Notice::Silence,
        Fate::Arrives { .. } => Notice::Refused,
    }
}

/// `notice`, where all addresses of the node are one.
fn as_node(notice: Notice, plan: &Plan, world: &World) -> Notice {
    let Notice::Answer { by, saw } = notice else { return notice };
    let node = &world.nodes[&world.config.node];
    let mut own =
        world.host.addrs().map(IpNet::addr).chain(plan.addrs.keys().map(|(_, net)| net.addr()));
    let is_own = own.any(|addr| addr == saw);
    let one = node.internal_ip(Family::of(saw)).filter(|_| is_own);
    Notice::Answer { by, saw: one.unwrap_or(saw) }
}

/// One World on the stage: every sender sends its packets one after the other, all at the same time.
/// Returns how many were answered.
fn judge(stage: &Stage, network: &Network, calls: &[Call]) -> usize {
    let (world, compiled) = network.nodes.values().next().expect("a node");
    let mut by_sender: Vec<Vec<&Call>> = Vec::new();
    for call in calls.iter().filter(|call| is_sendable(call)) {
        match by_sender.iter_mut().find(|calls| calls[0].0 == call.0) {
            Some(calls) => calls.push(call),
            None => by_sender.push(vec![call]),
        }
    }
    let one = |calls: Vec<&Call>| {
        let mut answered = 0;
        let mut memories = BTreeSet::from([Memory::new()]);
        for call in calls {
            let (sender, by, packet) = call;
            let from = Origin::of(sender, by.as_ref(), packet);
            let flow = Flow::of(packet, 40_000);
            let trips: Vec<Trip> =
                memories.iter().flat_map(|memory| network.trips(&from, flow, memory)).collect();
            let expects = |notice: Notice| {
                let notice = as_node(notice, &compiled.plan, world);
                move |trip: &&Trip| {
                    predicted(trip, packet.protocol, &compiled.plan, world) == notice
                }
            };
            let to = SocketAddr::new(packet.dst, packet.dport);
            let is_expected = |notice| trips.iter().any(|trip| expects(notice)(&trip));
            let noticed = stage.at(sender).run(|| hear(packet.protocol, to, is_expected)).unwrap();
            assert!(
                is_expected(noticed),
                "{call:?}: {noticed:?}, but {trips:#?}\n{}",
                compiled.services
            );
            answered += usize::from(matches!(noticed, Notice::Answer { .. }));
            // What the node remembers then is whatever fits what was noticed.
            memories = trips.iter().filter(expects(noticed)).map(|t| t.memory.clone()).collect();
        }
        answered
    };
    thread::scope(|scope| {
        let senders: Vec<_> =
            by_sender.into_iter().map(|calls| scope.spawn(move || one(calls))).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).sum()
    })
}

/// Whether the hosts of the stage send such packets on their way: a host keeps what is for itself.
fn is_sendable((sender, by, packet): &Call) -> bool {
    let goes_by_node = *sender != Sender::Outside || by.is_some() || !is_pods(packet.dst);
    packet.src != packet.dst && goes_by_node
}

fn is_pods(addr: IpAddr) -> bool {
    ["10.244.0.0/16", "fd00:10:244::/48"]
        .iter()
        .any(|net| net.parse::<IpNet>().unwrap().contains(&addr))
}

fn worlds() -> usize {
    std::env::var("SEAWAY_WORLDS").ok().and_then(|text| text.parse().ok()).unwrap_or(WORLDS)
}

/// Worlds one after the other on one stage, the same ones every time.
fn packets_fare_as_the_walk_says(pod_link: PodLinkMode) {
    let Record(record) = &Record::new(pod_link);
    let mut runner = TestRunner::deterministic();
    let mut next = || {
        let one = (lone_world(pod_link), script(CALLS));
        one.new_tree(&mut runner).unwrap().current()
    };
    let (first, _) = next();
    let stage = Stage::new(&first);
    let mut answered = 0;
    for number in 0..worlds() {
        let (world, script) = next();
        let world = stage.furnished(world);
        let name = world.config.node.clone();
        let network = Network::new([(name.clone(), world.clone())]);
        let plan = &network.nodes[&name].1.plan;
        stage.node.run(|| apply(plan, record)).unwrap();
        for (key, netns) in &stage.pods {
            let addrs = world.attachments[key].addrs.clone();
            if number == 0 {
                netns.run(|| serve(&addrs, &OPEN)).unwrap();
            }
        }
        let cluster = Cluster::from([(name, world)]);
        answered += judge(&stage, &network, &calls(&cluster, &script));
    }
    assert!(answered > worlds() * CALLS / 8, "only {answered} were answered");
    assert_eq!(stage.node.run(|| apply(&Plan::default(), record)).unwrap(), 0, "something is left");
}

/// The file of the settings' old values, which is gone with its value.
struct Record(PathBuf);

impl Record {
    fn new(pod_link: PodLinkMode) -> Self {
        let file = format!("seaway-judged-{}-{pod_link}", std::process::id());
        Record(std::env::temp_dir().join(file))
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

#[test]
fn real_packets_in_arbitrary_worlds_fare_as_the_walk_says_routed() {
    packets_fare_as_the_walk_says(PodLinkMode::Routed);
}

#[test]
fn real_packets_in_arbitrary_worlds_fare_as_the_walk_says_bridged() {
    packets_fare_as_the_walk_says(PodLinkMode::Bridge);
}
