//! Which flows of UDP and SCTP may live on this node: those that lead from a frontend to a backend
//! that answers.
//!
//! - A frontend of a Service leads to its serving endpoints, whatever policy and topology say of new
//!   flows: a change of these cuts nothing (S-60). One without an endpoint leads nowhere (S-61).
//! - A hostPort leads to its container (S-68).
//! - Frontends stand as packets name them: a node port at each address where it is open, a hostPort at
//!   each address of the machine. Whatever else has the port's number, at another address, is none of
//!   ours.
//! - Where several would have a frontend, the rules' order decides: a Service's own address, then
//!   node ports, then hostPorts.
//! - What was ours before, and no plan knows of, is read from the rules themselves:
//!   [`LeftBehind`].
//!
//! Source: kube-proxy's `conntrack` package; S-60 to S-69, S-72. Page: docs/services.md.

mod host_port;
mod left_behind;
mod settings;

use std::net::{IpAddr, SocketAddr};

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use model::{Family, Protocol, World};
use plan::{FlowKey, Plan, Serving, Table, diff};

use crate::Attachments;
use crate::services::{At, Resolved, ServiceTable};

pub use left_behind::LeftBehind;

/// Writes what follows from anything but Services: how connections are tracked, and the flows of
/// hostPorts.
pub(crate) fn compile(world: &World, attachments: &Attachments, plan: &mut Plan) {
    settings::compile(world, plan);
    host_port::compile(world, attachments, plan);
}

/// Who has a frontend. Of several, the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Address,
    NodePort,
    HostPort,
}

/// The flows of a node, and what it takes to make the next table from them: that costs what differs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flows {
    services: ServiceTable,
    host_ports: Table<FlowKey, Serving>,
    claims: OrdMap<(FlowKey, Owner), Serving>,
    rows: Table<FlowKey, Serving>,
}

impl Flows {
    /// The flows to `services` and to `host_ports`.
    pub(crate) fn update(
        &mut self,
        services: &ServiceTable,
        host_ports: &Table<FlowKey, Serving>,
    ) -> Table<FlowKey, Serving> {
        let old = std::mem::replace(&mut self.services, services.clone());
        let moved = old.node_port_addrs != services.node_port_addrs;
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        if moved {
            gone.extend(old.services.values().flat_map(|row| claims(row, &old)));
            new.extend(services.services.values().flat_map(|row| claims(row, services)));
        } else {
            for change in old.services.diff(&services.services) {
                let (was, is) = match change {
                    DiffItem::Add(_, is) => (None, Some(is)),
                    DiffItem::Remove(_, was) => (Some(was), None),
                    DiffItem::Update { old: (_, was), new: (_, is) } => (Some(was), Some(is)),
                };
                gone.extend(was.into_iter().flat_map(|row| claims(row, &old)));
                new.extend(is.into_iter().flat_map(|row| claims(row, services)));
            }
        }
        let changes = diff(&self.host_ports, host_ports);
        self.host_ports = host_ports.clone();
        let at = |key: &FlowKey| (*key, Owner::HostPort);
        gone.extend(changes.deletes.iter().map(|key| (at(key), Serving::default())));
        new.extend(changes.puts.iter().map(|(key, put)| (at(key), put.row.clone())));
        self.replace(gone, new);
        self.rows.clone()
    }

    /// All out before any in: a frontend may have gone from one owner to another.
    fn replace(&mut self, gone: Vec<Claim>, new: Vec<Claim>) {
        for (claim, _) in &gone {
            self.claims.remove(claim);
        }
        for (claim, serving) in &new {
            self.claims.insert(*claim, serving.clone());
        }
        for ((key, _), _) in gone.into_iter().chain(new) {
            let first = self.claims.range((key, Owner::Address)..).next();
            match first.filter(|((found, _), _)| *found == key) {
                Some((_, serving)) if self.rows.get(&key) == Some(serving) => {}
                Some((_, serving)) => drop(self.rows.insert(key, serving.clone())),
                None => drop(self.rows.remove(&key)),
            }
        }
    }
}

/// A frontend with who claims it, and where it leads.
type Claim = ((FlowKey, Owner), Serving);

/// What one Service of `table` claims.
fn claims<'a>(resolved: &'a Resolved, table: &'a ServiceTable) -> Vec<Claim> {
    let mut found = Vec::new();
    for port in resolved.ports.iter().filter(|port| port.protocol != Protocol::Tcp) {
        let mut claim = |addr: IpAddr, number, owner| {
            let key = FlowKey { protocol: port.protocol, at: SocketAddr::new(addr, number) };
            found.push(((key, owner), port.serving.clone()));
        };
        for frontend in &port.frontends {
            match frontend.at {
                At::Ip(addr) => claim(addr, frontend.port, Owner::Address),
                At::NodeAddresses => table
                    .node_port_addrs
                    .iter()
                    .filter(|addr| Family::of(**addr) == port.family)
                    .for_each(|addr| claim(*addr, frontend.port, Owner::NodePort)),
            }
        }
    }
    found
}
