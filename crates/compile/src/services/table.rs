//! What this node does with packets to Services, as a table that prints.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use ipnet::IpNet;
use model::{Family, Protocol, ServiceName, TrafficPolicy};
use plan::Serving;

/// Everything this node does with packets to Services.
///
/// A copy shares what it has in common with the table it was copied from, and a Service that has not
/// changed is the same `Arc` in both: `OrdMap::diff` finds the others without looking at it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ServiceTable {
    /// What each Service opens. One that opens nothing has no row.
    pub services: OrdMap<ServiceName, Arc<Resolved>>,
    /// The addresses of this node that [`At::NodeAddresses`] stands for.
    pub node_port_addrs: BTreeSet<IpAddr>,
    /// Ranges of cluster IPs: what no Service has in them is dropped (S-41).
    pub cidrs: BTreeSet<IpNet>,
}

/// What one Service opens on this node. No other Service of the table opens the same frontend.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Its ports, in the Service's order, IPv4 before IPv6.
    pub ports: Vec<PortEntry>,
    /// What load balancers ask this node about it, one in each of its families.
    pub health_checks: Vec<HealthCheck>,
    /// Its addresses of load balancers and external IPs that are no node's. What comes there from
    /// elsewhere, to a port that no Service opens, is dropped: routed on, it would come back (T22).
    pub vips: BTreeSet<IpAddr>,
}

/// One port of a Service, in one family. It is also what session affinity is kept by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortEntry {
    /// The port's name, empty for an only port; unique within the Service.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The family of everything below.
    pub family: Family,
    /// How long a client stays with its backend, counted from its last new connection (S-54 to S-57).
    /// A remembered backend counts only while the action's set has it.
    pub affinity: Option<Duration>,
    /// The backends under traffic policy Cluster (S-11): sorted, each once.
    pub cluster: Arc<[Backend]>,
    /// The backends under traffic policy Local; empty where no frontend asks for them.
    pub local: Arc<[Backend]>,
    /// The endpoints that answer, wherever they are: a flow that leads to one of them goes on,
    /// whatever new ones do (S-60). None for TCP, whose flows end by themselves.
    pub serving: Serving,
    /// Where clients find it.
    pub frontends: Vec<Frontend>,
}

impl PortEntry {
    /// The backends that `policy` chooses from.
    pub fn backends(&self, policy: TrafficPolicy) -> &Arc<[Backend]> {
        match policy {
            TrafficPolicy::Cluster => &self.cluster,
            TrafficPolicy::Local => &self.local,
        }
    }
}

/// An endpoint as chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// Its address.
    pub addr: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whether it is on this node.
    pub is_local: bool,
}

/// An address, protocol and port that clients use, and what becomes of a new flow to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontend {
    /// Which of a Service's addresses it is.
    pub kind: FrontendKind,
    /// Its address.
    pub at: At,
    /// Its port.
    pub port: u16,
    /// What becomes of flows of this node's pods and processes.
    pub inside: Action,
    /// What becomes of flows of everybody else.
    pub outside: Action,
    /// Whose flows are let in at all, by the address they come from; everybody's when `None`. Others
    /// are dropped (S-27, S-42).
    pub allowed: Option<Arc<[IpNet]>>,
}

/// Which of a Service's addresses a frontend is. Where two Services want the same frontend, the
/// kind that comes first here has it, then the Service that was there first, then the first by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FrontendKind {
    /// `spec.clusterIPs`.
    ClusterIp,
    /// `spec.ports[].nodePort`.
    NodePort,
    /// `status.loadBalancer.ingress[].ip`.
    LoadBalancer,
    /// `spec.externalIPs`.
    ExternalIp,
}

/// Where a frontend is. What is at an address comes before what is at all addresses of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// At this address.
    Ip(IpAddr),
    /// At those of [`ServiceTable::node_port_addrs`] that are of the port's family.
    NodeAddresses,
}

/// What becomes of the first packet of a flow. Later packets go where the first went (S-20, S-43).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It goes to one of the backends, each with the same likelihood (S-18). The set is not empty.
    Forward {
        /// Which set of the port's.
        to: TrafficPolicy,
        /// Whose address the backend sees.
        source: Source,
    },
    /// It is refused, so that the client knows at once: no endpoint anywhere.
    Reject,
    /// It is dropped: there are endpoints, but none that this node may use.
    Drop,
}

