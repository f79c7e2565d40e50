//! What *should* happen to a packet, straight from the specifications. It shares no code with
//! `compile`, knows no route, rule or table, and judges what those do.
//!
//! The Kubernetes network model: every pod has its own address, reaches every other pod and every
//! node by its address, and is reached by every node, with nothing translated in between. What
//! leaves the cluster takes the node's address (E-1). A hostPort is a port of every address of the
//! pod's node, or of its hostIP (CNI `portMappings`, T08). Nobody speaks with another's address
//! (T05, T06).
//!
//! Source: <https://kubernetes.io/docs/concepts/services-networking/#the-kubernetes-network-model>.

mod courses;
pub mod dns;
mod pods;
pub mod policy;
pub mod services;

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::{AttachmentKey, Family, NodeName, PodLinkMode, PortMapping, World};

pub use courses::{Choice, Course, Memory, courses};
pub use pods::usable_cidrs;

/// A cluster: what the agent of every node sees. Nodes and settings are the same in all.
pub type Cluster = BTreeMap<NodeName, World>;

/// Who sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// A container of a node.
    Pod(NodeName, AttachmentKey),
    /// A node itself.
    Node(NodeName),
    /// A host outside of the cluster.
    Outside,
}

/// The first packet of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Source, true or not.
    pub src: IpAddr,
    /// Destination, of the same family.
    pub dst: IpAddr,
    /// Protocol number.
    pub protocol: u8,
    /// Destination port.
    pub dport: u16,
}

/// What should become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It gets there.
    Arrives {
        /// Who gets it.
        at: Receiver,
        /// The address it then comes from.
        src: Source,
        /// The port it arrives at.
        dport: u16,
    },
    /// Nobody gets it, and its sender learns so at once.
    Refused,
    /// Nobody gets it.
    Lost,
    /// The specifications don't say.
    Unsaid,
}

/// Who gets a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receiver {
    /// A container.
    Pod(AttachmentKey),
    /// A node itself.
    Node(NodeName),
    /// A host outside of the cluster.
    Outside,
}

/// Whose address a packet carries where it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The sender's own.
    Kept,
    /// An address of this node.
    Node(NodeName),
    /// The sender's own or an address of this node.
    Either(NodeName),
}

/// TCP.
const TCP: u8 = 6;

/// UDP.
const UDP: u8 = 17;

/// What should become of `packet` from `sender` in `cluster`, were there no Services.
///
/// # Panics
/// When the sender is not in the cluster.
pub fn outcome(cluster: &Cluster, sender: &Sender, packet: &Packet) -> Outcome {
    if is_stillborn(cluster, sender, packet) {
        return Outcome::Lost;
    }
    if let Some(node) = node_of(cluster, packet.dst) {
        return to_node(cluster, sender, packet, node);
    }
    if pods::inside(cluster, packet.dst) {
        return match pods::holder(cluster, packet.dst) {
            Some((node, key)) => to_pod(cluster, sender, packet, node, key),
            None => to_nobody(cluster, sender, packet),
        };
    }
    outwards(cluster, sender, packet)
}

/// Whether it is lost before anybody looks for whom it is: it lies about its source, or goes where
/// nothing but the machine itself is.
fn is_stillborn(cluster: &Cluster, sender: &Sender, packet: &Packet) -> bool {
    let lies = match sender {
        Sender::Pod(node, key) => !cluster[node].attachments[key].addrs.contains(&packet.src),
        Sender::Node(_) | Sender::Outside => false,
    };
    lies || packet.dst.is_loopback()
}

/// Pod to pod, node to pod: always, and as it is.
fn to_pod(
    cluster: &Cluster,
    sender: &Sender,
    packet: &Packet,
    node: &NodeName,
    key: &AttachmentKey,
) -> Outcome {
    let from = match sender {
        Sender::Pod(from, _) | Sender::Node(from) => from,
        Sender::Outside => return Outcome::Lost, // Nobody out there has a route to pods.
    };
    match pods::reachable(cluster, from, node, Family::of(packet.dst)) {
        true => arrives(Receiver::Pod(key.clone()), packet.dport),
        false => Outcome::Unsaid,
    }
}

