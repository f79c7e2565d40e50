//! The elements of one Service.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Family, ServiceName, TrafficPolicy};
use plan::nft::{Data, Key, Row, SetName, TableFamily, Value, Values, Verdict};

use super::names::{Backends, Map, Names, Place};
use super::shape::{Fate, Shape};
use crate::services::{At, Backend, Frontend, FrontendKind, PortEntry, Resolved};

/// Elements being gathered.
pub(super) struct Elements<'a> {
    names: &'a mut Names,
    /// The elements, each key once.
    pub(super) rows: Vec<(Key, Row)>,
    /// The shapes of their frontends.
    pub(super) shapes: Vec<Shape>,
    /// Elements that another Service may have as well: its addresses.
    pub(super) ips: BTreeSet<Key>,
}

impl<'a> Elements<'a> {
    /// Those of the Service `name`.
    pub(super) fn of(name: &ServiceName, resolved: &Resolved, names: &'a mut Names) -> Self {
        let mut elements =
            Elements { names, rows: Vec::new(), shapes: Vec::new(), ips: BTreeSet::new() };
        for port in &resolved.ports {
            for frontend in &port.frontends {
                elements.frontend(name, port, frontend);
                if let (FrontendKind::ClusterIp, At::Ip(ip)) = (frontend.kind, frontend.at) {
                    let set = elements.names.of(Map::Ips, Place::Address, port.family);
                    elements.ips.insert(Key::Element(TableFamily::Inet, set, [ip.into()].into()));
                }
            }
        }
        for vip in &resolved.vips {
            let set = elements.names.of(Map::Vips, Place::Address, Family::of(*vip));
            elements.ips.insert(Key::Element(TableFamily::Inet, set, [(*vip).into()].into()));
        }
        elements
    }

    fn put(&mut self, set: SetName, key: impl Into<Values>, data: Option<Data>) {
        let key = Key::Element(TableFamily::Inet, set, key.into());
        self.rows.push((key, Row::Element(data)));
    }

    fn frontend(&mut self, service: &ServiceName, port: &PortEntry, frontend: &Frontend) {
        let shape = Shape::of(port, frontend);
        let Shape { place, family, .. } = shape;
        let mut key = Vec::with_capacity(4);
        if let At::Ip(ip) = frontend.at {
            key.push(ip.into());
        }
        key.extend([Value::Number(port.protocol.number()), Value::Port(frontend.port)]);
        let verdict = Data::Verdict(Verdict::Goto(self.names.chain(&shape)));
        let map = self.names.of(Map::Frontends, place, family);
        self.put(map, key.clone(), Some(verdict));
        let used: BTreeSet<Backends> = shape
            .fates()
            .into_iter()
            .filter_map(|fate| match fate {
                Fate::Forward { backends, .. } => Some(backends),
                Fate::Reject | Fate::Drop => None,
            })
            .collect();
        for set in used {
            let backends = match set {
                Backends::Cluster => port.backends(TrafficPolicy::Cluster),
                Backends::Local => port.backends(TrafficPolicy::Local),
            };
            self.backends(&shape, set, &key, backends);
        }
        if shape.affinity.is_some() {
            let map = self.names.of(Map::Ports, place, family);
            let number = Value::Mark(number_of(service, port));
            self.put(map, key.clone(), Some(Data::Values([number].into())));
        }
        for net in outermost(frontend.allowed.as_deref().unwrap_or_default(), family) {
            let set = self.names.of(Map::Allowed, place, family);
            self.put(set, with(&key, Value::Prefix(net)), None);
        }
        self.shapes.push(shape);
    }

    fn backends(&mut self, shape: &Shape, set: Backends, key: &[Value], backends: &[Backend]) {
        let Shape { place, family, .. } = *shape;
        let slots = (0_u32..).map(Value::Mark).zip(backends);
        if shape.affinity.is_none() {
            let map = self.names.of(Map::Slots(set), place, family);
            for (slot, backend) in slots {
                self.put(map.clone(), with(key, slot), Some(to(backend)));
            }
            return;
        }
        let choices = self.names.of(Map::Choices(set), place, family);
        let members = self.names.of(Map::Members(set), place, family);
        let mut taken = BTreeSet::new();
        for (slot, backend) in slots {
            let mut class = number_of_backend(backend);
            while !taken.insert(class) {
                class = class.wrapping_add(1);
            }
            let class = Value::ClassId(class);
            let choice = Some(Data::Values([class.clone()].into()));
            self.put(choices.clone(), with(key, slot), choice);
            self.put(members.clone(), with(key, class), Some(to(backend)));
        }
    }
}

fn with(key: &[Value], last: Value) -> Values {
    key.iter().cloned().chain([last]).collect()
}

fn to(backend: &Backend) -> Data {
    Data::Values([backend.addr.into(), Value::Port(backend.port)].into())
}

/// The same number for a port whatever other Services there are: clients are remembered by it.
fn number_of(service: &ServiceName, port: &PortEntry) -> u32 {
    let protocol = [port.protocol.number()];
    let parts = [service.namespace.as_bytes(), service.name.as_bytes(), port.name.as_bytes()];
    hash(parts.into_iter().chain([&protocol[..]]))
}

/// The same number for a backend whatever others there are; where two of a port would have the same,
/// which takes 10,000 of them to be likely, the latter takes the next.
fn number_of_backend(backend: &Backend) -> u32 {
    let port = backend.port.to_be_bytes();
    match backend.addr {
        IpAddr::V4(addr) => hash([&addr.octets()[..], &port]),
        IpAddr::V6(addr) => hash([&addr.octets()[..], &port]),
    }
}

/// FNV-1a of `parts`, each with its end.
fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let bytes = parts.into_iter().flat_map(|part| part.iter().copied().chain([0xff]));
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Those of `nets` that are of `family` and in no other: a set of prefixes takes no overlap.
fn outermost(nets: &[IpNet], family: Family) -> Vec<IpNet> {
    let own = nets.iter().map(IpNet::trunc).filter(|net| Family::of(net.addr()) == family);
    // In order, a prefix stands before everything inside of it.
    let mut kept: Vec<IpNet> = Vec::new();
    for net in own.collect::<BTreeSet<_>>() {
        if !kept.last().is_some_and(|outer| outer.contains(&net)) {
            kept.push(net);
        }
    }
    kept
}
