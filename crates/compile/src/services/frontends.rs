//! Where a Service port is open, for whom, and what becomes of a flow there.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use model::{Family, Service, ServiceKind, ServicePort, TrafficPolicy};

use super::context::{Own, Reserved};
use super::table::{Action, At, Backend, Frontend, FrontendKind, Source};
use crate::{Fault, Rejected};

/// The addresses of a Service in one family, as far as they may be used.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    cluster: Vec<IpAddr>,
    load_balancer: Vec<IpAddr>,
    external: Vec<IpAddr>,
    /// Who may use `load_balancer`.
    allowed: Option<Arc<[IpNet]>>,
}

impl Addresses {
    /// Those from outside of the cluster that no node has for itself.
    pub(super) fn vips(&self, reserved: &Reserved) -> Vec<IpAddr> {
        let all = self.load_balancer.iter().chain(&self.external).copied();
        all.filter(|addr| !reserved.is_a_nodes(*addr)).collect()
    }
}

/// The addresses of `service` in `family`; `None` when it has no cluster IP of it, as then it has no
/// endpoints of it either. What may not be used is in `rejected`.
pub(super) fn addresses(
    service: &Service,
    family: Family,
    own: &Own,
    reserved: &Reserved,
    rejected: &mut Vec<Rejected>,
) -> Option<Addresses> {
    let mut reject = |field: &str, fault, why: String| {
        let object = format!("Service {}", service.name);
        rejected.push(Rejected { object, field: field.to_owned(), why, fault });
    };
    let of = |addrs: &[IpAddr]| -> Vec<IpAddr> {
        addrs.iter().copied().filter(|addr| Family::of(*addr) == family).collect()
    };
    let cluster = of(&service.cluster_ips);
    let (load_balancer, external) = (of(&service.load_balancer_ips), of(&service.external_ips));
    if cluster.is_empty() {
        // Source: kube-proxy's event KubeProxyIncorrectIPVersion.
        for addr in load_balancer {
            let why = format!("{addr} is left out, as the Service has no {family} cluster IP");
            reject("status.loadBalancer.ingress", Fault::WrongFamily, why);
        }
        for addr in external {
            let why = format!("{addr} is left out, as the Service has no {family} cluster IP");
            reject("spec.externalIPs", Fault::WrongFamily, why);
        }
        return None;
    }
    let mut found = Addresses { cluster, ..Addresses::default() };
    for addr in load_balancer {
        match reserved.refuses_load_balancer(addr) {
            None => found.load_balancer.push(addr),
            Some(why) => {
                let why = format!("{addr}: {why}");
                reject("status.loadBalancer.ingress", Fault::Refused, why);
            }
        }
    }
    for addr in external {
        match may_be_external(addr, own, reserved) {
            Ok(()) => found.external.push(addr),
            Err(why) => reject("spec.externalIPs", Fault::Refused, format!("{addr}: {why}")),
        }
    }
    found.allowed = allowed(service, family, own, &found.load_balancer);
    if found.allowed.is_none() && !service.source_ranges.is_empty() {
        let open = service.source_ranges.iter().all(|net| Family::of(net.addr()) != family);
        for addr in found.load_balancer.iter().filter(|_| open) {
            let why = format!("none is {family}, so {addr} is open to everybody");
            reject("spec.loadBalancerSourceRanges", Fault::Open, why);
        }
    }
    Some(found)
}

fn may_be_external(addr: IpAddr, own: &Own, reserved: &Reserved) -> Result<(), &'static str> {
    if let Some(why) = reserved.refuses_external(addr) {
        return Err(why);
    }
    match own.external_ips.iter().any(|net| net.contains(&addr)) {
        true => Ok(()),
        false => Err("--external-ips does not allow it (CVE-2020-8554)"),
    }
}

/// Who may use the addresses `vips` of a load balancer; everybody when `None`. A node in one of the
/// ranges may also come from such an address: where that is local, the node speaks from it (S-27).
fn allowed(service: &Service, family: Family, own: &Own, vips: &[IpAddr]) -> Option<Arc<[IpNet]>> {
    let ranges = service.source_ranges.iter().copied();
    let mut nets: Vec<IpNet> = ranges.filter(|net| Family::of(net.addr()) == family).collect();
    if nets.is_empty() || nets.iter().any(|net| net.prefix_len() == 0) {
        return None;
    }
    if own.addrs.iter().any(|addr| nets.iter().any(|net| net.contains(addr))) {
        nets.extend(vips.iter().copied().map(IpNet::from));
    }
    nets.sort_unstable();
    nets.dedup();
    Some(nets.into())
}

