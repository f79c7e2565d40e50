//! The API server's hook: completes Services with addresses and ports, and keeps count of them.

use std::net::IpAddr;

use apiserver::{Admission, Denial, Write};
use model::Family;
use serde_json::{Value, json};

use super::addresses::{Addresses, Range};
use super::ports::Ports;
use super::{DEFAULT_RANGE, Ranges, Refused, families};

/// Hands out addresses and ports to Services.
#[derive(Debug)]
pub struct Allocator {
    cluster: Vec<Family>,
    addresses: Addresses,
    ports: Ports,
    /// How things were before the write that is not settled yet, newest last.
    undo: Vec<Undo>,
}

/// How one thing was.
#[derive(Debug)]
enum Undo {
    Address(IpAddr, bool),
    Port(u16, bool),
    Range(String, Option<Range>),
}

impl Allocator {
    /// One that has given nothing away.
    pub fn new(ranges: &Ranges) -> Self {
        let mut addresses = Addresses::default();
        let range = Range { cidrs: ranges.cidrs.clone(), leaves: false };
        addresses.ranges.insert(DEFAULT_RANGE.to_owned(), range);
        let cluster = ranges.families();
        Allocator { cluster, addresses, ports: Ports::default(), undo: Vec::new() }
    }

    fn service(&mut self, old: Option<&Value>, new: Option<&mut Value>) -> Result<(), Refused> {
        let old = old.map(|old| &old["spec"]);
        let Some(new) = new else {
            let old = old.unwrap_or(&Value::Null);
            families::addresses(old)
                .into_iter()
                .for_each(|address| self.set_address(address, false));
            node_ports(old).into_iter().for_each(|port| self.set_port(port, false));
            return Ok(());
        };
        let Some(spec) = new.get_mut("spec") else { return Ok(()) };
        let has_addresses = spec["type"] != "ExternalName";
        if has_addresses {
            families::settle(spec, old, &self.cluster)?;
        }
        let (before, ports_before) = (
            old.map(families::addresses).unwrap_or_default(),
            old.map(node_ports).unwrap_or_default(),
        );
        if has_addresses && !families::is_headless(spec) {
            self.give_addresses(spec, &before)?;
        } else if has_addresses {
            (spec["clusterIP"], spec["clusterIPs"]) = (json!("None"), json!(["None"]));
        }
        self.give_ports(spec, &ports_before)?;
        // What is not asked for any more is free once the write is done.
        let (now, ports_now) = (families::addresses(spec), node_ports(spec));
        before.iter().filter(|a| !now.contains(a)).for_each(|a| self.set_address(*a, false));
        ports_before
            .iter()
            .filter(|p| !ports_now.contains(p))
            .for_each(|p| self.set_port(*p, false));
        Ok(())
    }

    /// One address for each family of `spec`: the one it names, or one of ours.
    fn give_addresses(&mut self, spec: &mut Value, before: &[IpAddr]) -> Result<(), Refused> {
        let mut addresses = families::addresses(spec);
        for (index, address) in addresses.iter().enumerate() {
            if before.contains(address) {
                continue;
            }
            if let Some(why) = self.addresses.refusal(*address) {
                let field = format!("spec.clusterIPs[{index}]");
                return Err(Refused::new(field, json!([address]), why));
            }
            self.set_address(*address, true);
        }
        for family in families::named(spec).into_iter().skip(addresses.len()) {
            let Some(address) = self.addresses.pick(family) else {
                let why = format!(
                    "failed to allocate a serviceIP: range is full of {} addresses",
                    families::text(family)
                );
                return Err(Refused::new("spec.clusterIPs", Value::Null, why));
            };
            self.set_address(address, true);
            addresses.push(address);
        }
        spec["clusterIP"] = addresses.first().map_or(Value::Null, |first| json!(first));
        spec["clusterIPs"] = json!(addresses);
        Ok(())
    }

