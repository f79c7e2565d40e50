//! `Plan.links`: the node's bridge and VXLAN device, known again by their alias.

use std::net::{IpAddr, Ipv4Addr};

use model::{IfName, Mac};
use plan::{Changes, Failure, Link, LinkKind, Mechanism, ObserveError, Put, Table};

use super::{Foreign, failure, settings};
use crate::netlink::{Error, LinkChange, LinkKindRow, LinkRow, Netlink, Request, VxlanParams};
use crate::netns::Netns;

/// Links of the node itself.
pub struct Links {
    netlink: Netlink,
    home: Netns,
}

impl Links {
    /// Opens the place in the calling thread's namespace.
    ///
    /// # Errors
    /// When no socket can be opened.
    pub fn open() -> Result<Self, Error> {
        Ok(Links { netlink: Netlink::open()?, home: Netns::current()? })
    }

    fn put(
        &mut self,
        name: &IfName,
        put: &Put<Link>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut requests = Vec::new();
        match self.netlink.link(name)? {
            None => requests.push(create(name, &put.row)),
            Some(there) if !can_adopt(&there) => {
                return Err(Foreign(format!("link {name}")).into());
            }
            Some(there) => match (&put.row.kind, &there.kind) {
                (LinkKind::Bridge, LinkKindRow::Bridge { .. }) => {
                    requests.push(Request::set_bridge(name));
                }
                (LinkKind::Vxlan { .. }, LinkKindRow::Vxlan(params))
                    if *params == Some(vxlan(&put.row.kind)) => {}
                // The kernel cannot change what a tunnel is; its entries and routes follow in
                // their own steps.
                _ => {
                    requests.push(Request::delete_link(name));
                    requests.push(create(name, &put.row));
                }
            },
        }
        let change = LinkChange {
            mtu: Some(put.row.mtu),
            mac: Some(put.row.mac),
            alias: Some(Link::ALIAS),
            link_local: crate::sysctl::has_ipv6().then_some(false),
            ipv4: Some(settings::IPV4),
            ..LinkChange::default()
        };
        requests.push(Request::set_link(name, &change));
        requests.push(Request::link_up(name));
        for answer in self.netlink.batch(requests) {
            answer?;
        }
        self.home.run(|| settings::write_ipv6(name))??;
        Ok(())
    }
}

impl Mechanism for Links {
    type Key = IfName;
    type Row = Link;

    fn observe(&mut self) -> Result<Table<IfName, Link>, ObserveError> {
        let links = self.netlink.links()?;
        Ok(links.iter().filter_map(|link| Some((link.name.clone(), row(link)?))).collect())
    }

    fn apply(&mut self, changes: &Changes<IfName, Link>) -> Vec<Failure<IfName>> {
        let mut failures = Vec::new();
        for (name, put) in &changes.puts {
            if let Err(cause) = self.put(name, put) {
                failures.push(failure(name.clone(), format!("put link {name} {}", put.row), cause));
            }
        }
        for name in changes.deletes.iter().rev() {
            match self.netlink.send(Request::delete_link(name)) {
                Err(error) if !error.is_gone() => {
                    failures.push(failure(name.clone(), format!("delete link {name}"), error));
                }
                _ => {}
            }
        }
        failures
    }
}

/// Whether a link has a name that Seaway gives to links of the node, and its mark.
pub(super) fn is_ours(link: &LinkRow) -> bool {
    let name = link.name.as_str();
    let reserved = name.starts_with("sw") || name == "seaway0";
    reserved && link.alias.as_deref() == Some(Link::ALIAS)
}

/// A link of a wanted name without any alias lost its mark; one with another alias has an owner.
fn can_adopt(link: &LinkRow) -> bool {
    link.alias.is_none() || is_ours(link)
}

/// The row a link stands for; `None` when it is not ours.
fn row(link: &LinkRow) -> Option<Link> {
    if !is_ours(link) {
        return None;
    }
    let mut sound = link.up && link.link_local != Some(true);
    let kind = match &link.kind {
        LinkKindRow::Bridge { stp, multicast_snooping } => {
            sound &= !stp && !multicast_snooping;
            LinkKind::Bridge
        }
        LinkKindRow::Vxlan(params) => {
            sound &= params.is_some();
            let none = VxlanParams { vni: 0, port: 0, local: IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
            let VxlanParams { vni, port, local } = params.unwrap_or(none);
            LinkKind::Vxlan { vni, port, local }
        }
        LinkKindRow::Veth | LinkKindRow::Other(_) => return None,
    };
    sound &= settings::are_in_place(link);
    let mtu = if sound { link.mtu } else { 0 };
    Some(Link { kind, mtu, mac: link.mac.unwrap_or(Mac([0; 6])) })
}

fn create(name: &IfName, row: &Link) -> Request {
    match row.kind {
        LinkKind::Bridge => Request::add_bridge(name.as_str(), Some(row.mac)),
        LinkKind::Vxlan { .. } => {
            Request::add_vxlan(name.as_str(), Some(row.mac), &vxlan(&row.kind))
        }
    }
}

/// The tunnel's parameters; those of a bridge are never asked for and match no tunnel.
fn vxlan(kind: &LinkKind) -> VxlanParams {
    match *kind {
        LinkKind::Vxlan { vni, port, local } => VxlanParams { vni, port, local },
        LinkKind::Bridge => VxlanParams { vni: 0, port: 0, local: Ipv4Addr::UNSPECIFIED.into() },
    }
}