/// Where `port` of `service` is open in the family of `addresses`, in the order of kinds.
pub(super) fn frontends(
    service: &Service,
    port: &ServicePort,
    addresses: &Addresses,
    sets: &Sets,
    own: &Own,
) -> Vec<Frontend> {
    let mut found = Vec::new();
    let (inside, outside) = internal(service, own, sets);
    let internal = |addr: &IpAddr| Frontend {
        kind: FrontendKind::ClusterIp,
        at: At::Ip(*addr),
        port: port.port,
        inside,
        outside,
        allowed: None,
    };
    found.extend(addresses.cluster.iter().map(internal));
    let (inside, outside) = external(service, sets);
    let external = |kind, at, port| Frontend { kind, at, port, inside, outside, allowed: None };
    if let Some(number) = port.node_port {
        found.push(external(FrontendKind::NodePort, At::NodeAddresses, number));
    }
    found.extend(addresses.load_balancer.iter().map(|addr| Frontend {
        allowed: addresses.allowed.clone(),
        ..external(FrontendKind::LoadBalancer, At::Ip(*addr), port.port)
    }));
    let at = |addr: &IpAddr| external(FrontendKind::ExternalIp, At::Ip(*addr), port.port);
    found.extend(addresses.external.iter().map(at));
    // Most are open at one address, and there are thousands.
    found.shrink_to_fit();
    found
}

/// The backends under each policy.
#[derive(Debug)]
pub(super) struct Sets {
    pub(super) cluster: Arc<[Backend]>,
    pub(super) local: Arc<[Backend]>,
}

impl Sets {
    /// Where a flow goes under `policy`. There are endpoints anywhere exactly when the cluster set
    /// has one (S-11), and then a node without one of its own drops, so that who sent it there finds
    /// out and goes elsewhere; a refusal would reach the client (S-38 to S-40).
    fn action(&self, policy: TrafficPolicy, source: Source) -> Action {
        let set = match policy {
            TrafficPolicy::Cluster => &self.cluster,
            TrafficPolicy::Local => &self.local,
        };
        match (set.is_empty(), self.cluster.is_empty()) {
            (false, _) => Action::Forward { to: policy, source },
            (true, true) => Action::Reject,
            (true, false) => Action::Drop,
        }
    }
}

/// What becomes of flows to a cluster IP, from here and from elsewhere (S-12, S-44 to S-46, S-52).
fn internal(service: &Service, own: &Own, sets: &Sets) -> (Action, Action) {
    let inside = if own.masquerade_all { Source::Node } else { Source::Kept };
    let policy = service.internal_policy;
    (sets.action(policy, inside), sets.action(policy, Source::Node))
}

/// What becomes of flows to an external frontend. From here they go as if they had gone out to a
/// load balancer and come back by any node, whatever the policy (S-13, S-33, S-47 to S-50).
fn external(service: &Service, sets: &Sets) -> (Action, Action) {
    let outside = match service.external_policy {
        TrafficPolicy::Cluster => sets.action(TrafficPolicy::Cluster, Source::Node),
        TrafficPolicy::Local => sets.action(TrafficPolicy::Local, Source::Kept),
    };
    (sets.action(TrafficPolicy::Cluster, Source::KeptForPods), outside)
}

/// Whether any frontend of `service` chooses among this node's endpoints alone.
pub(super) fn needs_local(service: &Service) -> bool {
    service.internal_policy == TrafficPolicy::Local
        || (service.is_external() && service.external_policy == TrafficPolicy::Local)
}

/// The port load balancers ask about `service` (S-78).
pub(super) fn health_check_port(service: &Service) -> Option<u16> {
    let asked = service.kind == ServiceKind::LoadBalancer
        && service.external_policy == TrafficPolicy::Local;
    service.health_check_node_port.filter(|_| asked)
}
