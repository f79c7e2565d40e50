//! Attachments → [`Attachments`]: what each container gets, or which part of it can't be had.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use model::{Attachment, AttachmentKey, Family, Mac, NodeName, PodLinkMode, PortMapping, World};
use plan::PodLink;

use super::host_port::{self, Claims};
use super::table::{Attachments, Joined};
use super::{bridge, routed};
use crate::{Fault, Pools, Rejected, device};

/// The attachments of `me`. Where two want the same address or hostPort, the one whose key sorts
/// first has it.
pub(super) fn attachments(
    world: &World,
    me: &NodeName,
    pools: &Pools,
    mtu: u32,
    rejected: &mut Vec<Rejected>,
) -> Attachments {
    let mut holders: BTreeMap<IpAddr, &AttachmentKey> = BTreeMap::new();
    let mut claims = Claims::default();
    let mut table = Attachments::default();
    for (key, attachment) in &world.attachments {
        let mut reject = |field: &str, why: String| {
            let object = format!("Attachment {key}");
            let field = field.to_owned();
            rejected.push(Rejected { object, field, why, fault: Fault::Invalid });
        };
        let mut addrs = Vec::new();
        for addr in &attachment.addrs {
            if let Some(holder) = holders.get(addr) {
                reject("addrs", format!("{addr} is held by {holder}"));
                continue;
            }
            let here = pools.of(me).iter().any(|pool| pool.cidr().contains(addr));
            if !here {
                reject("addrs", format!("{addr} is in no usable pod CIDR of Node {me}"));
            }
            if here || world.config.pod_link == PodLinkMode::Routed {
                holders.insert(*addr, key);
                addrs.push(*addr);
            }
        }
        let mut ports = Vec::new();
        for port in &attachment.port_mappings {
            let claimed = host_port::usable(port, world).and_then(|()| claims.claim(key, port));
            match claimed {
                Ok(()) => ports.push(port.clone()),
                Err(why) => reject("portMappings", why.to_string()),
            }
        }
        table.rows.insert(key.clone(), joined(world, me, pools, mtu, attachment, addrs, ports));
    }
    table
}

/// One container with the addresses and ports it really has.
fn joined(
    world: &World,
    me: &NodeName,
    pools: &Pools,
    mtu: u32,
    attachment: &Arc<Attachment>,
    addrs: Vec<IpAddr>,
    ports: Vec<PortMapping>,
) -> Joined {
    let key = &attachment.key;
    let host_mac = Mac::derive(&format!("host/{key}"));
    let pool = |addr: &IpAddr| pools.pool(me, Family::of(*addr)).copied();
    let (mut gateways, gateway_mac, master): (Vec<_>, _, _) = match world.config.pod_link {
        PodLinkMode::Routed => {
            (addrs.iter().map(|addr| routed::gateway(Family::of(*addr))).collect(), host_mac, None)
        }
        PodLinkMode::Bridge => (
            addrs.iter().filter_map(|addr| Some(pool(addr)?.gateway().addr())).collect(),
            bridge::mac(me),
            Some(device::bridge()),
        ),
    };
    let mut nets: Vec<IpNet> = addrs.iter().map(|addr| IpNet::from(*addr)).collect();
    nets.sort_unstable();
    gateways.sort_unstable();
    // It is known inside as that of the gateways, and of nobody else.
    let gateway_mac = (!gateways.is_empty()).then_some(gateway_mac);
    let link = PodLink {
        netns: attachment.netns.clone(),
        mtu,
        host_mac,
        mac: attachment.mac,
        addrs: nets,
        gateways,
        gateway_mac,
        master,
    };
    Joined { attachment: Arc::clone(attachment), host_link: key.host_link(), link, addrs, ports }
}
