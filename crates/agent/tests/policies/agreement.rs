//! Arbitrary worlds, each compiled for a node in a namespace: what its rules do to real packets, what a walk
//! through the rows says of them, and what the specifications say, is one thing (NP-O2, NP-O3).
//!
//! `SEAWAY_PACKETS` says how many are sent, and `SEAWAY_SEED` which world is the first: `cargo xtask fuzz policy`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::num::NonZero;
use std::process::{Command, Stdio};
use std::time::Instant;

use compile::policy::{lower, resolve};
use fixtures::hosts::run;
use fixtures::policies::arbitrary::{flow, objects, picks};
use fixtures::policies::fate::{Rows, answered, around, fate};
use fixtures::policies::names::learned;
use fixtures::policies::{Stage, put};
use kernel::nft::Nft;
use model::{ClusterTier, Direction, DomainName, Family, ObjectName, Peer, World};
use oracle::policy::{By, Flow, Learned, Origin, Verdict, verdicts};
use plan::nft::{Key, Row};
use plan::{Mechanism, Table, diff};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::node;
use crate::wires::{Place, Probe, Wires};

/// How many packets are sent where nobody says it.
const PACKETS: u64 = 100_000;

/// How many of them in one world.
const IN_ONE_WORLD: usize = 500;

/// How many worlds are judged by the rules of another in the end.
const OTHERS: u64 = 5;

/// How many flows are drawn for each of them: one in three comes by the node, and none where it has no pods.
const DRAWN: usize = 8;

/// After how many worlds it is told how far it is.
const WORLDS_BETWEEN: u64 = 200;

/// Whoever decides about fewer packets in a hundred thousand is missing.
const LEAST: u64 = 100;

/// How long connection tracking remembers what it has seen: not at all, so each packet is a connection's
/// first. Of protocols without ports, packets of both directions are one connection.
const KEPT: [&str; 7] = [
    "tcp_timeout_syn_sent",
    "udp_timeout",
    "sctp_timeout_cookie_wait",
    "icmp_timeout",
    "icmpv6_timeout",
    "gre_timeout",
    "generic_timeout",
];

