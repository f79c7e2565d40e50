//! Measures what Services cost a node, from the World to this machine's kernel, in a namespace of its
//! own (needs root and nft): `cargo run --release -p seaway-agent --example services`.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use compile::{Compiler, Scope};
use kernel::netns::Netns;
use kernel::nft::Nft;
use model::{
    Conditions, Endpoint, EndpointPort, EndpointSlice, Family, Node, Protocol, Service,
    ServiceKind, ServiceName, ServicePort, SliceKey, TrafficPolicy, World,
};
use plan::{Mechanism, Plan, diff};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How many changes one number is the median of.
const CHANGES: usize = 200;

fn main() -> Outcome<()> {
    let mut ours = Duration::ZERO;
    for (services, endpoints) in [(1000, 2), (10_000, 2), (50_000, 2), (5000, 50)] {
        let took = scenario(services, endpoints)?;
        if (services, endpoints) == (10_000, 2) {
            ours = took;
        }
    }
    // Half a minute: its time grows with the square.
    let theirs = in_namespace(|| chains_for_each(10_000, 2))?;
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    println!("10000 x 2 as kube-proxy lays them out, by nft: {theirs:?}, {ratio:.0} times as long");
    Ok(())
}

/// One size: from nothing, then one change after the other. Returns the time from nothing.
fn scenario(services: u32, endpoints: u32) -> Outcome<Duration> {
    in_namespace(|| {
        let what = format!("{services} Services x {endpoints}");
        let mut node = Running::start(world(services, endpoints))?;
        let cold = node.pass()?;
        println!("{what}: compile {:?}, diff and program {:?}", cold.compile, cold.program);
        println!("{what}: {} rows, resident {} MiB", node.have.nft.len(), resident()?);
        let mut passes = Vec::new();
        for at in 0..CHANGES {
            let at = u32::try_from(at)? * (services / u32::try_from(CHANGES)?);
            node.put(at, endpoints, 1);
            passes.push(node.pass()?);
        }
        report(&format!("{what}: one endpoint exchanged"), &passes);
        passes.clear();
        for at in 0..CHANGES {
            let at = u32::try_from(at)? * (services / u32::try_from(CHANGES)?);
            node.put(at, endpoints + 1, 1);
            passes.push(node.pass()?);
        }
        report(&format!("{what}: one endpoint more"), &passes);
        let start = Instant::now();
        let read = Nft::open()?.observe()?;
        println!("{what}: read back {:?}, {}", start.elapsed(), read == node.have.nft);
        Ok(cold.compile + cold.program)
    })
}

fn report(what: &str, passes: &[Pass]) {
    let mut all: Vec<Duration> = passes.iter().map(|pass| pass.compile + pass.program).collect();
    let mut programs: Vec<Duration> = passes.iter().map(|pass| pass.program).collect();
    all.sort_unstable();
    programs.sort_unstable();
    let (half, most) = (passes.len() / 2, passes.len() * 99 / 100);
    let rows: usize = passes.iter().map(|pass| pass.rows).max().unwrap_or_default();
    println!(
        "{what}: p50 {:?} (program {:?}), p99 {:?}, at most {rows} rows",
        all[half], programs[half], all[most]
    );
}

fn in_namespace<T: Send>(work: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
    Netns::fresh()?.run(work)?
}

/// What a pass took.
struct Pass {
    compile: Duration,
    program: Duration,
    rows: usize,
}

/// A node's agent as far as rules go.
struct Running {
    world: World,
    compiler: Compiler,
    nft: Nft,
    have: Plan,
}

impl Running {
    fn start(world: World) -> Outcome<Self> {
        let nft = Nft::open()?;
        Ok(Running { world, compiler: Compiler::default(), nft, have: Plan::default() })
    }

    /// Compiles the World and writes what differs from the last plan.
    fn pass(&mut self) -> Outcome<Pass> {
        let start = Instant::now();
        let plan = self.compiler.compile(&self.world, &Scope::Node("a".into())).plan;
        let compile = start.elapsed();
        let start = Instant::now();
        let changes = diff(&self.have.nft, &plan.nft);
        if let Some(failure) = self.nft.apply(&changes).into_iter().next() {
            return Err(format!("{}: {}", failure.attempt, failure.cause).into());
        }
        self.have = plan;
        Ok(Pass { compile, program: start.elapsed(), rows: changes.len() })
    }

    /// Puts the endpoints of a Service, whose addresses follow from `salt`.
    fn put(&mut self, number: u32, endpoints: u32, salt: u32) {
        let slice = slice(number, endpoints, salt);
        self.world.slices.insert(slice.key.clone(), Arc::new(slice));
    }
}

fn name(number: u32) -> ServiceName {
    ServiceName::new("shop", &format!("service-{number}"))
}

