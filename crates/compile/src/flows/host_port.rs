//! Flows to hostPorts.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use model::{Family, Protocol, World};
use plan::{FlowKey, Plan};

use crate::Attachments;

/// Writes the rows of hostPorts. One without a hostIP is at every address of the machine, those of
/// Seaway's own links included.
pub(super) fn compile(world: &World, attachments: &Attachments, plan: &mut Plan) {
    let own = plan.addrs.keys().map(|(_, net)| net.addr());
    let machine: BTreeSet<IpAddr> = world.host.addrs().map(|net| net.addr()).chain(own).collect();
    for joined in attachments.rows.values() {
        for port in joined.ports.iter().filter(|port| port.protocol != Protocol::Tcp) {
            for backend in &joined.addrs {
                let family = Family::of(*backend);
                let is_open = |addr: &&IpAddr| match port.host_ip {
                    Some(ip) if Family::of(ip) != family => false,
                    Some(ip) if !ip.is_unspecified() => **addr == ip,
                    Some(_) | None => Family::of(**addr) == family,
                };
                for addr in machine.iter().filter(is_open) {
                    let at = SocketAddr::new(*addr, port.host_port);
                    let to = SocketAddr::new(*backend, port.container_port);
                    let key = FlowKey { protocol: port.protocol, at };
                    plan.flows.insert(key, [to].into_iter().collect());
                }
            }
        }
    }
}
