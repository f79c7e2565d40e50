//! What a node is told when it starts.

use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::spec::Spec;
use crate::topology;

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
