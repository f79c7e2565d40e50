//! What the machine itself shows: its own links and addresses, and what else filters its bridges.

use model::{Host, IfName, Uplink};

use crate::netlink::{Error, LinkRow, Netlink};
use crate::place::is_seaways;
use crate::sysctl;

/// Reads the node's own network in the namespace of `netlink`: links that are up, carry a global
/// address and are not Seaway's, in index order. Loopback is left out.
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
    Ok(Host { uplinks: others.filter_map(uplink).collect() })
}

/// Whether bridged packets also pass the IP hooks of netfilter (module `br_netfilter`), as
/// Kubernetes installers like to switch on.
pub fn bridges_call_netfilter() -> bool {
    ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"]
        .iter()
        .any(|key| sysctl::read(key).is_ok_and(|value| value != "0"))
}
