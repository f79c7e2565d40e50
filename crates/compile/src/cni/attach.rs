//! The decision for an ADD: what the container will be, or why it can't.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use model::{
    Attachment, AttachmentKey, Family, IfName, Mac, NodeName, ObjectName, PodLinkMode, PodRef,
    PortMapping, SearchList, World,
};

use super::host_port::{self, Claims, PortError};
use crate::Compiled;
use crate::ipam::{self, IpamError, Pool, Released};
use crate::routes::MtuTooSmall;

/// What an ADD asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Container and interface.
    pub key: AttachmentKey,
    /// Name of the CNI network that asks.
    pub network: String,
    /// Path of the container's network namespace.
    pub netns: PathBuf,
    /// The pod, when the runtime said which.
    pub pod: Option<PodRef>,
    /// Addresses to lease rather than any (capability `ips`), at most one per family.
    pub addrs: Vec<IpAddr>,
    /// Hardware address to give the interface (capability `mac`).
    pub mac: Option<Mac>,
    /// Ports of the node that lead to this container.
    pub port_mappings: Vec<PortMapping>,
    /// Where it looks for names (capability `dns`).
    pub search: Option<Arc<SearchList>>,
}

/// A container that may join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attaching {
    /// What to put into the journal.
    pub attachment: Attachment,
    /// Leased addresses that had not rested; worth counting.
    pub early: Vec<IpAddr>,
}

/// Why a container can't join.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// The node has no usable pod CIDR yet.
    #[error("Node {node} has no usable pod CIDR{}", because(.why))]
    NoPool {
        /// The node.
        node: NodeName,
        /// What is wrong with those it has.
        why: Vec<String>,
    },
    /// Pods would get an MTU that IPv6 forbids.
    #[error("the uplink of Node {node} {cause}")]
    Mtu {
        /// The node.
        node: NodeName,
        /// What would be left.
        cause: MtuTooSmall,
    },
    /// Another network has a link with addresses of the pod CIDR, where a bridge would have the same ones.
    #[error(
        "link {dev} has {net}, as the bridge of Seaway would: delete it when no pod is on it any more, or have --pod-link routed"
    )]
    Shared {
        /// The link.
        dev: IfName,
        /// Its address.
        net: IpNet,
    },
    /// No address could be leased.
    #[error(transparent)]
    Ipam(#[from] IpamError),
    /// A requested address is of a family the node has no pool for, or the second of its family.
    #[error("{addr} was requested, and {why}")]
    Addr {
        /// The address.
        addr: IpAddr,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The requested hardware address is multicast or zero.
    #[error("hardware address {0} was requested, and is not one of a single interface")]
    Mac(Mac),
    /// A port mapping can't be honored.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The same container and interface are attached already.
    #[error("{key} is attached already, in {}", .netns.display())]
    Exists {
        /// The attachment.
        key: AttachmentKey,
        /// Its namespace.
        netns: PathBuf,
    },
    /// Container id and namespace path are too long to be marked on the link.
    #[error("container id and namespace path of {0} are longer than a link's alias may be")]
    TooLong(AttachmentKey),
}

fn because(why: &[String]) -> String {
    if why.is_empty() { String::new() } else { format!(": {}", why.join("; ")) }
}

/// Longest alias of a link, in bytes (`IFALIASZ` - 1 in the kernel's if.h).
const ALIAS_MAX: usize = 255;

/// Decides an ADD: one address per family of the node's pod CIDRs, in their order, and hardware
/// address and port mappings as asked for. An attachment that exists is an error, whoever
/// asks again: the runtime must DEL first, and a failing ADD never takes the earlier one with it.
///
/// `compiled` says which pools the node has: it was made from a world that differs from `world` in
/// attachments at most, for several ADDs are decided before the next compile. `released` and `now`
/// (seconds since 1970) are the journal's: when each address was last released.
/// The link that follows is `plan.pods` of a compile with the attachment in its world.
///
/// # Errors
/// [`AttachError`]; nothing is leased then.
///
/// Source: CNI spec 1.1.0 §2 ADD; CNI-A2, CNI-A4, CNI-A5, CNI-A8; CRI-3 (order of addresses); T07.
pub fn attach(
    request: &Request,
    world: &World,
    compiled: &Compiled,
    released: &Released,
    now: u64,
) -> Result<Attaching, AttachError> {
    let key = &request.key;
    if let Some(there) = world.attachments.get(key) {
        return Err(AttachError::Exists { key: key.clone(), netns: there.netns.clone() });
    }
    let alias = "seaway   ".len()
        + key.container_id.len()
        + key.ifname.as_str().len()
        + request.netns.as_os_str().len();
    if alias > ALIAS_MAX {
        return Err(AttachError::TooLong(key.clone()));
    }
    if let Some(mac) = request.mac.filter(|mac| mac.0[0] & 1 == 1 || mac.0 == [0; 6]) {
        return Err(AttachError::Mac(mac));
    }
    check_ports(request, world)?;
    let pools = pools(&world.config.node, compiled)?;
    if world.config.pod_link == PodLinkMode::Bridge
        && let Some((dev, net)) =
            pools.iter().find_map(|pool| world.host.subnets_of(pool.cidr()).next())
    {
        return Err(AttachError::Shared { dev: dev.clone(), net });
    }
    let (addrs, early) = lease(request, world, pools, released, now)?;
    let attachment = Attachment {
        key: key.clone(),
        network: request.network.clone(),
        netns: request.netns.clone(),
        pod: request.pod.clone(),
        addrs,
        mac: request.mac.unwrap_or_else(|| Mac::derive(&format!("pod/{key}"))),
        port_mappings: request.port_mappings.clone(),
        search: request.search.clone(),
    };
    Ok(Attaching { attachment, early })
}

fn check_ports(request: &Request, world: &World) -> Result<(), PortError> {
    if request.port_mappings.is_empty() {
        return Ok(());
    }
    let mut claims = Claims::default();
    for there in world.attachments.values() {
        for port in &there.port_mappings {
            // A clash among what is there is that attachment's rejected row, not this request's.
            claims.claim(&there.key, port).unwrap_or_default();
        }
    }
    request.port_mappings.iter().try_for_each(|port| {
        host_port::usable(port, world)?;
        claims.claim(&request.key, port)
    })
}

/// The pools of this node, if pods can be served from them.
fn pools<'a>(node: &NodeName, compiled: &'a Compiled) -> Result<&'a [Pool], AttachError> {
    let pools = compiled.pools.of(node);
    if pools.is_empty() {
        let object = format!("Node {node}");
        let mine = compiled.rejected.iter().filter(|row| row.object == object);
        let why = mine.map(|row| format!("{}: {}", row.field, row.why)).collect();
        return Err(AttachError::NoPool { node: node.clone(), why });
    }
    match compiled.peers.mtu_too_small {
        Some(cause) => Err(AttachError::Mtu { node: node.clone(), cause }),
        None => Ok(pools),
    }
}

