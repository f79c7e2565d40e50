//! What the machine itself shows: its own links and addresses, and what else filters its bridges.

use ipnet::IpNet;
use model::{Host, IfName, Uplink};
use plan::{PROTOCOL, RouteTable};

use crate::netlink::{Error, LinkRow, Netlink, RouteRow, RouteSpec};
use crate::place::is_seaways;
use crate::sysctl;

/// `RTPROT_KERNEL`: routes that follow from addresses.
const BY_THE_KERNEL: u8 = 2;

/// Reads the node's own network in the namespace of `netlink`: links that are up, carry a global
/// address and are not Seaway's, in index order, and others' routes. Loopback is left out.
///
/// # Errors
/// When the kernel does not answer.
pub fn observe(netlink: &mut Netlink) -> Result<Host, Error> {
    let links = netlink.links()?;
    let addrs = netlink.addrs(None)?;
    let uplink = |link: &LinkRow| {
        let own = addrs.iter().filter(|addr| addr.index == link.index);
        let addrs: Vec<_> = own.filter(|a| a.global && a.usable).map(|a| a.net).collect();
        let name: IfName = link.name.clone();
        (!addrs.is_empty()).then_some(Uplink { name, mtu: link.mtu, addrs })
    };
    let others = links.iter().filter(|link| link.up && !link.loopback && !is_seaways(link));
    let uplinks = others.filter_map(uplink).collect();
    let routes = netlink.routes(None, None)?;
    let mut routes: Vec<IpNet> =
        routes.iter().filter(|row| is_others(row)).map(|row| row.spec.dst).collect();
    routes.sort_unstable();
    routes.dedup();
    Ok(Host { uplinks, routes })
}

/// Whether somebody else wrote a route to a network.
fn is_others(row: &RouteRow) -> bool {
    let RouteSpec { table, dst, protocol, .. } = row.spec;
    let is_network = (1..dst.max_prefix_len()).contains(&dst.prefix_len());
    table == RouteTable::Main.id() && is_network && ![PROTOCOL, BY_THE_KERNEL].contains(&protocol)
}

/// Whether bridged packets also pass the IP hooks of netfilter (module `br_netfilter`), as
/// Kubernetes installers like to switch on.
pub fn bridges_call_netfilter() -> bool {
    ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"]
        .iter()
        .any(|key| sysctl::read(key).is_ok_and(|value| value != "0"))
}
