//! What a node is told when it starts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::architecture::architecture;
use crate::spec::Spec;
use crate::topology;

/// The region of every lab that has zones.
const REGION: &str = "lab";

/// `node.json` in the node's directory, written by the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The lab.
    pub spec: Spec,
    /// Which node of it this is.
    pub number: u32,
}

impl Settings {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When it is missing or not what the supervisor writes.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    /// The node's name.
    pub fn name(&self) -> String {
        topology::node_name(self.number)
    }

    /// The node's addresses, primary first.
    pub fn addrs(&self) -> Vec<IpAddr> {
        topology::node_addrs(&self.spec, self.number).iter().map(|net| net.addr()).collect()
    }

    /// The labels of its Node object.
    ///
    /// Source: <https://kubernetes.io/docs/reference/labels-annotations-taints/>.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let name = self.name();
        let mut labels = vec![
            ("kubernetes.io/hostname", name),
            ("kubernetes.io/os", "linux".to_owned()),
            ("kubernetes.io/arch", architecture().to_owned()),
        ];
        if let Some(zone) = topology::zone_of(&self.spec, self.number) {
            labels.push(("topology.kubernetes.io/region", REGION.to_owned()));
            labels.push(("topology.kubernetes.io/zone", format!("{REGION}-zone-{zone}")));
        }
        labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// `/etc/resolv.conf` of the node.
    pub fn resolv_conf(&self) -> String {
        let servers = match self.spec.nameservers.is_empty() {
            true => topology::router_addrs(&self.spec, self.number),
            false => self.spec.nameservers.clone(),
        };
        servers.iter().map(|server| format!("nameserver {server}\n")).collect()
    }

    /// `/etc/hosts` of the node: itself, its peers at the lab's start, and the hosts outside.
    pub fn hosts(&self) -> String {
        let mut hosts = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n".to_owned();
        let mut line = |addr: IpAddr, name: &str| hosts.push_str(&format!("{addr} {name}\n"));
        for number in 1..=self.spec.nodes.max(self.number) {
            for net in topology::node_addrs(&self.spec, number) {
                line(net.addr(), &topology::node_name(number));
            }
        }
        for place in [topology::Place::Client, topology::Place::Internet] {
            for addr in topology::outside_addrs(&self.spec, place) {
                line(addr, &place.to_string());
            }
        }
        hosts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_asks_the_router_of_its_subnet_or_whom_it_is_told() {
        let spec = Spec { subnets: 2, ..Spec::new("lab".parse().unwrap()) };
        let settings = Settings { spec, number: 2 };
        assert_eq!(settings.resolv_conf(), "nameserver 10.80.2.1\nnameserver fd00:80:2::1\n");
        let nameservers = vec!["203.0.113.10".parse().unwrap()];
        let told = Settings { spec: Spec { nameservers, ..settings.spec }, number: 2 };
        assert_eq!(told.resolv_conf(), "nameserver 203.0.113.10\n");
    }

    #[test]
    fn nodes_are_dealt_to_the_zones_in_turn() {
        let zone = |zones, number| {
            let spec = Spec { zones, ..Spec::new("lab".parse().unwrap()) };
            Settings { spec, number }.labels().remove("topology.kubernetes.io/zone")
        };
        assert_eq!(zone(None, 1), None);
        let dealt: Vec<_> = (1..=5).filter_map(|number| zone(Some(2), number)).collect();
        assert_eq!(dealt.join(" "), "lab-zone-1 lab-zone-2 lab-zone-1 lab-zone-2 lab-zone-1");
    }
}