fn addr(net: u32, host: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(net + host))
}

/// A node in a cluster of 100 nodes with so many Services.
fn world(services: u32, endpoints: u32) -> World {
    let mut world = World::default();
    world.config.node = "a".into();
    for number in 0..100_u32 {
        let name = if number == 0 { "a".to_owned() } else { format!("node-{number}") };
        let pods = Ipv4Addr::from(0x0af4_0000 + (number << 8));
        let node = Node {
            name: name.as_str().into(),
            zone: None,
            is_leaving: false,
            internal_ips: vec![addr(0xc000_0201, number)],
            pod_cidrs: ipnet::IpNet::new(pods.into(), 24).into_iter().collect(),
        };
        world.nodes.insert(node.name.clone(), Arc::new(node));
    }
    for number in 0..services {
        let service = service(number);
        let slice = slice(number, endpoints, 0);
        world.services.insert(service.name.clone(), Arc::new(service));
        world.slices.insert(slice.key.clone(), Arc::new(slice));
    }
    world
}

fn service(number: u32) -> Service {
    let port = ServicePort { name: "".into(), protocol: Protocol::Tcp, port: 80, node_port: None };
    Service {
        name: name(number),
        proxy: None,
        kind: ServiceKind::ClusterIp,
        cluster_ips: vec![addr(0x0a60_0001, number)],
        ports: vec![port],
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        affinity: None,
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        health_check_node_port: None,
    }
}

fn slice(number: u32, endpoints: u32, salt: u32) -> EndpointSlice {
    let conditions = Conditions { ready: true, serving: true, terminating: false };
    let endpoint = |at: u32| {
        // The last one is another where the salt is.
        let salt = if at + 1 == endpoints { salt } else { 0 };
        let host = (number * 64 + at * 2 + salt) % (1 << 20);
        let node = Some(format!("node-{}", host % 100).as_str().into());
        Endpoint { addr: addr(0x0af4_0000, host), node, conditions, hints: None }
    };
    EndpointSlice {
        key: SliceKey { service: name(number), slice: "1".into() },
        family: Family::V4,
        ports: vec![EndpointPort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: (0..endpoints).map(endpoint).collect(),
        triggered: None,
    }
}

/// The ruleset of kube-proxy's nftables mode: a chain for each Service with an anonymous map of
/// `numgen`, a chain for each endpoint, and a verdict map by address, protocol and port.
///
/// Source: KEP-3866.
fn chains_for_each(services: u32, endpoints: u32) -> Outcome<Duration> {
    let mut text = "table ip kube-proxy {\n".to_owned();
    let mut frontends = String::new();
    for number in 0..services {
        let mut choices = String::new();
        for at in 0..endpoints {
            let to = addr(0x0af4_0000, number * 64 + at * 2);
            let chain = format!("endpoint-{number}-{at}");
            writeln!(text, "chain {chain} {{\nip saddr {to} jump mark-for-masquerade")?;
            writeln!(text, "meta l4proto tcp dnat to {to}:8080\n}}")?;
            write!(choices, "{at} : goto {chain}, ")?;
        }
        let ip = addr(0x0a60_0001, number);
        writeln!(text, "chain service-{number} {{")?;
        writeln!(
            text,
            "ip daddr {ip} tcp dport 80 ip saddr != 10.244.0.0/16 jump mark-for-masquerade"
        )?;
        writeln!(text, "numgen random mod {endpoints} vmap {{ {choices} }}\n}}")?;
        writeln!(frontends, "{ip} . tcp . 80 : goto service-{number},")?;
    }
    writeln!(text, "chain mark-for-masquerade {{ meta mark set meta mark or 0x4000\n}}")?;
    writeln!(text, "map service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict")?;
    writeln!(text, "elements = {{ {frontends} }}\n}}")?;
    writeln!(text, "chain services {{ ip daddr . meta l4proto . th dport vmap @service-ips\n}}")?;
    for (chain, hook) in [("nat-prerouting", "prerouting"), ("nat-output", "output")] {
        writeln!(text, "chain {chain} {{ type nat hook {hook} priority -100\njump services\n}}")?;
    }
    text.push_str("}\n");
    let file = std::env::temp_dir().join(format!("seaway-services-{}.nft", std::process::id()));
    fs::write(&file, text)?;
    let start = Instant::now();
    let output = Command::new("nft").arg("-f").arg(&file).output();
    let took = start.elapsed();
    fs::remove_file(file)?;
    let output = output?;
    if output.status.success() {
        Ok(took)
    } else {
        Err(format!("nft: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

/// Memory of this process.
fn resident() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.and_then(|line| line.split_whitespace().next()).ok_or("VmRSS")?.parse()?;
    Ok(kib >> 10)
}
