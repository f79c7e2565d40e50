//! The underlay of a lab, made: hosts and cables as `topology` lays them out, and what is wrong with
//! the cables.

mod faults;

use std::collections::BTreeMap;

use crate::host::{Host, HostError, cable};
use crate::spec::Spec;
use crate::topology::{self, Joins, Place, Wiring};

/// Hosts by place, joined by cables. All of it is gone with the value.
#[derive(Debug)]
pub struct Underlay {
    hosts: BTreeMap<Place, Host>,
    /// By cable; those that are whole are not in here.
    damage: BTreeMap<String, faults::Damage>,
}

/// The router forwards, and believes no packet that comes in where its answer would not go out: an
/// underlay that lets everything through would hide mistakes. A cable that is cut costs it no address.
const ROUTER: [(&str, &str); 6] = [
    ("net/ipv6/conf/all/keep_addr_on_down", "1"),
    ("net/ipv6/conf/default/keep_addr_on_down", "1"),
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/conf/all/rp_filter", "1"),
    ("net/ipv4/conf/default/rp_filter", "1"),
];

/// Nodes check return paths as strictly as the router: what works here works anywhere.
const NODE: [(&str, &str); 2] =
    [("net/ipv4/conf/all/rp_filter", "1"), ("net/ipv4/conf/default/rp_filter", "1")];

/// The switch is deaf: it forwards frames and has no address of its own.
const SWITCH: [(&str, &str); 2] =
    [("net/ipv6/conf/all/disable_ipv6", "1"), ("net/ipv6/conf/default/disable_ipv6", "1")];

impl Underlay {
    /// Makes everything but the nodes.
    ///
    /// # Errors
    /// Without root, or what the kernel refuses; what was made so far is gone then.
    pub fn make(spec: &Spec) -> Result<Self, HostError> {
        let mut underlay = Underlay { hosts: BTreeMap::new(), damage: BTreeMap::new() };
        let places = [Place::Switch, Place::Router, Place::Control, Place::Client, Place::Internet];
        for place in places {
            let host = Host::make(&place.to_string())?;
            match place {
                Place::Switch => host.set(&SWITCH)?,
                Place::Router => host.set(&ROUTER)?,
                Place::Control | Place::Client | Place::Internet | Place::Node(_) => {}
            }
            underlay.hosts.insert(place, host);
        }
        for bridge in topology::bridges(spec) {
            underlay.host(Place::Switch)?.add_bridge(bridge.as_str())?;
        }
        underlay.wire(&topology::fixed(spec))?;
        Ok(underlay)
    }

    /// Makes the host of node `number` and joins it; in place of the one of that number, if any.
    ///
    /// # Errors
    /// What the kernel refuses; the node is not there then.
    pub fn add_node(&mut self, spec: &Spec, number: u32) -> Result<&Host, HostError> {
        self.remove_node(spec, number)?;
        let place = Place::Node(number);
        let host = Host::make(&place.to_string())?;
        host.set(&NODE)?;
        self.hosts.insert(place, host);
        if let Err(error) = self.wire(&topology::node(spec, number)) {
            self.hosts.remove(&place);
            return Err(error);
        }
        self.host(place)
    }

    /// Unplugs node `number` and lets go of its host.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn remove_node(&mut self, spec: &Spec, number: u32) -> Result<(), HostError> {
        if self.hosts.remove(&Place::Node(number)).is_none() {
            return Ok(());
        }
        self.forget_damage(&topology::node_name(number))?;
        // A process may hold the namespace for a while; the port must be free at once.
        let cables = topology::node(spec, number).cables;
        let mut ends = cables.iter().flat_map(|cable| &cable.ends);
        ends.try_for_each(|end| match self.hosts.get(&end.place) {
            Some(host) => host.remove_link(end.link.as_str()),
            None => Ok(()),
        })
    }

    /// The host at `place`.
    ///
    /// # Errors
    /// When there is none: the node has not been added.
    pub fn host(&self, place: Place) -> Result<&Host, HostError> {
        self.hosts.get(&place).ok_or_else(|| HostError {
            host: place.to_string(),
            attempt: "find the host".to_owned(),
            cause: "there is no such host in this lab".into(),
        })
    }

    fn wire(&self, wiring: &Wiring) -> Result<(), HostError> {
        for laid in &wiring.cables {
            let [a, b] = &laid.ends;
            let (here, there) = (self.host(a.place)?, self.host(b.place)?);
            cable((here, a.link.as_str()), (there, b.link.as_str()), laid.mtu)?;
            for (host, end) in [(here, a), (there, b)] {
                match &end.joins {
                    Joins::Bridge(bridge) => host.add_port(end.link.as_str(), bridge.as_str())?,
                    Joins::Host(addrs) => host.add_addrs(end.link.as_str(), addrs)?,
                }
            }
        }
        for route in &wiring.routes {
            self.host(route.place)?.add_route(route.to, route.gateway, route.link.as_str())?;
        }
        Ok(())
    }
}
