//! Faults of cables, made and mended at run time.
//!
//! A cable is cut by taking down its end at the switch or the router: its other end loses the
//! carrier, as when a plug is pulled. A cable that loses or delays has a relay between its end at the
//! switch and a port of the bridge that takes its place:
//!
//! ```text
//!   node-1 eth0 ──── node1   relay   node1-relay ──── node1-port ─ bridge subnet1
//! ```

use kernel::frames::Frames;
use kernel::netlink::{LinkChange, Netlink, Request, VethEnd};

use super::Underlay;
use crate::fault::{CableState, Fault, Impairment, Relay};
use crate::host::{Host, HostError};
use crate::spec::Spec;
use crate::topology::{self, Cable, End, Joins, Place};

/// As many segments per packet as a link takes by default (`GSO_MAX_SEGS`).
const MANY: u32 = 65535;

/// What is wrong with a cable, with what it takes to be so.
#[derive(Debug, Default)]
pub(super) struct Damage {
    cut: bool,
    impaired: Option<(Impairment, Relay)>,
    /// No frame passes the switch, though both ends see a carrier.
    silent: bool,
}

impl Damage {
    fn fault(&self) -> Fault {
        let impairment = self.impaired.as_ref().map(|(impairment, _)| *impairment);
        Fault { cut: self.cut, impairment }
    }
}

impl Underlay {
    /// Every cable, with what is wrong with it.
    pub fn cables(&self, spec: &Spec) -> Vec<CableState> {
        let nodes = self.hosts.keys().filter_map(|place| match place {
            Place::Node(number) => Some(topology::node(spec, *number)),
            Place::Switch | Place::Router | Place::Control | Place::Client | Place::Internet => {
                None
            }
        });
        let wirings = nodes.chain([topology::fixed(spec)]);
        let state = |cable: Cable| {
            let name = cable.name();
            let fault = self.damage.get(&name).map(Damage::fault).unwrap_or_default();
            let ends = cable.ends.map(|end| format!("{} {}", end.place, end.link));
            CableState { name, ends, fault }
        };
        wirings.flat_map(|wiring| wiring.cables).map(state).collect()
    }

    /// Pulls cable `name` out.
    ///
    /// # Errors
    /// When there is no such cable, and what the kernel refuses.
    pub fn cut(&mut self, spec: &Spec, name: &str) -> Result<(), HostError> {
        let cable = self.cable(spec, name)?;
        self.set_up(&cable, false)?;
        self.damage.entry(name.to_owned()).or_default().cut = true;
        Ok(())
    }

    /// Has cable `name` lose and delay, in place of what it did before.
    ///
    /// # Errors
    /// When there is no such cable, it does not end at the switch, and what the kernel refuses.
    pub fn impair(
        &mut self,
        spec: &Spec,
        name: &str,
        impairment: Impairment,
    ) -> Result<(), HostError> {
        let cable = self.cable(spec, name)?;
        let Joins::Bridge(bridge) = &cable.ends[1].joins else {
            return Err(HostError {
                host: name.to_owned(),
                attempt: "put a relay into the cable".to_owned(),
                cause: "it does not end at the switch: cables of nodes and subnets do".into(),
            });
        };
        self.mend_impairment(&cable)?;
        let relay = self.insert_relay(&cable, bridge.as_str(), impairment);
        let relay = relay.inspect_err(|_| drop(self.take_relay_out(&cable)))?;
        self.damage.entry(name.to_owned()).or_default().impaired = Some((impairment, relay));
        self.join_bridge(&cable)
    }

    /// Makes cable `name` whole.
    ///
    /// # Errors
    /// When there is no such cable, and what the kernel refuses.
    pub fn heal(&mut self, spec: &Spec, name: &str) -> Result<(), HostError> {
        let cable = self.cable(spec, name)?;
        self.mend_impairment(&cable)?;
        self.set_up(&cable, true)?;
        let Some(damage) = self.damage.get_mut(name) else { return Ok(()) };
        damage.cut = false;
        if !damage.silent {
            self.damage.remove(name);
        }
        Ok(())
    }

    /// Lets no frame of node `number` pass, or lets them pass again. The node sees a carrier all the
    /// time.
    ///
    /// # Errors
    /// When there is no such node, and what the kernel refuses.
    pub fn set_silent(&mut self, spec: &Spec, number: u32, silent: bool) -> Result<(), HostError> {
        let name = topology::node_name(number);
        let cable = self.cable(spec, &name)?;
        self.damage.entry(name).or_default().silent = silent;
        if silent {
            self.host(Place::Switch)?.remove_port(&self.port(&cable))
        } else {
            self.join_bridge(&cable)
        }
    }

