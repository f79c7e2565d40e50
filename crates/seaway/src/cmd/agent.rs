//! `seaway agent`.

mod cleanup;

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use agent::{PodCidrs, Settings};
use anyhow::{Context, bail, ensure};
use clap::{Subcommand, ValueEnum};
use ipnet::IpNet;
use kube::{Access, Found, ServerUrl};
use model::{Config, NodePortAddrs, PodLinkMode, Routing, Vxlan};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use tracing_subscriber::EnvFilter;
use wire::cni::Paths;

/// Smallest MTU at which IPv6 works (RFC 8200 §5).
const LEAST_MTU: u32 = 1280;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Subcommand)]
enum Command {
    /// Remove everything agents put on this node: links, routes, rules, nftables, files; and with --node-name what
    /// they wrote in the API, of the whole cluster when no other node has Seaway. Stop the agent first.
    Cleanup(cleanup::Args),
    /// Keep for the agent what the files of this node's kubelet say: the API server's address, whom to trust
    /// there, and the cluster's DNS domain.
    Find(Find),
    /// Succeed when an agent of this container, and not one beside it, is in charge of the node.
    InCharge(InCharge),
}

/// Where things are on the node.
#[derive(clap::Args)]
struct Places {
    /// Directory of the sockets.
    #[arg(long, env = "SEAWAY_RUN_DIR", default_value = "/run/seaway", value_name = "DIR")]
    run_dir: PathBuf,
    /// Directory of the ledger of leases.
    #[arg(long, env = "SEAWAY_STATE_DIR", default_value = "/var/lib/seaway", value_name = "DIR")]
    state_dir: PathBuf,
    /// Where the container runtime looks for network configurations.
    #[arg(long, env = "SEAWAY_CNI_CONF_DIR", default_value = "/etc/cni/net.d", value_name = "DIR")]
    cni_conf_dir: PathBuf,
    /// Where the container runtime looks for CNI plugins.
    #[arg(long, env = "SEAWAY_CNI_BIN_DIR", default_value = "/opt/cni/bin", value_name = "DIR")]
    cni_bin_dir: PathBuf,
    /// How to log, on stderr. RUST_LOG chooses what.
    #[arg(long, env = "SEAWAY_LOG_FORMAT", default_value = "text", value_enum)]
    log_format: LogFormat,
}

#[derive(clap::Args)]
struct Find {
    /// Where the root of the node is shown.
    #[arg(long, default_value = "/", value_name = "DIR")]
    host_root: PathBuf,
    /// Directory of the ledger of leases.
    #[arg(long, env = "SEAWAY_STATE_DIR", default_value = "/var/lib/seaway", value_name = "DIR")]
    state_dir: PathBuf,
    #[command(flatten)]
    api_server: ApiServer,
}

#[derive(clap::Args)]
struct InCharge {
    /// Directory of the sockets.
    #[arg(long, env = "SEAWAY_RUN_DIR", default_value = "/run/seaway", value_name = "DIR")]
    run_dir: PathBuf,
}

/// Where the API server is.
#[derive(clap::Args)]
struct ApiServer {
    /// Addresses of the API server, like https://192.0.2.1:6443; or the path of a kubeconfig on every node that
    /// names one. When left out, the kubelet's kubeconfig is looked for where kubeadm, k3s and others have it.
    #[arg(long, env = "SEAWAY_API_SERVER", value_delimiter = ',', value_name = "URL,…|PATH")]
    api_server: Vec<At>,
}

/// One of them.
#[derive(Clone)]
enum At {
    Url(ServerUrl),
    Kubeconfig(String),
}

impl FromStr for At {
    type Err = kube::NoServerUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.starts_with('/') {
            true => Ok(At::Kubeconfig(text.to_owned())),
            false => text.parse().map(At::Url),
        }
    }
}

