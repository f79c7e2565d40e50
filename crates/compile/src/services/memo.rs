//! The table of the last World, and from it that of the next in the time of what changed.
//!
//! Two snapshots share what they have in common, so what differs is found without looking at the
//! rest. A Service is resolved again when it or one of its slices changed, or when something did that
//! all Services follow from (S-90). Where two Services want one frontend, only one has it; the other's
//! row is written again when the claim falls to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use model::{
    EndpointSlice, Family, Node, NodeName, Protocol, Rfc3339, Service, ServiceCidr, ServiceName,
    SliceKey, World, packed,
};

use super::context::{Own, Reserved, is_same, node_port_addrs};
use super::resolve::{Resolution, resolve};
use super::table::{At, Frontend, FrontendKind, PortEntry, Resolved, ServiceTable};
use crate::changed::differing;
use crate::{Fault, Rejected};

/// What is remembered of the last World.
#[derive(Debug, Default, Clone)]
pub(crate) struct Memo {
    seen: Seen,
    own: Own,
    reserved: Reserved,
    each: OrdMap<ServiceName, Resolution>,
    claims: BTreeSet<Claim>,
    /// Frontends that another Service has.
    lost: BTreeMap<ServiceName, Vec<Rejected>>,
    /// Services whose resolution rejects something.
    faulty: BTreeSet<ServiceName>,
    table: ServiceTable,
}

/// The maps of the last World, to tell what is new.
#[derive(Debug, Default, Clone)]
struct Seen {
    nodes: OrdMap<NodeName, Arc<Node>>,
    service_cidrs: OrdMap<Arc<str>, Arc<ServiceCidr>>,
    services: OrdMap<ServiceName, Arc<Service>>,
    slices: OrdMap<SliceKey, Arc<EndpointSlice>>,
}

/// A Service that wants a frontend. All claims to one frontend stand together, the winner first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    at: At,
    family: Family,
    protocol: Protocol,
    port: u16,
    kind: FrontendKind,
    /// Who was there first keeps what it has.
    created: Option<Rfc3339>,
    service: ServiceName,
}

impl Memo {
    /// The table of `world` for the node `me`, and what of its Services could not be honored.
    pub(crate) fn resolve(
        &mut self,
        world: &World,
        me: &NodeName,
        rejected: &mut Vec<Rejected>,
    ) -> ServiceTable {
        let mut changed = self.changed(world, me);
        let is_first = self.each.is_empty();
        for name in std::mem::take(&mut changed) {
            self.update(world, &name, &mut changed);
            changed.insert(name);
        }
        for name in changed {
            self.settle(name);
        }
        if is_first {
            self.each = packed(std::mem::take(&mut self.each));
            self.table.services = packed(std::mem::take(&mut self.table.services));
        }
        self.table.node_port_addrs = node_port_addrs(world, me);
        self.table.cidrs =
            world.service_cidrs.values().flat_map(|row| row.cidrs.iter().copied()).collect();
        let of_each = self.faulty.iter().filter_map(|name| self.each.get(name));
        rejected.extend(of_each.flat_map(|resolution| resolution.rejected.iter().cloned()));
        rejected.extend(self.lost.values().flatten().cloned());
        self.table.clone()
    }

    /// The Services that may mean something else in `world` than in the World seen last.
    fn changed(&mut self, world: &World, me: &NodeName) -> BTreeSet<ServiceName> {
        let mut changed: BTreeSet<ServiceName> = differing(&self.seen.services, &world.services);
        let slices: BTreeSet<SliceKey> = differing(&self.seen.slices, &world.slices);
        changed.extend(slices.into_iter().map(|key| key.service));
        let own = Own::of(world, me);
        if self.own != own {
            self.own = own;
            changed.extend(world.services.keys().cloned());
        }
        if !is_same(&self.seen.nodes, &world.nodes)
            || !is_same(&self.seen.service_cidrs, &world.service_cidrs)
            || changed.contains(&world.config.dns.service)
        {
            let reserved = Reserved::of(world);
            if self.reserved != reserved {
                self.reserved = reserved;
                let exposed = world.services.values().filter(|service| {
                    !service.external_ips.is_empty() || !service.load_balancer_ips.is_empty()
                });
                changed.extend(exposed.map(|service| service.name.clone()));
            }
        }
        self.seen = Seen {
            nodes: world.nodes.clone(),
            service_cidrs: world.service_cidrs.clone(),
            services: world.services.clone(),
            slices: world.slices.clone(),
        };
        changed
    }

