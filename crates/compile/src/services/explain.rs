//! Where a packet from this node to one Service may go, and why not to the other endpoints (S-99).

use std::fmt;
use std::sync::Arc;

use model::{EndpointSlice, Family, NodeName, Protocol, ServiceName, TrafficPolicy, World};

use super::context::{Own, Reserved};
use super::endpoints::{Candidate, Choice, Excluded, Topology};
use super::frontends;
use super::resolve::is_not_ours;
use super::table::{Backend, Resolved, Row, ServiceTable};

/// One Service, explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The Service.
    pub service: ServiceName,
    /// Why it opens nothing, whatever its endpoints.
    pub closed: Option<String>,
    /// What it opens.
    pub resolved: Arc<Resolved>,
    /// Its ports in each of its families.
    pub ports: Vec<ExplainedPort>,
}

/// One port of a Service in one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedPort {
    /// Its name, empty for an only port.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The family.
    pub family: Family,
    /// How far hints narrow the choice under policy Cluster.
    pub topology: Topology,
    /// Every endpoint.
    pub endpoints: Vec<ExplainedEndpoint>,
}

/// One endpoint of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedEndpoint {
    /// The endpoint.
    pub backend: Backend,
    /// The node it is on.
    pub node: Option<NodeName>,
    /// Why it is not chosen under policy Cluster.
    pub cluster: Option<Excluded>,
    /// Why it is not chosen under policy Local; `Some(None)` when it is, `None` when no frontend of
    /// the Service asks for that policy.
    pub local: Option<Option<Excluded>>,
}

/// Explains the Service `name` as the node `me` sees it in `world`, of which `table` was made; `None`
/// when there is no such Service.
pub fn explain(
    world: &World,
    me: &NodeName,
    table: &ServiceTable,
    name: &ServiceName,
) -> Option<Explanation> {
    let service = world.services.get(name)?;
    let own = Own::of(world, me);
    let here = own.here()?;
    let slices: Vec<&EndpointSlice> = world.serving_slices_of(name).collect();
    let closed = is_not_ours(service);
    let reserved = Reserved::of(world);
    let is_served = |family: &Family| {
        frontends::addresses(service, *family, &own, &reserved, &mut Vec::new()).is_some()
    };
    let families: Vec<Family> = match closed {
        None => Family::ALL.into_iter().filter(is_served).collect(),
        Some(_) => Vec::new(),
    };
    let mut ports = Vec::new();
    for port in &service.ports {
        for family in &families {
            let candidates = own.candidates((service, port), &slices, *family, here);
            let choice = Choice::among(&candidates, here);
            let excluded = |c: &Candidate<'_>, policy| choice.excluded(c, policy);
            let endpoint = |c: &Candidate<'_>| ExplainedEndpoint {
                backend: c.backend,
                node: c.node.cloned(),
                cluster: excluded(c, TrafficPolicy::Cluster),
                local: frontends::needs_local(service).then(|| excluded(c, TrafficPolicy::Local)),
            };
            ports.push(ExplainedPort {
                name: Arc::clone(&port.name),
                protocol: port.protocol,
                family: *family,
                topology: choice.topology,
                endpoints: candidates.iter().map(endpoint).collect(),
            });
        }
    }
    let resolved = table.services.get(name).cloned().unwrap_or_default();
    Some(Explanation { service: name.clone(), closed, resolved, ports })
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation { service, closed, resolved, ports } = self;
        if let Some(why) = closed {
            return writeln!(f, "{service} opens nothing here: {why}");
        }
        write!(f, "{}", Row(service, resolved))?;
        for port in ports {
            let ExplainedPort { name, protocol, family, topology, endpoints } = port;
            let colon = if name.is_empty() { "" } else { ":" };
            write!(f, "endpoints of {service}{colon}{name} {protocol} {family}")?;
            match topology {
                Topology::Anywhere => writeln!(f)?,
                Topology::SameZone => writeln!(f, ", by their hints those of this zone first")?,
                Topology::SameNode => writeln!(f, ", by their hints those of this node first")?,
            }
            if endpoints.is_empty() {
                writeln!(f, "  none")?;
            }
            endpoints.iter().try_for_each(|endpoint| writeln!(f, "  {endpoint}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for ExplainedEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::net::SocketAddr::new(self.backend.addr, self.backend.port))?;
        match &self.node {
            Some(node) => write!(f, " node {node}")?,
            None => write!(f, " on no node")?,
        }
        let verdict = |f: &mut fmt::Formatter<'_>, set, excluded: &Option<_>| match excluded {
            None => write!(f, " {set}: yes"),
            Some(why) => write!(f, " {set}: no, {why}"),
        };
        verdict(f, "cluster", &self.cluster)?;
        let Some(local) = &self.local else { return Ok(()) };
        write!(f, ";")?;
        verdict(f, "local", local)
    }
}