/// To an address that pods may have and none has. On the routed link its node refuses TCP in the
/// place of the pod that may have been there (S-70).
fn to_nobody(cluster: &Cluster, sender: &Sender, packet: &Packet) -> Outcome {
    let mut cidrs = pods::usable_cidrs(cluster).into_iter();
    let owner = cidrs.find(|(_, cidr)| cidr.contains(&packet.dst)).map(|(owner, _)| owner);
    let refuses = |owner: &NodeName| {
        packet.protocol == TCP && cluster[owner].config.pod_link == PodLinkMode::Routed
    };
    let (Some(from), Some(owner)) = (home(sender), owner.filter(|owner| refuses(owner))) else {
        return Outcome::Lost;
    };
    let is_process = *sender == Sender::Node(owner.clone()); // Which its own kernel tells.
    match pods::reachable(cluster, from, owner, Family::of(packet.dst)) {
        true if !is_process => Outcome::Refused,
        true | false => Outcome::Unsaid,
    }
}

/// To an address of a node: its hostPorts first, then the node itself.
fn to_node(cluster: &Cluster, sender: &Sender, packet: &Packet, node: &NodeName) -> Outcome {
    way_to_node(cluster, sender, packet, node)
        .unwrap_or_else(|| host_port(cluster, sender, packet, node))
}

/// What keeps `packet` from coming to the node it is for, if anything does.
fn way_to_node(
    cluster: &Cluster,
    sender: &Sender,
    packet: &Packet,
    node: &NodeName,
) -> Option<Outcome> {
    let from = home(sender);
    let tunnel = packet.protocol == UDP && packet.dport == cluster[node].config.vxlan.port;
    if tunnel && !matches!(sender, Sender::Node(_)) {
        // Where the tunnel is in use, its door is for nodes (T06).
        let closed = [Some(node), from].into_iter().flatten();
        if closed.into_iter().any(|node| pods::in_tunnel(cluster, node)) {
            return Some(Outcome::Lost);
        }
    }
    let far = from.filter(|from| *from != node)?;
    let is_near = pods::reachable(cluster, far, node, Family::of(packet.dst));
    (!is_near).then_some(Outcome::Unsaid)
}

fn host_port(cluster: &Cluster, sender: &Sender, packet: &Packet, node: &NodeName) -> Outcome {
    let world = &cluster[node];
    let wanted = |port: &PortMapping| {
        port.host_port == packet.dport
            && port.protocol.number() == packet.protocol
            && port.host_ip.is_none_or(|ip| ip == packet.dst)
    };
    let family = Family::of(packet.dst);
    let mapped = world.attachments.values().find_map(|attachment| {
        let port = attachment.port_mappings.iter().find(|port| wanted(port))?;
        attachment.addrs.iter().find(|addr| Family::of(**addr) == family)?;
        Some((&attachment.key, port.container_port))
    });
    let Some((key, dport)) = mapped else {
        return arrives(Receiver::Node(node.clone()), packet.dport);
    };
    let at = Receiver::Pod(key.clone());
    match sender {
        // Itself: the answer would miss the translation.
        Sender::Pod(from, own) if from == node && own == key => {
            Outcome::Arrives { at, src: Source::Node(node.clone()), dport }
        }
        Sender::Pod(..) | Sender::Node(_) | Sender::Outside => arrives(at, dport),
    }
}

/// Out of the cluster: with the node's address, unless told otherwise.
fn outwards(cluster: &Cluster, sender: &Sender, packet: &Packet) -> Outcome {
    let Sender::Pod(node, _) = sender else { return arrives(Receiver::Outside, packet.dport) };
    let config = &cluster[node].config;
    if packet.dst.is_multicast() || is_link_local(packet.dst) {
        return Outcome::Unsaid;
    }
    let excepted = config.non_masquerade_cidrs.iter().any(|net| net.contains(&packet.dst));
    let masked = config.masquerade && !excepted;
    let src = if masked { Source::Node(node.clone()) } else { Source::Kept };
    Outcome::Arrives { at: Receiver::Outside, src, dport: packet.dport }
}

fn arrives(at: Receiver, dport: u16) -> Outcome {
    Outcome::Arrives { at, src: Source::Kept, dport }
}

fn home(sender: &Sender) -> Option<&NodeName> {
    match sender {
        Sender::Pod(node, _) | Sender::Node(node) => Some(node),
        Sender::Outside => None,
    }
}

fn node_of(cluster: &Cluster, addr: IpAddr) -> Option<&NodeName> {
    let mut nodes = cluster.iter();
    nodes.find(|(_, world)| world.host.uplink_of(addr).is_some()).map(|(name, _)| name)
}

fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.is_link_local(),
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    }
}
