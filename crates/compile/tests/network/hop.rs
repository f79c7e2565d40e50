//! One packet, hop by hop.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{AttachmentKey, Family, IfName, Mac, NodeName};
use plan::nft::{
    CtState, HookPoint, Nat, Network as Header, Outcome, Packet, Rewrite, Surroundings,
    TableFamily, Transport, Walk, walk,
};
use plan::{Fdb, FdbKey, LinkKind, NeighborKey, Plan, Route, RouteTable, RuleKey, SysctlKey};

use super::flows::Flows;
use super::{Fate, Network, Place};

/// Where a packet starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In a container of a node.
    Pod(NodeName, AttachmentKey),
    /// On a node itself.
    Node(NodeName),
    /// Beyond the underlay's router.
    Outside(IpAddr),
}

impl Origin {
    /// Whether the sender is there.
    pub(super) fn is(&self, place: &Place) -> bool {
        match (self, place) {
            (Origin::Pod(_, key), Place::Pod(there)) => key == there,
            (Origin::Node(node), Place::Node(there)) => node == there,
            (Origin::Outside(_), Place::Outside) => true,
            (Origin::Pod(..) | Origin::Node(_) | Origin::Outside(_), _) => false,
        }
    }
}

/// A packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
    /// Whether it answers another packet: where it is translated was decided then.
    pub(crate) answer: bool,
}

/// More hops than any packet needs.
const MANY: usize = 8;

/// A packet on its way.
struct Way<'a> {
    network: &'a Network,
    flow: Flow,
    flows: &'a mut Flows,
    /// Its mark at the node where it is.
    mark: u32,
    hops: usize,
}

pub(super) fn follow(network: &Network, origin: &Origin, flow: Flow, flows: &mut Flows) -> Fate {
    let mut way = Way { network, flow, flows, mark: 0, hops: 0 };
    let end = match origin {
        Origin::Pod(node, key) => way.leave_pod(node, key),
        Origin::Node(node) => way.leave_node(node),
        Origin::Outside(_) => way.underlay(None),
    };
    match end {
        Ok(at) => Fate::Arrives { at, src: way.flow.src, dst: way.flow.dst, dport: way.flow.dport },
        Err(why) => Fate::Lost(why),
    }
}

type End = Result<Place, String>;

