//! `seaway lab up`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use ipnet::IpNet;
use kube::Access;
use lab::directory::Directory;
use lab::down::down;
use lab::lab::Lab;
use lab::spec::{IpFamily, LabName, Spec};
use lab::supervisor::report::Report;
use lab::up::{Starting, begin};
use lab::wait::{NotReady, Progress, Wanted, ready};
use model::{NodePortAddrs, PodLinkMode, Routing};
use tokio::signal::unix::{SignalKind, signal};

use super::objects::{self, Manifests};
use super::talk;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Manifest to apply: a file, a directory of them, or - for standard input. Several are fine.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,
    /// Nodes.
    #[arg(long, default_value_t = 3)]
    nodes: u32,
    /// Subnets of the underlay, with a router between them; nodes are dealt to them in turn.
    #[arg(long, default_value_t = 1)]
    subnets: u32,
    /// Zones that nodes are spread over (`topology.kubernetes.io/zone`); none when left out.
    #[arg(long)]
    zones: Option<u32>,
    /// How pods are joined to their node: routed or bridge.
    #[arg(long, default_value_t = PodLinkMode::Routed)]
    pod_link: PodLinkMode,
    /// How packets cross between nodes: auto, direct or vxlan.
    #[arg(long, default_value_t = Routing::Auto)]
    routing: Routing,
    /// Families of nodes and pods: ipv4, ipv6 or dual.
    #[arg(long, default_value_t = IpFamily::Dual)]
    ip_family: IpFamily,
    /// Pods' addresses, one CIDR per family; each node gets a /24 or a /64 [default: 10.244.0.0/16,
    /// fd00:10:244::/56].
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    pod_cidr: Vec<IpNet>,
    /// The underlay's addresses, one CIDR per family; each subnet gets a /24 or a /64 [default:
    /// 10.80.0.0/16, fd00:80::/32].
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    node_cidr: Vec<IpNet>,
    /// Services' addresses, one CIDR per family [default: 10.96.0.0/16, fd00:10:96::/112].
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    service_cidr: Vec<IpNet>,
    /// Where node ports of Services are open: primary, all, or CIDRs, as of `seaway agent`.
    #[arg(long, value_name = "primary|all|CIDR,…", value_delimiter = ',')]
    nodeport_addresses: Vec<NodePortAddrs>,
    /// Honor `externalIPs` of Services inside of these CIDRs; none when left out.
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    external_ips: Vec<IpNet>,
    /// Give every packet to a Service's cluster IP the node's address.
    #[arg(long)]
    masquerade_all: bool,
    /// DNS servers that nodes ask for names outside of the cluster [default: the router, which asks those
    /// of this machine].
    #[arg(long = "nameserver", value_name = "ADDR,…", value_delimiter = ',')]
    nameservers: Vec<IpAddr>,
    /// Document that every agent goes by, and by what it says later, as of `seaway agent`.
    #[arg(long, value_name = "FILE")]
    dns_settings: Option<PathBuf>,
    /// Nodes without agents: their network comes with a manifest, such as `seaway install` prints. Nodes are
    /// waited for when there are manifests.
    #[arg(long)]
    no_agent: bool,
    /// Controllers that the control plane lacks, such as cidrAllocator, which gives nodes their pod CIDRs, or
    /// cluster-dns, which makes the Service kube-dns and its endpoints.
    #[arg(long = "no-controller", value_name = "NAME,…", value_delimiter = ',')]
    no_controllers: Vec<String>,
    /// MTU of pods; derived from the underlay when left out.
    #[arg(long)]
    mtu: Option<u32>,
    /// MTU of the underlay.
    #[arg(long, default_value_t = 1500)]
    underlay_mtu: u32,
    /// What an image stands for: NAME=COMMAND, a command of this machine. Several are fine.
    #[arg(long = "image", value_name = "NAME=COMMAND")]
    images: Vec<String>,
    /// File of such lines.
    #[arg(long, value_name = "FILE")]
    image_map: Option<PathBuf>,
    /// Directory that keeps the cluster's objects and keys when the lab ends; another `lab up` with it,
    /// and with the same options, is the same cluster. One lab at a time.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// How long all nodes and pods may take to be ready, in seconds.
    #[arg(long, default_value_t = 120)]
    timeout: u64,
}

pub(super) fn run(name: LabName, args: Args) -> anyhow::Result<ExitCode> {
    let (manifests, bad) = Manifests::read(&args.files);
    anyhow::ensure!(bad == 0, "{bad} objects cannot be read; nothing has been made");
    let timeout = Duration::from_secs(args.timeout);
    let spec = spec(name, args)?;
    let started = Instant::now();
    let starting = begin(&spec)?;
    if starting.found_remains {
        talk(&format!("removed what a dead lab {} had left", spec.name));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let directory = Directory::of(&spec.name);
    let outcome = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let work = bring_up(starting, &manifests, timeout, spec.has_agents);
        tokio::select! {
            outcome = work => outcome,
            _ = interrupt.recv() => Ok(Outcome::Interrupted(130)),
            _ = terminate.recv() => Ok(Outcome::Interrupted(143)),
        }
    });
    // A thread may still wait for a line of the supervisor; it ends with this process.
    runtime.shutdown_background();
    match outcome {
        Ok(Outcome::Ready(pods)) => {
            welcome(&spec, pods, started.elapsed());
            Ok(ExitCode::SUCCESS)
        }
        Ok(Outcome::Unready(reasons)) => {
            let name = &spec.name;
            talk(&format!("lab {name} is up, but {reasons}"));
            talk(&format!("look around, then: seaway lab down --name {name}"));
            Ok(ExitCode::FAILURE)
        }
        Ok(Outcome::Interrupted(code)) => {
            talk("interrupted: taking the lab down");
            down(&directory)?;
            Ok(ExitCode::from(code))
        }
        Err(error) => {
            // A lab that could not be made is of no use to anybody.
            down(&directory).context("take down what had been made")?;
            Err(error)
        }
    }
}