    /// A port of the nodes for each port of `spec`, if its type has them. The same port of several
    /// protocols is the same on the nodes.
    fn give_ports(&mut self, spec: &mut Value, before: &[u16]) -> Result<(), Refused> {
        let is_balancer = spec["type"] == "LoadBalancer";
        if !is_balancer && spec["type"] != "NodePort" {
            return Ok(());
        }
        let everywhere = !is_balancer || spec["allocateLoadBalancerNodePorts"] != false;
        let mut ports = spec["ports"].as_array().cloned().unwrap_or_default();
        // Those that are asked for first, so that nobody gets them by chance.
        for (index, port) in ports.iter().enumerate() {
            let wanted = port["nodePort"].as_u64().unwrap_or(0);
            let is_again = ports[..index].iter().any(|p| p["nodePort"].as_u64() == Some(wanted));
            if wanted > 0 && !is_again {
                self.take_port(wanted, before, &format!("spec.ports[{index}].nodePort"))?;
            }
        }
        for index in 0..ports.len() {
            if ports[index]["nodePort"].as_u64().unwrap_or(0) > 0 || !everywhere {
                continue;
            }
            let twin =
                |p: &&Value| p["port"] == ports[index]["port"] && p["nodePort"].as_u64() > Some(0);
            let twin = ports.iter().find(twin).map(|twin| twin["nodePort"].clone());
            ports[index]["nodePort"] = match twin {
                Some(twin) => twin,
                None => json!(self.any_port(&format!("spec.ports[{index}].nodePort"))?),
            };
        }
        if spec["ports"].is_array() {
            spec["ports"] = ports.into();
        }
        if is_balancer && spec["externalTrafficPolicy"] == "Local" {
            let field = "spec.healthCheckNodePort";
            match spec["healthCheckNodePort"].as_u64().unwrap_or(0) {
                0 => spec["healthCheckNodePort"] = json!(self.any_port(field)?),
                wanted => self.take_port(wanted, before, field)?,
            }
        }
        Ok(())
    }

    fn take_port(&mut self, wanted: u64, before: &[u16], field: &str) -> Result<(), Refused> {
        if before.iter().any(|port| u64::from(*port) == wanted) {
            return Ok(());
        }
        match (self.ports.refusal(wanted), u16::try_from(wanted)) {
            (None, Ok(port)) => {
                self.set_port(port, true);
                Ok(())
            }
            (why, _) => Err(Refused::new(field, wanted, why.unwrap_or_default())),
        }
    }

    fn any_port(&mut self, field: &str) -> Result<u16, Refused> {
        let why = "failed to allocate a nodePort: range is full";
        let port = self.ports.pick().ok_or_else(|| Refused::new(field, Value::Null, why))?;
        self.set_port(port, true);
        Ok(port)
    }

    fn set_address(&mut self, address: IpAddr, used: bool) {
        self.undo.push(Undo::Address(address, self.addresses.set(address, used)));
    }

    fn set_port(&mut self, port: u16, used: bool) {
        self.undo.push(Undo::Port(port, self.ports.set(port, used)));
    }

    /// A ServiceCIDR came, changed or went.
    fn range(&mut self, old: Option<&Value>, new: Option<&Value>) {
        let Some(name) = new.or(old).and_then(|object| object["metadata"]["name"].as_str()) else {
            return;
        };
        let range = new.map(|object| {
            let cidrs = object["spec"]["cidrs"].as_array().into_iter().flatten();
            let cidrs = cidrs.filter_map(|cidr| cidr.as_str()?.parse().ok()).collect();
            Range { cidrs, leaves: !object["metadata"]["deletionTimestamp"].is_null() }
        });
        let before = match range {
            Some(range) => self.addresses.ranges.insert(name.to_owned(), range),
            None => self.addresses.ranges.remove(name),
        };
        self.undo.push(Undo::Range(name.to_owned(), before));
    }
}

impl Admission for Allocator {
    fn concerns(&self, group: &str, plural: &str) -> bool {
        matches!((group, plural), ("", "services") | ("networking.k8s.io", "servicecidrs"))
    }

    fn admit(&mut self, write: &mut Write<'_>) -> Result<(), Denial> {
        if write.plural == "servicecidrs" {
            self.range(write.old, write.new.as_deref());
            return Ok(());
        }
        let Refused { field, value, detail } =
            match self.service(write.old, write.new.as_deref_mut()) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
        Err(Denial::Invalid { field, value, detail })
    }

    fn commit(&mut self) {
        self.undo.clear();
    }

    fn rollback(&mut self) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Address(address, used) => drop(self.addresses.set(address, used)),
                Undo::Port(port, used) => drop(self.ports.set(port, used)),
                Undo::Range(name, Some(range)) => drop(self.addresses.ranges.insert(name, range)),
                Undo::Range(name, None) => drop(self.addresses.ranges.remove(&name)),
            }
        }
    }
}

/// Every port of the nodes that a spec holds.
fn node_ports(spec: &Value) -> Vec<u16> {
    let ports = spec["ports"].as_array().into_iter().flatten().map(|port| &port["nodePort"]);
    let ports = ports.chain([&spec["healthCheckNodePort"]]).filter_map(Value::as_u64);
    let mut ports: Vec<u16> = ports.filter_map(|port| u16::try_from(port).ok()).collect();
    ports.retain(|port| *port > 0);
    ports.sort_unstable();
    ports.dedup();
    ports
}