#[test]
fn npo2_npo3_kernel_rows_and_specifications_agree_about_a_hundred_thousand_packets() {
    let first = number("SEAWAY_SEED").unwrap_or(0);
    let packets = number("SEAWAY_PACKETS").unwrap_or(PACKETS);
    let mut bench = Bench::start();
    let mut tally = Tally::start(first);
    while tally.packets < packets {
        let case = Case::of(first.wrapping_add(tally.worlds));
        bench.enforce(&case, tally.worlds);
        let asked = case.asked(&bench.wires);
        let wrong = bench.wrong(&case, &asked);
        assert!(wrong.is_empty(), "{}\n{case}", wrong.join("\n"));
        tally.count(&case, &asked);
    }
    tally.tell();
    if packets >= PACKETS {
        tally.is_about_everything();
        let next = first.wrapping_add(tally.worlds);
        let others = (0..OTHERS).map(|number| Case::of(next.wrapping_add(number)));
        let mut wrong = others.map(|other| bench.wrong(&other, &other.asked(&bench.wires)).len());
        assert!(wrong.any(|count| count > 10), "nobody notices rules of another world");
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// A world, and what its node has answered for names.
struct Case {
    seed: u64,
    objects: Vec<Value>,
    learned: Learned,
    world: World,
    runner: std::cell::RefCell<TestRunner>,
}

/// A flow that comes by the node, and what the specifications say of it there.
struct Asked {
    flow: Flow,
    probe: Probe,
    verdicts: Vec<(Direction, Verdict)>,
}

impl Asked {
    fn is_allowed(&self) -> bool {
        self.verdicts.iter().all(|(_, verdict)| verdict.is_allowed)
    }
}

impl Case {
    fn of(seed: u64) -> Self {
        let bytes = [seed.to_le_bytes(), [0; 8], [0; 8], [0; 8]].concat();
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let all = (objects(), learned()).new_tree(&mut runner).expect("a world");
        let (objects, learned) = all.current();
        let mut world = Stage { ports: &[], ..Stage::NINE }.world();
        objects.iter().for_each(|object| put(&mut world, object));
        Case { seed, objects, learned, world, runner: runner.into() }
    }

    /// Flows that the node is asked about.
    fn asked(&self, wires: &Wires) -> Vec<Asked> {
        let mut runner = self.runner.borrow_mut();
        let picks = picks();
        let flows = (0..IN_ONE_WORLD * DRAWN).filter_map(|_| {
            let picks = picks.new_tree(&mut runner).expect("a flow").current();
            self.at_the_node(flow(&self.world, &picks), wires)
        });
        flows.take(IN_ONE_WORLD).collect()
    }

    /// What the node is asked about a flow, if it comes by; what stays in a pod does not, and what comes back
    /// to it is led by a Service, of which there are none.
    fn at_the_node(&self, flow: Flow, wires: &Wires) -> Option<Asked> {
        let (src, dst) = (flow.packet.src, flow.packet.dst);
        let here = |name: &ObjectName| self.world.pods[name].node.as_ref() == Some(&node());
        let is_from_here = matches!(&flow.origin, Origin::Pod(name) if here(name));
        let mut at = self.world.pods.values().filter(|pod| !pod.is_host_network && here(&pod.name));
        let is_to_here = at.any(|pod| pod.addrs.contains(&dst));
        let from = match &flow.origin {
            Origin::Pod(_) if is_from_here => wires.place_of(src),
            Origin::Process(of) if *of == node() => Place::Node,
            Origin::Pod(_) | Origin::Process(_) | Origin::Elsewhere => wires.elsewhere(),
        };
        let probe = Probe { from, to: wires.place_of(dst), packet: flow.packet };
        let is_back =
            matches!(&flow.origin, Origin::Pod(name) if self.world.pods[name].addrs.contains(&dst));
        let comes_by = (is_from_here || is_to_here) && !is_back && from != probe.to;
        comes_by.then(|| {
            let said = verdicts(&self.world, &self.learned, &flow);
            let egress = is_from_here.then_some((Direction::Egress, said.egress));
            let ingress = is_to_here.then_some((Direction::Ingress, said.ingress));
            Asked { flow, probe, verdicts: egress.into_iter().chain(ingress).collect() }
        })
    }

    /// Whether what a name stands for allows it.
    fn is_by_name(&self, one: &Asked, verdict: &Verdict) -> bool {
        let By::ClusterRule(_, policy, number) = &verdict.by else { return false };
        let rule = self.world.cluster_policies[policy].egress.get(*number);
        let mut peers = rule.iter().flat_map(|rule| rule.rule.peers.iter().flatten());
        let is_meant = |(name, addrs): (&DomainName, &BTreeSet<IpAddr>), peer: &Peer| {
            matches!(peer, Peer::Names(pattern) if pattern.matches(name))
                && addrs.contains(&one.flow.packet.dst)
        };
        verdict.is_allowed && peers.any(|peer| self.learned.iter().any(|all| is_meant(all, peer)))
    }
}

/// How to see it again, and all objects.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "again with: cargo xtask fuzz policy --seed {} --packets 1", self.seed)?;
        writeln!(f, "names stand for: {:?}", self.learned)?;
        for object in &self.objects {
            let mut object = object.clone();
            let version = object["apiVersion"].as_str().unwrap_or("v1").to_owned();
            object["apiVersion"] = json!(version);
            writeln!(f, "---\n{object}")?;
        }
        Ok(())
    }
}

/// The node, and the rules that it has.
struct Bench {
    wires: Wires,
    nft: Nft,
    rows: Rows,
}

impl Bench {
    fn start() -> Self {
        let wires = Wires::plug(&Stage { ports: &[], ..Stage::NINE }.world());
        for timeout in KEPT {
            run(&format!("sysctl -qw net.netfilter.nf_conntrack_{timeout}=0"));
        }
        Bench { wires, nft: Nft::open().unwrap(), rows: Table::default() }
    }

    /// Has the node do what `case` asks; policies are numbered as an agent does it.
    fn enforce(&mut self, case: &Case, worlds: u64) {
        let generation = u8::try_from(worlds % 255 + 1).ok().and_then(NonZero::new).unwrap();
        let around = around(&case.world, &node());
        let rows = lower(&resolve(&case.world, &node()), &around, generation);
        let failures = self.nft.apply(&diff(&self.rows, &rows));
        assert!(failures.is_empty(), "{failures:?}\n{case}");
        self.rows = rows;
        self.answer(&answered(&case.world, &case.learned).learned);
    }

    /// Puts what names stand for into their sets, as far as there are rules that look into them.
    fn answer(&self, learned: &plan::nft::Learned) {
        let mut script = String::new();
        for (key, row) in &self.rows {
            let (Key::Set(_, name), Row::Set(set)) = (key, row) else { continue };
            if set.dynamic.is_some() {
                script += &format!("flush set inet seaway {name}\n");
                for ((_, element), _) in learned.iter().filter(|((of, _), _)| of == name) {
                    let addr = element.iter().next().expect("an address");
                    script += &format!(
                        "add element inet seaway {name} {{ {addr} }}
"
                    );
                }
            }
        }
        if !script.is_empty() {
            feed("nft -f -", &script);
        }
    }