    /// Forgets the faults of a cable that is about to go.
    pub(super) fn forget_damage(&mut self, name: &str) -> Result<(), HostError> {
        let damage = self.damage.remove(name);
        if damage.is_some_and(|damage| damage.impaired.is_some())
            && let Some(number) = topology::node_number(name)
        {
            return self.host(Place::Switch)?.remove_link(&ports(&format!("node{number}"))[0]);
        }
        Ok(())
    }

    /// The cable of this name, if it is laid.
    fn cable(&self, spec: &Spec, name: &str) -> Result<Cable, HostError> {
        let cable = topology::cable_named(spec, name);
        let laid = |cable: &Cable| cable.ends.iter().all(|end| self.hosts.contains_key(&end.place));
        cable.filter(laid).ok_or_else(|| {
            let known: Vec<String> = self.cables(spec).into_iter().map(|it| it.name).collect();
            HostError {
                host: name.to_owned(),
                attempt: "find the cable".to_owned(),
                cause: format!("this lab has {}", known.join(", ")).into(),
            }
        })
    }

    fn set_up(&self, cable: &Cable, up: bool) -> Result<(), HostError> {
        let End { place, link, .. } = &cable.ends[1];
        let change = LinkChange { up: Some(up), ..LinkChange::default() };
        self.host(*place)?.change(link.as_str(), &change)
    }

    /// The link that is the cable's port of its bridge.
    fn port(&self, cable: &Cable) -> String {
        let link = cable.ends[1].link.to_string();
        let damage = self.damage.get(&cable.name());
        match damage.is_some_and(|damage| damage.impaired.is_some()) {
            true => ports(&link)[0].clone(),
            false => link,
        }
    }

    /// Puts the cable's port into its bridge, unless the cable is silent.
    fn join_bridge(&self, cable: &Cable) -> Result<(), HostError> {
        let Joins::Bridge(bridge) = &cable.ends[1].joins else { return Ok(()) };
        if self.damage.get(&cable.name()).is_some_and(|damage| damage.silent) {
            return Ok(());
        }
        let (switch, port) = (self.host(Place::Switch)?, self.port(cable));
        let master = Some(switch.index(bridge.as_str())?);
        switch.change(&port, &LinkChange { master, ..LinkChange::default() })
    }

    fn insert_relay(
        &self,
        cable: &Cable,
        bridge: &str,
        impairment: Impairment,
    ) -> Result<Relay, HostError> {
        let (switch, link) = (self.host(Place::Switch)?, cable.ends[1].link.as_str());
        let [port, relay] = ports(link);
        add_pair(switch, [&port, &relay], cable.mtu)?;
        // The relay takes packets as they are on the wire: cut by whoever sends them.
        self.cut_packets(cable, 1)?;
        switch.change(&port, &LinkChange { gso_max_segs: Some(1), ..LinkChange::default() })?;
        let failed = |cause| switch.failed(&format!("put a relay into {link} of {bridge}"), cause);
        let open = || Ok([Frames::open(link)?, Frames::open(&relay)?]);
        let ends = switch.run(open)?.map_err(|cause: std::io::Error| failed(cause))?;
        switch.remove_port(link)?;
        Relay::start(ends, impairment).map_err(failed)
    }

    fn mend_impairment(&mut self, cable: &Cable) -> Result<(), HostError> {
        let damage = self.damage.get_mut(&cable.name());
        match damage.and_then(|damage| damage.impaired.take()) {
            Some((_, relay)) => {
                drop(relay);
                self.take_relay_out(cable)
            }
            None => Ok(()),
        }
    }

    fn take_relay_out(&self, cable: &Cable) -> Result<(), HostError> {
        let link = cable.ends[1].link.as_str();
        self.host(Place::Switch)?.remove_link(&ports(link)[0])?;
        self.cut_packets(cable, MANY)?;
        self.join_bridge(cable)
    }

    /// How many segments the near end leaves to the cable.
    fn cut_packets(&self, cable: &Cable, most: u32) -> Result<(), HostError> {
        let End { place, link, .. } = &cable.ends[0];
        let change = LinkChange { gso_max_segs: Some(most), ..LinkChange::default() };
        self.host(*place)?.change(link.as_str(), &change)
    }
}

/// The port that stands for `link` in its bridge, and the relay's end behind it.
fn ports(link: &str) -> [String; 2] {
    [format!("{link}-port"), format!("{link}-relay")]
}

/// A veth pair of one host, both ends up.
fn add_pair(host: &Host, [a, b]: [&str; 2], mtu: u32) -> Result<(), HostError> {
    let end = |name| VethEnd { name, mac: None, netns: None, mtu: Some(mtu) };
    let made = || -> Result<(), kernel::netlink::Error> {
        let mut netlink = Netlink::open()?;
        netlink.send(Request::add_veth(&end(a), &end(b)))?;
        netlink.send(Request::link_up(a))?;
        netlink.send(Request::link_up(b))
    };
    host.run(made)?.map_err(|cause| host.failed("make the ports of a relay", cause))
}