fn lease(
    request: &Request,
    world: &World,
    pools: &[Pool],
    released: &Released,
    now: u64,
) -> Result<(Vec<IpAddr>, Vec<IpAddr>), AttachError> {
    for (i, addr) in request.addrs.iter().enumerate() {
        let family = Family::of(*addr);
        let refuse = |why| Err(AttachError::Addr { addr: *addr, why });
        if !pools.iter().any(|pool| pool.family() == family) {
            return refuse("this node has no pool of its family");
        }
        if request.addrs[..i].iter().any(|other| Family::of(*other) == family) {
            return refuse("is the second of its family");
        }
    }
    let leased = holders(request, world);
    let (mut addrs, mut early) = (Vec::new(), Vec::new());
    for pool in pools {
        let wanted = request.addrs.iter().copied().find(|a| Family::of(*a) == pool.family());
        let lease = ipam::allocate(pool, &leased, released, now, wanted)?;
        addrs.push(lease.addr);
        early.extend(lease.early.then_some(lease.addr));
    }
    Ok((addrs, early))
}

/// Who has an address.
enum Holder<'a> {
    Attachment(&'a AttachmentKey),
    Other(&'a ObjectName),
}

impl fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Attachment(key) => key.fmt(f),
            Holder::Other(pod) => write!(f, "pod {pod} by another network"),
        }
    }
}

/// Every address that somebody has, but for what the requester itself has from another network: a pod whose sandbox
/// is made anew, and not the next one of its name.
fn holders<'a>(request: &Request, world: &'a World) -> BTreeMap<IpAddr, Holder<'a>> {
    let own = request.pod.as_ref().and_then(|named| world.pod_of(named));
    let is_own = |addr: &IpAddr, pod: &ObjectName| {
        own.is_some_and(|own| own.name == *pod && own.addrs.contains(addr))
    };
    let others = world.others.keys().filter(|(addr, pod)| !is_own(addr, pod));
    let others = others.map(|(addr, pod)| (*addr, Holder::Other(pod)));
    let there = world.attachments.values();
    let leased = there
        .flat_map(|there| there.addrs.iter().map(|addr| (*addr, Holder::Attachment(&there.key))));
    others.chain(leased).collect()
}

#[cfg(test)]
mod tests {
    use model::{Node, Protocol};

    use super::*;

    /// Node a with one container, `there`, that has hostPort 8080.
    fn world() -> World {
        let mut world = World::default();
        world.config.node = "a".into();
        let node = Node {
            internal_ips: vec!["192.0.2.1".parse().unwrap()],
            pod_cidrs: vec!["10.244.1.0/24".parse().unwrap()],
            ..Node::new("a".into())
        };
        world.nodes.insert(node.name.clone(), Arc::new(node));
        let there = Request { port_mappings: vec![port(8080)], ..request("there") };
        let compiled = compiled(&world);
        let there = attach(&there, &world, &compiled, &Released::new(), 0).unwrap().attachment;
        world.attachments.insert(there.key.clone(), Arc::new(there));
        world
    }