    /// Where packets, a walk through the rows and the specifications do not agree.
    fn wrong(&mut self, case: &Case, asked: &[Asked]) -> Vec<String> {
        let probes: Vec<Probe> = asked.iter().map(|one| one.probe).collect();
        let wanted: Vec<bool> = asked.iter().map(Asked::is_allowed).collect();
        let through = self.wires.pass(&probes, &wanted);
        let rows = [(node(), self.rows.clone())].into();
        let answered = answered(&case.world, &case.learned);
        let mut wrong = Vec::new();
        for ((one, is_through), is_wanted) in asked.iter().zip(through).zip(wanted) {
            let walked = fate(&case.world, (&rows, &answered), &one.flow).first;
            if [is_through, walked] != [is_wanted; 2] {
                let Asked { flow, verdicts, .. } = one;
                wrong.push(format!(
                    "{flow:?}\n  should pass: {is_wanted}, passed: {is_through}, on paper: {walked}; {verdicts:?}"
                ));
            }
        }
        wrong
    }
}

/// Runs a command that reads `text` and succeeds.
fn feed(line: &str, text: &str) {
    let (program, args) = line.split_once(' ').unwrap();
    let mut command = Command::new(program);
    let mut child = command.args(args.split(' ')).stdin(Stdio::piped()).spawn().expect(line);
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{line}: {text}");
}

/// What has been judged.
struct Tally {
    first: u64,
    worlds: u64,
    packets: u64,
    started: Instant,
    by: BTreeMap<String, u64>,
}

impl Tally {
    fn start(first: u64) -> Self {
        Tally { first, worlds: 0, packets: 0, started: Instant::now(), by: BTreeMap::new() }
    }

    fn count(&mut self, case: &Case, asked: &[Asked]) {
        for one in asked {
            let packet = one.flow.packet;
            let family = Family::of(packet.dst);
            let is_allowed = if one.is_allowed() { "allowed" } else { "denied" };
            let mut said = vec![format!("{family} {} {is_allowed}", packet.protocol)];
            for (direction, verdict) in &one.verdicts {
                let by = match &verdict.by {
                    By::ClusterRule(ClusterTier::Admin, ..) => "Admin",
                    By::ClusterRule(ClusterTier::Baseline, ..) => "Baseline",
                    By::Rule(..) => "NetworkPolicy",
                    By::Isolated(_) => "isolated",
                    By::OwnNode => "own node",
                    By::NoPod | By::Itself | By::Discovery | By::Nothing => "nothing",
                };
                said.push(format!("{direction} {by}"));
                if *direction == Direction::Egress && case.is_by_name(one, verdict) {
                    said.push("names".to_owned());
                }
            }
            said.into_iter().for_each(|what| *self.by.entry(what).or_default() += 1);
        }
        self.worlds += 1;
        self.packets += u64::try_from(asked.len()).unwrap();
        if self.worlds.is_multiple_of(WORLDS_BETWEEN) {
            self.tell();
        }
    }

    #[expect(
        clippy::print_stderr,
        reason = "whoever has a million packets sent wants to know how far it is"
    )]
    fn tell(&self) {
        let Tally { first, worlds, packets, by, .. } = self;
        let took = self.started.elapsed();
        let rate = u128::from(*packets) * 1000 / took.as_millis().max(1);
        eprintln!(
            "seed {first}: {worlds} worlds, {packets} packets in {took:.1?}, {rate} a second; {by:?}"
        );
    }

    /// Every protocol of both families is allowed and denied, and everybody who may decide does.
    fn is_about_everything(&self) {
        let mut all = vec!["names".to_owned(), "ingress own node".to_owned()];
        for protocol in [6, 17, 132, 47] {
            for family in Family::ALL {
                all.extend(["allowed", "denied"].map(|is| format!("{family} {protocol} {is}")));
            }
        }
        for direction in [Direction::Ingress, Direction::Egress] {
            for by in ["Admin", "NetworkPolicy", "Baseline", "isolated", "nothing"] {
                all.push(format!("{direction} {by}"));
            }
        }
        let least = LEAST * self.packets / PACKETS;
        all.retain(|what| self.by.get(what).copied().unwrap_or_default() < least);
        assert!(all.is_empty(), "too little is about {all:?}: {:?}", self.by);
    }
}