impl<'a> Way<'a> {
    fn plan(&self, node: &NodeName) -> &'a Plan {
        &self.network.nodes[node].1.plan
    }

    fn leave_pod(&mut self, node: &NodeName, key: &AttachmentKey) -> End {
        let plan = self.plan(node);
        let link = plan.pods.get(key).ok_or("the pod has no link")?;
        let port = key.host_link();
        let Some(bridge) = &link.master else {
            return self.receive(node, &port, Some((link.mac, link.host_mac)));
        };
        let on_link = link.addrs.iter().any(|net| net.contains(&self.flow.dst));
        let next = if on_link { self.flow.dst } else { self.gateway(link)? };
        let bridge_mac = plan.links.get(bridge).ok_or("no bridge")?.mac;
        let mac =
            if next == self.gateway(link)? { bridge_mac } else { self.mac(plan, bridge, next)? };
        self.guard(node, TableFamily::Bridge, &port, Some((link.mac, mac)))?;
        if mac == bridge_mac {
            self.receive(node, bridge, Some((link.mac, mac)))
        } else {
            self.bridge_port(plan, mac)
        }
    }

    fn gateway(&self, link: &plan::PodLink) -> Result<IpAddr, String> {
        let family = Family::of(self.flow.dst);
        let mut gateways = link.gateways.iter().copied();
        gateways.find(|addr| Family::of(*addr) == family).ok_or("no route in the pod".to_owned())
    }

    fn leave_node(&mut self, node: &NodeName) -> End {
        self.nat(node, HookPoint::Output, None, None, None)?;
        self.route(node, None)
    }

    /// A packet comes into `node` by `iif`: guards, translation, reverse path, routing.
    fn receive(&mut self, node: &NodeName, iif: &IfName, ether: Option<(Mac, Mac)>) -> End {
        self.guard(node, TableFamily::Inet, iif, ether)?;
        self.nat(node, HookPoint::Prerouting, Some(iif), None, ether)?;
        self.reverse_path(node, iif)?;
        self.route(node, Some(iif))
    }

    fn route(&mut self, node: &NodeName, iif: Option<&IfName>) -> End {
        self.hops += 1;
        if self.hops > MANY {
            return Err("it goes in circles".to_owned());
        }
        if self.surroundings(node).local.contains(&self.flow.dst) {
            self.restore_source(node);
            return Ok(Place::Node(node.clone()));
        }
        let route = self.lookup(node, self.flow.src, self.flow.dst, self.mark)?;
        let oif = route.dev.clone().ok_or("no such pod here")?;
        self.nat(node, HookPoint::Postrouting, iif, Some(&oif), None)?;
        self.mark = 0; // It stays behind.
        let next = route.via.unwrap_or(self.flow.dst);
        let plan = self.plan(node);
        if let Some((key, link)) = plan.pods.iter().find(|(key, _)| key.host_link() == oif) {
            let mac = self.mac(plan, &oif, next)?;
            return self.enter_pod(key, link, mac);
        }
        match plan.links.get(&oif).map(|link| &link.kind) {
            Some(LinkKind::Bridge) => {
                let mac = self.mac(plan, &oif, next)?;
                self.bridge_port(plan, mac)
            }
            Some(LinkKind::Vxlan { local, .. }) => self.tunnel(plan, &oif, next, *local),
            None => self.underlay(Some((node, next))),
        }
    }

    fn mac(&self, plan: &Plan, dev: &IfName, addr: IpAddr) -> Result<Mac, String> {
        let key = NeighborKey { dev: dev.clone(), addr };
        plan.neighbors.get(&key).map(|row| row.mac).ok_or(format!("no neighbor {key}"))
    }

    fn bridge_port(&self, plan: &Plan, mac: Mac) -> End {
        let port = plan.fdb.iter().find(|(key, row)| key.mac == mac && **row == Fdb::Port);
        let (FdbKey { dev, .. }, _) = port.ok_or("no port of the bridge leads there")?;
        let pod = plan.pods.iter().find(|(key, _)| key.host_link() == *dev);
        let (key, link) = pod.ok_or("the port has no pod")?;
        self.enter_pod(key, link, mac)
    }

    fn enter_pod(&self, key: &AttachmentKey, link: &plan::PodLink, mac: Mac) -> End {
        if link.mac != mac || !link.addrs.iter().any(|net| net.addr() == self.flow.dst) {
            return Err(format!("pod {key} is not who it was for"));
        }
        Ok(Place::Pod(key.clone()))
    }

    /// Into the tunnel, over the underlay, and out at the VTEP's node.
    fn tunnel(&mut self, plan: &Plan, dev: &IfName, next: IpAddr, local: IpAddr) -> End {
        let mac = self.mac(plan, dev, next)?;
        let Some(Fdb::Vtep(remote)) = plan.fdb.get(&FdbKey { dev: dev.clone(), mac }) else {
            return Err(format!("no VTEP {mac}"));
        };
        let to = self.network.owner(*remote).ok_or(format!("no node at {remote}"))?.clone();
        let inner = self.flow;
        self.flow =
            Flow { src: local, dst: *remote, protocol: 17, sport: 40000, dport: 8472, ..inner };
        let (world, _) = &self.network.nodes[&to];
        let uplink = world.host.uplink_of(*remote).ok_or("no uplink")?.name.clone();
        self.guard(&to, TableFamily::Inet, &uplink, None)?;
        self.flow = inner;
        let there = self.plan(&to).links.get(dev).ok_or("the peer has no tunnel")?;
        if there.mac != mac {
            return Err(format!("{mac} is not the VTEP of {to}"));
        }
        self.receive(&to, dev, Some((plan.links.get(dev).ok_or("no tunnel")?.mac, mac)))
    }

    /// Over the underlay, from a node towards a next hop or from outside to where the packet says.
    fn underlay(&mut self, from: Option<(&NodeName, IpAddr)>) -> End {
        let towards = match from {
            Some((_, next)) if self.network.owner(next).is_some() => next,
            _ => self.flow.dst,
        };
        if self.network.owner(towards).is_none() && self.is_inside(towards) {
            return Err("no router of the underlay knows pods".to_owned());
        }
        let Some(to) = self.network.owner(towards).cloned() else { return Ok(Place::Outside) };
        let (world, _) = &self.network.nodes[&to];
        let uplink = world.host.uplink_of(towards).ok_or("no uplink")?.name.clone();
        self.receive(&to, &uplink, None)
    }

    fn is_inside(&self, addr: IpAddr) -> bool {
        let mut worlds = self.network.nodes.values().map(|(world, _)| world);
        worlds.any(|world| {
            let mut cidrs = world.nodes.values().flat_map(|node| &node.pod_cidrs);
            cidrs.any(|net| net.contains(&addr))
        })
    }

    fn lookup(
        &self,
        node: &NodeName,
        src: IpAddr,
        dst: IpAddr,
        mark: u32,
    ) -> Result<Route, String> {
        let plan = self.plan(node);
        let applies = |key: &RuleKey| key.from.contains(&src) && mark & key.mark == key.mark;
        let rules = plan.rules.iter().filter(|(key, _)| applies(key));
        for table in rules.map(|(_, rule)| rule.table).chain([RouteTable::Main]) {
            let mut routes: Vec<(IpNet, Route)> = plan
                .routes
                .iter()
                .filter(|(key, _)| key.table == table && key.dst.contains(&dst))
                .map(|(key, route)| (key.dst, route.clone()))
                .collect();
            if table == RouteTable::Main {
                routes.extend(self.others_routes(node, dst));
            }
            if let Some((_, route)) = routes.into_iter().max_by_key(|(net, _)| net.prefix_len()) {
                return Ok(route);
            }
        }
        Err("no route".to_owned())
    }

    /// Connected and default routes, which are the kernel's and the operator's.
    fn others_routes(&self, node: &NodeName, dst: IpAddr) -> Vec<(IpNet, Route)> {
        let (world, compiled) = &self.network.nodes[node];
        let uplinks = world.host.uplinks.iter();
        let connected =
            uplinks.flat_map(|link| link.addrs.iter().map(move |net| (link.name.clone(), *net)));
        let own = compiled.plan.addrs.keys().cloned();
        let on = |dev| Route { via: None, dev: Some(dev), onlink: false, src: None };
        let mut routes: Vec<(IpNet, Route)> = connected
            .chain(own)
            .filter(|(_, net)| net.contains(&dst))
            .map(|(dev, net)| (net.trunc(), on(dev)))
            .collect();
        if let Some(uplink) = world.host.uplinks.first() {
            let any = if dst.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            routes.push((any.parse().expect("a prefix"), on(uplink.name.clone())));
        }
        routes
    }

    /// Strict on every uplink, as on Seaway's own links.
    fn reverse_path(&self, node: &NodeName, iif: &IfName) -> Result<(), String> {
        let follows = SysctlKey("net/ipv4/conf/all/src_valid_mark".to_owned());
        let is_valid = self.plan(node).sysctls.get(&follows).is_some_and(|value| value == "1");
        let mark = if is_valid { self.mark } else { 0 };
        let back = self.lookup(node, self.flow.dst, self.flow.src, mark)?;
        if back.dev.as_ref() != Some(iif) {
            let back = back.dev.map_or("nowhere".to_owned(), |dev| dev.to_string());
            return Err(format!("reverse path of {} at {node}: {back}", self.flow.src));
        }
        Ok(())
    }

    fn guard(
        &self,
        node: &NodeName,
        family: TableFamily,
        iif: &IfName,
        ether: Option<(Mac, Mac)>,
    ) -> Result<(), String> {
        let packet = self.packet(node, Some(iif), None, ether);
        let around = self.surroundings(node);
        passed(&walk(&self.plan(node).nft, family, HookPoint::Prerouting, &packet, &around))
    }

    fn nat(
        &mut self,
        node: &NodeName,
        point: HookPoint,
        iif: Option<&IfName>,
        oif: Option<&IfName>,
        ether: Option<(Mac, Mac)>,
    ) -> Result<(), String> {
        if self.flow.answer && point != HookPoint::Postrouting {
            self.flows.restore_destination(node, &mut self.flow);
        }
        let packet = self.packet(node, iif, oif, ether);
        let around = self.surroundings(node);
        let walk = walk(&self.plan(node).nft, TableFamily::Inet, point, &packet, &around);
        passed(&walk)?;
        self.mark = walk.mark;
        if self.flow.answer {
            if point == HookPoint::Postrouting {
                self.restore_source(node);
            }
            return Ok(());
        }
        let came = self.flow;
        match walk.rewrites.first() {
            Some(Rewrite::To { side: Nat::Dnat, addr, port }) => {
                self.flow.dst = *addr;
                self.flow.dport = *port;
            }
            Some(Rewrite::To { side: Nat::Snat, addr, .. }) => self.flow.src = *addr,
            Some(Rewrite::Masquerade { .. }) => {
                let (world, compiled) = &self.network.nodes[node];
                let family = Family::of(self.flow.src);
                let own = compiled.plan.addrs.keys().filter(|(dev, _)| Some(dev) == oif);
                let own = own.map(|(_, net)| net.addr()).find(|addr| Family::of(*addr) == family);
                let node_ip = world.nodes.get(node).and_then(|node| node.internal_ip(family));
                self.flow.src = own.or(node_ip).ok_or("no address to masquerade with")?;
            }
            None => {}
        }
        self.flows.saw(node, came, self.flow);
        Ok(())
    }

    fn restore_source(&mut self, node: &NodeName) {
        if self.flow.answer {
            self.flows.restore_source(node, &mut self.flow);
        }
    }

    fn packet(
        &self,
        node: &NodeName,
        iif: Option<&IfName>,
        oif: Option<&IfName>,
        ether: Option<(Mac, Mac)>,
    ) -> Packet {
        let Flow { src, dst, protocol, sport, dport, answer } = self.flow;
        let transport = match protocol {
            6 | 17 | 132 => Transport::Ports { protocol, sport, dport },
            58 => Transport::Icmpv6 { kind: u8::try_from(dport).unwrap_or_default() },
            other => Transport::Other(other),
        };
        Packet {
            iif: iif.cloned(),
            oif: oif.cloned(),
            ether,
            network: Header::Ip { src, dst, transport },
            ct_state: if answer { CtState::Established } else { CtState::New },
            ct_status: self.flows.status(node, &self.flow),
            is_reply: answer,
            mark: self.mark,
            priority: 0,
        }
    }

    fn surroundings(&self, node: &NodeName) -> Surroundings {
        let (world, compiled) = &self.network.nodes[node];
        let uplinks = world.host.uplinks.iter().flat_map(|link| link.addrs.iter().copied());
        let own = compiled.plan.addrs.keys().map(|(_, net)| *net);
        let links: BTreeSet<IpNet> = uplinks.chain(own).collect();
        Surroundings {
            local: links.iter().map(|net| net.addr()).collect(),
            links,
            ..Surroundings::default()
        }
    }
}

fn passed(walk: &Walk<'_>) -> Result<(), String> {
    match walk.outcome {
        Outcome::Accept => Ok(()),
        Outcome::Drop | Outcome::Reject(_) => {
            let why = walk.trace.last().and_then(|step| step.rule.comment.as_deref());
            Err(format!("dropped: {}", why.unwrap_or("no reason given")))
        }
    }
}