/// How far `up` got.
enum Outcome {
    /// Everything is ready, so many pods among it.
    Ready(usize),
    /// The lab is there, and something in it is not as it should be.
    Unready(String),
    /// The person at the terminal changed their mind: the exit code.
    Interrupted(u8),
}

/// The lab these options ask for.
fn spec(name: LabName, args: Args) -> anyhow::Result<Spec> {
    let mut images = args.images;
    if let Some(path) = &args.image_map {
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| format!("read image map {}", path.display()))?;
        let lines = text.lines().map(str::trim);
        images.extend(
            lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned),
        );
    }
    let absolute = |path: PathBuf| {
        let absolute = std::path::absolute(&path);
        absolute.with_context(|| format!("the working directory, for {}", path.display()))
    };
    let spec = Spec {
        name,
        nodes: args.nodes,
        subnets: args.subnets,
        zones: args.zones,
        pod_link: args.pod_link,
        routing: args.routing,
        ip_family: args.ip_family,
        mtu: args.mtu,
        underlay_mtu: args.underlay_mtu,
        pod_cidrs: args.pod_cidr,
        node_cidrs: args.node_cidr,
        service_cidrs: args.service_cidr,
        nodeport_addresses: args.nodeport_addresses,
        external_ips: args.external_ips,
        masquerade_all: args.masquerade_all,
        nameservers: args.nameservers,
        has_agents: !args.no_agent,
        no_controllers: args.no_controllers,
        images,
        dns_settings: args.dns_settings.map(absolute).transpose()?,
        state_dir: args.state_dir.map(absolute).transpose()?,
    };
    Ok(spec.with_default_cidrs())
}

async fn bring_up(
    mut starting: Starting,
    manifests: &Manifests,
    timeout: Duration,
    has_agents: bool,
) -> anyhow::Result<Outcome> {
    let follow = move || {
        starting.follow(|report| {
            if *report == Report::ApiReady {
                talk("the underlay is there and the API server answers");
            }
        })
    };
    let lab = tokio::task::spawn_blocking(follow).await??;
    let client = kube::connect(&Access::Kubeconfig(lab.kubeconfig())).await?;
    let deadline = Instant::now() + timeout;
    let nodes = Wanted { nodes: lab.nodes(), pods: Vec::new() };
    if !has_agents {
        let applied = objects::apply_all(&client, manifests).await;
        let nodes = if manifests.is_empty() { Vec::new() } else { lab.nodes() };
        let wanted = Wanted { nodes, pods: applied.pods };
        let waited = ready(&client, &wanted, timeout, show).await;
        return Ok(outcome(&lab, waited, &wanted, applied.failures));
    }
    if let Err(not_ready) = ready(&client, &nodes, timeout, show).await {
        return Ok(Outcome::Unready(explain(&lab, &not_ready)));
    }
    if manifests.is_empty() {
        return Ok(Outcome::Ready(0));
    }
    let applied = objects::apply_all(&client, manifests).await;
    let wanted = Wanted { nodes: Vec::new(), pods: applied.pods };
    let left = deadline.saturating_duration_since(Instant::now());
    let waited = ready(&client, &wanted, left, show).await;
    Ok(outcome(&lab, waited, &wanted, applied.failures))
}

/// What came of waiting for `wanted`.
fn outcome(lab: &Lab, waited: Result<(), NotReady>, wanted: &Wanted, failures: usize) -> Outcome {
    match (waited, failures) {
        (Ok(()), 0) => Outcome::Ready(wanted.pods.len()),
        (Ok(()), failures) => {
            Outcome::Unready(format!("{failures} objects of its manifests were refused"))
        }
        (Err(not_ready), _) => Outcome::Unready(explain(lab, &not_ready)),
    }
}

/// Waits for `wanted` in a lab that is up.
///
/// # Errors
/// What is not ready and why.
pub(super) fn wait(lab: &Lab, wanted: &Wanted, timeout: Duration) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = kube::connect(&Access::Kubeconfig(lab.kubeconfig())).await?;
        let outcome = ready(&client, wanted, timeout, show).await;
        outcome.map_err(|not_ready| anyhow::anyhow!(explain(lab, &not_ready)))
    })
}

fn show(progress: &Progress) {
    for ((ready, all), what) in [(progress.nodes, "nodes"), (progress.pods, "pods")] {
        if all > 0 && ready == all {
            talk(&format!("{all} {what} ready"));
        }
    }
}

/// What is not ready, with the last words of the agents of nodes that are not.
fn explain(lab: &Lab, not_ready: &NotReady) -> String {
    let mut text = not_ready.to_string();
    for object in not_ready.reasons.keys() {
        let Some(node) = object.strip_prefix("node ") else { continue };
        for path in [lab.directory().node(node).log(), lab.directory().node(node).agent_log()] {
            let log = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<_> = log.lines().rev().take(3).collect();
            for line in lines.iter().rev() {
                text.push_str(&format!("\n    {}: {line}", path.display()));
            }
        }
    }
    text
}

fn welcome(spec: &Spec, pods: usize, took: Duration) {
    let Spec { name, nodes, .. } = spec;
    talk(&format!("lab {name} is up: {nodes} nodes, {pods} pods, {:.1} s", took.as_secs_f64()));
    talk(&format!("  export KUBECONFIG=$(seaway lab kubeconfig --name {name})"));
    talk(&format!("  seaway lab status --name {name}"));
    talk(&format!("  seaway lab down --name {name}"));
}
