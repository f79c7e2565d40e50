//! The pod's own end. Everything here runs on a thread that is inside the pod's namespace.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::{Family, IfName, Mac};
use plan::{PROTOCOL, PodLink, RouteTable};

use crate::netlink::{
    Error, LinkChange, LinkKindRow, LinkRow, NeighborRow, Netlink, Request, RouteRow, RouteSpec,
};
use crate::sysctl::{self, SysctlError};

/// How two ends know each other: index of the host end, and the index it gives for its peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) index: u32,
    pub(super) peer: Option<u32>,
}

/// What the pod's end shows. The default is that of an end that is not there.
#[derive(Debug)]
pub(super) struct Inside {
    pub(super) up: bool,
    pub(super) mtu: u32,
    pub(super) mac: Mac,
    pub(super) addrs: Vec<IpNet>,
    pub(super) gateways: Vec<IpAddr>,
    pub(super) gateway_mac: Option<Mac>,
}

impl Default for Inside {
    fn default() -> Self {
        let (addrs, gateways) = (Vec::new(), Vec::new());
        Inside { up: false, mtu: 0, mac: Mac([0; 6]), addrs, gateways, gateway_mac: None }
    }
}

/// The pod's end could not be set up.
#[derive(Debug, thiserror::Error)]
pub(super) enum InsideError {
    #[error("set up the pod's end")]
    Netlink(#[source] Error),
    #[error("set up the pod's end")]
    Sysctl(#[source] SysctlError),
    #[error("interface {0} went away inside the pod")]
    Gone(IfName),
}

impl From<Error> for InsideError {
    fn from(error: Error) -> Self {
        InsideError::Netlink(error)
    }
}

impl From<SysctlError> for InsideError {
    fn from(error: SysctlError) -> Self {
        InsideError::Sysctl(error)
    }
}

/// Whether the pod's interface `ifname` is the other end of the pair.
pub(super) fn is_peer(ifname: &IfName, ends: Ends) -> Result<bool, Error> {
    Ok(peer(&mut Netlink::open()?, ifname, ends)?.is_some())
}

/// Reads the pod's end back.
pub(super) fn observe(ifname: &IfName, ends: Ends) -> Result<Inside, Error> {
    let mut netlink = Netlink::open()?;
    let Some(link) = peer(&mut netlink, ifname, ends)? else { return Ok(Inside::default()) };
    let (mut addrs, mut gateways) = (our_addrs(&mut netlink, link.index)?, Vec::new());
    addrs.sort_unstable();
    for route in our_defaults(&mut netlink, link.index)? {
        gateways.extend(route.spec.via);
    }
    gateways.sort_unstable();
    // Every gateway has its neighbor, or none counts.
    let macs = gateways
        .iter()
        .map(|gateway| {
            let neighbor = netlink.neighbor(link.index, *gateway)?;
            Ok(neighbor.filter(is_ours).and_then(|neighbor| neighbor.mac))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let gateway_mac = match macs.first() {
        Some(first) if macs.iter().all(|mac| mac == first) => *first,
        _ => None,
    };
    let mac = link.mac.unwrap_or(Mac([0; 6]));
    Ok(Inside { up: link.up, mtu: link.mtu, mac, addrs, gateways, gateway_mac })
}

/// Brings the pod's end to `row`. The end stays up if it is. Returns the socket, which is inside.
pub(super) fn put(
    ifname: &IfName,
    ends: Ends,
    row: &PodLink,
    is_new: bool,
) -> Result<Netlink, InsideError> {
    let mut netlink = Netlink::open()?;
    let gone = || InsideError::Gone(ifname.clone());
    let link = peer(&mut netlink, ifname, ends)?.ok_or_else(gone)?;
    write_settings(ifname, row)?;

    let mut requests = Vec::new();
    let change = LinkChange {
        mtu: (link.mtu != row.mtu).then_some(row.mtu),
        mac: (link.mac != Some(row.mac)).then_some(row.mac),
        link_local: (link.link_local == Some(true)).then_some(false),
        ..LinkChange::default()
    };
    requests.push(Request::set_link(link.index, &change));
    requests.push(Request::link_up(link.index));
    requests.push(Request::link_up("lo"));
    let mut defaults = Vec::new();
    if is_new {
        requests.extend(row.addrs.iter().map(|net| Request::put_addr(link.index, *net, PROTOCOL)));
    } else {
        defaults = our_defaults(&mut netlink, link.index)?;
        let addrs = our_addrs(&mut netlink, link.index)?;
        requests.extend(addr_changes(link.index, &addrs, &row.addrs));
        let neighbors = netlink.neighbors(Some(link.index))?;
        let keep = |addr| row.gateway_mac.is_some() && row.gateways.contains(addr);
        let stale = neighbors.iter().filter(|neighbor| is_ours(neighbor) && !keep(&neighbor.addr));
        requests.extend(stale.map(|row| Request::delete_neighbor(link.index, row.addr)));
    }
    if let Some(mac) = row.gateway_mac {
        let neighbor = |via: &IpAddr| Request::put_neighbor(link.index, *via, mac, PROTOCOL);
        requests.extend(row.gateways.iter().map(neighbor));
    }
    requests.extend(default_changes(link.index, &defaults, row));
    for answer in netlink.batch(requests) {
        match answer {
            // Removing an address takes routes along that would have been removed next.
            Err(error) if error.is_gone() && error.to_string().starts_with("delete") => {}
            other => other?,
        }
    }
    Ok(netlink)
}

/// The interface `ifname`, if it is the other end of the pair.
fn peer(netlink: &mut Netlink, ifname: &IfName, ends: Ends) -> Result<Option<LinkRow>, Error> {
    let is_peer = |link: &LinkRow| {
        link.kind == LinkKindRow::Veth
            && link.peer == Some(ends.index)
            && ends.peer == Some(link.index)
    };
    Ok(netlink.link(ifname)?.filter(is_peer))
}

/// Settings the interface needs before it goes up: it learns nothing from the network and checks
/// nothing that would delay its addresses.
fn write_settings(ifname: &IfName, row: &PodLink) -> Result<(), SysctlError> {
    sysctl::write(&format!("net/ipv4/conf/{ifname}/accept_redirects"), "0")?;
    if !sysctl::has_ipv6() {
        return Ok(());
    }
    let ipv6 = |name: &str| format!("net/ipv6/conf/{ifname}/{name}");
    if row.addrs.iter().any(|net| net.addr().is_ipv6()) {
        sysctl::write(&ipv6("disable_ipv6"), "0")?;
    }
    for name in ["accept_ra", "accept_redirects", "accept_dad", "autoconf"] {
        sysctl::write(&ipv6(name), "0")?;
    }
    Ok(())
}

/// What brings our addresses from `have` to `want`. In IPv4 the new ones come first, so that the
/// interface is never without; in IPv6 one address cannot stand twice, so the old ones go first.
fn addr_changes(index: u32, have: &[IpNet], want: &[IpNet]) -> Vec<Request> {
    let stale = |family: Family| {
        let stale = have.iter().filter(move |net| Family::of(net.addr()) == family);
        stale.filter(|net| !want.contains(net)).map(|net| Request::delete_addr(index, *net))
    };
    let new = want.iter().map(|net| Request::put_addr(index, *net, PROTOCOL));
    stale(Family::V6).chain(new).chain(stale(Family::V4)).collect()
}

/// What brings our default routes from `have` to the gateways of `row`.
fn default_changes(index: u32, have: &[RouteRow], row: &PodLink) -> Vec<Request> {
    let mut requests = Vec::new();
    for family in Family::ALL {
        let of_family = |addr: &&IpAddr| Family::of(**addr) == family;
        let had = have.iter().any(|route| Family::of(route.spec.dst.addr()) == family);
        let table = RouteTable::Main.id();
        match row.gateways.iter().find(of_family) {
            Some(via) => {
                // On the link by declaration where no address says so.
                let onlink = !row.addrs.iter().any(|net| net.contains(via));
                let route = RouteSpec::new(default_of(family), Some(*via), Some(index));
                let route = RouteSpec { onlink, protocol: PROTOCOL, ..route };
                let add = if had { Request::replace_route } else { Request::add_route };
                requests.push(add(&route));
            }
            None if had => {
                requests.push(Request::delete_route(table, default_of(family), PROTOCOL))
            }
            None => {}
        }
    }
    requests
}

fn default_of(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(Ipv4Net::default()),
        Family::V6 => IpNet::V6(Ipv6Net::default()),
    }
}

fn our_addrs(netlink: &mut Netlink, index: u32) -> Result<Vec<IpNet>, Error> {
    let rows = netlink.addrs(Some(index))?.into_iter();
    Ok(rows.filter(|row| row.protocol == PROTOCOL).map(|row| row.net).collect())
}

fn our_defaults(netlink: &mut Netlink, index: u32) -> Result<Vec<RouteRow>, Error> {
    let mut routes = netlink.routes(Some(PROTOCOL), Some(index))?;
    routes.retain(|route| route.plain && route.spec.dst.prefix_len() == 0);
    Ok(routes)
}

fn is_ours(neighbor: &NeighborRow) -> bool {
    neighbor.permanent && neighbor.protocol == PROTOCOL
}