/// Whose address a backend sees. A pod that reaches itself always takes the node's (S-51).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The client's own (S-44, S-45, S-48).
    Kept,
    /// The client's own if it is a pod (S-49). A process of the node takes an address of the node
    /// that leads back here: it may have chosen the frontend's, if that is local (S-50).
    KeptForPods,
    /// An address of the node, so that answers come by here (S-46, S-47, S-52).
    Node,
}

/// What is answered at `spec.healthCheckNodePort` (S-78).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthCheck {
    /// The family of the addresses it is asked at, and of the endpoints it counts.
    pub family: Family,
    /// The port, at the addresses of node ports.
    pub port: u16,
    /// How many endpoints of this node are ready and stay.
    pub local_endpoints: usize,
}

impl fmt::Display for ServiceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node ports at")?;
        match self.node_port_addrs.is_empty() {
            true => write!(f, " no address")?,
            false => self.node_port_addrs.iter().try_for_each(|addr| write!(f, " {addr}"))?,
        }
        writeln!(f)?;
        for cidr in &self.cidrs {
            writeln!(f, "{cidr} cluster IPs: drop what no Service has")?;
        }
        self.services.iter().try_for_each(|(name, resolved)| resolved.write(f, name))
    }
}

impl Resolved {
    /// Its rows, as those of the Service `name`.
    fn write(&self, f: &mut fmt::Formatter<'_>, name: &ServiceName) -> fmt::Result {
        for port in &self.ports {
            let PortEntry { protocol, family, .. } = port;
            write!(f, "{name}{} {protocol} {family}", Colon(&port.name))?;
            if let Some(affinity) = port.affinity {
                write!(f, " affinity {} s", affinity.as_secs())?;
            }
            writeln!(f)?;
            port.frontends.iter().try_for_each(|frontend| writeln!(f, "  {frontend}"))?;
            for (set, backends) in [("cluster", &port.cluster), ("local", &port.local)] {
                if !backends.is_empty() {
                    write!(f, "  {set}:")?;
                    backends.iter().try_for_each(|backend| write!(f, " {backend}"))?;
                    writeln!(f)?;
                }
            }
        }
        for vip in &self.vips {
            writeln!(f, "{name} {vip}: drop from elsewhere what no Service opens")?;
        }
        self.health_checks.iter().try_for_each(|check| {
            let HealthCheck { family, port, local_endpoints } = check;
            writeln!(f, "{name} {family} health check at {port}: {local_endpoints} here are ready")
        })
    }
}

/// A Service with its rows.
#[derive(Debug)]
pub struct Row<'a>(pub &'a ServiceName, pub &'a Resolved);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.1.write(f, self.0)
    }
}

/// `:NAME`, or nothing.
struct Colon<'a>(&'a str);

impl fmt::Display for Colon<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ":{}", self.0) }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let here = if self.is_local { " (here)" } else { "" };
        write!(f, "{}{here}", SocketAddr::new(self.addr, self.port))
    }
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            At::Ip(addr) => write!(f, "{} {}", self.kind, SocketAddr::new(addr, self.port))?,
            At::NodeAddresses => write!(f, "{} {}", self.kind, self.port)?,
        }
        if let Some(allowed) = &self.allowed {
            write!(f, " for")?;
            allowed.iter().try_for_each(|net| write!(f, " {net}"))?;
        }
        match self.inside == self.outside {
            true => write!(f, " -> {}", self.inside),
            false => write!(f, " -> from here {}, else {}", self.inside, self.outside),
        }
    }
}

impl fmt::Display for FrontendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FrontendKind::ClusterIp => "cluster IP",
            FrontendKind::NodePort => "node port",
            FrontendKind::LoadBalancer => "load balancer",
            FrontendKind::ExternalIp => "external IP",
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Forward { to, source } => {
                f.write_str(match to {
                    TrafficPolicy::Cluster => "cluster",
                    TrafficPolicy::Local => "local",
                })?;
                f.write_str(match source {
                    Source::Kept => "",
                    Source::KeptForPods => " (a process' source is the node)",
                    Source::Node => " (source is the node)",
                })
            }
            Action::Reject => f.write_str("reject"),
            Action::Drop => f.write_str("drop"),
        }
    }
}