#[derive(clap::Args)]
struct Run {
    #[command(flatten)]
    places: Places,
    /// Name of this machine's Node object.
    #[arg(long, env = "SEAWAY_NODE_NAME", value_name = "NAME")]
    node_name: Option<String>,
    /// Kubeconfig file; the pod's service account when left out.
    #[arg(long, env = "SEAWAY_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    api_server: ApiServer,
    /// How pods are joined to the node: routed or bridge.
    #[arg(long, env = "SEAWAY_POD_LINK", default_value = "routed", value_name = "MODE")]
    pod_link: PodLinkMode,
    /// How packets cross between nodes: auto (direct on the same subnet, else VXLAN), direct or vxlan.
    #[arg(long, env = "SEAWAY_ROUTING", default_value = "auto", value_name = "MODE")]
    routing: Routing,
    /// MTU of pods, in bytes; follows from the uplink when left out.
    #[arg(long, env = "SEAWAY_MTU", value_name = "BYTES")]
    mtu: Option<u32>,
    /// UDP port of the overlay.
    #[arg(long, env = "SEAWAY_VXLAN_PORT", default_value_t = Config::default().vxlan.port, value_name = "PORT")]
    vxlan_port: u16,
    /// Network identifier of the overlay, 24 bits.
    #[arg(long, env = "SEAWAY_VXLAN_VNI", default_value_t = Config::default().vxlan.vni, value_name = "VNI")]
    vxlan_vni: u32,
    /// Let packets to outside of the cluster keep the pod's address.
    #[arg(long, env = "SEAWAY_NO_MASQUERADE")]
    no_masquerade: bool,
    /// Destinations outside of the cluster that see the pod's own address.
    #[arg(long, env = "SEAWAY_NON_MASQUERADE_CIDRS", value_delimiter = ',', value_name = "CIDR,…")]
    non_masquerade_cidrs: Vec<IpNet>,
    /// Where node ports of Services are open: primary (the Node's first InternalIP of each family), all, or CIDRs.
    #[arg(
        long,
        env = "SEAWAY_NODEPORT_ADDRESSES",
        value_delimiter = ',',
        default_value = "primary",
        value_name = "primary|all|CIDR,…"
    )]
    nodeport_addresses: Vec<NodePortAddrs>,
    /// Honor `externalIPs` of Services inside of these CIDRs. Whoever may write Services can then take
    /// traffic to those addresses (CVE-2020-8554); none are honored when left out.
    #[arg(long, env = "SEAWAY_EXTERNAL_IPS", value_delimiter = ',', value_name = "CIDR,…")]
    external_ips: Vec<IpNet>,
    /// Give every packet to a Service's cluster IP the node's address.
    #[arg(long, env = "SEAWAY_MASQUERADE_ALL")]
    masquerade_all: bool,
    #[command(flatten)]
    conntrack: super::conntrack::Flags,
    #[command(flatten)]
    dns: super::dns::Flags,
    /// Tell in the Lease kube-system/seaway-NODE which endpoints get no new flow any more, for those who
    /// wait for it before they end a pod. One write for every change by which an endpoint goes.
    #[arg(long, env = "SEAWAY_ACKNOWLEDGE_DRAINS")]
    acknowledge_drains: bool,
    /// Where Nodes get pod CIDRs from that nobody else gives any: auto (10.244.0.0/16 and fd00:10:244::/56, for the
    /// families that a Node has addresses of), CIDRs, one of each family, or none. A Node's part is a /24 or /64;
    /// 10.244.0.0/16/25 stands for a /25 for each.
    #[arg(long, env = "SEAWAY_POD_CIDRS", default_value = "auto", value_name = "auto|none|CIDR,…")]
    pod_cidrs: PodCidrs,
    /// Never be the one agent that does what is done once for the whole cluster: the status of policies, pod CIDRs
    /// of Nodes, the Service of DNS.
    #[arg(long, env = "SEAWAY_NO_DUTIES")]
    no_duties: bool,
    /// Don't make the Service of --dns-service where there is none.
    #[arg(long, env = "SEAWAY_NO_KUBE_DNS")]
    no_kube_dns: bool,
    /// Address of metrics and /readyz, kube-proxy's by default, or "none".
    #[arg(
        long,
        env = "SEAWAY_METRICS_BIND",
        default_value = "127.0.0.1:10249",
        value_name = "ADDR"
    )]
    metrics_bind: String,
    /// Address where load balancers and probes ask for /healthz and /livez, kube-proxy's by default, or "none".
    #[arg(long, env = "SEAWAY_HEALTHZ_BIND", default_value = "[::]:10256", value_name = "ADDR")]
    healthz_bind: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Some(Command::Cleanup(args)) => cleanup::run(args),
        Some(Command::Find(wanted)) => find(wanted),
        Some(Command::InCharge(InCharge { run_dir })) => in_charge(&run_dir),
        None => {
            start_log(args.run.places.log_format)?;
            agent::run(settings(args.run)?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn find(args: Find) -> anyhow::Result<ExitCode> {
    let mut places = args.api_server.api_server.iter().filter_map(|at| match at {
        At::Kubeconfig(path) => Some(path.as_str()),
        At::Url(_) => None,
    });
    let found = agent::found::find(&args.host_root, places.next(), &args.state_dir);
    let found =
        found.with_context(|| format!("keep what was found in {}", args.state_dir.display()))?;
    for why in &found.unread {
        super::talk(&format!("seaway: {why}"));
    }
    super::talk(&match &found.kubelet {
        Some(kubelet) => {
            format!("seaway: the API server is at {}, as {} says", kubelet.server, kubelet.file)
        }
        None => "seaway: no kubelet's kubeconfig says where the API server is".to_owned(),
    });
    if let Some((domain, file)) = &found.domain {
        super::talk(&format!("seaway: the cluster's DNS domain is {domain}, as {file} says"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Whoever listens at the agent's socket has a number only in the process namespaces that it is in, and those
/// around them.
fn in_charge(run_dir: &Path) -> anyhow::Result<ExitCode> {
    let path = run_dir.join("agent.sock");
    let stream = UnixStream::connect(&path);
    let stream = stream.with_context(|| format!("connect to {}", path.display()))?;
    let peer = getsockopt(&stream, PeerCredentials).context("ask who listens there")?;
    ensure!(peer.pid() != 0, "an agent beside this container is in charge");
    Ok(ExitCode::SUCCESS)
}

/// What `seaway agent find` found before.
fn found(state_dir: &Path) -> Found {
    agent::found::found(state_dir).unwrap_or_else(|why| {
        super::talk(&format!("seaway: {why}; it is not used"));
        Found::default()
    })
}

/// That of a kubeconfig, or of a pod: at the addresses that are said, or found.
fn access(
    kubeconfig: Option<PathBuf>,
    api_server: ApiServer,
    found: &Found,
    state_dir: &Path,
) -> Access {
    if let Some(path) = kubeconfig {
        return Access::Kubeconfig(path);
    }
    let said = api_server.api_server.into_iter().filter_map(|at| match at {
        At::Url(url) => Some(url),
        At::Kubeconfig(_) => None,
    });
    Access::InCluster(agent::found::servers(said.collect(), found, state_dir))
}

fn settings(run: Run) -> anyhow::Result<Settings> {
    let found = found(&run.places.state_dir);
    let node = run.node_name.filter(|name| !name.is_empty());
    let node =
        node.context("--node-name (SEAWAY_NODE_NAME): which Node object is this machine?")?;
    if let Some(mtu) = run.mtu {
        ensure!(
            (LEAST_MTU..=65535).contains(&mtu),
            "--mtu {mtu}: between {LEAST_MTU} (RFC 8200 §5) and 65535"
        );
    }
    ensure!(
        (1..1 << 24).contains(&run.vxlan_vni),
        "--vxlan-vni {}: between 1 and {}",
        run.vxlan_vni,
        (1 << 24) - 1
    );
    ensure!(run.vxlan_port != 0, "--vxlan-port 0: between 1 and 65535");
    let state_dir = run.places.state_dir;
    let (dns, domain_origin) = run.dns.settings(found.domain.as_ref())?;
    Ok(Settings {
        dns_settings: run.dns.document(),
        domain_origin,
        metrics: address("--metrics-bind", &run.metrics_bind)?,
        health: address("--healthz-bind", &run.healthz_bind)?,
        acknowledge_drains: run.acknowledge_drains,
        duties: !run.no_duties,
        makes_dns_service: !run.no_kube_dns,
        pod_cidrs: run.pod_cidrs,
        config: Config {
            node: node.into(),
            pod_link: run.pod_link,
            routing: run.routing,
            vxlan: Vxlan { vni: run.vxlan_vni, port: run.vxlan_port },
            mtu: run.mtu,
            masquerade: !run.no_masquerade,
            non_masquerade_cidrs: run.non_masquerade_cidrs,
            node_port_addrs: run.nodeport_addresses,
            external_ips: run.external_ips,
            masquerade_all: run.masquerade_all,
            conntrack: run.conntrack.settings(),
            dns,
            has_log: true,
        },
        access: access(run.kubeconfig, run.api_server, &found, &state_dir),
        paths: Paths { run_dir: run.places.run_dir, state_dir },
        cni_conf_dir: run.places.cni_conf_dir,
        cni_bin_dir: run.places.cni_bin_dir,
    })
}

/// The flags of an agent, with what is said about them.
pub(crate) fn command() -> clap::Command {
    <Run as clap::Args>::augment_args(clap::Command::new("agent"))
}

/// Whether an agent that is told this would start.
///
/// # Errors
/// What is wrong with the flag's value.
pub(crate) fn check(flag: &str) -> anyhow::Result<()> {
    let words = ["agent", "--node-name=node", flag];
    let read = command().try_get_matches_from(words);
    let read = read.and_then(|read| <Run as clap::FromArgMatches>::from_arg_matches(&read));
    let run = read.map_err(|error| {
        // The first line says what is wrong, the others how the command is used.
        let text = error.to_string();
        let first: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
        anyhow::anyhow!("{}", first.join(" ").trim_start_matches("error: "))
    })?;
    settings(run).map(drop)
}

fn address(flag: &str, text: &str) -> anyhow::Result<Option<SocketAddr>> {
    if text == "none" {
        return Ok(None);
    }
    match text.parse() {
        Ok(addr) => Ok(Some(addr)),
        Err(_) => bail!("{flag} {text:?}: an address and port like 127.0.0.1:10249, or none"),
    }
}

/// What is logged unless RUST_LOG says otherwise. The client's own errors are said by the watch.
const LOG: &str = "info,kube_client=off,kube_runtime=off";

/// Logs to stderr: what RUST_LOG says, else [`LOG`].
fn start_log(format: LogFormat) -> anyhow::Result<()> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| LOG.to_owned());
    let filter =
        EnvFilter::builder().parse(&filter).with_context(|| format!("RUST_LOG {filter:?}"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