    /// Resolves the Service `name` again and puts who else may win or lose a frontend by that into
    /// `touched`.
    fn update(&mut self, world: &World, name: &ServiceName, touched: &mut BTreeSet<ServiceName>) {
        if let Some(old) = self.each.remove(name) {
            for claim in claims(name, &old) {
                self.claims.remove(&claim);
                touched.extend(self.others(&claim));
            }
        }
        self.faulty.remove(name);
        let Some(service) = world.services.get(name) else { return };
        let slices: Vec<&EndpointSlice> = world.serving_slices_of(name).collect();
        let new = resolve(service, &slices, &self.own, &self.reserved);
        for claim in claims(name, &new) {
            touched.extend(self.others(&claim));
            self.claims.insert(claim);
        }
        if !new.rejected.is_empty() {
            self.faulty.insert(name.clone());
        }
        self.each.insert(name.clone(), new);
    }

    /// The Services that claim the same frontend.
    fn others(&self, claim: &Claim) -> impl Iterator<Item = ServiceName> {
        self.contest(claim).map(|claim| claim.service.clone())
    }

    /// Every claim to the frontend of `claim`, the winner first.
    fn contest<'a>(&'a self, claim: &Claim) -> impl Iterator<Item = &'a Claim> + use<'a> {
        let first = Claim {
            kind: FrontendKind::ClusterIp,
            created: None,
            service: ServiceName::new("", ""),
            ..claim.clone()
        };
        let place = |claim: &Claim| (claim.at, claim.family, claim.protocol, claim.port);
        let wanted = place(claim);
        self.claims.range(first..).take_while(move |claim| place(claim) == wanted)
    }

    /// Writes the row of the Service `name`: what it opens and no other has.
    fn settle(&mut self, name: ServiceName) {
        self.lost.remove(&name);
        let Some(resolution) = self.each.get(&name) else {
            self.table.services.remove(&name);
            return;
        };
        let mut lost = Vec::new();
        for claim in claims(&name, resolution) {
            match self.contest(&claim).next() {
                Some(winner) if winner.service != name => {
                    lost.push((claim, winner.service.clone()))
                }
                Some(_) | None => {}
            }
        }
        let resolved = match lost.is_empty() {
            true => Arc::clone(&resolution.resolved),
            false => Arc::new(without(&resolution.resolved, &lost)),
        };
        if !lost.is_empty() {
            self.lost.insert(name.clone(), lost.iter().map(taken).collect());
        }
        if *resolved == Resolved::default() {
            self.table.services.remove(&name);
        } else if self.table.services.get(&name) != Some(&resolved) {
            self.table.services.insert(name, resolved);
        }
    }
}

/// What the Service `service`, resolved like this, claims.
fn claims<'a>(
    service: &'a ServiceName,
    resolution: &'a Resolution,
) -> impl Iterator<Item = Claim> + 'a {
    let owner = (resolution.created, service);
    let of = move |port: &'a PortEntry| port.frontends.iter().map(move |f| claim(owner, port, f));
    resolution.resolved.ports.iter().flat_map(of)
}

fn claim(
    (created, service): (Option<Rfc3339>, &ServiceName),
    port: &PortEntry,
    frontend: &Frontend,
) -> Claim {
    Claim {
        created,
        at: frontend.at,
        family: port.family,
        protocol: port.protocol,
        port: frontend.port,
        kind: frontend.kind,
        service: service.clone(),
    }
}

/// `resolved` without the frontends of `lost`; a port that is open nowhere is no port.
fn without(resolved: &Resolved, lost: &[(Claim, ServiceName)]) -> Resolved {
    let mut left = resolved.clone();
    for port in &mut left.ports {
        let (family, protocol) = (port.family, port.protocol);
        port.frontends.retain(|frontend| {
            !lost.iter().any(|(claim, _)| {
                (claim.at, claim.port) == (frontend.at, frontend.port)
                    && (claim.family, claim.protocol) == (family, protocol)
            })
        });
    }
    left.ports.retain(|port| !port.frontends.is_empty());
    left
}

/// Says that somebody else has a frontend (S-89).
fn taken((claim, winner): &(Claim, ServiceName)) -> Rejected {
    let Claim { at, protocol, port, .. } = claim;
    let place = match at {
        At::Ip(addr) => std::net::SocketAddr::new(*addr, *port).to_string(),
        At::NodeAddresses => format!("node port {port}"),
    };
    let field = match claim.kind {
        FrontendKind::ClusterIp => "spec.clusterIPs",
        FrontendKind::NodePort => "spec.ports",
        FrontendKind::LoadBalancer => "status.loadBalancer.ingress",
        FrontendKind::ExternalIp => "spec.externalIPs",
    };
    Rejected {
        object: format!("Service {}", claim.service),
        field: field.to_owned(),
        why: format!("{place}/{protocol} is taken by Service {winner}"),
        fault: Fault::Taken,
    }
}