    fn request(name: &str) -> Request {
        Request {
            key: AttachmentKey { container_id: name.into(), ifname: "eth0".parse().unwrap() },
            network: "seaway".to_owned(),
            netns: format!("/run/netns/{name}").into(),
            pod: None,
            addrs: Vec::new(),
            mac: None,
            port_mappings: Vec::new(),
            search: None,
        }
    }

    fn port(host_port: u16) -> PortMapping {
        PortMapping { host_port, container_port: 80, protocol: Protocol::Tcp, host_ip: None }
    }

    fn refusal(request: &Request) -> String {
        let world = world();
        let refused = attach(request, &world, &compiled(&world), &Released::new(), 0);
        refused.unwrap_err().to_string()
    }

    fn compiled(world: &World) -> Compiled {
        crate::compile(world, &crate::Scope::Node(world.config.node.clone()))
    }

    #[test]
    fn p28_what_a_pod_has_from_another_network_is_not_leased_but_to_that_pod() {
        let mut world = world();
        for (addr, pod) in [("10.244.1.3", "x"), ("10.244.1.4", "y"), ("10.244.1.2", "z")] {
            let name = ObjectName::new("ns", pod);
            world.others.insert((addr.parse().unwrap(), name.clone()), ());
            let json = format!(
                r#"{{"metadata":{{"namespace":"ns","name":"{pod}","uid":"u"}},"status":{{"podIP":"{addr}"}}}}"#
            );
            world.pods.insert(name, Arc::new(model::decode::pod(json.as_bytes()).unwrap()));
        }
        let asked = |request: &Request| {
            let asked = attach(request, &world, &compiled(&world), &Released::new(), 0);
            asked.map_or_else(|why| why.to_string(), |it| it.attachment.addrs[0].to_string())
        };
        let of = |name: &str| PodRef { namespace: "ns".into(), name: name.into(), uid: "u".into() };
        assert_eq!(asked(&request("new")), "10.244.1.5");
        assert_eq!(asked(&Request { pod: Some(of("x")), ..request("new") }), "10.244.1.3");
        assert_eq!(asked(&Request { pod: Some(of("z")), ..request("new") }), "10.244.1.5");
        let next = PodRef { uid: "next".into(), ..of("x") };
        assert_eq!(asked(&Request { pod: Some(next), ..request("new") }), "10.244.1.5");
        let by_number = Request { addrs: vec!["10.244.1.4".parse().unwrap()], ..request("new") };
        let why = "10.244.1.4 was requested, and is leased to pod ns/y by another network";
        assert_eq!(asked(&by_number), why);
    }

    #[test]
    fn p28_a_bridge_has_no_room_beside_one_with_its_addresses() {
        let mut world = world();
        let uplink = |name: &str, addr: &str| model::Uplink {
            name: name.parse().unwrap(),
            mtu: 1500,
            addrs: vec![addr.parse().unwrap()],
        };
        world.host.uplinks =
            vec![uplink("eth0", "10.0.0.1/8"), uplink("flannel.1", "10.244.1.0/32")];
        world.config.pod_link = PodLinkMode::Bridge;
        let asked =
            |world: &World| attach(&request("new"), world, &compiled(world), &Released::new(), 0);
        assert!(asked(&world).is_ok());
        world.host.uplinks.push(uplink("cni0", "10.244.1.1/24"));
        let why = asked(&world).unwrap_err().to_string();
        assert!(why.starts_with("link cni0 has 10.244.1.1/24, "), "{why}");
        world.config.pod_link = PodLinkMode::Routed;
        assert!(asked(&world).is_ok());
    }

    #[test]
    fn what_is_attached_is_not_attached_again() {
        let why = "there/eth0 is attached already, in /run/netns/there";
        assert_eq!(refusal(&request("there")), why);
        let other = Request { netns: "/run/netns/other".into(), ..request("there") };
        assert_eq!(refusal(&other), why);
    }

    #[test]
    fn a_request_that_cannot_be_met_says_which_part_of_it() {
        let ask = request("new");
        let cases = [
            (
                Request { mac: Some(Mac([1, 0, 0, 0, 0, 1])), ..ask.clone() },
                "hardware address 01:00:00:00:00:01 was requested, and is not one of a single interface",
            ),
            (
                Request { port_mappings: vec![port(8080)], ..ask.clone() },
                "hostPort 8080/tcp is taken by there/eth0",
            ),
            (
                Request { port_mappings: vec![port(81), port(81)], ..ask.clone() },
                "hostPort 81/tcp is taken by new/eth0",
            ),
            (Request { port_mappings: vec![port(0)], ..ask.clone() }, "port 0 is no port: 0 to 80"),
            (
                Request { addrs: vec!["10.244.1.2".parse().unwrap()], ..ask.clone() },
                "10.244.1.2 was requested, and is leased to there/eth0",
            ),
        ];
        for (request, why) in cases {
            assert_eq!(refusal(&request), why);
        }
        let long = Request { netns: "/n".repeat(130).into(), ..ask };
        assert!(refusal(&long).contains("longer than a link's alias may be"));
    }
}
